defmodule Mlx.LM.Encoder.Layer do
  @moduledoc false
  # Attention and a feed-forward unit around the stream of vectors. The normalisations stand after each sum
  #
  #     x = attention_norm(x + attention(x))
  #     x = feed_forward_norm(x + feed_forward(x))
  #
  # or before each unit:
  #
  #     x = x + attention(attention_norm(x))
  #     x = x + feed_forward(feed_forward_norm(x))

  alias Mlx.Array
  alias Mlx.LM.Encoder.{Attention, Config, FeedForward, Parameter}
  alias Mlx.NN.LayerNorm

  @derive {Inspect, only: [:norms]}
  @enforce_keys [:attention, :attention_norm, :feed_forward, :feed_forward_norm, :norms]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          attention: Attention.t(),
          attention_norm: LayerNorm.t() | nil,
          feed_forward: FeedForward.t(),
          feed_forward_norm: LayerNorm.t(),
          norms: :after | :before
        }

  @doc "The layer with this number, with zeros for arrays."
  @spec new(Config.t(), Config.layer(), non_neg_integer()) :: t()
  def new(%Config{} = config, layer, index) do
    norm = Parameter.norm(config.hidden_size, config.norm_eps, config.norm_bias)

    %__MODULE__{
      attention: Attention.new(config, layer),
      attention_norm: if(config.first_norm or index > 0, do: norm),
      feed_forward: FeedForward.new(config),
      feed_forward_norm: norm,
      norms: config.norms
    }
  end

  @doc "The outputs for `x`, `{batch, length, width}`, of which the first `lengths`, `{batch}`, are tokens."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{norms: :after} = layer, x, lengths) do
    x = x |> Mlx.add(Attention.call(layer.attention, x, lengths)) |> norm(layer.attention_norm)
    x |> Mlx.add(FeedForward.call(layer.feed_forward, x)) |> norm(layer.feed_forward_norm)
  end

  def call(%__MODULE__{norms: :before} = layer, x, lengths) do
    x = Mlx.add(x, Attention.call(layer.attention, norm(x, layer.attention_norm), lengths))
    Mlx.add(x, FeedForward.call(layer.feed_forward, norm(x, layer.feed_forward_norm)))
  end

  defp norm(x, nil), do: x
  defp norm(x, layer), do: LayerNorm.call(layer, x)
end
