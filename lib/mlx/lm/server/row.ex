defmodule Mlx.LM.Server.Row do
  @moduledoc false
  # A request at work: its sampler, the tokens that it has so far, and what of their text is given out. It takes a token at a
  # time and gives events, as `Mlx.LM.events/3` has them.

  alias Mlx.LM.{Response, Sampler, StopStrings}
  alias Mlx.LM.Server.{About, Choosing, Constraint, Request}
  alias Mlx.LM.Speculation.Ngrams
  alias Mlx.LM.Tokenizer.StreamDecoder

  @enforce_keys [:ref, :request, :sampler, :choose, :decoder, :stop, :left, :started]
  defstruct @enforce_keys ++
              [
                :constraint,
                :first,
                :ngrams,
                cached: 0,
                rounds: 0,
                drafted: 0,
                accepted: 0,
                fed: [],
                ids: [],
                text: [],
                logprobs: []
              ]

  @typep choose :: Choosing.t()
  @typep ngrams :: Ngrams.t()

  @type t :: %__MODULE__{
          ref: reference(),
          request: Request.t(),
          sampler: Sampler.t(),
          choose: choose,
          decoder: StreamDecoder.t(),
          stop: StopStrings.t(),
          left: pos_integer(),
          started: integer(),
          constraint: Constraint.t(),
          first: integer() | nil,
          ngrams: ngrams | nil,
          cached: non_neg_integer(),
          rounds: non_neg_integer(),
          drafted: non_neg_integer(),
          accepted: non_neg_integer(),
          fed: [non_neg_integer()],
          ids: [non_neg_integer()],
          text: iodata(),
          logprobs: [Response.token()]
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
      decoder: StreamDecoder.new(about.tokenizer, special: request.special),
      stop: request.stop,
      constraint: request.constraint,
      ngrams: ngrams(request),
      left: request.most,
      started: System.monotonic_time()
    }
  end

  defp ngrams(%{draft: nil}), do: nil

  defp ngrams(%{draft: %{draft: {:ngram, options}}} = request),
    do: options |> Ngrams.new() |> Ngrams.append(request.ids)

  @doc "The tokens of the prompt and those that came, with `id` at the end, but no more than `length`."
  @spec read(t(), non_neg_integer(), pos_integer()) :: [non_neg_integer()]
  def read(row, id, length), do: [id | row.fed] |> Enum.reverse() |> Enum.take(length)

  @doc "Takes the next token. `told` is the sampler that chose it."
  @spec push(t(), non_neg_integer(), Sampler.t()) :: {[term()], t() | :done}
  def push(%__MODULE__{} = row, id, told) do
    row = %{
      row
      | first: row.first || System.monotonic_time(),
        fed: [id | row.fed],
        ngrams: row.ngrams && Ngrams.append(row.ngrams, [id])
    }

    if MapSet.member?(row.request.end_ids, id) do
      finish(row, flush(row), :stop, 1)
    else
      {text, decoder} = StreamDecoder.push(row.decoder, id)
      {constraint, finished?} = Constraint.accept(row.constraint, id)
      {events, row} = told(%{row | decoder: decoder, constraint: constraint, ids: [id | row.ids]}, told)
      {more, row} = give(row, StopStrings.push(row.stop, text), outcome(row, finished?))
      {events ++ more, row}
    end
  end

  # Without end tokens a text of a grammar of which nothing may follow is at its end.
  defp outcome(_row, true), do: :stop
  defp outcome(%{left: 1}, false), do: :length
  defp outcome(_row, false), do: :continue

  defp told(row, %Sampler{last: nil}), do: {[], row}

  defp told(row, sampler) do
    token = Sampler.logprobs(sampler)
    {[{:token, token}], %{row | logprobs: [token | row.logprobs]}}
  end

  defp give(row, {:stop, text}, _outcome), do: finish(row, text, :stop, 0)
  defp give(row, {:continue, "", stop}, :continue), do: {[], %{row | stop: stop, left: row.left - 1}}

  defp give(row, {:continue, text, stop}, :continue) do
    {[{:text, text}], %{row | stop: stop, left: row.left - 1, text: [row.text, text]}}
  end

  defp give(row, {:continue, text, stop}, reason), do: finish(row, text <> flush(%{row | stop: stop}), reason, 0)

  # The text that still waits for a character or a stop string to be complete.
  defp flush(row) do
    case StopStrings.push(row.stop, StreamDecoder.flush(row.decoder)) do
      {:stop, text} -> text
      {:continue, text, stop} -> text <> StopStrings.flush(stop)
    end
  end

  defp finish(row, text, reason, end_tokens) do
    last = if text == "", do: [], else: [{:text, text}]
    {last ++ [{:done, response(row, text, reason, end_tokens)}], :done}
  end

  defp response(row, text, reason, end_tokens) do
    generated = length(row.ids) + end_tokens

    %Response{
      text: IO.iodata_to_binary([row.text, text]),
      ids: Enum.reverse(row.ids),
      logprobs: row.sampler.logprobs && Enum.reverse(row.logprobs),
      finish_reason: reason,
      prompt_tokens: row.request.prompt,
      cached_tokens: row.cached,
      prompt_tokens_per_second: rate(row.request.prompt - row.cached, row.started, row.first),
      generated_tokens: generated,
      generation_tokens_per_second: rate(generated - 1, row.first, System.monotonic_time()),
      peak_memory: Mlx.Memory.peak(),
      speculation: row.ngrams && Map.take(row, [:rounds, :drafted, :accepted]),
      context: nil
    }
  end

  defp rate(0, _from, _to), do: nil
  defp rate(count, from, to), do: count * System.convert_time_unit(1, :second, :native) / max(to - from, 1)
end
