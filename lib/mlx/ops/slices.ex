defmodule Mlx.Ops.Slices do
  @moduledoc false
  # Blocks of arrays, by where they start and how long they are.

  use Mlx.Ops.Topic, title: "Slices"

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{ArgumentType, Operand, Options}
  alias Mlx.Ops.BlockStart

  @doc """
  A block of an array: for each axis where it starts and how long it is.

  A start is an integer, or a 0-d array of integers when it is only known later. Starts out of bounds raise
  `ArgumentError`; those in arrays are clamped so that the block lies inside the array, as in Nx.

  Options:

    * `:strides` - the step along each axis, an integer or a list, default 1. Lengths count before the strides: length
      4 with stride 2 gives 2 elements.

  Examples:

      iex> x = Mlx.array([[1, 2, 3], [4, 5, 6]])
      iex> Mlx.slice(x, [0, 1], [2, 2]) |> Mlx.to_list()
      [[2, 3], [5, 6]]
      iex> Mlx.slice(x, [Mlx.array(1), 0], [1, 3], strides: [1, 2]) |> Mlx.to_list()
      [[4, 6]]

  Python: `x[start:start + length:stride]`, or `mlx.core.slice` for starts in an array.
  """
  @spec slice(Array.t(), [integer() | Array.t()], [non_neg_integer()], keyword()) :: Array.t()
  def slice(%Array{shape: shape} = array, starts, lengths, options \\ []) do
    [strides, stream] = Options.values(options, :slice, strides: 1)
    strides = if is_list(strides), do: strides, else: List.duplicate(strides, tuple_size(shape))
    check_block!(:slice, shape, starts, lengths, strides)

    if Enum.all?(starts, &is_integer/1) do
      Native.slice(array, starts, Enum.zip_with(starts, lengths, &+/2), strides, stream)
    else
      {start, axes} = BlockStart.new(starts, stream)
      block = Native.slice_dynamic(array, start, axes, lengths, stream)
      if Enum.all?(strides, &(&1 == 1)), do: block, else: stride(block, strides, stream)
    end
  end

  @doc """
  Replaces the block of an array that starts at `starts` and has the shape of `values`; returns the new array.

  Starts are as in `slice/3`.

      iex> x = Mlx.zeros({2, 3}, type: :s32)
      iex> Mlx.put_slice(x, [0, 1], Mlx.array([[1, 2], [3, 4]])) |> Mlx.to_list()
      [[0, 1, 2], [0, 3, 4]]
      iex> Mlx.put_slice(x, [Mlx.array(1), 0], Mlx.array([[5]])) |> Mlx.to_list()
      [[0, 0, 0], [5, 0, 0]]

  Python: `x[start:stop] = values`, or `mlx.core.slice_update` for starts in an array.
  """
  @spec put_slice(Array.t(), [integer() | Array.t()], Array.t(), keyword()) :: Array.t()
  def put_slice(%Array{shape: shape} = array, starts, values, options \\ []) do
    stream = Options.stream(options, :put_slice)
    values = Operand.of_type(values, array.type, :put_slice)
    lengths = Tuple.to_list(values.shape)
    strides = List.duplicate(1, length(lengths))
    check_block!(:put_slice, shape, starts, lengths, strides)

    if Enum.all?(starts, &is_integer/1) do
      Native.slice_update(array, values, starts, Enum.zip_with(starts, lengths, &+/2), strides, stream)
    else
      {start, axes} = BlockStart.new(starts, stream)
      Native.slice_update_dynamic(array, values, start, axes, stream)
    end
  end

  defp check_block!(function, shape, starts, lengths, strides) do
    rank = tuple_size(shape)

    unless Enum.all?([starts, lengths, strides], &(ArgumentType.list?(&1) and length(&1) == rank)) do
      raise ArgumentError,
            "Mlx.#{function}: expected #{rank} starts, lengths and strides in lists for the shape #{inspect(shape)}"
    end

    [starts, lengths, strides, Tuple.to_list(shape), Enum.to_list(0..(rank - 1)//1)]
    |> Enum.zip()
    |> Enum.each(fn {start, length, stride, size, axis} -> check_axis!(function, start, length, stride, size, axis) end)
  end

  defp check_axis!(function, start, length, stride, size, axis) do
    start = if position?(start), do: 0, else: start

    unless is_integer(start) and is_integer(length) and is_integer(stride) and start >= 0 and length >= 0 and stride > 0 do
      raise ArgumentError, "Mlx.#{function}: expected integers (or 0-d arrays of them as starts) that are not negative"
    end

    if start + length > size do
      raise ArgumentError,
            "Mlx.#{function}: #{length} elements from #{start} on are out of bounds for axis #{axis} of size #{size}"
    end
  end

  defp position?(%Array{shape: {}, type: type}), do: Type.class(type) in [:signed, :unsigned]
  defp position?(_start), do: false

  defp stride(block, strides, stream) do
    Native.slice(block, List.duplicate(0, length(strides)), Tuple.to_list(block.shape), strides, stream)
  end
end
