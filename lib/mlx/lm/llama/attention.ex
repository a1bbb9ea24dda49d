defmodule Mlx.LM.Llama.Attention do
  @moduledoc """
  Causal attention with rotary positions, where groups of query heads share one head of keys and values:

      q, k, v = x Wq', x Wk', x Wv'
      y = softmax(rotate(q) rotate(k)' / sqrt(d) + causal mask) v Wo'
  """

  alias Mlx.Array
  alias Mlx.LM.{KeyValueCache, Linear, Weights}
  alias Mlx.LM.Llama.Config

  @enforce_keys [:projection, :output, :heads, :key_value_heads, :head_size, :rope_dimensions, :rope]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          projection: Linear.t(),
          output: Linear.t(),
          heads: pos_integer(),
          key_value_heads: pos_integer(),
          head_size: pos_integer(),
          rope_dimensions: pos_integer(),
          rope: keyword()
        }

  @doc "The attention of the block whose tensors' names start with `block`."
  @spec new(Weights.t(), Config.t(), String.t()) :: t()
  def new(weights, config, block) do
    %__MODULE__{
      projection: Linear.new(weights, for(part <- ~w(q k v), do: "#{block}.attn_#{part}")),
      output: Linear.new(weights, "#{block}.attn_output"),
      heads: config.heads,
      key_value_heads: config.key_value_heads,
      head_size: config.head_size,
      rope_dimensions: config.rope_dimensions,
      rope: rope(weights, config)
    }
  end

  @doc "The outputs for `x` of the shape `{batch, length, width}`, and the cache with their keys and values."
  @spec call(t(), Array.t(), KeyValueCache.t()) :: {Array.t(), KeyValueCache.t()}
  def call(%__MODULE__{heads: heads, key_value_heads: shared} = attention, x, cache) do
    {batch, length, _width} = x.shape

    all =
      attention.projection |> Linear.call(x) |> Mlx.reshape({batch, length, heads + 2 * shared, attention.head_size})

    [rotated, values] = all |> swap() |> Mlx.split([heads + shared], axis: 1)
    [queries, keys] = rotated |> rotate(attention, cache.length) |> Mlx.split([heads], axis: 1)
    {y, cache} = KeyValueCache.attend(cache, queries, keys, values)
    y = y |> swap() |> Mlx.reshape({batch, length, heads * attention.head_size})
    {Linear.call(attention.output, y), cache}
  end

  # {batch, length, heads, features} <-> {batch, heads, length, features}
  defp swap(x), do: Mlx.transpose(x, axes: [0, 2, 1, 3])

  defp rotate(x, attention, offset) do
    Mlx.Fast.rope(x, attention.rope_dimensions, [{:offset, offset} | attention.rope])
  end

  # GGUF files of Llama have the rows of q and k in the order that pairs neighbouring features.
  defp rope(weights, config) do
    [{:traditional, true}, {:scale, config.rope_scale}, frequencies(weights, config)]
  end

  # Llama 3 stretches each wavelength by a factor of its own.
  defp frequencies(weights, config) do
    if Weights.has?(weights, "rope_freqs.weight") do
      exponents = for i <- 0..(config.rope_dimensions - 1)//2, do: config.rope_base ** (i / config.rope_dimensions)
      factors = Mlx.as_type(weights.tensors["rope_freqs.weight"], :f32)
      {:freqs, exponents |> Mlx.array(type: :f32) |> Mlx.multiply(factors) |> Mlx.eval()}
    else
      {:base, config.rope_base}
    end
  end
end
