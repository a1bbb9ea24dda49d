defmodule Mlx.LM.Decoder.HyperBlock do
  @moduledoc """
  A whole block of DeepSeek V4, whose stream is several ones (`Mlx.LM.Decoder.HyperStreams`): attention and a layer of
  experts, each of which takes of the streams and gives to them by a connection of its own
  (`Mlx.LM.Decoder.HyperConnection`). It is a mixer, whose cache is that of its attention.

  In DeepSeek V4.1 a part takes by the connection of the part before it (`Mlx.LM.Decoder.DelayedStreams`).
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.{CompressedAttention, Experts, HyperConnection, Parameter}
  alias Mlx.NN

  @enforce_keys [:attn_hc, :ffn_hc, :input_layernorm, :post_attention_layernorm, :self_attn, :mlp, :delayed]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  A block with zeros for arrays. Options: `:width`, `:norm`, such as `{:rms, 1.0e-6}`, the options of its parts,
  `:connection`, `:attention` and `:experts`, and `:delayed`, whether parts take by the connection before, default false.
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, norm: nil, connection: [], attention: [], experts: [], delayed: false]

    [width, norm, connection, attention, experts, delayed] =
      Options.without_stream(options, :"LM.Decoder.HyperBlock.new", defaults)

    %__MODULE__{
      attn_hc: HyperConnection.new(connection),
      ffn_hc: HyperConnection.new(connection),
      input_layernorm: Parameter.norm(norm, width),
      post_attention_layernorm: Parameter.norm(norm, width),
      self_attn: CompressedAttention.new(attention),
      mlp: Experts.new(experts),
      delayed: delayed
    }
  end

  @impl true
  def cache(%__MODULE__{self_attn: attention}), do: CompressedAttention.cache(attention)

  @impl true
  def call(%__MODULE__{delayed: true} = block, [streams, factors], cache, step) do
    {next, back} = HyperConnection.factors(block.attn_hc, streams)
    {y, cache, step} = attended(block, HyperConnection.collapsed(factors, streams), cache, step)
    streams = HyperConnection.give(back, y, streams)
    {factors, back} = HyperConnection.factors(block.ffn_hc, streams)
    y = fed(block, HyperConnection.collapsed(next, streams), step)
    {[HyperConnection.give(back, y, streams), factors], cache, step}
  end

  def call(%__MODULE__{} = block, streams, cache, step) do
    {x, back} = HyperConnection.take(block.attn_hc, streams)
    {y, cache, step} = attended(block, x, cache, step)
    streams = HyperConnection.give(back, y, streams)
    {x, back} = HyperConnection.take(block.ffn_hc, streams)
    {HyperConnection.give(back, fed(block, x, step), streams), cache, step}
  end

  defp attended(block, x, cache, step) do
    CompressedAttention.call(block.self_attn, NN.Layer.call(block.input_layernorm, x), cache, step)
  end

  defp fed(block, x, step), do: Experts.call(block.mlp, NN.Layer.call(block.post_attention_layernorm, x), step.ids)

  @impl true
  def join(%__MODULE__{mlp: experts} = block), do: %{block | mlp: Experts.join(experts)}
end
