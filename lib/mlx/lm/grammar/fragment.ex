defmodule Mlx.LM.Grammar.Fragment do
  @moduledoc false
  # The automaton of one rule that a tree stands for, with steps that take no byte: states with ranges of bytes, with calls
  # of other rules, and with steps to other states.
  #
  # It is built from its end: each node gets the state that follows and gives the state that it begins with. `Automaton` makes
  # a deterministic one of it.

  alias Mlx.LM.Grammar.{Automaton, Budget, Escapes, Expression, UTF8}

  # The states for each one that the automaton may have.
  @states 4

  @enforce_keys [:states, :size, :nullable, :budget]
  defstruct @enforce_keys

  @type state :: {empty :: [integer()], ranges :: [{byte(), byte(), integer()}], calls :: [{term(), integer()}]}
  @type t :: %__MODULE__{states: %{integer() => state()}, size: integer(), nullable: MapSet.t(), budget: Budget.t()}

  @doc """
  The states of a node, its first state and its last one. `nullable` are the rules that have the empty text.

  Throws `:too_large` where there are more than four times as many states as the budget has for an automaton.
  """
  @spec new(Expression.t(), MapSet.t(), Budget.t()) :: {%{integer() => state()}, integer(), integer()}
  def new(node, nullable, budget) do
    fragment = %__MODULE__{states: %{0 => {[], [], []}}, size: 1, nullable: nullable, budget: budget}
    {first, fragment} = build(node, 0, fragment)
    {fragment.states, first, 0}
  end

  defp put(%{size: size, budget: budget} = fragment, state) do
    Budget.take!(budget, 1, size, @states * budget.states)
    {size, %{fragment | size: size + 1, states: Map.put(fragment.states, size, state)}}
  end

  defp build({:bytes, bytes}, next, fragment) do
    bytes
    |> :binary.bin_to_list()
    |> Enum.reverse()
    |> Enum.reduce({next, fragment}, fn byte, {next, fragment} -> put(fragment, {[], [{byte, byte, next}], []}) end)
  end

  defp build({:set, ranges}, next, fragment) do
    {starts, fragment} =
      ranges
      |> UTF8.sequences()
      |> Enum.map(&Enum.reverse/1)
      |> Enum.map_reduce(fragment, fn [last | before], fragment ->
        Enum.reduce(before, {[range(last, next)], fragment}, fn range, {ranges, fragment} ->
          {state, fragment} = put(fragment, {[], ranges, []})
          {[range(range, state)], fragment}
        end)
      end)

    put(fragment, {[], Enum.concat(starts), []})
  end

  defp build({:seq, nodes}, next, fragment) do
    nodes
    |> Enum.reverse()
    |> Enum.reduce({next, fragment}, fn node, {next, fragment} -> build(node, next, fragment) end)
  end

  defp build({:alt, nodes}, next, fragment) do
    {firsts, fragment} = Enum.map_reduce(nodes, fragment, &build(&1, next, &2))
    put(fragment, {firsts, [], []})
  end

  defp build({:ref, name}, next, fragment) do
    put(fragment, {if(MapSet.member?(fragment.nullable, name), do: [next], else: []), [], [{{:rule, name}, next}]})
  end

  defp build({:count, node, min, max}, next, fragment) do
    put(fragment, {if(min == 0, do: [next], else: []), [], [{{:count, node, min, max}, next}]})
  end

  defp build({:repeat, node, min, :infinity}, next, fragment) do
    {loop, fragment} = put(fragment, {[next], [], []})
    {first, fragment} = build(node, loop, fragment)
    times(node, min, loop, %{fragment | states: Map.put(fragment.states, loop, {[next, first], [], []})})
  end

  defp build({:repeat, node, min, max}, next, fragment) do
    {first, fragment} = optional(node, max - min, next, next, fragment)
    times(node, min, first, fragment)
  end

  # From the last node on: `one` is where a node has to come, one of those that are left; `open` whether none has to come.
  # Behind a node, a separator leads to the next one.
  defp build({:members, members, separator, more}, next, fragment) do
    {one, later, fragment} = more(more, separator, next, fragment)

    {one, open, _later, fragment} =
      members
      |> Enum.reverse()
      |> Enum.reduce({one, true, later, fragment}, fn {node, required}, {one, open, later, fragment} ->
        {here, fragment} = build(node, later, fragment)
        {one, fragment} = if required or one == nil, do: {here, fragment}, else: put(fragment, {[here, one], [], []})
        open = open and not required
        {behind, fragment} = build(separator, one, fragment)
        {later, fragment} = put(fragment, {if(open, do: [next, behind], else: [behind]), [], []})
        {one, open, later, fragment}
      end)

    put(fragment, {if(open, do: [next], else: []) ++ List.wrap(one), [], []})
  end

  defp build({:multiple, number}, next, fragment) do
    %{size: first} = fragment

    fragment =
      Enum.reduce(0..(number - 1), fragment, fn rest, fragment ->
        ranges = for digit <- 0..9, do: {?0 + digit, ?0 + digit, first + rem(10 * rest + digit, number)}
        {_state, fragment} = put(fragment, {if(rest == 0, do: [next], else: []), ranges, []})
        fragment
      end)

    put(fragment, {[], elem(fragment.states[first], 1), []})
  end

  defp build({:both, a, b}, next, fragment),
    do: embedded(Automaton.both(regular(a, fragment), regular(b, fragment), fragment.budget), next, fragment)

  defp build({:except, a, b}, next, fragment),
    do: embedded(Automaton.except(regular(a, fragment), regular(b, fragment), fragment.budget), next, fragment)

  defp build({:length, node, min, max}, next, fragment),
    do: embedded(Automaton.of_length(regular(node, fragment), min, max, fragment.budget), next, fragment)

  defp build({:escaped, node}, next, fragment) do
    node |> regular(fragment) |> embedded(next, fragment, &Escapes.of_range/1)
  end

  defp range({low, high}, state), do: {low, high, state}

  defp more(nil, _separator, next, fragment), do: {nil, next, fragment}

  defp more(node, separator, next, fragment) do
    {later, fragment} = put(fragment, {[next], [], []})
    {here, fragment} = build(node, later, fragment)
    {behind, fragment} = build(separator, here, fragment)
    {here, later, %{fragment | states: Map.put(fragment.states, later, {[next, behind], [], []})}}
  end

  defp times(_node, 0, next, fragment), do: {next, fragment}

  defp times(node, count, next, fragment) do
    {next, fragment} = build(node, next, counted(fragment))
    times(node, count - 1, next, fragment)
  end

  defp optional(_node, 0, last, _next, fragment), do: {last, fragment}

  defp optional(node, count, last, next, fragment) do
    {first, fragment} = build(node, last, fragment)
    {state, fragment} = put(fragment, {[first, next], [], []})
    optional(node, count - 1, state, next, fragment)
  end

  # Repetitions of nothing come to an end, too.
  defp counted(fragment) do
    {_state, fragment} = put(fragment, {[], [], []})
    fragment
  end

  defp regular(node, fragment), do: Automaton.new(node, fragment.nullable, fragment.budget)

  defp embedded(automaton, next, fragment, written \\ &[{[&1], []}]) do
    offset = fragment.size
    Budget.take!(fragment.budget, automaton.size, offset + automaton.size, @states * fragment.budget.states)
    fragment = %{fragment | size: offset + automaton.size}

    fragment =
      Enum.reduce(automaton.states, fragment, fn {id, {accepting, ranges, []}}, fragment ->
        {ranges, fragment} =
          Enum.flat_map_reduce(ranges, fragment, fn {low, high, target}, fragment ->
            {low, high} |> written.() |> Enum.flat_map_reduce(fragment, &path(&1, offset + target, &2))
          end)

        state = {if(accepting, do: [next], else: []), ranges, []}
        %{fragment | states: Map.put(fragment.states, offset + id, state)}
      end)

    {offset + automaton.first, fragment}
  end

  # One of the ranges of the first byte, and then the ranges of the bytes behind it.
  defp path({firsts, behind}, target, fragment) do
    {next, fragment} =
      behind
      |> Enum.reverse()
      |> Enum.reduce({target, fragment}, fn range, {next, fragment} -> put(fragment, {[], [range(range, next)], []}) end)

    {Enum.map(firsts, &range(&1, next)), fragment}
  end
end
