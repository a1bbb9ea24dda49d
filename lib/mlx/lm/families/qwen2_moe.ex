defmodule Mlx.LM.Families.Qwen2MoE do
  @moduledoc false
  # Qwen 2 with experts and a shared one, which has a gate.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen2, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention: Qwen2.attention(fields),
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_experts"),
         top: Fields.size(fields, "num_experts_per_tok"),
         hidden: Fields.size(fields, "moe_intermediate_size"),
         normalize: Fields.flag(fields, "norm_topk_prob", false),
         shared: Fields.size(fields, "shared_expert_intermediate_size"),
         shared_gate: true}
    )
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
