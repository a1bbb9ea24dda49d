defmodule Mlx.LM.Decoder.ConvolvedGate do
  @moduledoc """
  Values that a gate of queries and keys lets through, position by position, where keys and values are convolved over a few
  positions; groups of query heads share one head of both:

      y = o_proj(sigmoid(q_norm(q_proj(x)) * key_conv(k_norm(k_proj(x)))) * value_conv(v_proj(x)))

  Its cache keeps the last inputs of the convolutions.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.StateCache
  alias Mlx.LM.Decoder.{Parameter, TimeConvolution}

  @enforce_keys [:q_proj, :k_proj, :v_proj, :o_proj, :q_norm, :k_norm, :key_conv, :value_conv] ++
                  [:heads, :key_value_heads, :head_size]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  A mixer with zeros for arrays. Options: `:width`, `:heads`, `:key_value_heads` and `:head_size`; `:kernel`, how many
  positions the convolutions see; `:norm`, such as `{:rms, 1.0e-6}`; and `:bias`, whether all layers but the normalisations
  have biases, default false.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, heads: nil, key_value_heads: nil, head_size: nil, kernel: nil, norm: nil, bias: false]

    [width, heads, shared, size, kernel, norm, bias] =
      Options.without_stream(options, :"LM.Decoder.ConvolvedGate.new", defaults)

    %__MODULE__{
      q_proj: Parameter.linear(width, heads * size, bias),
      k_proj: Parameter.linear(width, shared * size, bias),
      v_proj: Parameter.linear(width, shared * size, bias),
      o_proj: Parameter.linear(heads * size, width, bias),
      q_norm: Parameter.norm(norm, size),
      k_norm: Parameter.norm(norm, size),
      key_conv: TimeConvolution.new(shared * size, kernel, bias),
      value_conv: TimeConvolution.new(shared * size, kernel, bias),
      heads: heads,
      key_value_heads: shared,
      head_size: size
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{} = mixer, %Array{shape: {batch, length, _width}} = x, cache, step) do
    %{heads: heads, key_value_heads: shared, head_size: size} = mixer
    {of_keys, of_values} = cache.state || {nil, nil}
    queries = NN.Layer.call(mixer.q_norm, Mlx.reshape(NN.Layer.call(mixer.q_proj, x), {batch, length, heads, size}))
    keys = NN.Layer.call(mixer.k_norm, Mlx.reshape(NN.Layer.call(mixer.k_proj, x), {batch, length, shared, size}))
    keys = Mlx.reshape(keys, {batch, length, shared * size})
    {keys, of_keys} = TimeConvolution.call(mixer.key_conv, keys, of_keys)
    {values, of_values} = TimeConvolution.call(mixer.value_conv, NN.Layer.call(mixer.v_proj, x), of_values)
    queries = Mlx.reshape(queries, {batch, length, shared, div(heads, shared), size})
    [keys, values] = for part <- [keys, values], do: Mlx.reshape(part, {batch, length, shared, 1, size})
    y = Mlx.multiply(Mlx.sigmoid(Mlx.multiply(queries, keys)), values)
    y = NN.Layer.call(mixer.o_proj, Mlx.reshape(y, {batch, length, heads * size}))
    {y, StateCache.put(cache, {of_keys, of_values}, length), step}
  end
end
