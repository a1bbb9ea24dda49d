defmodule Mlx.LM.Families.LFM2 do
  @moduledoc false
  # Short convolutions in most layers, and attention with normalised heads in the others.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Config, ShortConvolution}
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @theta 1_000_000.0

  @impl true
  def config(fields), do: config(fields, feed_forward: [hidden: hidden(fields), bias: false])

  @doc "The configuration with these feed-forward layers."
  @spec config(Fields.t(), keyword()) :: Config.t()
  def config(fields, different) do
    eps = Fields.positive(fields, "norm_eps")
    {block, different} = Keyword.pop(different, :block, fn _layer -> [] end)
    attention? = attention?(fields)
    convolution = [mixers: [conv: {ShortConvolution, convolution(fields)}]]

    Plain.config(
      fields,
      [
        norm: {:rms, eps},
        tied: true,
        attention: [norm: {:rms, eps}, bias: false, output_bias: false, rope: rope(fields)],
        block: &(block.(&1) ++ if(attention?.(&1), do: [], else: convolution))
      ] ++ different
    )
  end

  defp rope(fields) do
    theta = Rope.theta(fields, @theta)
    Rope.read(fields, Plain.head_size(fields), base: theta, traditional: false, scaling: false)
  end

  defp convolution(fields) do
    [
      width: Fields.size(fields, "hidden_size"),
      kernel: Fields.size(fields, "conv_L_cache"),
      bias: Fields.flag(fields, "conv_bias", false)
    ]
  end

  # Whether a layer has attention.
  defp attention?(fields) do
    case Map.get(fields.map, "full_attn_idxs") do
      nil ->
        kinds = Plain.layer_types(fields, ["full_attention", "conv"])
        &(Enum.at(kinds, &1) == "full_attention")

      layers when is_list(layers) ->
        &(&1 in layers)

      _other ->
        Fields.refuse(fields, "full_attn_idxs", "a list of the numbers of layers")
    end
  end

  defp hidden(fields) do
    hidden = Fields.size(fields, "block_ff_dim", nil) || Fields.size(fields, "intermediate_size")
    if Fields.flag(fields, "block_auto_adjust_ff_dim", false), do: adjusted(fields, hidden), else: hidden
  end

  defp adjusted(fields, hidden) do
    multiple = Fields.size(fields, "block_multiple_of")
    hidden = trunc(Fields.positive(fields, "block_ffn_dim_multiplier", 1.0) * trunc(2 * hidden / 3))
    multiple * div(hidden + multiple - 1, multiple)
  end

  @impl true
  def names do
    [
      {"model.embedding_norm", "model.norm"},
      {"operator_norm", "input_layernorm"},
      {"ffn_norm", "post_attention_layernorm"},
      {"self_attn.out_proj", "self_attn.o_proj"},
      {"q_layernorm", "q_norm"},
      {"k_layernorm", "k_norm"},
      {"feed_forward", "mlp"},
      {"feed_forward.w1", "mlp.gate_proj"},
      {"feed_forward.w2", "mlp.down_proj"},
      {"feed_forward.w3", "mlp.up_proj"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.kernels(tensors)
end
