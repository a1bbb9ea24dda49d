defmodule Mlx.LM.Decoder.Attention do
  @moduledoc """
  Causal attention, in which groups of query heads share one head of keys and values:

      q, k, v = q_proj(x), k_proj(x), v_proj(x)
      y = o_proj(softmax(scale * rotate(q) rotate(k)' + causal mask) v)

  The matrices of q, k and v are in `qkv_proj` in place of the three when they are joined, in a file or by `join/1`. Then
  `join/1` puts the weights of `q_norm` and `k_norm` into `qk_norm`, so that queries and keys are normalised and rotated as
  one.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.{CachePair, KeyValueCache, QuantizedCache, RotatingCache, StateCache}

  alias Mlx.LM.Decoder.Attention.{Heads, OutputGate, Projections}

  alias Mlx.LM.Decoder.{
    BlockIndexer,
    CappedAttention,
    HeadRMSNorm,
    Joined,
    KeyMixture,
    KeyRounding,
    Mask,
    Parameter,
    RoPE,
    Temperature
  }

  @options [
    width: nil,
    heads: nil,
    key_value_heads: nil,
    head_size: nil,
    bias: false,
    output_bias: false,
    joined: false,
    norm: nil,
    norm_of: :heads,
    head_gain: false,
    rope: nil,
    scale: nil,
    soft_cap: nil,
    window: nil,
    chunk: nil,
    sinks: false,
    gated: false,
    temperature: nil,
    value_norm: nil,
    value_size: nil,
    value_scale: nil,
    output_norm: nil,
    head_output_norm: nil,
    gate: nil,
    clip: nil,
    values: :own,
    gives: nil,
    takes: nil,
    shares: nil,
    sharing: :neighbours,
    blocks: nil,
    mixture: false,
    indexer: nil,
    rounded: false
  ]

  @constants [
    :heads,
    :key_value_heads,
    :head_size,
    :norm_of,
    :rope,
    :scale,
    :soft_cap,
    :window,
    :chunk,
    :gated,
    :temperature,
    :value_norm,
    :value_size,
    :value_scale,
    :head_output_norm,
    :gate,
    :clip,
    :gives,
    :takes,
    :shares,
    :sharing,
    :blocks
  ]

  defstruct [
              :q_proj,
              :k_proj,
              :v_proj,
              :qkv_proj,
              :g_proj,
              :o_proj,
              :q_norm,
              :k_norm,
              :qk_norm,
              :o_norm,
              :sinks,
              :mixture,
              :indexer,
              :rounding
            ] ++
              @constants

  @type t :: %__MODULE__{}

  @doc """
  Attention with zeros for arrays.

  Options:

    * `:width`, `:heads`, `:key_value_heads`, `:head_size` - sizes
    * `:bias`, `:output_bias` - whether q, k and v, and the output, have biases; default false
    * `:joined` - whether a file holds q, k and v as one matrix, default false
    * `:norm` - the normalisation of queries and keys, such as `{:rms, 1.0e-6}`, default `nil`
    * `:norm_of` - what it normalises: `:heads`, each of them; `:whole`, all of them together; `:each`, each with a weight
      of its own; or `:rotated`, each after the rotation
    * `:head_gain` - whether each head of queries has a learned factor, with a `:norm` that has no weight after the
      rotation; default false
    * `:rope` - an `Mlx.LM.Decoder.RoPE`, or `nil` for no rotation
    * `:scale` - of the scores, default `1 / sqrt(head_size)`
    * `:soft_cap` - scores become `cap * tanh(score / cap)`, default `nil`
    * `:window` - how many positions a position sees, default `nil` for all before it
    * `:chunk` - of how many positions a chunk is, of which a position sees its own alone, default `nil`
    * `:sinks` - whether each head has a score that takes attention from all positions, default false
    * `:gated` - whether `q_proj` gives for each head a gate beside the query, default false
    * `:temperature` - `{beta, length}`: queries grow by `1 + beta log(1 + floor(position / length))`, default `nil`
    * `:value_norm` - the epsilon of a normalisation of the heads of values, which has no weight, default `nil`
    * `:value_size`, `:value_scale` - the features of a head of values, default `:head_size`; and a factor of values,
      default `nil`
    * `:output_norm` - a normalisation before `o_proj`, such as `{:rms, 1.0e-6}`, default `nil`
    * `:head_output_norm` - the epsilon of a normalisation of the heads of outputs before the gate, which has no weight,
      default `nil`
    * `:gate` - a gate of the outputs that `g_proj` gives: `{:heads, activation}`, one number for each head, or
      `{:features, activation}`, one for each feature, where the activation is `:sigmoid` or `:softplus`; default `nil`
    * `:clip` - a bound of queries, keys and values before everything else, default `nil`
    * `:values` - where they come from: `:own`, a matrix of their own (default), or `:keys`, the matrix of the keys
    * `:gives`, `:takes` - a name under which later layers find the keys and values of this one, or under which this one,
      which then has no matrices for them, finds those of an earlier one; default `nil`
    * `:shares` - the same for what the matrices of keys and values give, before it is normalised and rotated: `{:gives,
      name}` or `{:takes, name}`; each of these layers has a cache of its own. Default `nil`
    * `:sharing` - which heads of queries share a head of keys: `:neighbours` (default), or `:apart`, each of which is as
      many heads from the next as there are heads of keys
    * `:blocks` - `{size, near, stride}`: positions see the blocks of so many positions that are the `near` last ones, and
      head number n, from 1, those of which number plus n is a multiple of the stride; default `nil` for all
    * `:indexer` - options of `Mlx.LM.Decoder.BlockIndexer`, which chooses what is seen; default `nil` for everything
    * `:rounded` - whether keys and values are rounded to 8 bits, by learned steps, default false
    * `:mixture` - whether keys and values are mixed with those of the position before, default false
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    options = options |> Options.complete(:"LM.Decoder.Attention.new", @options) |> Map.new()
    %{width: width, heads: heads, key_value_heads: shared, head_size: size} = options
    values = options.value_size || size
    queries = if options.gated, do: 2 * heads * size, else: heads * size

    inputs =
      if options.joined do
        [qkv_proj: Parameter.linear(width, (heads + 2 * shared) * size, options.bias)]
      else
        for {name, outputs} <- [q_proj: queries, k_proj: shared * size, v_proj: shared * values], has?(options, name) do
          {name, Parameter.linear(width, outputs, options.bias)}
        end
      end

    layers = [
      o_proj: Parameter.linear(heads * values, width, options.output_bias),
      q_norm: if(options.head_gain, do: head_gain(options), else: norm(options, heads)),
      k_norm: if(options.takes == nil, do: norm(options, shared)),
      sinks: if(options.sinks, do: Mlx.zeros({heads})),
      g_proj: g_proj(options),
      mixture: if(options.mixture, do: KeyMixture.new(shared)),
      rounding: if(options.rounded, do: KeyRounding.new()),
      indexer: options.indexer && BlockIndexer.new(options.indexer),
      o_norm: options.output_norm && Parameter.norm(options.output_norm, heads * values)
    ]

    constants = Map.take(%{options | scale: options.scale || 1 / :math.sqrt(size), value_size: values}, @constants)
    __MODULE__ |> struct!(inputs ++ layers) |> struct!(constants)
  end

  defp g_proj(%{gate: nil}), do: nil
  defp g_proj(%{gate: {:heads, _activation}} = options), do: Parameter.linear(options.width, options.heads)

  defp g_proj(%{gate: {:features, _activation}} = options) do
    Parameter.linear(options.width, options.heads * options.head_size)
  end

  defp has?(_options, :q_proj), do: true
  defp has?(%{shares: {:takes, _from}}, _name), do: false
  defp has?(%{takes: nil, values: values}, name), do: name == :k_proj or values == :own
  defp has?(_options, _name), do: false

  defp head_gain(%{norm: norm, heads: heads, head_size: size}), do: Parameter.head_norm(norm, heads, size)

  defp norm(%{norm: nil}, _heads), do: nil
  defp norm(%{norm_of: :whole} = options, heads), do: Parameter.norm(options.norm, heads * options.head_size)
  defp norm(%{norm_of: :each} = options, heads), do: Parameter.head_norm(options.norm, heads, options.head_size)
  defp norm(options, _heads), do: Parameter.norm(options.norm, options.head_size)

  @impl true
  def cache(%__MODULE__{takes: name}) when name != nil, do: nil

  def cache(%__MODULE__{mixture: %KeyMixture{}} = attention) do
    CachePair.new(StateCache.new(), cache(%{attention | mixture: nil}))
  end

  def cache(%__MODULE__{indexer: %BlockIndexer{}} = attention) do
    CachePair.new(KeyValueCache.new(), cache(%{attention | indexer: nil}))
  end

  def cache(%__MODULE__{window: nil}), do: KeyValueCache.new()
  def cache(%__MODULE__{window: window}), do: RotatingCache.new(window)

  @impl true
  def call(%__MODULE__{takes: name} = attention, x, nil, step) when name != nil do
    {keys, values, mask, start} = Map.fetch!(step, name)

    queries =
      rotate(attention, Projections.heads(attention, attention.q_norm, NN.Layer.call(attention.q_proj, x)), start)

    queries = if attention.norm_of == :rotated, do: NN.Layer.call(attention.q_norm, queries), else: queries
    y = attention |> output(queries, keys, values, mask) |> Heads.merge(x)
    {NN.Layer.call(attention.o_proj, y), nil, step}
  end

  def call(%__MODULE__{mixture: %KeyMixture{}} = attention, x, %CachePair{first: state, second: cache} = pair, step) do
    {y, cache, step} = call(attention, x, cache, Map.put(step, :mixture, state))
    {state, step} = Map.pop!(step, :mixture)
    {y, CachePair.put(pair, state, cache), step}
  end

  def call(%__MODULE__{indexer: %BlockIndexer{} = indexer} = attention, x, %CachePair{} = pair, step) do
    {mask, first} = BlockIndexer.call(indexer, x, pair.first)
    {y, second, step} = call(attention, x, pair.second, Map.put(step, :seen, by_heads(mask, attention.heads)))
    {y, CachePair.put(pair, first, second), Map.delete(step, :seen)}
  end

  def call(%__MODULE__{} = attention, x, cache, step) do
    {queries, keys, values, gate, step} = Projections.call(attention, x, step)
    {keys, values, step} = mixed(attention.mixture, keys, values, step)
    {queries, keys} = rotated(attention, queries, keys, cache.length)
    queries = Temperature.call(attention.temperature, queries, cache.length)
    {keys, values} = KeyRounding.call(attention.rounding, keys, value_norm(attention, values))
    {y, cache, step} = attend(attention, queries, keys, values, cache, step)
    y = if eps = attention.head_output_norm, do: Fast.rms_norm(y, nil, eps: eps), else: y
    y = OutputGate.call(attention, Heads.merge(y, x), gate, x)
    y = if attention.o_norm, do: NN.Layer.call(attention.o_norm, y), else: y
    {NN.Layer.call(attention.o_proj, y), cache, step}
  end

  defp by_heads(%Array{shape: {_, heads, _, _}} = mask, all), do: Mlx.repeat(mask, div(all, heads), axis: 1)
  defp by_heads(mask, _heads), do: mask

  @doc false
  # Rotated queries and keys, and values.
  @spec prepared(t(), Array.t(), non_neg_integer() | Array.t()) :: {Array.t(), Array.t(), Array.t()}
  def prepared(%__MODULE__{} = attention, x, start) do
    {queries, keys, values, nil, _step} = Projections.call(attention, x, %{})
    {queries, keys} = rotated(attention, queries, keys, start)
    {queries, keys, values}
  end

  defp mixed(nil, keys, values, step), do: {keys, values, step}

  defp mixed(mixture, keys, values, step) do
    {keys, values, state} = KeyMixture.call(mixture, keys, values, step.mixture)
    {keys, values, %{step | mixture: state}}
  end

  defp value_norm(%__MODULE__{value_norm: nil, value_scale: nil}, values), do: values
  defp value_norm(%__MODULE__{value_norm: nil, value_scale: scale}, values), do: Mlx.multiply(values, scale)
  defp value_norm(%__MODULE__{value_norm: eps}, values), do: Fast.rms_norm(values, nil, eps: eps)

  defp rotated(%__MODULE__{heads: heads} = attention, {:together, both}, nil, offset) do
    [queries, keys] = attention |> rotate(both, offset) |> Mlx.split([heads], axis: 1)
    {queries, keys}
  end

  defp rotated(%__MODULE__{norm_of: :rotated, q_norm: %{}} = attention, queries, keys, offset) do
    {NN.Layer.call(attention.q_norm, rotate(attention, queries, offset)),
     NN.Layer.call(attention.k_norm, rotate(attention, keys, offset))}
  end

  defp rotated(attention, queries, keys, offset) do
    {rotate(attention, queries, offset), rotate(attention, keys, offset)}
  end

  defp rotate(%__MODULE__{rope: nil}, x, _offset), do: x
  defp rotate(%__MODULE__{rope: rope}, x, offset), do: RoPE.call(rope, x, offset)

  defp attend(%__MODULE__{sharing: :apart, key_value_heads: shared} = attention, queries, keys, values, cache, step) do
    attention = %{attention | sharing: :neighbours}
    {y, cache, step} = attend(attention, turned(queries, shared), keys, values, cache, step)
    {turned(y, div(attention.heads, shared)), cache, step}
  end

  defp attend(
         %__MODULE__{
           soft_cap: nil,
           sinks: nil,
           gives: nil,
           chunk: nil,
           blocks: nil,
           indexer: nil,
           head_size: size,
           value_size: size
         } = attention,
         queries,
         keys,
         values,
         %kind{} = cache,
         step
       )
       when kind in [KeyValueCache, QuantizedCache] do
    {y, cache} = kind.attend(cache, queries, keys, values, scale: attention.scale)
    {y, cache, step}
  end

  defp attend(attention, queries, keys, values, %kind{length: start} = cache, step) do
    {keys, values, mask, cache} = kind.update(cache, keys, values)
    mask = mask(attention, Map.get(step, :seen, mask), start, queries, keys)
    step = if attention.gives, do: Map.put(step, attention.gives, {keys, values, mask, start}), else: step
    {output(attention, queries, keys, values, mask), cache, step}
  end

  # Rows of so many heads become columns.
  defp turned(%Array{shape: {batch, heads, length, size}} = x, columns) do
    x
    |> Mlx.reshape({batch, div(heads, columns), columns, length, size})
    |> Mlx.swap_axes(1, 2)
    |> Mlx.reshape({batch, heads, length, size})
  end

  defp mask(%__MODULE__{chunk: nil, blocks: nil}, mask, _start, _queries, _keys), do: mask

  defp mask(%__MODULE__{blocks: nil, chunk: chunk}, _mask, start, queries, keys),
    do: Mask.chunk(chunk, start, queries, keys)

  defp mask(%__MODULE__{blocks: blocks}, _mask, start, queries, keys), do: Mask.blocks(blocks, start, queries, keys)

  defp output(attention, queries, keys, values, mask) do
    options = [scale: attention.scale, mask: mask, sinks: attention.sinks]

    case attention.soft_cap do
      nil -> Fast.scaled_dot_product_attention(queries, keys, values, options)
      cap -> CappedAttention.call(queries, keys, values, mask, attention.scale, cap)
    end
  end

  @impl true
  def join(
        %__MODULE__{qkv_proj: nil, gated: false, shares: nil, v_proj: %{}, head_size: size, value_size: size} =
          attention
      ) do
    case Joined.linear([attention.q_proj, attention.k_proj, attention.v_proj]) do
      nil -> attention
      joined -> joined_norms(%{attention | q_proj: nil, k_proj: nil, v_proj: nil, qkv_proj: joined})
    end
  end

  def join(%__MODULE__{qkv_proj: %{}} = attention), do: joined_norms(attention)
  def join(attention), do: attention

  defp joined_norms(%__MODULE__{norm_of: norm_of, q_norm: %{} = q_norm, k_norm: %{} = k_norm, mixture: nil} = attention)
       when norm_of in [:heads, :each] do
    case HeadRMSNorm.joined([{q_norm, attention.heads}, {k_norm, attention.key_value_heads}]) do
      nil -> attention
      joined -> %{attention | q_norm: nil, k_norm: nil, qk_norm: joined}
    end
  end

  defp joined_norms(attention), do: attention
end
