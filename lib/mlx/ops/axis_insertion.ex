defmodule Mlx.Ops.AxisInsertion do
  @moduledoc false
  # Adds axes of size 1, one after another: MLX's operation that adds several at once gives wrong results under vmap
  # where the mapped axis is not the first.

  alias Mlx.{Array, Native, Stream}

  @doc "An array with axes of size 1 at these positions of the result."
  @spec add(Array.t() | number(), [integer()], Stream.t() | nil) :: Array.t()
  def add(%Array{shape: shape} = array, [_, _ | _] = axes, stream) do
    rank = tuple_size(shape) + length(axes)
    positions = for axis <- axes, axis >= -rank and axis < rank, uniq: true, do: Integer.mod(axis, rank)

    if length(positions) == length(axes) do
      positions |> Enum.sort() |> Enum.reduce(array, &Native.expand_dims_axes(&2, [&1], stream))
    else
      Native.expand_dims_axes(array, axes, stream)
    end
  end

  def add(array, axes, stream), do: Native.expand_dims_axes(array, axes, stream)
end
