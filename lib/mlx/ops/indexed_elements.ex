defmodule Mlx.Ops.IndexedElements do
  @moduledoc false
  # Reading and updating parts of an array in the index language of `Mlx.Ops.IndexExpression`.

  use Mlx.Ops.Topic, title: "Updating elements by index"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{CalledFunction, Operand, Options}
  alias Mlx.Ops.{AxisInsertion, IndexExpression, Shape}

  @doc """
  The part of an array that an index selects. `array[index]` is the same.

  An index is one of these, or a list of them, one for each axis from the first on. Axes that are not mentioned are
  taken whole.

  | index | selects |
  | --- | --- |
  | an integer | one element, and the axis goes away; negative from the end |
  | `first..last//step` | a range of elements, both ends included, as everywhere in Elixir; negative ends count from the end |
  | `..` | the whole axis |
  | `:...` | all axes that are not mentioned; once in an index |
  | `:new_axis` | nothing: it adds an axis of size 1 |
  | an array of integers | those elements, in that order; the axis is replaced by the axes of the array |
  | a list of integers (inside of the index list) | the same |

  `x[1..2]` takes two rows, `x[1..-1//1]` all but the first, `x[-1..0//-1]` reverses, and `x[[.., 0]]` is the first
  column. `x[[0, 2]]` is one element of a matrix, `x[[[0, 2]]]` two of its rows.

  Several arrays (and integers beside arrays) are broadcast together and pick element by element, as in numpy: the
  common axes stand where the first of them stood, or in front when a range or a new axis stands between them.

  A range is cut to the axis, as in Python and `Enum.slice/2`: `x[0..99]` takes what there is. Integers out of bounds
  raise `ArgumentError`, alone and in lists. The values of an array are not known before they
  are computed: out of bounds they are clamped to the ends of the axis, or, with `config :mlx, bounds_check: :raise`,
  computed at once and checked. A boolean array cannot select (the shape would depend on its values): use `select/3`.

      iex> x = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> Mlx.at(x, 1) |> Mlx.to_list()
      [4, 5, 6]
      iex> Mlx.at(x, [.., 0..1]) |> Mlx.to_list()
      [[1, 2], [4, 5]]
      iex> x[[:..., -1]] |> Mlx.to_list()
      [3, 6]
      iex> x[[.., 2..0//-2]] |> Mlx.to_list()
      [[3, 1], [6, 4]]
      iex> x[[.., 1..99]] |> Mlx.to_list()
      [[2, 3], [5, 6]]
      iex> x[[.., [2, 0, 0]]] |> Mlx.to_list()
      [[3, 1, 1], [6, 4, 4]]
      iex> x[[Mlx.array([0, 1]), Mlx.array([2, 0])]] |> Mlx.to_list()
      [3, 4]
      iex> x[[:new_axis, 0, :...]].shape
      {1, 3}
      iex> x[2]
      ** (ArgumentError) Mlx.at: index 2 is out of bounds for axis 0 of size 2

  Python: `x[index]`, where ranges exclude their end.
  """
  @spec at(Array.t(), term(), keyword()) :: Array.t()
  def at(%Array{shape: shape} = array, index, options \\ []) do
    stream = Options.stream(options, :at)

    CalledFunction.name("Mlx.at", fn ->
      entries = IndexExpression.parse(index, shape)
      block = cut(array, entries, stream)

      if IndexExpression.gathers?(entries) do
        block |> gather_arrays(entries, stream) |> insert_axes(entries, stream)
      else
        block |> squeeze(IndexExpression.integer_axes(entries), stream) |> insert_axes(entries, stream)
      end
    end)
  end

  @doc """
  Replaces the part of an array that an index selects (see `at/2`) with values, and returns the new array.

  `values`, an array or a number, is broadcast to the selected part and takes the type of the array. Where an index
  selects an element more than once, one of its values stays, and it is not defined which.

  The index can also be a boolean array: a mask with the shape of the array, or of its first axes. Then `values` is a
  number, or as many values as the mask has true elements, in order.

      iex> x = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> Mlx.put_at(x, [.., 1], 0) |> Mlx.to_list()
      [[1, 0, 3], [4, 0, 6]]
      iex> Mlx.put_at(x, [0, [0, 2]], Mlx.array([7, 8])) |> Mlx.to_list()
      [[7, 2, 8], [4, 5, 6]]
      iex> Mlx.put_at(x, Mlx.greater(x, 4), -1) |> Mlx.to_list()
      [[1, 2, 3], [4, -1, -1]]

  Python: `x[index] = values`.
  """
  @spec put_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def put_at(array, index, values, options \\ [])

  def put_at(%Array{} = array, %Array{type: :bool} = mask, values, options) do
    values = Operand.of_type(values, array.type, :put_at)

    if Tuple.product(values.shape) == 0 and Tuple.product(mask.shape) > 0 do
      raise ArgumentError, "Mlx.put_at: there are no values for the elements of the mask"
    end

    Native.masked_scatter(array, mask, values, Options.stream(options, :put_at))
  end

  def put_at(%Array{} = array, index, values, options) do
    update(array, index, values, {:slice_update, :scatter}, :put_at, Options.stream(options, :put_at))
  end

  @doc """
  Adds values to the part of an array that an index selects (see `at/2`), and returns the new array.

  Unlike `put_at(x, index, add(x[index], values))` it adds up all the values of an element that is selected more than
  once.

      iex> Mlx.add_at(Mlx.array([0, 0, 0]), [[0, 0, 2]], Mlx.array([1, 2, 3])) |> Mlx.to_list()
      [3, 0, 3]

  Python: `x.at[index].add(values)`.
  """
  @spec add_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def add_at(%Array{} = array, index, values, options \\ []) do
    update(array, index, values, {:slice_update_add, :scatter_add}, :add_at, Options.stream(options, :add_at))
  end

  @doc """
  Subtracts values from the part of an array that an index selects; otherwise as `add_at/3`.

      iex> Mlx.subtract_at(Mlx.array([5, 5, 5]), 0..1, 2) |> Mlx.to_list()
      [3, 3, 5]

  Python: `x.at[index].subtract(values)`.
  """
  @spec subtract_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def subtract_at(%Array{} = array, index, values, options \\ []) do
    stream = Options.stream(options, :subtract_at)
    values = Operand.of_type(values, array.type, :subtract_at)
    negated = CalledFunction.name("Mlx.subtract_at", ["Mlx.negate"], fn -> Native.negative(values, stream) end)
    update(array, index, negated, {:slice_update_add, :scatter_add}, :subtract_at, stream)
  end

  @doc """
  Multiplies the part of an array that an index selects by values; otherwise as `add_at/3`.

      iex> Mlx.multiply_at(Mlx.array([5, 5, 5]), -1, 2) |> Mlx.to_list()
      [5, 5, 10]

  Python: `x.at[index].multiply(values)`.
  """
  @spec multiply_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def multiply_at(%Array{} = array, index, values, options \\ []) do
    update(
      array,
      index,
      values,
      {:slice_update_prod, :scatter_prod},
      :multiply_at,
      Options.stream(options, :multiply_at)
    )
  end

  @doc """
  Divides the part of an array that an index selects by values; otherwise as `add_at/3`. It multiplies by the
  reciprocals, in the type of the array, so it is for types with fractions only.

      iex> Mlx.divide_at(Mlx.array([1.0, 3.0]), 0, 2) |> Mlx.to_list()
      [0.5, 3.0]

  Python: `x.at[index].divide(values)`.
  """
  @spec divide_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def divide_at(%Array{} = array, index, values, options \\ []) do
    stream = Options.stream(options, :divide_at)
    values = Operand.of_type(values, array.type, :divide_at)
    inverse = CalledFunction.name("Mlx.divide_at", ["Mlx.reciprocal"], fn -> Native.reciprocal(values, stream) end)
    update(array, index, inverse, {:slice_update_prod, :scatter_prod}, :divide_at, stream)
  end

  @doc """
  Replaces the elements that an index selects by the greater of them and the values; otherwise as `add_at/3`.

      iex> Mlx.max_at(Mlx.array([1, 5, 3]), .., 2) |> Mlx.to_list()
      [2, 5, 3]

  Python: `x.at[index].maximum(values)`.
  """
  @spec max_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def max_at(%Array{} = array, index, values, options \\ []) do
    update(array, index, values, {:slice_update_max, :scatter_max}, :max_at, Options.stream(options, :max_at))
  end

  @doc """
  Replaces the elements that an index selects by the smaller of them and the values; otherwise as `add_at/3`.

      iex> Mlx.min_at(Mlx.array([1, 5, 3]), .., 2) |> Mlx.to_list()
      [1, 2, 2]

  Python: `x.at[index].minimum(values)`.
  """
  @spec min_at(Array.t(), term(), Array.operand(), keyword()) :: Array.t()
  def min_at(%Array{} = array, index, values, options \\ []) do
    update(array, index, values, {:slice_update_min, :scatter_min}, :min_at, Options.stream(options, :min_at))
  end

  # Reading

  defp cut(array, entries, stream) do
    if IndexExpression.whole?(entries, array.shape) do
      array
    else
      {starts, stops, strides} = IndexExpression.block(entries, array.shape)
      Native.slice(array, starts, stops, strides, stream)
    end
  end

  # A gather puts the axes of the indices in front, and keeps the axes they index with size 1. Those and the axes of
  # integers are removed, and the front ones moved where they belong.
  defp gather_arrays(block, entries, stream) do
    {axes, arrays} = Enum.unzip(IndexExpression.arrays(entries))
    gathered = Native.gather(block, arrays, axes, window(block.shape, axes), stream)
    common = tuple_size(gathered.shape) - tuple_size(block.shape)
    gone = for axis <- axes ++ IndexExpression.integer_axes(entries), do: axis + common
    gathered |> squeeze(gone, stream) |> move_block(0, gathered_at(entries), common, stream)
  end

  defp window(shape, axes),
    do: for(axis <- 0..(tuple_size(shape) - 1), do: if(axis in axes, do: 1, else: elem(shape, axis)))

  defp gathered_at(entries) do
    entries |> IndexExpression.layout() |> Enum.reject(&(&1 == :new_axis)) |> Enum.find_index(&(&1 == :gathered))
  end

  defp insert_axes(array, entries, stream) do
    if :new_axis in entries do
      common = tuple_size(array.shape) - Enum.count(IndexExpression.layout(entries), &match?({:slice, _, _}, &1))
      AxisInsertion.add(array, new_axes(IndexExpression.layout(entries), 0, common), stream)
    else
      array
    end
  end

  # The positions of the new axes in the result, where the gathered block has `common` axes.
  defp new_axes([], _position, _common), do: []
  defp new_axes([:new_axis | rest], position, common), do: [position | new_axes(rest, position + 1, common)]
  defp new_axes([:gathered | rest], position, common), do: new_axes(rest, position + common, common)
  defp new_axes([{:slice, _, _} | rest], position, common), do: new_axes(rest, position + 1, common)

  # Updating

  defp update(array, index, values, natives, function, stream) do
    values = Operand.of_type(values, array.type, function)
    CalledFunction.name("Mlx.#{function}", fn -> update(array, index, values, natives, stream) end)
  end

  defp update(%Array{shape: shape} = array, index, values, {slice_update, scatter}, stream) do
    entries = IndexExpression.parse(index, shape)

    if IndexExpression.gathers?(entries) do
      block = cut(array, entries, stream)
      updated = scatter_arrays(block, entries, values, scatter, stream)

      if IndexExpression.whole?(entries, shape),
        do: updated,
        else: update_block(array, entries, updated, :slice_update, stream)
    else
      values = spread(values, result_shape(entries, {}), stream)
      values = values |> drop_new_axes(entries, 0, stream) |> expand(IndexExpression.integer_axes(entries), stream)
      update_block(array, entries, values, slice_update, stream)
    end
  end

  defp update_block(array, entries, values, slice_update, stream) do
    {starts, stops, strides} = IndexExpression.block(entries, array.shape)
    apply(Native, slice_update, [array, values, starts, stops, strides, stream])
  end

  # The inverse of `gather_arrays/3` for the values, which have the shape of the result.
  defp scatter_arrays(block, entries, values, scatter, stream) do
    {axes, arrays} = Enum.unzip(IndexExpression.arrays(entries))
    common_shape = Shape.broadcast_shapes(Enum.map(arrays, & &1.shape))
    common = tuple_size(common_shape)
    restored = for axis <- Enum.sort(axes ++ IndexExpression.integer_axes(entries)), do: axis + common

    updates =
      values
      |> spread(result_shape(entries, common_shape), stream)
      |> drop_new_axes(entries, common, stream)
      |> move_block(gathered_at(entries), 0, common, stream)
      |> insert_sizes_of_one(restored, stream)

    apply(Native, scatter, [block, arrays, updates, axes, stream])
  end

  # By a reshape, which brings an axis that vmap maps over to the front: a scatter puts updates with the axis further back
  # in wrong places.
  defp insert_sizes_of_one(%Array{shape: shape} = array, axes, stream) do
    Native.reshape(array, Enum.reduce(axes, shape, &Tuple.insert_at(&2, &1, 1)), stream)
  end

  defp result_shape(entries, common_shape) do
    sizes =
      Enum.flat_map(IndexExpression.layout(entries), fn
        :new_axis -> [1]
        :gathered -> Tuple.to_list(common_shape)
        {:slice, _axis, size} -> [size]
      end)

    List.to_tuple(sizes)
  end

  # Leading axes of size 1 that the result does not have are dropped, as in an assignment of numpy.
  defp spread(%Array{shape: shape} = values, shape, _stream), do: values

  defp spread(values, shape, stream) do
    extra = tuple_size(values.shape) - tuple_size(shape)
    leading = if extra > 0, do: Enum.to_list(0..(extra - 1)), else: []

    if Enum.any?(leading, &(elem(values.shape, &1) != 1)) do
      raise ArgumentError, "values of shape #{inspect(values.shape)} do not fit a selection of shape #{inspect(shape)}"
    end

    values |> squeeze(leading, stream) |> Native.broadcast_to(shape, stream)
  end

  defp drop_new_axes(values, entries, common, stream) do
    squeeze(values, new_axes(IndexExpression.layout(entries), 0, common), stream)
  end

  # Axes

  defp squeeze(array, [], _stream), do: array
  defp squeeze(array, axes, stream), do: Native.squeeze_axes(array, axes, stream)

  defp expand(array, [], _stream), do: array
  defp expand(array, axes, stream), do: AxisInsertion.add(array, axes, stream)

  # Moves `count` neighbouring axes from one position to another.
  defp move_block(array, from, from, _count, _stream), do: array
  defp move_block(array, _from, _to, 0, _stream), do: array

  defp move_block(array, from, to, count, stream) do
    {block, rest} = Enum.split_with(0..(tuple_size(array.shape) - 1), &(&1 in from..(from + count - 1)))
    {before, behind} = Enum.split(rest, to)
    Native.transpose_axes(array, before ++ block ++ behind, stream)
  end
end
