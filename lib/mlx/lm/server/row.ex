defmodule Mlx.LM.Server.Row do
  @moduledoc false
  # A request at work: its sampler, its grammar, the tokens that the model has read, and its answer so far. It takes a token at
  # a time and gives events, as `Mlx.LM.events/3` has them.

  alias Mlx.LM.{Answer, Sampler}
  alias Mlx.LM.Server.{About, Choosing, Constraint, Request}
  alias Mlx.LM.Speculation.Ngrams
  alias Mlx.LM.Tokenizer.StreamDecoder

  @enforce_keys [:ref, :request, :sampler, :choose, :answer, :left]
  defstruct @enforce_keys ++ [:constraint, :ngrams, rounds: 0, drafted: 0, accepted: 0, fed: []]

  @typep choose :: Choosing.t()
  @typep ngrams :: Ngrams.t()

  @type t :: %__MODULE__{
          ref: reference(),
          request: Request.t(),
          sampler: Sampler.t(),
          choose: choose,
          answer: Answer.t(),
          left: pos_integer(),
          constraint: Constraint.t(),
          ngrams: ngrams | nil,
          rounds: non_neg_integer(),
          drafted: non_neg_integer(),
          accepted: non_neg_integer(),
          fed: [non_neg_integer()]
        }

  @doc "The row of a request that has no token yet. `choose` is the function that all rows share."
  @spec new(reference(), Request.t(), About.t(), choose) :: t()
  def new(ref, request, about, choose) do
    sampler = Sampler.new(request.sampling)

    %__MODULE__{
      ref: ref,
      request: request,
      sampler: Sampler.observe(sampler, Mlx.array([request.ids])),
      choose: Choosing.compile(choose, sampler),
      fed: Enum.reverse(request.ids),
      answer: %Answer{
        prompt: request.prompt,
        read: request.prompt,
        end_ids: request.end_ids,
        decoder: StreamDecoder.new(about.tokenizer, special: request.special),
        stop: request.stop,
        started: System.monotonic_time()
      },
      constraint: request.constraint,
      ngrams: ngrams(request),
      left: request.most
    }
  end

  defp ngrams(%{draft: %{draft: {:ngram, options}}} = request),
    do: options |> Ngrams.new() |> Ngrams.append(request.ids)

  defp ngrams(_request), do: nil

  @doc "How many tokens the text has, with the prompt."
  @spec total(t()) :: pos_integer()
  def total(%__MODULE__{request: request, left: left}), do: request.prompt + request.most - left

  @doc "The tokens of the prompt and those that came, with `id` at the end, but no more than `length`."
  @spec read(t(), non_neg_integer(), pos_integer()) :: [non_neg_integer()]
  def read(row, id, length), do: [id | row.fed] |> Enum.reverse() |> Enum.take(length)

  @doc "The row, of whose prompt the first `count` tokens were known."
  @spec known(t(), non_neg_integer()) :: t()
  def known(row, count), do: put_in(row.answer.read, row.request.prompt - count)

  @doc "Takes the next token. `told` is the sampler that chose it."
  @spec push(t(), non_neg_integer(), Sampler.t()) :: {[term()], t() | :done}
  def push(%__MODULE__{} = row, id, told) do
    row = %{row | fed: [id | row.fed], ngrams: row.ngrams && Ngrams.append(row.ngrams, [id])}
    {constraint, finished?} = if id in row.request.end_ids, do: {nil, true}, else: Constraint.accept(row.constraint, id)

    case Answer.push(row.answer, id, told, outcome(row, finished?)) do
      {:more, events, answer} ->
        {events, %{row | answer: answer, constraint: constraint, left: row.left - 1}}

      {:done, events, response} ->
        figures = row.request.draft && Map.take(row, [:rounds, :drafted, :accepted])
        {events ++ [{:done, %{response | speculation: figures}}], :done}
    end
  end

  # Without end tokens a text of a grammar of which nothing may follow is at its end.
  defp outcome(_row, true), do: :stop
  defp outcome(%{left: 1}, false), do: :length
  defp outcome(_row, false), do: :continue
end
