defmodule Mlx.LM.Decoder.ResidualBlock do
  @moduledoc """
  A whole block whose parts read a mean of several sums (`Mlx.LM.Decoder.ResidualStreams`) in place of the stream:

      sum = self_attn(input_layernorm(mean of sums))          in the first block of several: the one before is finished
      sum = sum + self_attn(input_layernorm(mean of sums))    in the others
      sum = sum + mlp(post_attention_layernorm(mean of sums))

  It is a mixer, whose cache is that of its attention.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{Parameter, ResidualStreams}
  alias Mlx.NN

  @enforce_keys [:self_attn, :mlp, :self_attention_res, :mlp_res, :input_layernorm, :post_attention_layernorm, :first]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  A block with zeros for arrays. Options: `:width`, `:norm`, such as `{:rms, 1.0e-6}`, `:attention` and `:feed_forward`, each
  `{module, options}`, and `:first`, whether it is the first one of several.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, norm: nil, attention: nil, feed_forward: nil, first: nil]

    [width, norm, {mixer, attention}, {layer, feed_forward}, first] =
      Options.without_stream(options, :"LM.Decoder.ResidualBlock.new", defaults)

    %__MODULE__{
      self_attn: mixer.new(attention),
      mlp: layer.new(feed_forward),
      self_attention_res: ResidualStreams.new(width: width, norm: norm),
      mlp_res: ResidualStreams.new(width: width, norm: norm),
      input_layernorm: Parameter.norm(norm, width),
      post_attention_layernorm: Parameter.norm(norm, width),
      first: first
    }
  end

  @impl true
  def cache(%__MODULE__{self_attn: %mixer{} = attention}), do: mixer.cache(attention)

  @impl true
  def call(%__MODULE__{self_attn: %mixer{} = attention} = block, [sum | finished] = sums, cache, step) do
    x = NN.Layer.call(block.input_layernorm, ResidualStreams.merge(block.self_attention_res, sums))
    {y, cache, step} = mixer.call(attention, x, cache, step)
    sums = if block.first, do: [y | sums], else: [Mlx.add(sum, y) | finished]
    x = NN.Layer.call(block.post_attention_layernorm, ResidualStreams.merge(block.mlp_res, sums))
    [sum | finished] = sums
    {[Mlx.add(sum, NN.Layer.call(block.mlp, x)) | finished], cache, step}
  end

  @impl true
  def join(%__MODULE__{self_attn: attention, mlp: layer} = block) do
    %{block | self_attn: joined(attention), mlp: joined(layer)}
  end

  defp joined(%module{} = part), do: if(function_exported?(module, :join, 1), do: module.join(part), else: part)
end
