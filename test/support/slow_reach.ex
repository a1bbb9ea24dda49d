defmodule Mlx.SlowReach do
  @moduledoc """
  What the tokens below nodes do to a state of a grammar (`Mlx.LM.Grammar.Reach`), by a look at every byte of them: without
  native code, and without what is known of whole branches.
  """

  alias Mlx.GrammarTexts
  alias Mlx.LM.Grammar.{Program, Reach, Tree}

  @doc "The tokens, the nodes where the rule may return, and the nodes of each call, all in order."
  def of(%{vocabulary: %{tree: tree}} = compiled, state, nodes) do
    found =
      for <<node::32-little <- nodes>>, reduce: {[], [], []} do
        found ->
          {_byte, last, _kinds, _count} = Tree.node(tree, node)
          below(compiled, node + 1, last, start(state, node), found)
      end

    {tokens, returns, calls} = found
    calls = Enum.group_by(calls, &elem(&1, 0), &elem(&1, 1))
    {ordered(tokens), ordered(returns), Map.new(calls, fn {call, nodes} -> {call, ordered(nodes)} end)}
  end

  @doc "The same of what `Reach.of` gives."
  def fast(compiled, state, nodes) do
    {tokens, returns, calls} = Reach.of(compiled, state, nodes)
    {GrammarTexts.numbers([tokens]), numbers(returns), Map.new(calls, fn {call, nodes} -> {call, numbers(nodes)} end)}
  end

  defp numbers(nodes), do: ordered(for <<node::32-little <- nodes>>, do: node)
  defp ordered(numbers), do: numbers |> Enum.sort() |> Enum.dedup()

  # Inside of a counted rule the state, how many texts came before, and the node above.
  defp start({state, _first, _low, _high} = counted, node), do: {counted, state, 0, node}
  defp start(state, _node), do: state

  defp below(compiled, at, last, state, found) when at < last do
    {byte, behind, _kinds, _count} = Tree.node(compiled.vocabulary.tree, at)
    {next, found} = step(compiled.program, state, byte, at, found)
    # Behind a node without others below it there are no more bytes.
    found = if next && behind > at + 1, do: passed(compiled.program, next, at, found), else: found

    found =
      if next do
        {tokens, returns, calls} = found
        tokens = if fits?(next), do: own(compiled.vocabulary.tree, at) ++ tokens, else: tokens
        below(compiled, at + 1, behind, next, {tokens, returns, calls})
      else
        found
      end

    below(compiled, behind, last, state, found)
  end

  defp below(_compiled, _at, _last, _state, found), do: found

  defp own(tree, at), do: Tree.tokens(tree, [{Tree.before(tree, at), Tree.before(tree, at + 1)}])

  # A text that has begun needs one more than there were.
  defp fits?({{_state, first, _low, high}, state, done, _node}),
    do: high == :infinity or if(state == first, do: done, else: done + 1) <= high

  defp fits?(_state), do: true

  defp step(program, {{_state, first, low, high} = counted, state, done, node}, byte, at, found) do
    {tokens, returns, calls} = found

    case Program.next(program, state, byte) do
      0 when state == first and done > 0 and done >= low and (high == :infinity or done <= high) ->
        {nil, {tokens, [node | returns], calls}}

      0 ->
        {nil, found}

      next ->
        next = if Program.accepting?(program, next), do: {first, done + 1}, else: {next, done}
        {{counted, elem(next, 0), elem(next, 1), at}, found}
    end
  end

  defp step(program, state, byte, _at, found) do
    next = Program.next(program, state, byte)
    {if(next != 0, do: next), found}
  end

  defp passed(_program, {_counted, _state, _done, _node}, _at, found), do: found

  defp passed(program, state, at, {tokens, returns, calls}) do
    returns = if Program.accepting?(program, state), do: [at | returns], else: returns
    {tokens, returns, for(call <- Program.calls(program, state), do: {call, at}) ++ calls}
  end
end
