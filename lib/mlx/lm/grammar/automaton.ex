defmodule Mlx.LM.Grammar.Automaton do
  @moduledoc false
  # A deterministic automaton over bytes and calls of rules: a map of states, each of which says whether a text may end there,
  # where ranges of bytes lead, and where calls return to. From each state an end can be reached.

  alias Mlx.LM.Grammar.{Budget, Expression, Fragment}

  @enforce_keys [:states, :first, :size]
  defstruct @enforce_keys

  @type state :: {accepting :: boolean(), ranges :: [{byte(), byte(), integer()}], calls :: [{term(), integer()}]}
  @type t :: %__MODULE__{states: %{integer() => state()}, first: integer(), size: integer()}

  @doc "The automaton of a node. Throws `:too_large` where it has more states than the budget has."
  @spec new(Expression.t(), MapSet.t(), Budget.t()) :: t()
  def new(node, nullable, budget) do
    {states, first, last} = Fragment.new(node, nullable, budget)
    set = closure([first], states)

    explore(set, budget, fn set ->
      {ranges, calls} =
        Enum.reduce(set, {[], []}, fn id, {ranges, calls} ->
          {_empty, more, others} = Map.fetch!(states, id)
          {more ++ ranges, others ++ calls}
        end)

      calls = Enum.group_by(calls, &elem(&1, 0), &elem(&1, 1))
      ranges = for {low, high, targets} <- disjoint(ranges), do: {low, high, closure(targets, states)}
      {last in set, ranges, for({key, targets} <- calls, do: {key, closure(targets, states)})}
    end)
  end

  # The states that are reached without a byte and from which something else than such a step leads, in order.
  defp closure(ids, states) do
    for {id, true} <- reached(ids, states, %{}), do: id
  end

  defp reached([], _states, seen), do: seen |> Map.to_list() |> :lists.sort()
  defp reached([id | rest], states, seen) when is_map_key(seen, id), do: reached(rest, states, seen)

  defp reached([id | rest], states, seen) do
    case Map.fetch!(states, id) do
      {[], _ranges, _calls} -> reached(rest, states, Map.put(seen, id, leads?(id, states)))
      {empty, _ranges, _calls} -> reached(empty ++ rest, states, Map.put(seen, id, leads?(id, states)))
    end
  end

  defp leads?(0, _states), do: true
  defp leads?(id, states), do: not match?({_empty, [], []}, Map.fetch!(states, id))

  # Ranges that do not overlap, each with all targets.
  defp disjoint([]), do: []
  defp disjoint([{low, high, target}]), do: [{low, high, [target]}]

  defp disjoint(ranges) do
    ranges
    |> Enum.flat_map(fn {low, high, _target} -> [low, high + 1] end)
    |> Enum.uniq()
    |> Enum.sort()
    |> Enum.chunk_every(2, 1, :discard)
    |> Enum.flat_map(fn [low, after_high] ->
      case for {from, to, target} <- ranges, from <= low, to >= after_high - 1, uniq: true, do: target do
        [] -> []
        targets -> [{low, after_high - 1, Enum.sort(targets)}]
      end
    end)
    |> merged()
  end

  defp merged([{low, high, targets}, {next, last, targets} | rest]) when next == high + 1,
    do: merged([{low, last, targets} | rest])

  defp merged([range | rest]), do: [range | merged(rest)]
  defp merged([]), do: []

  @doc "The automaton of the texts of both."
  @spec both(t(), t(), Budget.t()) :: t()
  def both(a, b, budget) do
    explore({a.first, b.first}, budget, fn {p, q} ->
      {accepts, ranges, []} = Map.fetch!(a.states, p)
      {accepts_too, others, []} = Map.fetch!(b.states, q)
      {accepts and accepts_too, crossed(ranges, others), []}
    end)
  end

  defp crossed(ranges, others) do
    for {low, high, p} <- ranges, {from, to, q} <- others, max(low, from) <= min(high, to) do
      {max(low, from), min(high, to), {p, q}}
    end
  end

  @doc "The automaton of the texts of the first that are none of the second."
  @spec except(t(), t(), Budget.t()) :: t()
  def except(a, b, budget) do
    explore({a.first, b.first}, budget, fn {p, q} ->
      {accepts, ranges, []} = Map.fetch!(a.states, p)
      {refuses, others, []} = if q, do: Map.fetch!(b.states, q), else: {false, [], []}
      {accepts and not refuses, crossed(ranges, completed(others)), []}
    end)
  end

  # All bytes, where those without a range lead to no state.
  defp completed(ranges) do
    {from, ranges} =
      Enum.reduce(Enum.sort(ranges), {0, []}, fn {low, high, target}, {from, done} ->
        gap = if low > from, do: [{from, low - 1, nil}], else: []
        {high + 1, [{low, high, target} | gap ++ done]}
      end)

    if from <= 0xFF, do: [{from, 0xFF, nil} | ranges], else: ranges
  end

  @doc "The automaton of those texts, of UTF-8, that have from `min` to `max` characters."
  @spec of_length(t(), non_neg_integer(), non_neg_integer() | :infinity, Budget.t()) :: t()
  def of_length(a, min, max, budget) do
    top = if max == :infinity, do: min, else: max

    explore({a.first, 0}, budget, fn {p, count} ->
      {accepts, ranges, []} = Map.fetch!(a.states, p)

      ranges =
        for {low, high, target} <- ranges,
            {from, to, step} <- [{0x00, 0x7F, 1}, {0x80, 0xBF, 0}, {0xC0, 0xFF, 1}],
            max(low, from) <= min(high, to),
            max == :infinity or count + step <= max,
            do: {max(low, from), min(high, to), {target, min(count + step, top)}}

      {accepts and count >= min, ranges, []}
    end)
  end

  @doc "Whether a text is one of the automaton's, which calls no rules."
  @spec accepts?(t(), binary()) :: boolean()
  def accepts?(automaton, text), do: accepts?(automaton, automaton.first, text)

  defp accepts?(automaton, id, ""), do: elem(Map.fetch!(automaton.states, id), 0)

  defp accepts?(automaton, id, <<byte, rest::binary>>) do
    {_accepting, ranges, []} = Map.fetch!(automaton.states, id)

    case Enum.find(ranges, fn {low, high, _target} -> byte in low..high end) do
      nil -> false
      {_low, _high, target} -> accepts?(automaton, target, rest)
    end
  end

  # Numbers the states that are reached from one, of which `describe` says what leads where.
  defp explore(first, budget, describe), do: explore([first], %{first => 0}, %{}, budget, describe)

  defp explore([], _ids, states, _budget, _describe),
    do: trim(%__MODULE__{states: states, first: 0, size: map_size(states)})

  defp explore([state | rest], ids, states, budget, describe) do
    {accepting, ranges, calls} = describe.(state)
    steps = length(ranges) + if(is_list(state), do: length(state), else: 1)

    {ranges, {ids, rest}} =
      Enum.map_reduce(ranges, {ids, rest}, fn {low, high, target}, seen ->
        {id, seen} = number(target, seen)
        {{low, high, id}, seen}
      end)

    {calls, {ids, rest}} =
      Enum.map_reduce(calls, {ids, rest}, fn {key, target}, seen ->
        {id, seen} = number(target, seen)
        {{key, id}, seen}
      end)

    Budget.take!(budget, steps, map_size(ids), budget.states)
    states = Map.put(states, Map.fetch!(ids, state), {accepting, ranges, calls})
    explore(rest, ids, states, budget, describe)
  end

  defp number(target, {ids, waiting}) do
    case ids do
      %{^target => id} -> {id, {ids, waiting}}
      _new -> {map_size(ids), {Map.put(ids, target, map_size(ids)), [target | waiting]}}
    end
  end

  @doc "Without the states from which no end is reached, where `called?` says which calls can return. The first state stays."
  @spec trim(t(), (term() -> boolean())) :: t()
  def trim(automaton, called? \\ fn _key -> true end) do
    live = live(automaton, called?)

    states =
      for {id, {accepting, ranges, calls}} <- automaton.states,
          id == automaton.first or MapSet.member?(live, id),
          into: %{} do
        {id,
         {accepting, Enum.filter(ranges, fn {_low, _high, target} -> MapSet.member?(live, target) end),
          Enum.filter(calls, fn {key, target} -> MapSet.member?(live, target) and called?.(key) end)}}
      end

    renumbered(%{automaton | states: states})
  end

  @doc "The states from which an end is reached."
  @spec live(t(), (term() -> boolean())) :: MapSet.t()
  def live(automaton, called?) do
    before =
      for {id, {_accepting, ranges, calls}} <- automaton.states,
          target <-
            for({_l, _h, target} <- ranges, do: target) ++ for({key, target} <- calls, called?.(key), do: target),
          reduce: %{},
          do: (before -> Map.update(before, target, [id], &[id | &1]))

    ends = for {id, {true, _ranges, _calls}} <- automaton.states, do: id
    backwards(ends, before, MapSet.new())
  end

  defp backwards([], _before, seen), do: seen

  defp backwards([id | rest], before, seen) do
    if MapSet.member?(seen, id),
      do: backwards(rest, before, seen),
      else: backwards(Map.get(before, id, []) ++ rest, before, MapSet.put(seen, id))
  end

  # Only the states that are still reached, numbered from 0 on.
  defp renumbered(%{states: states, first: first}) do
    ids = [first] |> forwards(states, MapSet.new()) |> Enum.sort() |> Enum.with_index() |> Map.new()

    states =
      for {id, new} <- ids, into: %{} do
        {accepting, ranges, calls} = Map.fetch!(states, id)
        ranges = for {low, high, target} <- ranges, do: {low, high, Map.fetch!(ids, target)}
        {new, {accepting, ranges, for({key, target} <- calls, do: {key, Map.fetch!(ids, target)})}}
      end

    %__MODULE__{states: states, first: Map.fetch!(ids, first), size: map_size(states)}
  end

  defp forwards([], _states, seen), do: seen

  defp forwards([id | rest], states, seen) do
    if MapSet.member?(seen, id) do
      forwards(rest, states, seen)
    else
      {_accepting, ranges, calls} = Map.fetch!(states, id)
      targets = for({_l, _h, target} <- ranges, do: target) ++ for({_key, target} <- calls, do: target)
      forwards(targets ++ rest, states, MapSet.put(seen, id))
    end
  end
end
