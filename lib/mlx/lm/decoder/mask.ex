defmodule Mlx.LM.Decoder.Mask do
  @moduledoc false
  # Which positions see which: booleans {length, keys} for attention, beside those that caches make.

  alias Mlx.Array
  alias Mlx.LM.CacheRows

  @doc "The mask of the last `length` of `count` positions, each of which sees itself and those before it."
  @spec causal(pos_integer(), pos_integer()) :: Array.t()
  def causal(length, count), do: Mlx.less_equal(keys(count), queries(count - length, length))

  @doc "The mask of queries from a position on, each of which sees its own chunk of so many positions, up to itself."
  @spec chunk(pos_integer(), non_neg_integer() | Array.t(), Array.t(), Array.t()) :: Array.t()
  def chunk(size, start, queries, keys) do
    at = queries(start, Mlx.axis_size(queries, 2))
    of = keys(Mlx.axis_size(keys, 2))
    Mlx.logical_and(Mlx.equal(Mlx.floor_divide(at, size), Mlx.floor_divide(of, size)), Mlx.less_equal(of, at))
  end

  @doc "The scores with minus infinity where a mask says no."
  @spec apply(Array.t(), nil | :causal | Array.t()) :: Array.t()
  def apply(scores, nil), do: scores
  def apply(scores, :causal), do: __MODULE__.apply(scores, causal(Mlx.axis_size(scores, -2), Mlx.axis_size(scores, -1)))
  def apply(scores, mask), do: Mlx.select(mask, scores, :neg_infinity)

  defp queries(%Array{shape: {_batch}} = start, length), do: CacheRows.positions(start, length)
  defp queries(start, length), do: 0 |> Mlx.arange(length, type: :s32) |> Mlx.add(start) |> Mlx.new_axis(1)
  defp keys(count), do: 0 |> Mlx.arange(count, type: :s32) |> Mlx.new_axis(0)
end
