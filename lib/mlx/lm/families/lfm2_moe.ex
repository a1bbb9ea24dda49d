defmodule Mlx.LM.Families.LFM2MoE do
  @moduledoc false
  # LFM 2 with experts in all but the first layers, scored by a sigmoid with a bias for the choice.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, LFM2, Tensors}

  @impl true
  def config(fields) do
    plain = Fields.count(fields, "num_dense_layers", 0)

    LFM2.config(fields,
      feed_forward: [bias: false],
      block: &if(&1 >= plain, do: [feed_forward: experts(fields)], else: [])
    )
  end

  defp experts(fields) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     scores: :sigmoid,
     correction: Fields.flag(fields, "use_expert_bias", false),
     normalize: Fields.flag(fields, "norm_topk_prob", false),
     scale: Fields.number(fields, "routed_scaling_factor", 1.0)}
  end

  @impl true
  def names do
    plain = for part <- ~w(gate up down), do: {"feed_forward.#{part}_proj", "mlp.#{part}_proj"}
    [{"feed_forward.expert_bias", "mlp.e_score_correction_bias"}] ++ plain ++ LFM2.names()
  end

  @impl true
  def tensors(tensors, _fields) do
    tensors
    |> Tensors.kernels()
    |> Tensors.stack_experts(%{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
  end
end
