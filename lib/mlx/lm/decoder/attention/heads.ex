defmodule Mlx.LM.Decoder.Attention.Heads do
  @moduledoc false
  # Features `{batch, length, features}`, or `{batch, features}` of one position each, as heads `{batch, heads, length, size}`,
  # and back. Heads of one position lie in memory as the features do, so that nothing is transposed.

  alias Mlx.Array

  @doc "The heads of so many features each."
  @spec split(Array.t(), pos_integer()) :: Array.t()
  def split(%Array{} = x, size) do
    case positions(x) do
      {batch, 1} -> Mlx.reshape(x, {batch, div(features(x), size), 1, size})
      _several -> x |> apart(size) |> Mlx.swap_axes(1, 2)
    end
  end

  @doc "The heads before they change places with the positions, `{batch, length, heads, size}`."
  @spec apart(Array.t(), pos_integer()) :: Array.t()
  def apart(%Array{} = x, size) do
    {batch, length} = positions(x)
    Mlx.reshape(x, {batch, length, div(features(x), size), size})
  end

  @doc "The features of heads, with the axes of `x`, that they were made of."
  @spec merge(Array.t(), Array.t()) :: Array.t()
  def merge(%Array{shape: {_batch, heads, length, size}} = y, %Array{shape: shape}) do
    y = if length == 1, do: y, else: Mlx.swap_axes(y, 1, 2)
    Mlx.reshape(y, put_elem(shape, tuple_size(shape) - 1, heads * size))
  end

  defp positions(%Array{shape: {batch, _features}}), do: {batch, 1}
  defp positions(%Array{shape: {batch, length, _features}}), do: {batch, length}

  defp features(x), do: Mlx.axis_size(x, -1)
end
