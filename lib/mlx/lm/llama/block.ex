defmodule Mlx.LM.Llama.Block do
  @moduledoc """
  One block of the model: attention and a feed-forward unit, each on the normalised residual stream:

      x = x + attention(norm(x))
      x = x + feed_forward(norm(x))
  """

  alias Mlx.Array
  alias Mlx.LM.{KeyValueCache, Norm, Weights}
  alias Mlx.LM.Llama.{Attention, Config, FeedForward}

  @enforce_keys [:attention_norm, :attention, :feed_forward_norm, :feed_forward]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          attention_norm: Norm.t(),
          attention: Attention.t(),
          feed_forward_norm: Norm.t(),
          feed_forward: FeedForward.t()
        }

  @doc "The block with the number `index`."
  @spec new(Weights.t(), Config.t(), non_neg_integer()) :: t()
  def new(weights, config, index) do
    name = "blk.#{index}"

    %__MODULE__{
      attention_norm: Norm.new(weights, "#{name}.attn_norm", config.norm_eps),
      attention: Attention.new(weights, config, name),
      feed_forward_norm: Norm.new(weights, "#{name}.ffn_norm", config.norm_eps),
      feed_forward: FeedForward.new(weights, name)
    }
  end

  @doc "The outputs for `x` of the shape `{batch, length, width}`, and the cache with their keys and values."
  @spec call(t(), Array.t(), KeyValueCache.t()) :: {Array.t(), KeyValueCache.t()}
  def call(%__MODULE__{} = block, x, cache) do
    {y, cache} = Attention.call(block.attention, Norm.call(block.attention_norm, x), cache)
    x = Mlx.add(x, y)
    {Mlx.add(x, FeedForward.call(block.feed_forward, Norm.call(block.feed_forward_norm, x))), cache}
  end
end
