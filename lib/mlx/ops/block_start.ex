defmodule Mlx.Ops.BlockStart do
  @moduledoc false
  # Where a block of an array starts, when it is known only later along some axes. The native functions clamp it, so that
  # the block lies inside the array.

  alias Mlx.{Array, Native}

  @doc """
  The starts that are not 0 as one array `{count}`, and their axes. Some start is a 0-d array.

  Each is one operation less for the device: most blocks start at 0 along all axes but one.
  """
  @spec new([integer() | Array.t()], Mlx.Stream.t() | nil) :: {Array.t(), [non_neg_integer()]}
  def new(starts, stream) do
    {starts, axes} = starts |> Enum.with_index() |> Enum.reject(&match?({0, _axis}, &1)) |> Enum.unzip()
    {join(starts, stream), axes}
  end

  defp join([%Array{} = start], stream), do: Native.reshape(start, {1}, stream)
  defp join(starts, stream), do: starts |> Enum.map(&Native.astype(&1, :s64, stream)) |> Native.stack_axis(0, stream)
end
