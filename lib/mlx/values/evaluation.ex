defmodule Mlx.Values.Evaluation do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Evaluating and reading values"

  alias Mlx.{Array, Native, Tree, Type}
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.Values.{Computation, TermConversion}

  @doc """
  Computes arrays, and returns once their values are there.

  Takes an array, or lists, tuples, maps and structs of arrays at any depth. What is no array is left alone. Returns
  its argument, so that it fits into a pipe.

      iex> state = %{weight: Mlx.zeros({2}), steps: [Mlx.array(1), 2]}
      iex> Mlx.eval(state) == state
      true

  Evaluating once a step keeps graphs short in a loop: an array that is not evaluated keeps everything it is computed
  from.

  Python: `mlx.core.eval`.
  """
  @spec eval(container) :: container when container: term()
  def eval(container) do
    arrays = Tree.arrays(container)
    :ok = Computation.run(:eval, "Mlx.eval", arrays, fn -> Native.eval(arrays) end)
    container
  end

  @doc """
  Starts to compute arrays and returns at once. Otherwise as `eval/1`.

      iex> array = Mlx.async_eval(Mlx.add(1, 2))
      iex> Mlx.to_number(array)
      3

  What can fail, such as the inverse of a matrix that may be singular, is computed before it returns, and raises here.

  Python: `mlx.core.async_eval`, which raises where the value is needed.
  """
  @spec async_eval(container) :: container when container: term()
  def async_eval(container) do
    arrays = Tree.arrays(container)
    :ok = Computation.run(:eval, "Mlx.async_eval", arrays, fn -> Native.async_eval(arrays) end)
    container
  end

  @doc """
  Copies of arrays that are computed only after other arrays. Both arguments are lists.

      iex> [sum] = Mlx.depends([Mlx.add(1, 2)], [Mlx.multiply(3, 4)])
      iex> Mlx.to_number(sum)
      3

  Python: `mlx.core.depends`.
  """
  @spec depends([Array.t()], [Array.t()]) :: [Array.t()]
  def depends(arrays, dependencies), do: Native.depends(arrays, dependencies)

  @doc """
  The array as a constant to transforms that differentiate: no gradient flows through it.

      iex> Mlx.stop_gradient(Mlx.array([1, 2])) |> Mlx.to_list()
      [1, 2]

  Python: `mlx.core.stop_gradient`.
  """
  @spec stop_gradient(Array.t(), keyword()) :: Array.t()
  def stop_gradient(array, options \\ []), do: Native.stop_gradient(array, Options.stream(options, :stop_gradient))

  @doc """
  The bytes of the elements, row after row and in the byte order of the machine. Evaluates the array.

      iex> Mlx.to_binary(Mlx.array([1, 2], type: :u8))
      <<1, 2>>

  The binary of a large array is MLX's own buffer and not a copy, which keeps that buffer alive.

  Python: `bytes(array)`.
  """
  @spec to_binary(Array.t()) :: binary()
  def to_binary(%Array{} = array), do: read(array, "Mlx.to_binary", &Native.to_binary/1)

  defp read(array, function, native) do
    Computation.run(:read, function, [array], fn -> native.(array) end)
  end

  @doc """
  The elements as nested lists of numbers. Evaluates the array.

      iex> Mlx.to_list(Mlx.array([[1.5, :nan], [2, 3]]))
      [[1.5, :nan], [2.0, 3.0]]

  Elements are integers, floats, `true` and `false`, `:nan`, `:infinity`, `:neg_infinity`, and `{real, imaginary}` for
  complex numbers. A float is exactly the element: an `:f32` that prints as `0.1` is `0.10000000149011612`.

  Raises an `ArgumentError` for an array without axes: see `to_number/1`.

  Python: `array.tolist()`.
  """
  @spec to_list(Array.t()) :: list()
  def to_list(array)

  def to_list(%Array{shape: {}}) do
    raise ArgumentError,
          "Mlx.to_list: expected an array with at least one axis, use Mlx.to_number/1 for a single number"
  end

  def to_list(%Array{} = array),
    do: array |> bytes("Mlx.to_list") |> TermConversion.decode(Tuple.to_list(array.shape), array.type)

  @doc """
  The elements as one list, row after row. Evaluates the array.

      iex> Mlx.to_flat_list(Mlx.array([[1, 2], [3, 4]]))
      [1, 2, 3, 4]

  Elements are those of `to_list/1`.

  Python: `array.flatten().tolist()`.
  """
  @spec to_flat_list(Array.t()) :: list()
  def to_flat_list(%Array{} = array),
    do: array |> bytes("Mlx.to_flat_list") |> TermConversion.decode([size(array)], array.type)

  defp bytes(array, function) do
    CalledFunction.name(function, ["Mlx.to_binary"], fn -> read(array, function, &Native.to_binary/1) end)
  end

  @doc """
  The element of an array that has only one. Evaluates the array.

      iex> Mlx.to_number(Mlx.sum(Mlx.array([1, 2, 3])))
      6

  The element is one of those that `to_list/1` describes.

  Raises an `ArgumentError` when the array has more elements, or none.

  Python: `array.item()`, `array.tolist()` of an array without axes, `float(array)`, `int(array)`, `bool(array)`.
  """
  @spec to_number(Array.t()) :: Array.scalar() | {Array.scalar(), Array.scalar()}
  def to_number(%Array{} = array) do
    if size(array) != 1 do
      raise ArgumentError, "Mlx.to_number: expected an array of one element, got the shape #{inspect(array.shape)}"
    end

    read(array, "Mlx.to_number", &Native.item/1)
  end

  @doc """
  Gives the memory of an array back now instead of at the next garbage collection of the processes that hold it.

  Using the array afterwards raises. Arrays computed from it are not affected.

      iex> array = Mlx.zeros({1000})
      iex> Mlx.deallocate(array)
      :ok
      iex> array
      #Mlx.Array<
        f32[1000]
        deallocated
      >
  """
  @spec deallocate(Array.t()) :: :ok
  def deallocate(%Array{} = array), do: Native.deallocate(array)

  @doc """
  The sizes along each axis, as a tuple.

      iex> Mlx.shape(Mlx.zeros({2, 3}))
      {2, 3}

  Python: `array.shape`.
  """
  @spec shape(Array.t()) :: Array.shape()
  def shape(%Array{} = array), do: array.shape

  @doc """
  The type of the elements: see `Mlx.Type`.

      iex> Mlx.type(Mlx.array([1, 2]))
      :s32

  Python: `array.dtype`.
  """
  @spec type(Array.t()) :: Type.t()
  def type(%Array{} = array), do: array.type

  @doc """
  The number of axes.

      iex> Mlx.rank(Mlx.zeros({2, 3}))
      2

  Python: `array.ndim`.
  """
  @spec rank(Array.t()) :: non_neg_integer()
  def rank(%Array{} = array), do: tuple_size(array.shape)

  @doc """
  The number of elements.

      iex> Mlx.size(Mlx.zeros({2, 3}))
      6

  Python: `array.size`.
  """
  @spec size(Array.t()) :: non_neg_integer()
  def size(%Array{} = array), do: Tuple.product(array.shape)

  @doc """
  The size along one axis, which is counted from the end when negative.

      iex> Mlx.axis_size(Mlx.zeros({2, 3}), -1)
      3

  Raises an `ArgumentError` when there is no such axis.

  Python: `array.shape[axis]`.
  """
  @spec axis_size(Array.t(), integer()) :: non_neg_integer()
  def axis_size(%Array{} = array, axis) when is_integer(axis) do
    rank = tuple_size(array.shape)
    index = if axis < 0, do: axis + rank, else: axis

    if index not in 0..(rank - 1)//1 do
      raise ArgumentError, "Mlx.axis_size: the shape #{inspect(array.shape)} has no axis #{axis}"
    end

    elem(array.shape, index)
  end

  @doc """
  The number of bytes of the elements.

      iex> Mlx.byte_size(Mlx.zeros({2, 3}, type: :f16))
      12

  Python: `array.nbytes`.
  """
  @spec byte_size(Array.t()) :: non_neg_integer()
  def byte_size(%Array{} = array), do: size(array) * Type.bytes(array.type)
end
