defmodule Mlx.LM.Decoder.Indexer do
  @moduledoc """
  The choice of the positions that a position sees, by small heads of their own:

      q = rotate(wq_b(query latent)) by heads;   k = rotate(k_norm(wk(x)))
      worth = sum over heads of weights_proj(x) * relu(q . k)

  The `top` positions of the greatest worth are seen. With no more positions than that, all are.

  Source: DeepSeek-AI, "DeepSeek-V3.2" (2025), section 2.1.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Mask, Parameter, RoPE}

  defstruct [:wq_b, :wk, :k_norm, :weights_proj, :heads, :size, :top, :rope]

  @type t :: %__MODULE__{}

  @doc """
  An indexer with zeros for arrays. Options: `:width`, `:query_latent`, `:heads`, `:size`, `:top`, and `:rope`, that of the
  first features of a head.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, query_latent: nil, heads: nil, size: nil, top: nil, rope: nil]

    [width, latent, heads, size, top, rope] = Options.without_stream(options, :"LM.Decoder.Indexer.new", defaults)

    %__MODULE__{
      wq_b: Parameter.linear(latent, heads * size),
      wk: Parameter.linear(width, size),
      k_norm: Parameter.norm({:layer, 1.0e-5}, size),
      weights_proj: Parameter.linear(width, heads),
      heads: heads,
      size: size,
      top: top,
      rope: rope
    }
  end

  @doc "The keys `{batch, 1, length, size}` of the positions of `x`, of which the first one is `start`."
  @spec key(t(), Array.t(), non_neg_integer() | Array.t()) :: Array.t()
  def key(%__MODULE__{} = indexer, x, start) do
    key = indexer.k_norm |> NN.Layer.call(NN.Layer.call(indexer.wk, x)) |> Mlx.new_axis(1)
    RoPE.call(indexer.rope, key, start)
  end

  @doc """
  The latent vectors, rotated keys and the mask of the chosen positions, of those of all, where `keys` are all keys of the
  indexer. For one query only the chosen positions are there, and for several the mask says which they are.
  """
  @spec choose(t(), {Array.t(), Array.t(), non_neg_integer() | Array.t()}, Array.t(), seen) :: seen
        when seen: {Array.t(), Array.t(), nil | :causal | Array.t()}
  def choose(%__MODULE__{top: top}, _inputs, %Array{shape: {_, _, count, _}}, seen) when count <= top, do: seen

  def choose(%__MODULE__{} = indexer, {x, low, start}, %Array{shape: {batch, 1, count, _}} = keys, {latent, key, mask}) do
    %Array{shape: {_batch, length, _width}} = x
    mask = if mask == :causal, do: Mask.causal(length, count), else: mask
    chosen = indexer |> worth(x, low, start, keys) |> Mask.apply(mask) |> greatest(indexer.top) |> Mlx.stop_gradient()

    if length == 1 do
      index = Mlx.reshape(chosen, {batch, 1, indexer.top, 1})
      {taken(latent, index), taken(key, index), mask && Mlx.take_along_axis(of_batch(mask, batch), chosen, axis: -1)}
    else
      none = Mlx.full({batch, 1, length, count}, false)
      chosen = Mlx.put_along_axis(none, chosen, Mlx.array(true), axis: -1)
      {latent, key, Mlx.logical_and(chosen, mask)}
    end
  end

  defp worth(%__MODULE__{heads: heads, size: size} = indexer, %Array{shape: {batch, length, _}} = x, low, start, keys) do
    queries = indexer.wq_b |> NN.Layer.call(low) |> Mlx.reshape({batch, length, heads, size})
    queries = RoPE.call(indexer.rope, Mlx.transpose(queries, axes: [0, 2, 1, 3]), start)
    scores = queries |> Mlx.matmul(Mlx.matrix_transpose(keys)) |> Mlx.max(0)
    weights = indexer.weights_proj |> NN.Layer.call(x) |> Mlx.multiply(1 / :math.sqrt(heads * size))
    weights = weights |> Mlx.swap_axes(-1, -2) |> Mlx.new_axis(-1)
    scores |> Mlx.multiply(weights) |> Mlx.sum(axes: [1], keep_axes: true)
  end

  defp greatest(%Array{shape: {batch, 1, length, _}} = worth, top) do
    worth |> Mlx.negate() |> Mlx.argpartition(top - 1) |> Mlx.slice([0, 0, 0, 0], [batch, 1, length, top])
  end

  defp taken(%Array{shape: {batch, 1, _count, features}} = array, %Array{shape: {_, _, top, _}} = index) do
    Mlx.take_along_axis(array, Mlx.broadcast(index, {batch, 1, top, features}), axis: 2)
  end

  defp of_batch(%Array{shape: {batch, 1, _, _}} = mask, batch), do: mask
  defp of_batch(%Array{shape: {length, count}} = mask, batch), do: Mlx.broadcast(mask, {batch, 1, length, count})
end
