defmodule Mlx.LM.Decoder.LoopedAttention do
  @moduledoc """
  Attention of a block through which the stream goes twice. The second time a gate of each head mixes two: attention to the
  keys and values of the first time, and to the last ones of the second:

      g = sigmoid(loop_gate(q))
      y = o_proj(g * attention(q, k and v of the first time) + (1 - g) * attention(q, the last k and v))

  Each time has a cache of its own.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, Fast, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.KeyValueCache
  alias Mlx.LM.Decoder.{Attention, Mask, Parameter}

  @enforce_keys [:attention, :loop_gate, :window, :layer]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  defmodule Gate do
    @moduledoc false
    # One number for each query of a head.

    @derive Mlx.NN.Layer
    @enforce_keys [:weight, :bias]
    defstruct @enforce_keys

    @spec call(struct(), Array.t()) :: Array.t()
    def call(%__MODULE__{weight: weight, bias: bias}, queries) do
      bias = bias |> Mlx.new_axis(-1) |> Mlx.new_axis(-1)
      queries |> Mlx.matmul(Mlx.new_axis(weight, -1)) |> Mlx.add(bias) |> Mlx.sigmoid()
    end
  end

  @doc """
  A mixer with zeros for arrays. Options: `:attention`, the options of `Mlx.LM.Decoder.Attention`; `:window`, how many
  positions a position sees of the second time; and `:layer`, the number of the block.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [attention: [], window: nil, layer: nil]
    [attention, window, layer] = Options.without_stream(options, :"LM.Decoder.LoopedAttention.new", defaults)
    {heads, size} = {attention[:heads], attention[:head_size]}
    gate = %Gate{weight: Parameter.zeros({heads, size}), bias: Parameter.zeros({heads})}
    %__MODULE__{attention: Attention.new(attention), loop_gate: gate, window: window, layer: layer}
  end

  @impl true
  def cache(%__MODULE__{}), do: KeyValueCache.new()

  @impl true
  def call(%__MODULE__{attention: attention} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    start = cache.length
    {queries, keys, values} = Attention.prepared(attention, x, start)
    {keys, values, mask, cache} = KeyValueCache.update(cache, keys, values)
    {y, step} = attend(mixer, queries, {keys, values, mask}, start, step)
    y = y |> Mlx.transpose(axes: [0, 2, 1, 3]) |> Mlx.reshape({batch, length, attention.heads * attention.head_size})
    {NN.Layer.call(attention.o_proj, y), cache, step}
  end

  defp attend(%__MODULE__{layer: layer} = mixer, queries, own, _start, %{loop: 1} = step) do
    first = Map.put(step[:first_keys] || %{}, layer, own)
    {attention(mixer, queries, own), Map.put(step, :first_keys, first)}
  end

  defp attend(%__MODULE__{layer: layer} = mixer, queries, {keys, values, _mask}, start, %{first_keys: first} = step) do
    gate = NN.Layer.call(mixer.loop_gate, queries)
    all = attention(mixer, queries, first[layer])
    last = attention(mixer, queries, {keys, values, Mask.window(mixer.window, start, queries, keys)})
    {Mlx.add(Mlx.multiply(gate, all), Mlx.multiply(Mlx.subtract(1, gate), last)), step}
  end

  defp attention(%__MODULE__{attention: %{scale: scale}}, queries, {keys, values, mask}) do
    Fast.scaled_dot_product_attention(queries, keys, values, scale: scale, mask: mask)
  end

  @impl true
  def join(%__MODULE__{attention: attention} = mixer), do: %{mixer | attention: Attention.join(attention)}
end
