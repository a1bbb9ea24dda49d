defmodule Mlx.LM.Decoder.LatentAttention do
  @moduledoc """
  Causal attention whose cache holds, for each position, one latent vector and one rotated key for all heads (MLA):

      q, q' = q_b_proj(q_a_layernorm(q_a_proj(x))) by heads          (or q_proj(x))
      c, k' = kv_a_proj_with_mqa(x);   c = kv_a_layernorm(c)
      score = scale * (q . K_h c + rotate(q') . rotate(k'))
      y     = o_proj(softmax(score + causal mask) (V_h c))           with matrices K_h and V_h of each head

  A prompt is read with the keys `K_h c` and values `V_h c` of all positions. For one token the matrices go to the other
  side, `(transposed K_h) q . c`, so that the keys and values are the latent vectors themselves.

  The matrices are in `embed_q`, the transposed `K_h`, and `unembed_out`, as mlx-lm's files have them; or, where a file has
  `kv_b_proj` with both and the option `:keys` is `:k_b_proj`, the `K_h` are in `k_b_proj`, packed as they were.

  With an `indexer`, a position sees the best of the positions before it only (`Mlx.LM.Decoder.Indexer`), whose keys lie in
  the cache beside the rotated ones.

  Sources: DeepSeek-AI, "DeepSeek-V2" (2024), section 2.1; "DeepSeek-V3.2" (2025), section 2.1.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.KeyValueCache
  alias Mlx.LM.Decoder.{HeadLinear, Indexer, Mask, Parameter, RoPE, Temperature}

  @options [
    width: nil,
    heads: nil,
    plain_size: nil,
    rotated_size: nil,
    value_size: nil,
    latent: nil,
    query_latent: nil,
    bias: false,
    eps: 1.0e-6,
    rope: nil,
    scale: nil,
    keys: :embed_q,
    latent_scale: nil,
    temperature: nil,
    indexer: nil,
    gate: nil
  ]

  @constants [
    :heads,
    :plain_size,
    :rotated_size,
    :value_size,
    :latent,
    :rope,
    :scale,
    :latent_scale,
    :temperature,
    :gate
  ]

  defstruct [
              :q_proj,
              :q_a_proj,
              :q_a_layernorm,
              :q_b_proj,
              :kv_a_proj_with_mqa,
              :kv_a_layernorm,
              :embed_q,
              :k_b_proj,
              :unembed_out,
              :o_proj,
              :indexer,
              :g_proj
            ] ++ @constants

  @type t :: %__MODULE__{}

  @doc """
  Attention with zeros for arrays.

  Options:

    * `:width`, `:heads` - sizes
    * `:plain_size`, `:rotated_size`, `:value_size` - the features of a head of queries that are not rotated and that are,
      and those of a value
    * `:latent`, `:query_latent` - the sizes of the latent vectors of keys and values, and of queries; `nil`, the default
      of the second, for queries without
    * `:bias` - whether the first matrices and the output have biases, default false
    * `:eps` - of the normalisations, default 1.0e-6
    * `:rope` - an `Mlx.LM.Decoder.RoPE`, or `nil` for no rotation
    * `:scale` - of the scores, default `1 / sqrt(plain_size + rotated_size)`
    * `:keys` - where the matrices of keys are: `:embed_q` (default) or `:k_b_proj`
    * `:latent_scale` - a factor of the latent vectors, default `nil`
    * `:temperature` - as that of `Mlx.LM.Decoder.Attention`
    * `:gate` - what a gate of the outputs has a number for: `:heads`, `:features`, or `nil` for none, the default
    * `:indexer` - options of `Mlx.LM.Decoder.Indexer`, default `nil`
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.LatentAttention.new", @options) |> Map.new()
    %{width: width, heads: heads, plain_size: plain, rotated_size: rotated, latent: latent, bias: bias} = options

    layers = [
      kv_a_proj_with_mqa: Parameter.linear(width, latent + rotated, bias),
      kv_a_layernorm: Parameter.norm({:rms, options.eps}, latent),
      unembed_out: HeadLinear.new(heads, latent, options.value_size),
      o_proj: Parameter.linear(heads * options.value_size, width, bias),
      g_proj: options.gate && Parameter.linear(width, gates(options)),
      indexer: options.indexer && Indexer.new(options.indexer)
    ]

    constants = Map.take(%{options | scale: options.scale || 1 / :math.sqrt(plain + rotated)}, @constants)
    __MODULE__ |> struct!(queries(options) ++ keys(options) ++ layers) |> struct!(constants)
  end

  defp gates(%{gate: :heads, heads: heads}), do: heads
  defp gates(%{gate: :features, heads: heads, value_size: size}), do: heads * size

  defp queries(%{query_latent: nil} = options), do: [q_proj: Parameter.linear(options.width, query_features(options))]

  defp queries(%{query_latent: latent} = options) do
    [
      q_a_proj: Parameter.linear(options.width, latent, options.bias),
      q_a_layernorm: Parameter.norm({:rms, options.eps}, latent),
      q_b_proj: Parameter.linear(latent, query_features(options))
    ]
  end

  defp query_features(options), do: options.heads * (options.plain_size + options.rotated_size)

  defp keys(%{keys: :embed_q} = options) do
    [embed_q: HeadLinear.new(options.heads, options.plain_size, options.latent)]
  end

  defp keys(%{keys: :k_b_proj} = options) do
    [k_b_proj: HeadLinear.new(options.heads, options.latent, options.plain_size)]
  end

  @impl true
  def cache(%__MODULE__{}), do: KeyValueCache.new()

  @impl true
  def call(%__MODULE__{} = attention, %Array{shape: {batch, length, _width}} = x, cache, step) do
    %{heads: heads, plain_size: plain, rotated_size: rotated, rope: rope} = attention
    start = cache.length
    low = query_latent(attention, x)
    [queries, turned] = attention |> queries(low) |> by_heads(heads) |> Mlx.split([plain], axis: -1)
    queries = Temperature.call(attention.temperature, queries, start)
    turned = Temperature.call(attention.temperature, rotated(rope, turned, start), start)
    [latent, key] = attention.kv_a_proj_with_mqa |> NN.Layer.call(x) |> Mlx.split([attention.latent], axis: -1)
    latent = attention.kv_a_layernorm |> NN.Layer.call(latent) |> Mlx.new_axis(1) |> scaled(attention.latent_scale)
    key = rotated(rope, Mlx.reshape(key, {batch, 1, length, rotated}), start)
    {latent, key, mask, cache} = seen(attention, {x, low}, latent, key, cache)
    y = attend(attention, {queries, turned}, latent, key, mask)

    y =
      attention
      |> gated(Mlx.transpose(y, axes: [0, 2, 1, 3]), x)
      |> Mlx.reshape({batch, length, heads * attention.value_size})

    {NN.Layer.call(attention.o_proj, y), cache, step}
  end

  defp gated(%__MODULE__{g_proj: nil}, y, _x), do: y

  # {batch, length, heads, 1 or features}.
  defp gated(%__MODULE__{g_proj: layer, heads: heads}, %Array{shape: {batch, length, heads, _size}} = y, x) do
    gate = layer |> NN.Layer.call(x) |> Mlx.as_type(:f32) |> Mlx.sigmoid() |> Mlx.as_type(y.type)
    Mlx.multiply(y, Mlx.reshape(gate, {batch, length, heads, :auto}))
  end

  defp rotated(nil, x, _start), do: x
  defp rotated(rope, x, start), do: RoPE.call(rope, x, start)

  # What queries are made of.
  defp query_latent(%__MODULE__{q_proj: nil} = attention, x) do
    NN.Layer.call(attention.q_a_layernorm, NN.Layer.call(attention.q_a_proj, x))
  end

  defp query_latent(%__MODULE__{}, x), do: x

  defp queries(%__MODULE__{q_proj: nil, q_b_proj: layer}, low), do: NN.Layer.call(layer, low)
  defp queries(%__MODULE__{q_proj: layer}, x), do: NN.Layer.call(layer, x)

  # The latent vectors and rotated keys that the queries see, and who sees whom.
  defp seen(%__MODULE__{indexer: nil}, _inputs, latent, key, %kind{} = cache), do: kind.update(cache, latent, key)

  defp seen(%__MODULE__{indexer: indexer, rotated_size: rotated}, {x, low}, latent, key, cache) do
    own = Indexer.key(indexer, x, cache.length)
    start = cache.length
    {latent, both, mask, cache} = KeyValueCache.update(cache, latent, Mlx.concatenate([key, own], axis: -1))
    [key, all] = Mlx.split(both, [rotated], axis: -1)
    {latent, key, mask} = Indexer.choose(indexer, {x, low, start}, all, {latent, key, mask})
    {latent, key, mask, cache}
  end

  defp by_heads(%Array{shape: {batch, length, features}} = x, heads) do
    x |> Mlx.reshape({batch, length, heads, div(features, heads)}) |> Mlx.transpose(axes: [0, 2, 1, 3])
  end

  # One position: what the rotated parts give is added as a mask, so that nothing as long as the cache is copied.
  defp attend(attention, {%Array{shape: {_, _, 1, _}} = queries, turned}, latent, key, mask) do
    scores = turned |> Mlx.multiply(attention.scale) |> Mlx.matmul(Mlx.matrix_transpose(key)) |> Mask.apply(mask)
    options = [scale: attention.scale, mask: scores]
    y = Fast.scaled_dot_product_attention(into_latent(attention, queries), latent, latent, options)
    HeadLinear.call(attention.unembed_out, y)
  end

  defp attend(%__MODULE__{heads: heads} = attention, {queries, turned}, latent, key, mask) do
    %Array{shape: {batch, 1, count, rotated}} = key
    key = Mlx.broadcast(key, {batch, heads, count, rotated})
    keys = Mlx.concatenate([out_of_latent(attention, latent), key], axis: -1)
    queries = Mlx.concatenate([queries, turned], axis: -1)
    values = HeadLinear.call(attention.unembed_out, latent)
    Fast.scaled_dot_product_attention(queries, keys, values, scale: attention.scale, mask: mask)
  end

  defp into_latent(%__MODULE__{embed_q: nil, k_b_proj: layer}, queries), do: HeadLinear.back(layer, queries)
  defp into_latent(%__MODULE__{embed_q: layer}, queries), do: HeadLinear.call(layer, queries)

  defp out_of_latent(%__MODULE__{embed_q: nil, k_b_proj: layer}, latent), do: HeadLinear.call(layer, latent)
  defp out_of_latent(%__MODULE__{embed_q: layer}, latent), do: HeadLinear.back(layer, latent)

  defp scaled(latent, nil), do: latent
  defp scaled(latent, scale), do: Mlx.multiply(latent, scale)
end
