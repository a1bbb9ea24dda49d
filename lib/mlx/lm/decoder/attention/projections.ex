defmodule Mlx.LM.Decoder.Attention.Projections do
  @moduledoc false
  # Queries, keys and values of attention, from matrices of their own, from a joined one, or from those of another layer.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.Attention
  alias Mlx.LM.Decoder.Attention.Heads

  @doc """
  Queries and keys before the rotation, values, the gate that `q_proj` gives or `nil`, and the step. Queries and keys that
  are rotated as one are `{:together, both}` and `nil`.
  """
  @spec call(Attention.t(), Array.t(), map()) ::
          {Array.t() | {:together, Array.t()}, Array.t() | nil, Array.t(), Array.t() | nil, map()}
  def call(%Attention{qkv_proj: nil} = attention, x, step) do
    queries = clipped(attention, NN.Layer.call(attention.q_proj, x))
    {keys, values, step} = keys_and_values(attention, x, step)
    {queries, gate} = without_gate(attention, queries)

    {heads(attention, attention.q_norm, queries), heads(attention, attention.k_norm, keys),
     Heads.split(values, attention.value_size), gate, step}
  end

  # Without norms of their own, queries and keys stay together until they are rotated.
  def call(%Attention{q_norm: nil, mixture: nil} = attention, x, step) do
    all = attention |> clipped(NN.Layer.call(attention.qkv_proj, x)) |> Heads.split(attention.head_size)
    [rotated, values] = Mlx.split(all, [attention.heads + attention.key_value_heads], axis: 1)
    rotated = if attention.qk_norm, do: NN.Layer.call(attention.qk_norm, rotated), else: rotated
    {{:together, rotated}, nil, values, nil, step}
  end

  def call(%Attention{} = attention, x, step) do
    %{heads: heads, key_value_heads: shared, head_size: size} = attention

    [queries, keys, values] =
      attention
      |> clipped(NN.Layer.call(attention.qkv_proj, x))
      |> Mlx.split([heads * size, (heads + shared) * size], axis: -1)

    {heads(attention, attention.q_norm, queries), heads(attention, attention.k_norm, keys), Heads.split(values, size),
     nil, step}
  end

  defp keys_and_values(%Attention{shares: {:takes, name}}, _x, step) do
    {keys, values} = Map.fetch!(step, name)
    {keys, values, step}
  end

  defp keys_and_values(%Attention{} = attention, x, step) do
    keys = clipped(attention, NN.Layer.call(attention.k_proj, x))
    values = if attention.v_proj, do: clipped(attention, NN.Layer.call(attention.v_proj, x)), else: keys

    case attention.shares do
      {:gives, name} -> {keys, values, Map.put(step, name, {keys, values})}
      nil -> {keys, values, step}
    end
  end

  @doc "Heads of features, normalised where that comes before the rotation."
  @spec heads(Attention.t(), struct() | nil, Array.t()) :: Array.t()
  def heads(%Attention{head_size: size}, nil, x), do: Heads.split(x, size)
  def heads(%Attention{head_size: size, norm_of: :rotated}, _norm, x), do: Heads.split(x, size)
  def heads(%Attention{head_size: size, norm_of: :whole}, norm, x), do: norm |> NN.Layer.call(x) |> Heads.split(size)

  def heads(%Attention{head_size: size}, norm, x) do
    norm |> NN.Layer.call(Heads.apart(x, size)) |> Mlx.swap_axes(1, 2)
  end

  defp without_gate(%Attention{gated: false}, queries), do: {queries, nil}

  defp without_gate(%Attention{head_size: size}, queries) do
    [queries, gate] = queries |> Mlx.unflatten(-1, {-1, 2 * size}) |> Mlx.split(2, axis: -1)
    {Mlx.flatten(queries, axes: -2..-1//1), Mlx.flatten(gate, axes: -2..-1//1)}
  end

  defp clipped(%Attention{clip: nil}, x), do: x
  defp clipped(%Attention{clip: most}, x), do: Mlx.clip(x, -most, most)
end
