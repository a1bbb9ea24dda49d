defmodule Mlx.LM.Grammar.Rules do
  @moduledoc false
  # The rules of a grammar as automata: those that are named, and the repeated nodes that are counted. Rules that are not
  # reached or have no text are gone, and so is what would lead to them.

  alias Mlx.LM.Grammar.{Automaton, Budget, Expression}

  # The most states of all rules together.
  @states 20_000

  @enforce_keys [:automata, :first, :order]
  defstruct @enforce_keys

  @typedoc "The automata by their keys, the key of the first rule, and the keys in an order in which a rule comes before those that it begins with."
  @type t :: %__MODULE__{automata: %{term() => Automaton.t()}, first: term(), order: [term()]}

  @doc "The most states that the rules may have together."
  @spec most_states() :: pos_integer()
  def most_states, do: @states

  @doc """
  Makes automata of the trees of rules.

  Throws `{:wrong, message}` where a rule has no text at all, calls itself without a byte before, or where there are too many
  states.
  """
  @spec new(%{term() => Expression.t()}, term()) :: t()
  def new(trees, first) do
    nullable = nullable(trees, MapSet.new())

    automata = build([{:rule, first}], trees, nullable, %{}, Budget.new(@states))

    %__MODULE__{automata: automata, first: {:rule, first}, order: []} |> trimmed() |> ordered()
  end

  defp nullable(trees, known) do
    more = for {name, tree} <- trees, Expression.nullable?(tree, known), into: MapSet.new(), do: name
    if MapSet.equal?(more, known), do: known, else: nullable(trees, more)
  end

  defp build([], _trees, _nullable, automata, _budget), do: automata

  defp build([key | rest], trees, nullable, automata, budget) do
    if Map.has_key?(automata, key) do
      build(rest, trees, nullable, automata, budget)
    else
      automaton = automaton(key, trees, nullable, budget)
      calls = for {_id, {_accepting, _ranges, calls}} <- automaton.states, {key, _target} <- calls, do: key

      build(
        Enum.uniq(calls) ++ rest,
        trees,
        nullable,
        Map.put(automata, key, automaton),
        Budget.less(budget, automaton.size)
      )
    end
  end

  defp automaton(key, trees, nullable, budget) do
    Automaton.new(tree(key, trees), nullable, budget)
  catch
    :too_large -> too_large!()
  end

  defp tree({:rule, name}, trees), do: Map.fetch!(trees, name)
  defp tree({:count, node, _min, _max}, _trees), do: node

  @spec too_large!() :: no_return()
  defp too_large!() do
    throw(
      {:wrong,
       "the grammar needs more than #{@states} states, or too many steps to find them; use smaller counts of repetition, fewer alternatives that begin " <>
         "alike, or a simpler pattern"}
    )
  end

  @doc "Without the ranges of bytes of which `kept?` is false, and what then leads nowhere."
  @spec without_bytes(t(), (byte() -> boolean())) :: t()
  def without_bytes(rules, kept?) do
    runs = for({byte, true} <- Enum.map(0..255, &{&1, kept?.(&1)}), do: {byte, byte}) |> Expression.union()

    automata =
      Map.new(rules.automata, fn {key, automaton} ->
        states =
          Map.new(automaton.states, fn {id, {accepting, ranges, calls}} ->
            ranges =
              for {low, high, target} <- ranges,
                  {from, to} <- runs,
                  max(low, from) <= min(high, to),
                  do: {max(low, from), min(high, to), target}

            {id, {accepting, ranges, calls}}
          end)

        {key, %{automaton | states: states}}
      end)

    %{rules | automata: automata} |> trimmed() |> ordered()
  end

  # A rule has a text when an end is reached by bytes and by calls of rules that have one.
  defp trimmed(%{automata: automata, first: first} = rules) do
    productive = automata |> Map.keys() |> productive(automata, MapSet.new())

    if first not in productive,
      do: throw({:wrong, "no text fits: each way through it ends in something that no text is"})

    called? = &MapSet.member?(productive, &1)
    trimmed = for {key, automaton} <- automata, called?.(key), into: %{}, do: {key, Automaton.trim(automaton, called?)}
    %{rules | automata: Map.take(trimmed, reached([first], trimmed, MapSet.new()))}
  end

  # Those that are not known are looked at again as long as one of them becomes known.
  defp productive(keys, automata, known) do
    {left, more} =
      Enum.reduce(keys, {[], known}, fn key, {left, known} ->
        automaton = Map.fetch!(automata, key)

        if MapSet.member?(Automaton.live(automaton, &MapSet.member?(known, &1)), automaton.first),
          do: {left, MapSet.put(known, key)},
          else: {[key | left], known}
      end)

    if MapSet.equal?(more, known), do: known, else: productive(left, automata, more)
  end

  defp reached([], _automata, seen), do: MapSet.to_list(seen)

  defp reached([key | rest], automata, seen) do
    if MapSet.member?(seen, key) do
      reached(rest, automata, seen)
    else
      calls =
        for {_id, {_accepting, _ranges, calls}} <- Map.fetch!(automata, key).states, {key, _target} <- calls, do: key

      reached(Enum.uniq(calls) ++ rest, automata, MapSet.put(seen, key))
    end
  end

  # A rule comes before those that its first state calls.
  defp ordered(%{automata: automata} = rules) do
    begins =
      Map.new(automata, fn {key, automaton} ->
        {_accepting, _ranges, calls} = Map.fetch!(automaton.states, automaton.first)
        {key, Enum.map(calls, &elem(&1, 0))}
      end)

    {order, _done} = Enum.reduce(Map.keys(begins), {[], %{}}, &visit(&1, &2, begins))
    %{rules | order: order}
  end

  defp visit(key, {order, done}, begins) do
    case done do
      %{^key => :finished} ->
        {order, done}

      %{^key => :open} ->
        throw(
          {:wrong,
           "the rule #{name(key)} calls itself, perhaps through others, before any character: write the repetition behind, " <>
             "as in `list ::= item (\",\" item)*`"}
        )

      _new ->
        {order, done} = Enum.reduce(Map.fetch!(begins, key), {order, Map.put(done, key, :open)}, &visit(&1, &2, begins))
        {[key | order], Map.put(done, key, :finished)}
    end
  end

  defp name({:rule, name}) when is_binary(name), do: name
  defp name({:rule, name}), do: inspect(name)
  defp name({:count, _node, _min, _max}), do: "of a repetition"
end
