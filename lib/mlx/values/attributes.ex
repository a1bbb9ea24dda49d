defmodule Mlx.Values.Attributes do
  @moduledoc false
  # What is known of an array before it is computed.

  use Mlx.Ops.Topic, title: "Shapes, types and sizes"

  alias Mlx.{Array, Type}

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
