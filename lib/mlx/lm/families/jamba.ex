defmodule Mlx.LM.Families.Jamba do
  @moduledoc false
  # A selective state space in most blocks, attention without rotary positions in the others, and experts in some.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{Experts, Mamba}
  alias Mlx.LM.Families
  alias Mlx.LM.Families.{Fields, Plain, Tensors}

  @impl true
  def config(fields) do
    attention? = periodic(fields, "attn_layer_period", "attn_layer_offset")
    experts? = periodic(fields, "expert_layer_period", "expert_layer_offset")
    some? = Fields.size(fields, "num_experts", 1) > 1

    kinds =
      case Map.get(fields.map, "layers_block_type") do
        nil -> &if(attention?.(&1), do: "attention", else: "mamba")
        _list -> kinds(fields)
      end

    Plain.config(fields,
      attention: [rope: nil, bias: false, output_bias: false],
      block: fn layer ->
        if(kinds.(layer) == "mamba", do: [mixers: [mamba: {Mamba, state_space(fields)}]], else: []) ++
          if some? and experts?.(layer), do: [feed_forward: {Experts, experts(fields)}], else: []
      end
    )
  end

  defp periodic(fields, period, offset) do
    {period, offset} = {Fields.size(fields, period, 1), Fields.count(fields, offset, 0)}
    &(rem(&1, period) == offset)
  end

  defp kinds(fields) do
    kinds = Fields.list(fields, "layers_block_type", Fields.layers(fields, "num_hidden_layers"), nil)

    if not Enum.all?(kinds, &(&1 in ["mamba", "attention"])) do
      Fields.refuse(fields, "layers_block_type", ~s("mamba" or "attention" for each layer))
    end

    &Enum.at(kinds, &1)
  end

  defp state_space(fields) do
    width = Fields.size(fields, "hidden_size")

    [
      width: width,
      inner: Fields.size(fields, "mamba_expand", 2) * width,
      state: Fields.size(fields, "mamba_d_state", 16),
      rank: Families.Mamba.rank(fields, "mamba_dt_rank", width),
      kernel: Fields.size(fields, "mamba_d_conv", 4),
      bias: Fields.flag(fields, "mamba_proj_bias", false),
      kernel_bias: Fields.flag(fields, "mamba_conv_bias", true),
      norms: {:rms, Fields.positive(fields, "rms_norm_eps")}
    ]
  end

  defp experts(fields) do
    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "num_experts"),
      top: Fields.size(fields, "num_experts_per_tok"),
      hidden: Fields.size(fields, "intermediate_size"),
      scores: :softmax_of_chosen
    ]
  end

  @impl true
  def names do
    [
      {"feed_forward", "mlp"},
      {"feed_forward.router", "mlp.gate"},
      {"pre_ff_layernorm", "post_attention_layernorm"},
      {"model.final_layernorm", "model.norm"}
    ]
  end

  @impl true
  def tensors(tensors, _fields), do: tensors |> Tensors.kernels() |> Tensors.stack_experts()
end
