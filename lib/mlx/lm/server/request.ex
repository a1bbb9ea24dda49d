defmodule Mlx.LM.Server.Request do
  @moduledoc false
  # What a client asks for, checked: the tokens of the prompt and the options. `Mlx.LM.Server.Intake` makes it, in a process
  # of its own, because a long prompt takes time.

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.{Answer, Sampler, StopStrings, Tokenizer}
  alias Mlx.LM.Sampler.{OptionTable, SpecialTokens}
  alias Mlx.LM.Server.{About, Constraint, Drafting, Error}

  @table [
    max_tokens: {256, {:integer, 1, nil}},
    stop: {[], :any},
    stop_ids: {nil, {:optional, :tokens}},
    ignore_eos: {false, :boolean},
    special: {false, {:either, [:boolean, :strings]}},
    template: {[], :any},
    grammar: {nil, :any},
    draft: {nil, :any},
    draft_tokens: {nil, {:optional, {:integer, 1, 64}}},
    priority: {0, {:integer, -1_000_000, 1_000_000}},
    deadline: {nil, {:optional, {:integer, 1, 0xFFFFFFFF}}},
    queue: {true, :boolean}
  ]

  @enforce_keys [
    :ids,
    :prompt,
    :borders,
    :most,
    :stop,
    :end_ids,
    :special,
    :constraint,
    :draft,
    :sampling,
    :priority,
    :deadline,
    :queue
  ]
  defstruct @enforce_keys

  @typep draft :: %{draft: :model | {:ngram, keyword()}, most: pos_integer()} | nil

  @type t :: %__MODULE__{
          ids: [Tokenizer.id(), ...],
          prompt: pos_integer(),
          borders: [pos_integer()],
          most: pos_integer(),
          stop: StopStrings.t(),
          end_ids: MapSet.t(Tokenizer.id()),
          special: boolean() | [String.t()],
          constraint: Constraint.t(),
          draft: draft,
          sampling: keyword(),
          priority: integer(),
          deadline: pos_integer() | nil,
          queue: boolean()
        }

  @doc "The request, or why there can be none. `called` is the function that the client called."
  @spec new(About.t(), Mlx.LM.prompt(), keyword(), String.t()) :: {:ok, t()} | {:error, Error.t()}
  def new(about, prompt, options, called) do
    {:ok, CalledFunction.name(called, fn -> new!(about, prompt, options) end)}
  rescue
    error in Error -> {:error, %{error | message: "#{called}: #{error.message}"}}
    error in [ArgumentError, Mlx.Error] -> {:error, Error.new(:invalid, Exception.message(error))}
  end

  defp new!(about, prompt, options) do
    known = OptionTable.defaults(@table) ++ for(name <- Sampler.options(), do: {name, nil})
    complete = Options.complete(options, :"LM.Server.submit", known)
    OptionTable.check!(@table, complete)
    sampling = options |> Keyword.take(Sampler.options()) |> SpecialTokens.put(about.tokenizer)
    sampling |> Sampler.new() |> Sampler.check_vocabulary!(Tokenizer.size(about.tokenizer), "Mlx.LM.Server.submit")
    stop = StopStrings.new(complete[:stop])
    template = Keyword.take(complete, [:template])
    ids = ids!(about, About.encode(about, prompt, template))
    count = length(ids)
    end_ids = Answer.end_ids(about.tokenizer, complete)

    %__MODULE__{
      ids: ids,
      prompt: count,
      borders: About.borders(about, prompt, ids, template),
      most: min(complete[:max_tokens], about.context_length - count + 1),
      stop: stop,
      end_ids: end_ids,
      special: complete[:special],
      constraint: Constraint.new(complete[:grammar], about.tokenizer, end_ids),
      draft: Drafting.settings!(complete, about),
      sampling: sampling,
      priority: complete[:priority],
      deadline: complete[:deadline],
      queue: complete[:queue]
    }
  end

  defp ids!(_about, []), do: raise(ArgumentError, "the prompt is empty")

  defp ids!(about, ids) do
    if length(ids) > about.context_length do
      raise Error.new(
              :too_large,
              "the prompt has #{length(ids)} tokens, more than the model's context length of #{about.context_length}"
            )
    end

    size = Tokenizer.size(about.tokenizer)

    for id <- ids, not (is_integer(id) and id >= 0 and id < size) do
      raise ArgumentError, "expected the prompt to have tokens from 0 to #{size - 1}, got: #{Given.text(id)}"
    end

    ids
  end
end
