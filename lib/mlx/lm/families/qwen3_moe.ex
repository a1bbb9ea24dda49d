defmodule Mlx.LM.Families.Qwen3MoE do
  @moduledoc false
  # Qwen 3 with experts.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Tensors}

  @impl true
  def config(fields) do
    plain = Map.get(fields.map, "mlp_only_layers") || []
    if not is_list(plain), do: Fields.refuse(fields, "mlp_only_layers", "a list of the numbers of layers")
    step = Fields.size(fields, "decoder_sparse_step", 1)

    Plain.config(fields,
      attention: Qwen3.attention(fields),
      block: fn layer ->
        if layer not in plain and rem(layer + 1, step) == 0, do: [feed_forward: experts(fields)], else: []
      end
    )
  end

  defp experts(fields) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     normalize: Fields.flag(fields, "norm_topk_prob", false)}
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
