defmodule Mlx.LM.Grammar.Place do
  @moduledoc false
  # Places in texts of grammars (`Mlx.LM.Grammar.State`): the one behind a token, and the one that a generation begins with.

  alias Mlx.Arguments.Given
  alias Mlx.LM.{Grammar, Tokenizer}
  alias Mlx.LM.Grammar.{Compiled, Stacks, State, Vocabulary}

  @doc "The place behind a token, or nil where it does not fit."
  @spec next(State.t(), non_neg_integer()) :: State.t() | nil
  def next(%State{ended: true}, _id), do: nil

  def next(%State{compiled: %{program: program, vocabulary: vocabulary}} = state, id) do
    if id in state.end_ids do
      if Stacks.end?(state.items), do: %{state | ended: true, items: []}
    else
      case step(state.items, Vocabulary.bytes(vocabulary, id, state.first), program) do
        [] -> nil
        items -> %{state | items: items, first: false}
      end
    end
  end

  defp step(_items, "", _program), do: []

  defp step(items, bytes, program) do
    for <<byte <- bytes>>, reduce: items, do: (items -> Stacks.step(items, byte, program))
  end

  @doc "The place at the start of a text that the option `:grammar` of a generation asks for, or nil. Messages name no function."
  @spec of_option!(term(), Tokenizer.t(), MapSet.t()) :: State.t() | nil
  def of_option!(nil, _tokenizer, _ends), do: nil

  def of_option!(%Grammar{} = grammar, tokenizer, ends),
    do: grammar |> Grammar.compile(tokenizer) |> of_option!(tokenizer, ends)

  def of_option!(%Compiled{} = compiled, _tokenizer, ends) do
    state = Grammar.start(compiled, end_ids: ends)

    if Grammar.finished?(state) do
      raise ArgumentError, "expected :grammar to have a text beside the empty one where no token ends a text"
    end

    state
  end

  def of_option!(other, _tokenizer, _ends) do
    raise ArgumentError, "expected :grammar to be a Mlx.LM.Grammar or a compiled one, or nil, got: #{Given.text(other)}"
  end
end
