defmodule Mlx.Ops.Gathering do
  @moduledoc false
  # Elements that arrays of indices choose.

  use Mlx.Ops.Topic, title: "Taking and replacing by indices"

  alias Mlx.{Array, Native}
  alias Mlx.Arguments.{CalledFunction, Operand, Options}
  alias Mlx.Ops.{IndexExpression, IndexedElements}

  @doc """
  Takes elements along an axis: those at the places that `indices` says, an integer, a list or an array of integers.

  The axis is replaced by the axes of `indices`. Integers and lists out of bounds raise; arrays are clamped (see
  `at/2`). Negative indices count from the end.

  Options:

    * `:axis` - default 0; `nil` takes from the flattened array

  Examples:

      iex> x = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> Mlx.take(x, [1, 0, 1]) |> Mlx.to_list()
      [[4, 5, 6], [1, 2, 3], [4, 5, 6]]
      iex> Mlx.take(x, Mlx.array([[0, 2]]), axis: 1) |> Mlx.to_list()
      [[[1, 3]], [[4, 6]]]
      iex> Mlx.take(x, -1, axis: nil) |> Mlx.to_number()
      6

  Python: `mlx.core.take`, whose default is the flattened array.
  """
  @spec take(Array.t(), integer() | list() | Array.t(), keyword()) :: Array.t()
  def take(%Array{shape: shape} = array, indices, options \\ []) do
    case Options.values(options, :take, axis: 0) do
      [nil, stream] ->
        Native.take(array, indices!(:take, indices, Tuple.product(shape), 0), stream)

      [axis, stream] ->
        axis = axis!(:take, axis, shape)
        Native.take_axis(array, indices!(:take, indices, elem(shape, axis), axis), axis, stream)
    end
  end

  @doc """
  Takes, along an axis, one element for each element of `indices`, as `sort` and `argsort` need it.

  `indices` has the rank of the array, and its other axes broadcast with those of the array.

  Options:

    * `:axis` - default 0; `nil` takes from the flattened array

  Examples:

      iex> x = Mlx.array([[3, 1, 2], [4, 6, 5]])
      iex> Mlx.take_along_axis(x, Mlx.array([[1, 2], [0, 0]]), axis: 1) |> Mlx.to_list()
      [[1, 2], [4, 4]]

  Python: `mlx.core.take_along_axis`.
  """
  @spec take_along_axis(Array.t(), Array.t(), keyword()) :: Array.t()
  def take_along_axis(%Array{} = array, indices, options \\ []) do
    {array, indices, axis, stream} = along(:take_along_axis, array, indices, options)
    Native.take_along_axis(array, indices, axis, stream)
  end

  @doc """
  Puts values, along an axis, in the places that `indices` says; the counterpart of `take_along_axis/3`.

  `values` broadcasts with `indices`. Where places repeat it is not defined which value stays.

  Options:

    * `:axis` - default 0; `nil` for places in the flattened array

  Examples:

      iex> x = Mlx.array([[3, 1, 2], [4, 6, 5]])
      iex> Mlx.put_along_axis(x, Mlx.array([[1], [0]]), 0, axis: 1) |> Mlx.to_list()
      [[3, 0, 2], [0, 6, 5]]

  Python: `mlx.core.put_along_axis`.
  """
  @spec put_along_axis(Array.t(), Array.t(), Array.operand(), keyword()) :: Array.t()
  def put_along_axis(%Array{} = array, indices, values, options \\ []) do
    {flat, indices, axis, stream} = along(:put_along_axis, array, indices, options)

    flat
    |> Native.put_along_axis(indices, Operand.of_type(values, array.type, :put_along_axis), axis, stream)
    |> in_shape(array.shape, stream)
  end

  @doc """
  Adds values, along an axis, to the elements in the places that `indices` says. Values in one place add up.

  Options:

    * `:axis` - default 0; `nil` for places in the flattened array

  Examples:

      iex> Mlx.add_along_axis(Mlx.array([1, 1, 1]), Mlx.array([0, 0, 2]), Mlx.array([1, 2, 3])) |> Mlx.to_list()
      [4, 1, 4]

  Python: none in `mlx.core`; `scatter_add_axis` in C++.
  """
  @spec add_along_axis(Array.t(), Array.t(), Array.operand(), keyword()) :: Array.t()
  def add_along_axis(%Array{} = array, indices, values, options \\ []) do
    {flat, indices, axis, stream} = along(:add_along_axis, array, indices, options)

    flat
    |> Native.scatter_add_axis(indices, Operand.of_type(values, array.type, :add_along_axis), axis, stream)
    |> in_shape(array.shape, stream)
  end

  @doc """
  Gathers elements by their coordinates: the last axis of `indices` holds one coordinate for each of the first axes of
  the array.

      iex> x = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> Mlx.gather(x, Mlx.array([[0, 2], [1, 0]])) |> Mlx.to_list()
      [3, 4]
      iex> Mlx.gather(x, Mlx.array([[1]])) |> Mlx.to_list()
      [[4, 5, 6]]

  Python: `x[indices[..., 0], indices[..., 1], ...]`.
  """
  @spec gather(Array.t(), Array.t(), keyword()) :: Array.t()
  def gather(%Array{} = array, %Array{} = indices, options \\ []) do
    coordinates = coordinates(:gather, array, indices, options)
    CalledFunction.name("Mlx.gather", fn -> IndexedElements.at(array, coordinates, options) end)
  end

  @doc """
  Puts values at coordinates, given as in `gather/2`. Where coordinates repeat it is not defined which value stays.

      iex> Mlx.indexed_put(Mlx.array([[1, 2], [3, 4]]), Mlx.array([[0, 1], [1, 0]]), Mlx.array([8, 9])) |> Mlx.to_list()
      [[1, 8], [9, 4]]

  Python: `x[indices[..., 0], indices[..., 1], ...] = values`.
  """
  @spec indexed_put(Array.t(), Array.t(), Array.operand(), keyword()) :: Array.t()
  def indexed_put(%Array{} = array, %Array{} = indices, values, options \\ []) do
    coordinates = coordinates(:indexed_put, array, indices, options)
    CalledFunction.name("Mlx.indexed_put", fn -> IndexedElements.put_at(array, coordinates, values, options) end)
  end

  @doc """
  Adds values to the elements at coordinates, given as in `gather/2`. Values at one place add up.

      iex> Mlx.indexed_add(Mlx.array([1, 1]), Mlx.array([[0], [0]]), Mlx.array([2, 3])) |> Mlx.to_list()
      [6, 1]

  Python: `x.at[indices[..., 0], indices[..., 1], ...].add(values)`.
  """
  @spec indexed_add(Array.t(), Array.t(), Array.operand(), keyword()) :: Array.t()
  def indexed_add(%Array{} = array, %Array{} = indices, values, options \\ []) do
    coordinates = coordinates(:indexed_add, array, indices, options)
    CalledFunction.name("Mlx.indexed_add", fn -> IndexedElements.add_at(array, coordinates, values, options) end)
  end

  # The array, flattened where there is no axis, with what the native function takes.
  defp along(function, array, indices, options) do
    case Options.values(options, function, axis: 0) do
      [nil, stream] ->
        indices = indices!(function, indices, Tuple.product(array.shape), 0)
        flat = CalledFunction.name("Mlx.#{function}", fn -> Native.reshape(array, [-1], stream) end)
        {flat, indices, 0, stream}

      [axis, stream] ->
        axis = axis!(function, axis, array.shape)
        {array, indices!(function, indices, elem(array.shape, axis), axis), axis, stream}
    end
  end

  defp indices!(function, indices, size, axis) do
    CalledFunction.name("Mlx.#{function}", fn -> IndexExpression.array!(indices, size, axis) end)
  end

  defp in_shape(%Array{shape: shape} = array, shape, _stream), do: array
  defp in_shape(array, shape, stream), do: Native.reshape(array, shape, stream)

  defp coordinates(function, array, indices, options) do
    if indices.shape == {}, do: raise(ArgumentError, "Mlx.#{function}: expected indices to have at least one axis")
    stream = Options.stream(options, function)

    columns =
      CalledFunction.name("Mlx.#{function}", ["Mlx.unstack"], fn -> Native.unstack_axis(indices, -1, stream) end)

    if length(columns) > tuple_size(array.shape) do
      raise ArgumentError,
            "Mlx.#{function}: indices of shape #{inspect(indices.shape)} have more coordinates than the array has axes"
    end

    columns
  end

  defp axis!(function, axis, shape) when is_integer(axis) do
    rank = tuple_size(shape)
    position = if axis < 0, do: axis + rank, else: axis
    if position < 0 or position >= rank, do: invalid_axis!(function, axis, shape)
    position
  end

  defp axis!(function, axis, shape), do: invalid_axis!(function, axis, shape)

  defp invalid_axis!(function, axis, shape) do
    raise ArgumentError, "Mlx.#{function}: #{inspect(axis)} is not an axis of an array of shape #{inspect(shape)}"
  end
end
