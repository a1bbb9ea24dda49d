defmodule Mlx.LM.Decoder.CappedAttention do
  @moduledoc false
  # Attention whose scores become `cap * tanh(score / cap)`, which the fast one of MLX does not have.

  alias Mlx.Array
  alias Mlx.LM.Decoder.Mask

  @doc "The outputs `{batch, heads, length, features}`. Groups of query heads share heads of keys and values."
  @spec call(Array.t(), Array.t(), Array.t(), nil | :causal | Array.t(), number(), number()) :: Array.t()
  def call(%Array{shape: {batch, heads, length, size}} = queries, keys, %Array{} = values, mask, scale, cap) do
    {_batch, shared, _count, value_size} = values.shape
    grouped = queries |> Mlx.multiply(scale) |> Mlx.reshape({batch, shared, div(heads, shared), length, size})
    scores = Mlx.matmul(grouped, keys |> Mlx.new_axis(2) |> Mlx.swap_axes(-1, -2))
    scores = scores |> Mlx.divide(cap) |> Mlx.tanh() |> Mlx.multiply(cap) |> Mask.apply(in_groups(mask))
    scores = Mlx.softmax(scores, axes: -1, precise: true)
    scores |> Mlx.matmul(Mlx.new_axis(values, 2)) |> Mlx.reshape({batch, heads, length, value_size})
  end

  # The mask of each row, {batch, 1, length, count}, for scores by groups of heads.
  defp in_groups(%Array{shape: {_, _, _, _}} = mask), do: Mlx.new_axis(mask, 2)
  defp in_groups(mask), do: mask
end
