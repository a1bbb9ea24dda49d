defmodule Mlx.Ops.Shape do
  @moduledoc false
  # Operations that rearrange the elements of one array. Most give a view and copy nothing.

  use Mlx.Ops.Topic, title: "Changing shapes"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{ArgumentType, Given, Operand, Options, Sizes}
  alias Mlx.Ops.AxisInsertion

  @doc """
  Gives an array another shape with the same elements in the same (row-major) order.

  The shape is a tuple or a list of sizes, or the size of the only axis. One size may be `-1` (or `:auto`): it is found
  from the others. Raises `Mlx.Error` when the sizes do not fit.

      iex> Mlx.reshape(Mlx.array([1, 2, 3, 4, 5, 6]), {2, 3}) |> Mlx.to_list()
      [[1, 2, 3], [4, 5, 6]]

      iex> Mlx.reshape(Mlx.array([1, 2, 3, 4, 5, 6]), {-1, 2}).shape
      {3, 2}

      iex> Mlx.reshape(Mlx.array([[1, 2], [3, 4]]), -1) |> Mlx.to_list()
      [1, 2, 3, 4]

  Python: `mlx.core.reshape`.
  """
  @spec reshape(Array.operand(), Array.sizes() | tuple() | [integer() | :auto] | -1 | :auto, keyword()) :: Array.t()
  def reshape(array, shape, options \\ []) do
    Native.reshape(array, Sizes.shape_to_complete!(shape, :reshape), Options.stream(options, :reshape))
  end

  @doc """
  Joins neighbouring axes into one.

  Options:

    * `:axes` - the axes to join, which must follow one another: a list or a range. All of them by default. A 0-d array
      becomes `{1}`.

  Examples:

      iex> Mlx.flatten(Mlx.array([[1, 2], [3, 4]])) |> Mlx.to_list()
      [1, 2, 3, 4]

      iex> Mlx.flatten(Mlx.zeros({2, 3, 4}), axes: [1, 2]).shape
      {2, 12}

  Python: `mlx.core.flatten`.
  """
  @spec flatten(Array.t(), keyword()) :: Array.t()
  def flatten(array, options \\ []) do
    [axes, stream] = Options.values(options, :flatten, axes: nil)
    {first, last} = if axes, do: neighbours(axes, array), else: {0, -1}
    Native.flatten(array, first, last, stream)
  end

  @doc """
  Splits one axis into several; the inverse of `flatten/2`. One size may be `-1` (or `:auto`).

      iex> Mlx.unflatten(Mlx.zeros({2, 12}), 1, {3, -1}).shape
      {2, 3, 4}

  Python: `mlx.core.unflatten`.
  """
  @spec unflatten(Array.t(), integer(), tuple() | [integer() | :auto], keyword()) :: Array.t()
  def unflatten(array, axis, shape, options \\ []) do
    sizes = shape |> Sizes.shape_to_complete!(:unflatten) |> Tuple.to_list()
    # MLX divides by the product of the known sizes.
    if 0 in sizes and -1 in sizes, do: raise(ArgumentError, "Mlx.unflatten: nothing can be found beside a size of 0")
    Native.unflatten(array, axis, sizes, Options.stream(options, :unflatten))
  end

  @doc """
  Removes axes of size 1.

  Options:

    * `:axes` - the axis or the list of axes to remove. Raises `Mlx.Error` when one of them has another size. By default every axis of
      size 1 goes.

  Examples:

      iex> Mlx.squeeze(Mlx.zeros({1, 2, 1})).shape
      {2}

      iex> Mlx.squeeze(Mlx.zeros({1, 2, 1}), axes: [0]).shape
      {2, 1}

  Python: `mlx.core.squeeze`.
  """
  @spec squeeze(Array.t(), keyword()) :: Array.t()
  def squeeze(array, options \\ []) do
    case Options.values(options, :squeeze, axes: nil) do
      [nil, stream] -> Native.squeeze(array, stream)
      [axes, stream] -> Native.squeeze_axes(array, List.wrap(axes), stream)
    end
  end

  @doc """
  Adds axes of size 1 at the given positions of the result: an integer or a list of them.

      iex> Mlx.new_axis(Mlx.array([1, 2, 3]), 0).shape
      {1, 3}

      iex> Mlx.new_axis(Mlx.array([1, 2, 3]), [0, -1]).shape
      {1, 3, 1}

  Python: `mlx.core.expand_dims`. `x[[:new_axis, ..]]` does the same.
  """
  @spec new_axis(Array.t() | number(), integer() | [integer()], keyword()) :: Array.t()
  def new_axis(array, axes, options \\ []) do
    AxisInsertion.add(array, listed(axes), Options.stream(options, :new_axis))
  end

  @doc """
  Reorders the axes of an array.

  Options:

    * `:axes` - a permutation of all the axes; by default they are reversed.

  Examples:

      iex> Mlx.transpose(Mlx.array([[1, 2, 3], [4, 5, 6]])) |> Mlx.to_list()
      [[1, 4], [2, 5], [3, 6]]

      iex> Mlx.transpose(Mlx.zeros({2, 3, 4}), axes: [0, 2, 1]).shape
      {2, 4, 3}

  Python: `mlx.core.transpose`, `permute_dims`, `array.T`.
  """
  @spec transpose(Array.t(), keyword()) :: Array.t()
  def transpose(array, options \\ []) do
    case Options.values(options, :transpose, axes: nil) do
      [nil, stream] -> Native.transpose(array, stream)
      [axes, stream] -> Native.transpose_axes(array, axes, stream)
    end
  end

  @doc """
  Exchanges two axes.

      iex> Mlx.swap_axes(Mlx.zeros({2, 3, 4}), 0, -1).shape
      {4, 3, 2}

  Python: `mlx.core.swapaxes`.
  """
  @spec swap_axes(Array.t(), integer(), integer(), keyword()) :: Array.t()
  def swap_axes(array, axis1, axis2, options \\ []) do
    Native.swapaxes(array, axis1, axis2, Options.stream(options, :swap_axes))
  end

  @doc """
  Exchanges the last two axes: each matrix of the array is transposed.

      iex> Mlx.matrix_transpose(Mlx.zeros({2, 3, 4})).shape
      {2, 4, 3}

  Python: `mlx.core.matrix_transpose` and `mlx.core.array.mT`.
  """
  @spec matrix_transpose(Array.t(), keyword()) :: Array.t()
  def matrix_transpose(array, options \\ [])

  def matrix_transpose(%Array{shape: shape} = array, options) when tuple_size(shape) >= 2 do
    Native.swapaxes(array, -2, -1, Options.stream(options, :matrix_transpose))
  end

  def matrix_transpose(%Array{shape: shape}, _options) do
    raise ArgumentError, "Mlx.matrix_transpose: expected an array of at least 2 axes, got the shape #{inspect(shape)}"
  end

  @doc """
  Moves one axis to another position; the others keep their order.

      iex> Mlx.move_axis(Mlx.zeros({2, 3, 4}), 0, -1).shape
      {3, 4, 2}

  Python: `mlx.core.moveaxis`.
  """
  @spec move_axis(Array.t(), integer(), integer(), keyword()) :: Array.t()
  def move_axis(array, source, destination, options \\ []) do
    Native.moveaxis(array, source, destination, Options.stream(options, :move_axis))
  end

  @doc """
  Broadcasts an array (or a number) to a shape, as a view: aligned at the last axis, sizes of 1 are repeated.

  Raises `Mlx.Error` when the shapes are not compatible.

      iex> Mlx.broadcast(Mlx.array([1, 2]), {2, 2}) |> Mlx.to_list()
      [[1, 2], [1, 2]]

  Python: `mlx.core.broadcast_to`.
  """
  @spec broadcast(Array.operand(), Array.sizes(), keyword()) :: Array.t()
  def broadcast(array, shape, options \\ []) do
    Native.broadcast_to(array, Sizes.shape!(shape, :broadcast), Options.stream(options, :broadcast))
  end

  @doc """
  Broadcasts arrays against each other, so that all have one shape.

      iex> Mlx.broadcast_arrays([Mlx.zeros({3, 1}), Mlx.zeros({4})]) |> Enum.map(& &1.shape)
      [{3, 4}, {3, 4}]

  Python: `mlx.core.broadcast_arrays`.
  """
  @spec broadcast_arrays([Array.t() | number()], keyword()) :: [Array.t()]
  def broadcast_arrays(arrays, options \\ []) do
    Native.broadcast_arrays(arrays, Options.stream(options, :broadcast_arrays))
  end

  @doc """
  The shape that shapes have in common when arrays of them are broadcast. Raises `ArgumentError` when there is none.

      iex> Mlx.broadcast_shapes([{3, 1}, {4}])
      {3, 4}

  Python: `mlx.core.broadcast_shapes`.
  """
  @spec broadcast_shapes([Array.sizes()]) :: Array.shape()
  def broadcast_shapes(shapes) when is_list(shapes) do
    shapes
    |> Enum.map(&(&1 |> Sizes.shape!(:broadcast_shapes) |> Tuple.to_list() |> Enum.reverse()))
    |> Enum.reduce([], &common(&1, &2, shapes))
    |> Enum.reverse()
    |> List.to_tuple()
  end

  @doc """
  Repeats each element a number of times along an axis.

  Options:

    * `:axis` - the axis; without it the array is flattened first.

  Examples:

      iex> Mlx.repeat(Mlx.array([[1, 2], [3, 4]]), 2, axis: 1) |> Mlx.to_list()
      [[1, 1, 2, 2], [3, 3, 4, 4]]

      iex> Mlx.repeat(Mlx.array([1, 2]), 2) |> Mlx.to_list()
      [1, 1, 2, 2]

  Python: `mlx.core.repeat`.
  """
  @spec repeat(Array.t(), non_neg_integer(), keyword()) :: Array.t()
  def repeat(array, repeats, options \\ []) do
    case Options.values(options, :repeat, axis: nil) do
      [nil, stream] -> Native.repeat(array, repeats, stream)
      [axis, stream] -> Native.repeat_axis(array, repeats, axis, stream)
    end
  end

  @doc """
  Repeats the whole array along each axis: `repetitions` is an integer (the last axis) or a list with one count an axis.

      iex> Mlx.tile(Mlx.array([1, 2]), 2) |> Mlx.to_list()
      [1, 2, 1, 2]

      iex> Mlx.tile(Mlx.array([1, 2]), [2, 1]) |> Mlx.to_list()
      [[1, 2], [1, 2]]

  Python: `mlx.core.tile`.
  """
  @spec tile(Array.t(), non_neg_integer() | [non_neg_integer()], keyword()) :: Array.t()
  def tile(array, repetitions, options \\ []) do
    Native.tile(array, listed(repetitions), Options.stream(options, :tile))
  end

  @doc """
  Pads an array at its edges.

  `widths` says how many elements are added before and after: `{before, after}` for every axis alike, an integer for
  both sides of every axis, or a list with an integer or a pair for each axis.

  Options:

    * `:mode` - `:constant` (default), `:edge` (repeats the last element), `:reflect` (mirrors without repeating the
      edge) or `:symmetric` (mirrors with the edge)
    * `:value` - the number that `:constant` fills in, default 0

  Examples:

      iex> Mlx.pad(Mlx.array([1, 2, 3]), {1, 2}) |> Mlx.to_list()
      [0, 1, 2, 3, 0, 0]

      iex> Mlx.pad(Mlx.array([[1, 2]]), [0, {1, 0}], value: 9) |> Mlx.to_list()
      [[9, 1, 2]]

      iex> Mlx.pad(Mlx.array([1, 2, 3]), 2, mode: :reflect) |> Mlx.to_list()
      [3, 2, 1, 2, 3, 2, 1]

  Python: `mlx.core.pad`.
  """
  @spec pad(
          Array.t(),
          non_neg_integer() | {non_neg_integer(), non_neg_integer()} | [non_neg_integer() | tuple()],
          keyword()
        ) ::
          Array.t()
  def pad(%Array{} = array, widths, options \\ []) do
    [mode, value, stream] = Options.values(options, :pad, mode: :constant, value: 0)

    unless mode in [:constant, :edge, :reflect, :symmetric],
      do: raise(ArgumentError, "Mlx.pad: unknown mode #{inspect(mode)}")

    {low, high} = widths |> per_axis(tuple_size(array.shape)) |> Enum.map(&width/1) |> Enum.unzip()
    axes = Enum.to_list(0..(length(low) - 1)//1)
    Native.pad(array, axes, low, high, Operand.of_type(value, array.type, :pad), mode, stream)
  end

  @doc """
  Reverses the order of the elements.

  Options:

    * `:axes` - the axis or the list of axes to reverse; all of them by default.

  Examples:

      iex> Mlx.reverse(Mlx.array([[1, 2], [3, 4]]), axes: [1]) |> Mlx.to_list()
      [[2, 1], [4, 3]]

      iex> Mlx.reverse(Mlx.array([1, 2, 3])) |> Mlx.to_list()
      [3, 2, 1]

  Python: `mlx.core.flip`.
  """
  @spec reverse(Array.t(), keyword()) :: Array.t()
  def reverse(array, options \\ []) do
    case Options.values(options, :reverse, axes: nil) do
      [nil, stream] -> Native.flip(array, stream)
      [axes, stream] -> Native.flip_axes(array, List.wrap(axes), stream)
    end
  end

  @doc """
  Shifts elements along axes; those that leave one end enter at the other.

  Options:

    * `:axes` - an axis or a list of axes, with one shift each when `shift` is a list. Without it the array is rolled as if it were
      flat, and keeps its shape.

  Examples:

      iex> Mlx.roll(Mlx.array([1, 2, 3, 4]), 1) |> Mlx.to_list()
      [4, 1, 2, 3]

      iex> Mlx.roll(Mlx.array([[1, 2], [3, 4], [5, 6]]), [1, 1], axes: [0, 1]) |> Mlx.to_list()
      [[6, 5], [2, 1], [4, 3]]

  Python: `mlx.core.roll`.
  """
  @spec roll(Array.t(), integer() | [integer()], keyword()) :: Array.t()
  def roll(array, shift, options \\ []) do
    case Options.values(options, :roll, axes: nil) do
      [nil, stream] -> Native.roll(array, listed(shift), stream)
      [axes, stream] -> Native.roll_axes(array, shifts(shift, List.wrap(axes)), List.wrap(axes), stream)
    end
  end

  @doc """
  A view with any shape and strides (in elements) on the row-major elements of an array. The strides `nil` are those of a
  row-major array of the shape.

  Options:

    * `:offset` - the element where the view begins, default 0.

  Raises `ArgumentError` when the view would reach outside the array.

      iex> Mlx.as_strided(Mlx.array([1, 2, 3, 4]), {3, 2}, [1, 1]) |> Mlx.to_list()
      [[1, 2], [2, 3], [3, 4]]
      iex> Mlx.as_strided(Mlx.array([1, 2, 3, 4]), {2}, nil, offset: 1) |> Mlx.to_list()
      [2, 3]

  Python: `mlx.core.as_strided`, which does not check.
  """
  @spec as_strided(Array.t(), Array.sizes(), [integer()] | nil, keyword()) :: Array.t()
  def as_strided(%Array{} = array, shape, strides, options \\ []) when is_list(strides) or is_nil(strides) do
    shape = Sizes.shape!(shape, :as_strided)
    [offset, stream] = Options.values(options, :as_strided, offset: 0)
    strides = strides!(strides) || row_major(Tuple.to_list(shape))
    check_view(array, Tuple.to_list(shape), strides, offset)
    array |> Native.contiguous(false, stream) |> Native.as_strided(shape, strides, offset, stream)
  end

  @doc """
  An array with the same elements that lies row-major in memory. Copies only when it has to.

  Options:

    * `:allow_col_major` - leave a column-major array as it is, default false.

  Examples:

      iex> Mlx.contiguous(Mlx.transpose(Mlx.array([[1, 2], [3, 4]]))) |> Mlx.to_list()
      [[1, 3], [2, 4]]

  Python: `mlx.core.contiguous`.
  """
  @spec contiguous(Array.t(), keyword()) :: Array.t()
  def contiguous(array, options \\ []) do
    [allow_col_major, stream] = Options.values(options, :contiguous, allow_col_major: false)
    Native.contiguous(array, allow_col_major, stream)
  end

  @doc """
  A copy of an array, with a buffer of its own.

      iex> Mlx.copy(Mlx.array([1, 2])) |> Mlx.to_list()
      [1, 2]

  Python: `copy.copy(array)`.
  """
  @spec copy(Array.t(), keyword()) :: Array.t()
  def copy(array, options \\ []), do: Native.copy(array, Options.stream(options, :copy))

  for {rank, example} <- [{1, {1}}, {2, {1, 1}}, {3, {1, 1, 1}}] do
    name = :"atleast_#{rank}d"

    @doc """
    An array with at least #{rank} #{if rank == 1, do: "axis", else: "axes"}; axes of size 1 are added where they are missing.

        iex> Mlx.#{name}(5).shape
        #{inspect(example)}

    Python: `mlx.core.#{name}`.
    """
    @spec unquote(name)(Array.t() | number(), keyword()) :: Array.t()
    def unquote(name)(array, options \\ []), do: Native.unquote(name)(array, Options.stream(options, unquote(name)))
  end

  # Sizes from the last axis on.
  defp common([], sizes, _shapes), do: sizes
  defp common(sizes, [], _shapes), do: sizes
  defp common([size | a], [size | b], shapes), do: [size | common(a, b, shapes)]
  defp common([1 | a], [size | b], shapes), do: [size | common(a, b, shapes)]
  defp common([size | a], [1 | b], shapes), do: [size | common(a, b, shapes)]

  defp common(_a, _b, shapes) do
    raise ArgumentError, "the shapes #{Enum.map_join(shapes, ", ", &inspect/1)} do not broadcast together"
  end

  defp neighbours(axes, _array) when not (is_list(axes) or is_struct(axes, Range)) do
    raise ArgumentError, "Mlx.flatten: expected :axes to be a list or a range, got: #{Given.text(axes)}"
  end

  defp neighbours(axes, array) do
    rank = tuple_size(array.shape)
    sorted = axes |> Enum.map(&if(&1 < 0, do: &1 + rank, else: &1)) |> Enum.sort()
    {first, last} = {List.first(sorted), List.last(sorted)}

    if sorted == [] or first < 0 or last >= rank or sorted != Enum.to_list(first..last) do
      raise ArgumentError,
            "Mlx.flatten: expected :axes to be neighbouring axes of shape #{inspect(array.shape)}, got: #{inspect(axes)}"
    end

    {first, last}
  end

  # One integer stands for a list of it.
  defp listed(list) when is_list(list), do: list
  defp listed(one), do: [one]

  defp per_axis(widths, rank) when is_list(widths) do
    if List.improper?(widths) or length(widths) != rank do
      raise ArgumentError, "Mlx.pad: expected #{rank} widths, one for each axis, got: #{Given.text(widths)}"
    end

    widths
  end

  defp per_axis(width, rank), do: List.duplicate(width, rank)

  defp width({low, high}) when is_integer(low) and low >= 0 and is_integer(high) and high >= 0, do: {low, high}
  defp width(both) when is_integer(both) and both >= 0, do: {both, both}

  defp width(other) do
    raise ArgumentError, "Mlx.pad: expected a width or a pair of widths that are not negative, got: #{inspect(other)}"
  end

  defp shifts(shift, axes) when is_integer(shift), do: List.duplicate(shift, length(axes))
  defp shifts(shifts, axes) when length(shifts) == length(axes), do: shifts

  defp shifts(shifts, axes) do
    raise ArgumentError, "Mlx.roll: expected as many shifts as axes, got: #{inspect(shifts)} and #{inspect(axes)}"
  end

  defp row_major(sizes) do
    {strides, _size} = Enum.map_reduce(Enum.reverse(sizes), 1, &{&2, &1 * &2})
    Enum.reverse(strides)
  end

  defp strides!(strides) do
    if is_nil(strides) or (ArgumentType.list?(strides) and Enum.all?(strides, &is_integer/1)) do
      strides
    else
      raise ArgumentError, "Mlx.as_strided: expected the strides to be a list of integers, got: #{Given.text(strides)}"
    end
  end

  defp check_view(array, shape, strides, offset) do
    size = Tuple.product(array.shape)
    ends = Enum.zip_with(shape, strides, fn count, stride -> (count - 1) * stride end)
    {before, beyond} = Enum.split_with(ends, &(&1 < 0))

    cond do
      length(shape) != length(strides) ->
        raise ArgumentError, "Mlx.as_strided: expected one stride for each axis of #{inspect(List.to_tuple(shape))}"

      offset < 0 ->
        raise ArgumentError, "Mlx.as_strided: the offset cannot be negative"

      0 in shape ->
        :ok

      offset + Enum.sum(before) < 0 or offset + Enum.sum(beyond) >= size ->
        raise ArgumentError, "Mlx.as_strided: the view reaches outside the #{size} elements of the array"

      true ->
        :ok
    end
  end
end
