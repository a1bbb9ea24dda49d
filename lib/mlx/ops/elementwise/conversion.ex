defmodule Mlx.Ops.Elementwise.Conversion do
  @moduledoc false

  use Mlx.Ops.Topic, title: "Converting types"

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.Options

  @doc """
  The elements as values of another type.

      iex> Mlx.as_type(Mlx.array([1.7, -1.7]), :s32)
      #Mlx.Array<
        s32[2]
        [1, -1]
      >

  Fractions are dropped on the way to integers, integers that do not fit wrap around, imaginary parts are dropped on the
  way to real numbers, and every number but 0 is `true`.

  Python: `array.astype`.
  """
  @spec as_type(Array.operand(), Type.t() | Type.nx(), keyword()) :: Array.t()
  def as_type(array, type, options \\ [])
  def as_type(%Array{type: type} = array, type, []), do: array

  def as_type(array, type, options) do
    Native.astype(array, Type.normalize!(type, :as_type), Options.stream(options, :as_type))
  end

  @doc """
  The same bytes as elements of another type. The last axis grows or shrinks when the types differ in size.

      iex> Mlx.bitcast(Mlx.array([1.0]), :u32)
      #Mlx.Array<
        u32[1]
        [1065353216]
      >
      iex> Mlx.bitcast(Mlx.array([1.0]), :u8).shape
      {4}

  Raises an `Mlx.Error` when the bytes of the last axis are no multiple of the size of the new type.

  Python: `array.view`.
  """
  @spec bitcast(Array.operand(), Type.t() | Type.nx(), keyword()) :: Array.t()
  def bitcast(array, type, options \\ []) do
    Native.view(array, Type.normalize!(type, :bitcast), Options.stream(options, :bitcast))
  end
end
