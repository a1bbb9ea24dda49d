defmodule Mlx.LM.Decoder.Mask do
  @moduledoc false
  # Which positions see which: booleans {length, keys} for attention, beside those that caches make.

  alias Mlx.Array
  alias Mlx.LM.CacheRows

  @doc "The mask of the last `length` of `count` positions, each of which sees itself and those before it."
  @spec causal(pos_integer(), pos_integer()) :: Array.t()
  def causal(length, count), do: Mlx.less_equal(keys(count), queries(count - length, length))

  @doc "The mask of queries from a position on, each of which sees itself and those before it."
  @spec from(non_neg_integer() | Array.t(), Array.t(), Array.t()) :: Array.t()
  def from(start, queries, keys) do
    Mlx.less_equal(keys(Mlx.axis_size(keys, 2)), queries(start, Mlx.axis_size(queries, 2)))
  end

  @doc "The mask of queries from a position on, each of which sees so many positions, of which it is the last."
  @spec window(pos_integer(), non_neg_integer() | Array.t(), Array.t(), Array.t()) :: Array.t()
  def window(size, start, queries, keys) do
    {at, of} = {queries(start, Mlx.axis_size(queries, 2)), keys(Mlx.axis_size(keys, 2))}
    Mlx.logical_and(Mlx.less(Mlx.subtract(at, of), size), Mlx.less_equal(of, at))
  end

  @doc "Which of so many blocks are the last `near` ones of each of `length` positions: booleans `{length, blocks}`."
  @spec near_blocks(non_neg_integer(), pos_integer(), non_neg_integer() | Array.t(), pos_integer(), pos_integer()) ::
          Array.t()
  def near_blocks(near, size, start, length, blocks) do
    back = Mlx.subtract(Mlx.floor_divide(queries(start, length), size), keys(blocks))
    Mlx.logical_and(Mlx.greater_equal(back, 0), Mlx.less(back, near))
  end

  @doc """
  Which of so many entries, each of which stands for `ratio` positions, are complete at each of `length` positions from one
  on: booleans `{1, length, entries}`, or `{batch, length, entries}` where each row has a position of its own.
  """
  @spec complete(pos_integer(), non_neg_integer() | Array.t(), pos_integer(), pos_integer()) :: Array.t()
  def complete(ratio, start, length, count) do
    Mlx.less(Mlx.reshape(keys(count), {1, 1, count}), complete_count(ratio, start, length))
  end

  @doc "How many of these entries are complete: `{1, length, 1}`, or `{batch, length, 1}`."
  @spec complete_count(pos_integer(), non_neg_integer() | Array.t(), pos_integer()) :: Array.t()
  def complete_count(ratio, start, length) do
    ends = 1 |> Mlx.arange(length + 1, type: :s32) |> Mlx.reshape({1, length, 1})
    start |> Mlx.array() |> Mlx.reshape({:auto, 1, 1}) |> Mlx.add(ends) |> Mlx.floor_divide(ratio)
  end

  @doc "The mask of queries from a position on, each of which sees its own chunk of so many positions, up to itself."
  @spec chunk(pos_integer(), non_neg_integer() | Array.t(), Array.t(), Array.t()) :: Array.t()
  def chunk(size, start, queries, keys) do
    at = queries(start, Mlx.axis_size(queries, 2))
    of = keys(Mlx.axis_size(keys, 2))
    Mlx.logical_and(Mlx.equal(Mlx.floor_divide(at, size), Mlx.floor_divide(of, size)), Mlx.less_equal(of, at))
  end

  @doc """
  The mask `{heads, length, keys}` of queries from a position on, each of which sees, up to itself, its own block of so many
  positions and those before it, `near` of them, and those whose number and that of the head, from 1, make a multiple of
  the stride.
  """
  @spec blocks({pos_integer(), pos_integer(), pos_integer()}, non_neg_integer() | Array.t(), Array.t(), Array.t()) ::
          Array.t()
  def blocks({size, near, stride}, start, %Array{shape: {_batch, heads, length, _size}}, keys) do
    {at, of} = {queries(start, length), keys(Mlx.axis_size(keys, 2))}
    block = Mlx.floor_divide(of, size)
    close = Mlx.less(Mlx.subtract(Mlx.floor_divide(at, size), block), near)
    head = 1 |> Mlx.arange(heads + 1, type: :s32) |> Mlx.reshape({heads, 1, 1})
    chosen = head |> Mlx.add(block) |> Mlx.remainder(stride) |> Mlx.equal(0)
    Mlx.logical_and(Mlx.logical_or(close, chosen), Mlx.less_equal(of, at))
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
