defmodule Mlx.LM.Families.Klear do
  @moduledoc false
  # Qwen 3 with experts that are scored by a sigmoid with a bias for the choice, and a shared one; two numbers of each token
  # say how much of both there is.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Qwen3MoE, Rope, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention:
        [rope: Rope.read(fields, Plain.head_size(fields), traditional: false, scaling: false)] ++
          Qwen3.attention(fields),
      block: &if(Qwen3MoE.experts?(fields, &1), do: [feed_forward: experts(fields)], else: []),
      tied: false
    )
  end

  defp experts(fields) do
    hidden = Fields.size(fields, "moe_intermediate_size")

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: hidden,
     scores: :sigmoid,
     correction: true,
     normalize: Fields.flag(fields, "norm_topk_prob", false),
     shared: hidden * Fields.size(fields, "n_shared_experts"),
     shared_mix: true}
  end

  @impl true
  def names do
    [
      {"mlp.expert_bias", "mlp.e_score_correction_bias"},
      {"mlp.shared_experts", "mlp.shared_expert"},
      {"mlp.coefficient", "mlp.shared_mix"}
    ] ++ Tensors.stacked_names()
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
