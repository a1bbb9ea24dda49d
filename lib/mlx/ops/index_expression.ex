defmodule Mlx.Ops.IndexExpression do
  @moduledoc false
  # What stands between the brackets of `array[...]`, resolved against a shape. Reading and updating share it.
  #
  # `parse/2` gives a list of entries, in the order in which they were written, without an ellipsis: one for each axis,
  # and `:new_axis` between them.
  #
  #     {:integer, i}                    one element, not negative; the axis goes away
  #     {:slice, first, step, count}     `count` elements, all inside the axis
  #     {:array, array}                  integers that pick elements
  #     :new_axis
  #
  # Errors are raised without a function's name: `Mlx.Arguments.CalledFunction` adds it.
  #
  # The result of an index has its axes in the order of `layout/1`. All arrays (and integers beside arrays) broadcast
  # together, and their common axes are one `:gathered` block. It stands where the first of them stood, or in front
  # when something else stands between them. This is the rule of numpy.

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.Given

  @type entry ::
          {:integer, non_neg_integer()}
          | {:slice, integer(), integer(), non_neg_integer()}
          | {:array, Array.t()}
          | :new_axis

  @doc "The entries of an index into an array of this shape."
  @spec parse(term(), tuple()) :: [entry()]
  def parse(index, shape) do
    elements = if is_list(index) and not List.improper?(index), do: index, else: [index]
    rank = tuple_size(shape)
    missing = rank - Enum.count(elements, &axis?/1)

    if missing < 0 do
      raise ArgumentError, "too many indices for an array of shape #{inspect(shape)}: #{Given.text(index)}"
    end

    elements |> fill(missing, index) |> resolve(0, shape)
  end

  @doc "Whether an index picks elements by arrays."
  @spec gathers?([entry()]) :: boolean()
  def gathers?(entries), do: Enum.any?(entries, &array?/1)

  @doc "The arrays of an index with their axes."
  @spec arrays([entry()]) :: [{non_neg_integer(), Array.t()}]
  def arrays(entries), do: for({{:array, array}, axis} <- axes(entries), do: {axis, array})

  @doc "The axes that are missing in the result: those of integers."
  @spec integer_axes([entry()]) :: [non_neg_integer()]
  def integer_axes(entries), do: for({{:integer, _}, axis} <- axes(entries), do: axis)

  @doc "The block that integers and slices cut out, as first, stop and stride of each axis; arrays take the whole axis."
  @spec block([entry()], tuple()) :: {[integer()], [integer()], [integer()]}
  def block(entries, shape) do
    bounds = for {entry, axis} <- axes(entries), do: bounds(entry, elem(shape, axis))
    {for({first, _, _} <- bounds, do: first), for({_, stop, _} <- bounds, do: stop), for({_, _, s} <- bounds, do: s)}
  end

  @doc "Whether the block of an index is the whole array."
  @spec whole?([entry()], tuple()) :: boolean()
  def whole?(entries, shape) do
    Enum.all?(axes(entries), fn {entry, axis} -> bounds(entry, elem(shape, axis)) == {0, elem(shape, axis), 1} end)
  end

  @doc "The parts of the result in order: slices with their axis and size, `:new_axis`, and at most one `:gathered`."
  @spec layout([entry()]) :: [{:slice, non_neg_integer(), non_neg_integer()} | :new_axis | :gathered]
  def layout(entries) do
    parts = numbered(entries, 0)

    if gathers?(entries) do
      {before, group, behind} = around(parts)
      if :gathered in behind, do: [:gathered | drop(before ++ group ++ behind)], else: before ++ [:gathered] ++ behind
    else
      drop(parts)
    end
  end

  @doc "An integer, resolved against the size of its axis."
  @spec position!(integer(), non_neg_integer(), non_neg_integer()) :: non_neg_integer()
  def position!(index, size, _axis) when index >= 0 and index < size, do: index
  def position!(index, size, _axis) when index < 0 and index >= -size, do: index + size

  def position!(index, size, axis) do
    raise ArgumentError, "index #{index} is out of bounds for axis #{axis} of size #{size}"
  end

  @doc """
  An array of indices into an axis. The integers of a (nested) list are checked here. Those of an array are clamped by
  the native function that uses them, or checked, at the price of computing them, with `config :mlx, bounds_check:
  :raise`.
  """
  @spec array!(Array.t() | list() | integer(), non_neg_integer(), non_neg_integer()) :: Array.t()
  def array!(%Array{type: :bool}, _size, _axis) do
    raise ArgumentError,
          "a boolean mask cannot pick elements, since the shape of the result would depend on its values; " <>
            "use Mlx.select/3, or Mlx.put_at/3 to update the elements of a mask"
  end

  # An empty list becomes an array of `:f32`.
  def array!(%Array{type: type} = array, _size, _axis) when type in [:f16, :bf16, :f32, :f64, :c64] do
    if Tuple.product(array.shape) > 0 do
      raise ArgumentError, "an array of indices must have an integer type, got: #{inspect(type)}"
    end

    Native.astype(array, :s32, nil)
  end

  def array!(%Array{} = array, size, axis) do
    if Tuple.product(array.shape) > 0 do
      if size == 0, do: raise(ArgumentError, "an index is out of bounds for axis #{axis} of size 0")
      if Application.get_env(:mlx, :bounds_check) == :raise, do: check(array, size, axis)
    end

    array
  end

  def array!([], _size, _axis), do: Native.from_binary("", {0}, :s32)

  def array!(list, size, axis) do
    shape = list_shape(list)
    positions = for index <- List.flatten([list]), do: position!(index, size, axis)
    Native.from_binary(for(i <- positions, into: <<>>, do: <<i::32-signed-native>>), shape, :s32)
  end

  defp axis?(element), do: element not in [:new_axis, :...]

  # Full slices stand for the ellipsis, or for the axes that are not mentioned.
  defp fill(elements, missing, index) do
    rest = List.duplicate(.., missing)

    case Enum.split_while(elements, &(&1 != :...)) do
      {all, []} -> all ++ rest
      {before, [:... | behind]} -> if :... in behind, do: twice(index), else: before ++ rest ++ behind
    end
  end

  defp twice(index), do: raise(ArgumentError, "an index can have one ellipsis only: #{Given.text(index)}")

  defp resolve([], _axis, _shape), do: []
  defp resolve([:new_axis | rest], axis, shape), do: [:new_axis | resolve(rest, axis, shape)]

  defp resolve([element | rest], axis, shape),
    do: [entry(element, elem(shape, axis), axis) | resolve(rest, axis + 1, shape)]

  defp entry(index, size, axis) when is_integer(index), do: {:integer, position!(index, size, axis)}
  defp entry(%Range{} = range, size, _axis), do: slice(range, size)
  defp entry(%Array{} = array, size, axis), do: {:array, array!(array, size, axis)}
  defp entry(list, size, axis) when is_list(list), do: {:array, array!(list, size, axis)}

  defp entry(other, _size, _axis) do
    raise ArgumentError,
          "expected an index to be an integer, a range, :new_axis, :..., an array of integers or a list, " <>
            "got: #{Given.text(other)}"
  end

  # Cut to the axis, as Python does.
  defp slice(%Range{first: first, last: last, step: step} = range, size) do
    {from, to} = cut(from_start(first, size), from_start(last, size), step, size)
    count = Range.size(from..to//step)

    cond do
      count > 0 ->
        {:slice, from, step, count}

      step < 0 and first >= 0 and last < 0 ->
        raise ArgumentError,
              "the range #{inspect(range)} has a negative step and no elements; did you mean #{first}..#{last}//1?"

      true ->
        {:slice, 0, 1, 0}
    end
  end

  defp from_start(index, size), do: if(index < 0, do: index + size, else: index)

  defp cut(from, to, step, size) when step > 0, do: {max(from, 0), min(to, size - 1)}
  defp cut(from, to, _step, size), do: {min(from, size - 1), max(to, 0)}

  defp bounds({:integer, index}, _size), do: {index, index + 1, 1}
  defp bounds({:array, _}, size), do: {0, size, 1}
  defp bounds({:slice, _first, _step, 0}, _size), do: {0, 0, 1}
  defp bounds({:slice, first, _step, 1}, _size), do: {first, first + 1, 1}

  defp bounds({:slice, first, step, count}, size) do
    last = first + (count - 1) * step
    # Going down to element 0, the stop would be -1, which means the last element.
    stop = if step > 0, do: last + 1, else: last - 1
    {first, if(stop < 0, do: -size - 1, else: stop), step}
  end

  defp axes(entries), do: entries |> Enum.reject(&(&1 == :new_axis)) |> Enum.with_index()

  defp array?({:array, _}), do: true
  defp array?(_), do: false

  # Entries as parts of a layout; arrays and integers are marked.
  defp numbered([], _axis), do: []
  defp numbered([:new_axis | rest], axis), do: [:new_axis | numbered(rest, axis)]
  defp numbered([{:slice, _, _, count} | rest], axis), do: [{:slice, axis, count} | numbered(rest, axis + 1)]
  defp numbered([_ | rest], axis), do: [:gathered | numbered(rest, axis + 1)]

  defp around(parts) do
    {before, rest} = Enum.split_while(parts, &(&1 != :gathered))
    {group, behind} = Enum.split_while(rest, &(&1 == :gathered))
    {before, group, behind}
  end

  defp drop(parts), do: Enum.reject(parts, &(&1 == :gathered))

  defp check(array, size, axis) do
    for extreme <- [Native.min(array, false, nil), Native.max(array, false, nil)] do
      position!(Native.item(extreme), size, axis)
    end
  end

  defp list_shape(list), do: list |> sizes() |> List.to_tuple()

  defp sizes([first | rest] = list) do
    if List.improper?(list), do: no_integers!(list)
    inner = sizes(first)
    if Enum.any?(rest, &(sizes(&1) != inner)), do: uneven(list)
    [length(list) | inner]
  end

  defp sizes([]), do: [0]
  defp sizes(index) when is_integer(index), do: []
  defp sizes(other), do: no_integers!(other)

  @spec no_integers!(term()) :: no_return()
  defp no_integers!(other) do
    raise ArgumentError, "expected a list of indices to hold integers, got: #{Given.text(other)}"
  end

  defp uneven(list),
    do: raise(ArgumentError, "expected the lists in a list of indices to have one length: #{Given.text(list)}")
end
