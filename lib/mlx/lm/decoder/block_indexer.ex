defmodule Mlx.LM.Decoder.BlockIndexer do
  @moduledoc """
  The choice of blocks of positions that a position sees: those of which one key has the greatest scores, for each head of
  the choice, and the last ones:

      scores = q_norm(q_proj(x)) k_norm(k_proj(x))'      both rotated
      a block has the greatest score of its positions
      the `top` blocks are seen, of which the `near` last ones come first
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.KeyValueCache
  alias Mlx.LM.Decoder.{Mask, Parameter, RoPE}

  @constants [:heads, :size, :block, :top, :near, :rope]
  defstruct [:q_proj, :k_proj, :q_norm, :k_norm] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  An indexer with zeros for arrays. Options: `:width`; `:heads` and `:size` of the queries; `:block`, the positions of a
  block; `:top`, how many blocks are seen, and `:near`, how many of them are the last; `:norm`, such as `{:rms, 1.0e-6}`;
  and `:rope`.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, heads: nil, size: nil, block: nil, top: nil, near: 1, norm: nil, rope: nil]

    [width, heads, size, block, top, near, norm, rope] =
      Options.without_stream(options, :"LM.Decoder.BlockIndexer.new", defaults)

    %__MODULE__{
      q_proj: Parameter.linear(width, heads * size),
      k_proj: Parameter.linear(width, size),
      q_norm: Parameter.norm(norm, size),
      k_norm: Parameter.norm(norm, size),
      heads: heads,
      size: size,
      block: block,
      top: top,
      near: near,
      rope: rope
    }
  end

  @doc "The mask `{batch, heads of the choice, length, keys}` of `x`, or what the cache says where all is seen, and the cache."
  @spec call(t(), Array.t(), KeyValueCache.t()) :: {nil | :causal | Array.t(), KeyValueCache.t()}
  def call(%__MODULE__{} = indexer, %Array{shape: {batch, length, _width}} = x, cache) do
    start = cache.length
    key = indexer.k_norm |> NN.Layer.call(NN.Layer.call(indexer.k_proj, x)) |> Mlx.new_axis(1)
    key = RoPE.call(indexer.rope, key, start)
    {keys, _none, mask, cache} = KeyValueCache.update(cache, key, Mlx.zeros({batch, 1, length, 1}, type: key.type))
    count = Mlx.axis_size(keys, 2)

    if indexer.top * indexer.block >= count,
      do: {mask, cache},
      else: {chosen(indexer, queries(indexer, x, start), keys, start), cache}
  end

  defp queries(%__MODULE__{heads: heads, size: size} = indexer, %Array{shape: {batch, length, _}} = x, start) do
    queries = indexer.q_proj |> NN.Layer.call(x) |> Mlx.reshape({batch, length, heads, size})
    RoPE.call(indexer.rope, indexer.q_norm |> NN.Layer.call(queries) |> Mlx.swap_axes(1, 2), start)
  end

  defp chosen(%__MODULE__{block: block, top: top} = indexer, queries, %Array{shape: {_, _, count, _}} = keys, start) do
    [queries, keys] = for x <- [queries, keys], do: Mlx.as_type(x, :f32)
    %Array{shape: {batch, heads, length, _size}} = queries
    blocks = div(count + block - 1, block)
    seen = Mask.from(start, queries, keys)
    scores = queries |> Mlx.matmul(Mlx.matrix_transpose(keys)) |> Mask.apply(seen)
    padding = blocks * block - count
    scores = if padding == 0, do: scores, else: Mlx.pad(scores, [{0, 0}, {0, 0}, {0, 0}, {0, padding}], value: -3.0e38)
    best = scores |> Mlx.reshape({batch, heads, length, blocks, block}) |> Mlx.reduce_max(axes: [-1])
    best = Mlx.select(Mask.near_blocks(indexer.near, block, start, length, blocks), :infinity, best)
    places = best |> Mlx.negate() |> Mlx.argpartition(top - 1) |> Mlx.slice([0, 0, 0, 0], [batch, heads, length, top])
    kept = Mlx.put_along_axis(Mlx.zeros(best.shape, type: :bool), places, Mlx.array(true), axis: -1)
    kept = kept |> Mlx.repeat(block, axis: -1) |> Mlx.slice([0, 0, 0, 0], [batch, heads, length, count])
    Mlx.logical_and(kept, seen)
  end
end
