defmodule Mlx.LM.Grammar.Stacks do
  @moduledoc false
  # Where a text may be in a grammar: a set of items, each a state and the stack of those calls that are open. A stack is a
  # node with all callers that it may return to, each a state and a stack in turn, so that a grammar with many readings of one
  # text takes no more than a few nodes for each byte. Nodes with the same callers have the same key.
  #
  # The state 0 with the lowest stack stands for the end of the text.

  alias Mlx.LM.Grammar.Program

  @typedoc "A key, and what to return to."
  @type stack :: {binary(), [{non_neg_integer(), stack()}]}
  @type item :: {Program.state(), stack()}
  @type t :: [item()]

  @bottom {<<>>, []}
  @final {0, @bottom}

  @doc "The items before the first byte."
  @spec start(Program.t()) :: t()
  def start(%Program{first: {rank, state}} = program) do
    ended = if returns?(state, program), do: [@final], else: []
    items(program, expand([{rank, state, [@final]}], program, ended))
  end

  @doc "Whether the text may end here."
  @spec end?(t()) :: boolean()
  def end?(items), do: @final in items

  @doc "The items after a byte; none where it does not fit."
  @spec step(t(), byte(), Program.t()) :: t()
  def step(items, byte, program) do
    moved =
      for {state, stack} <- items, next = moved(state, byte, program), do: {next, stack}

    case moved do
      [] -> []
      moved -> moved |> returned(program) |> called(program)
    end
  end

  defp moved(0, _byte, _program), do: nil
  defp moved({_state, _first, _low, 0}, _byte, _program), do: nil

  defp moved({state, first, low, high}, byte, program) do
    case Program.next(program, state, byte) do
      0 -> nil
      next -> if Program.accepting?(program, next), do: counted(first, low, high), else: {next, first, low, high}
    end
  end

  defp moved(state, byte, program) do
    case Program.next(program, state, byte) do
      0 -> nil
      next -> next
    end
  end

  @doc "The state of a counted rule after one more of its texts."
  @spec counted(pos_integer(), non_neg_integer(), non_neg_integer() | :infinity) :: Program.state()
  def counted(first, low, :infinity), do: {first, first, max(low - 1, 0), :infinity}
  def counted(first, low, high), do: {first, first, max(low - 1, 0), high - 1}

  @doc "Items right behind a byte, with those that they return to."
  @spec returned(t(), Program.t()) :: t()
  def returned(items, program), do: items |> returned(program, %{}) |> Map.values()

  defp returned([], _program, seen), do: seen

  defp returned([{state, {key, callers}} = item | rest], program, seen) do
    cond do
      Map.has_key?(seen, {state, key}) -> returned(rest, program, seen)
      returns?(state, program) -> returned(callers ++ rest, program, Map.put(seen, {state, key}, item))
      true -> returned(rest, program, Map.put(seen, {state, key}, item))
    end
  end

  @doc "Whether a state that a byte led to may return to the caller."
  @spec returns?(Program.state(), Program.t()) :: boolean()
  def returns?(0, _program), do: false
  def returns?({state, state, 0, _high}, _program), do: true
  def returns?({_state, _first, _low, _high}, _program), do: false
  def returns?(state, program), do: Program.accepting?(program, state)

  # The rules that are called, in their order: when one is reached, all its callers are known.
  defp called(items, program) do
    items(program, expand(pending(items, program), program, items))
  end

  defp pending(items, program) do
    for {state, stack} <- items, is_integer(state), {rank, first, target} <- Program.calls(program, state) do
      {rank, first, callers(target, stack, program)}
    end
  end

  # A state from which nothing leads on only returns in turn.
  defp callers(target, {_key, callers} = stack, program) do
    if Program.leads?(program, target) or callers == [], do: [{target, stack}], else: callers
  end

  @doc "The stack of a call that returns to a state with a stack."
  @spec pushed(pos_integer(), stack(), Program.t()) :: stack()
  def pushed(target, stack, program), do: of_callers(callers(target, stack, program))

  defp expand([], _program, items), do: items

  defp expand(pending, program, items) do
    rank = pending |> Enum.map(&elem(&1, 0)) |> Enum.min()
    {now, later} = Enum.split_with(pending, &(elem(&1, 0) == rank))
    [{_rank, first, _callers} | _] = now
    item = {first, now |> Enum.flat_map(&elem(&1, 2)) |> of_callers()}
    expand(pending([item], program) ++ later, program, [item | items])
  end

  defp of_callers(callers) do
    callers = unique(callers)
    {callers |> keys() |> :erlang.term_to_binary() |> :erlang.md5(), callers}
  end

  defp items(program, items), do: items |> Enum.filter(&goes_on?(&1, program)) |> unique()

  defp goes_on?({0, _stack}, _program), do: true
  defp goes_on?({{_state, _first, _low, 0}, _stack}, _program), do: false
  defp goes_on?({{_state, _first, _low, _high}, _stack}, _program), do: true
  defp goes_on?({state, _stack}, program), do: Program.leads?(program, state)

  defp unique([item]), do: [item]

  defp unique(items),
    do: items |> Map.new(fn {state, {key, _callers}} = item -> {{state, key}, item} end) |> Map.values()

  @doc "The items without the callers of their stacks: the same for the same items, in any process."
  @spec keys(t()) :: [{Program.state(), binary()}]
  def keys(items), do: for({state, {key, _callers}} <- items, do: {state, key})
end
