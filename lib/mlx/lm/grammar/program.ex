defmodule Mlx.LM.Grammar.Program do
  @moduledoc false
  # The rules of a grammar as tables that are read once for each byte.
  #
  # States are numbers from 1 on, over all rules. `next` has 32 bits for each state and each class of bytes: the state that
  # follows, or 0. `flags` has a byte for each state: whether the text of its rule may end there, and whether it calls rules.
  # `kept` has the kinds of bytes on which each state stays. Native code reads these tables, too (`core/grammars`).
  # A state inside of a counted rule is a tuple `{state, first, low, high}`: how many texts of the rule are still needed, and
  # how many there may still be.

  import Bitwise

  alias Mlx.LM.Grammar.{Kinds, Rules}

  @accepting 1
  @calling 2
  @leading 4

  @enforce_keys [:next, :classes, :width, :flags, :calls, :first]
  defstruct @enforce_keys ++ [kept: <<>>]

  @typedoc "A state of a rule, or of a counted one."
  @type state :: non_neg_integer() | {pos_integer(), pos_integer(), non_neg_integer(), non_neg_integer() | :infinity}

  @typedoc "A rule's place in the order of rules, its first state, and the state that a call returns to."
  @type call :: {integer(), state(), pos_integer()}

  @type t :: %__MODULE__{
          next: binary(),
          classes: binary(),
          width: pos_integer(),
          flags: binary(),
          kept: binary(),
          calls: %{pos_integer() => [call()]},
          first: {integer(), state()}
        }

  @doc "The tables of rules."
  @spec new(Rules.t()) :: t()
  def new(%Rules{automata: automata, first: first, order: order}) do
    {offsets, _size} = Enum.map_reduce(order, 1, fn key, offset -> {{key, offset}, offset + automata[key].size} end)
    offsets = Map.new(offsets)
    states = for key <- order, id <- 0..(automata[key].size - 1), do: {key, Map.fetch!(automata[key].states, id)}
    {classes, width} = classes(states)
    starts = order |> Enum.with_index() |> Map.new(fn {key, rank} -> {key, start(key, rank, automata, offsets)} end)

    rows = for {key, {_accepting, ranges, _calls}} <- states, do: row(ranges, offsets[key], classes, width)
    flags = for {_key, state} <- states, into: <<0>>, do: <<flags(state)>>

    calls =
      for {{key, {_accepting, _ranges, [_ | _] = calls}}, index} <- Enum.with_index(states, 1), into: %{} do
        {index, for({called, target} <- calls, do: Tuple.insert_at(starts[called], 2, offsets[key] + target))}
      end

    program = %__MODULE__{
      next: IO.iodata_to_binary([:binary.copy(<<0::32>>, width) | rows]),
      classes: classes,
      width: width,
      flags: flags,
      calls: calls,
      first: starts[first]
    }

    %{program | kept: Kinds.kept(program)}
  end

  defp start(key, rank, automata, offsets) do
    first = offsets[key] + automata[key].first

    case key do
      {:rule, _name} -> {rank, first}
      {:count, _node, min, max} -> {rank, {first, first, min, max}}
    end
  end

  defp flags({accepting, ranges, calls}) do
    if(accepting, do: @accepting, else: 0) ||| if(calls == [], do: 0, else: @calling) |||
      if ranges == [] and calls == [], do: 0, else: @leading
  end

  # Bytes that all states treat alike are one class.
  defp classes(states) do
    borders =
      for {_key, {_accepting, ranges, _calls}} <- states,
          {low, high, _target} <- ranges,
          border <- [low, high + 1],
          uniq: true,
          do: border

    borders = MapSet.new(borders)

    {classes, last} =
      Enum.map_reduce(0..255, -1, fn byte, class ->
        class = if byte == 0 or byte in borders, do: class + 1, else: class
        {class, class}
      end)

    {:binary.list_to_bin(classes), last + 1}
  end

  defp row(ranges, offset, classes, width) do
    by_class =
      for {low, high, target} <- ranges, class <- :binary.at(classes, low)..:binary.at(classes, high), into: %{} do
        {class, offset + target}
      end

    for class <- 0..(width - 1), into: <<>>, do: <<Map.get(by_class, class, 0)::32-little>>
  end

  @doc "The state after a byte, or 0."
  @spec next(t(), pos_integer(), byte()) :: non_neg_integer()
  def next(%__MODULE__{next: next, classes: classes, width: width}, state, byte) do
    skipped = 4 * (state * width + :binary.at(classes, byte))
    <<_::binary-size(^skipped), target::32-little, _::binary>> = next
    target
  end

  @doc "The states after each class of bytes, 32 bits each."
  @spec row(t(), pos_integer()) :: binary()
  def row(%__MODULE__{next: next, width: width}, state), do: binary_part(next, 4 * state * width, 4 * width)

  @doc "The tables that native code takes."
  @spec tables(t()) :: {binary(), binary(), pos_integer(), binary(), binary()}
  def tables(%__MODULE__{} = program), do: {program.next, program.classes, program.width, program.flags, program.kept}

  @doc "Whether the text of its rule may end in a state."
  @spec accepting?(t(), non_neg_integer()) :: boolean()
  def accepting?(%__MODULE__{flags: flags}, state), do: band(:binary.at(flags, state), @accepting) != 0

  @doc "Whether bytes or calls lead on from a state."
  @spec leads?(t(), non_neg_integer()) :: boolean()
  def leads?(%__MODULE__{flags: flags}, state), do: band(:binary.at(flags, state), @leading) != 0

  @doc "The calls of rules from a state."
  @spec calls(t(), non_neg_integer()) :: [call()]
  def calls(%__MODULE__{flags: flags, calls: calls}, state) do
    if band(:binary.at(flags, state), @calling) != 0, do: Map.fetch!(calls, state), else: []
  end
end
