defmodule Mlx.LM.Families.DeepseekV2 do
  @moduledoc false
  # Latent attention, and experts that are scored by a softmax, in all but the first layers. A group of experts is as good
  # as its best one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{DeepseekV3, Fields, Latent, Plain, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      mixers: [Latent.mixer(fields, keys: :k_b_proj)],
      block: &if(DeepseekV3.experts?(fields, &1), do: [feed_forward: experts(fields)], else: []),
      tied: false
    )
  end

  @doc "The layer of experts."
  @spec experts(Fields.t()) :: {module(), keyword()}
  def experts(fields) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    shared = Fields.count(fields, "n_shared_experts", 0)
    grouped? = Fields.text(fields, "topk_method", "greedy") == "group_limited_greedy"

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "n_routed_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: hidden,
     scale: Fields.number(fields, "routed_scaling_factor", 1.0),
     groups: if(grouped?, do: {Fields.size(fields, "n_group"), Fields.size(fields, "topk_group")}),
     group_worth: :best,
     shared: if(shared > 0, do: shared * hidden)}
  end

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def names, do: [{"mlp.shared_experts", "mlp.shared_expert"}]

  @impl true
  defdelegate joints, to: Latent

  @impl true
  def tensors(tensors, fields) do
    tensors |> Tensors.stack_experts() |> Latent.apart(fields, Fields.size(fields, "v_head_dim"))
  end
end
