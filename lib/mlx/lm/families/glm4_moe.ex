defmodule Mlx.LM.Families.GLM4MoE do
  @moduledoc false
  # Experts in all but the first layers, scored by a sigmoid with a bias for the choice, and a shared one; a part of each
  # head rotates. Layers that predict further tokens are left out.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Rope, Tensors}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    plain = Fields.count(fields, "first_k_dense_replace", 0)
    norm = if Fields.flag(fields, "use_qk_norm", false), do: Qwen3.attention(fields), else: []
    rope = Rope.read(fields, size, dims: Rope.partial(fields, size), traditional: false, scaling: false)

    Plain.config(fields,
      attention: [output_bias: false, rope: rope] ++ norm,
      block: &if(&1 >= plain, do: [feed_forward: experts(fields)], else: [])
    )
  end

  @doc "The layer of experts."
  @spec experts(Fields.t()) :: {module(), keyword()}
  def experts(fields) do
    hidden = Fields.size(fields, "moe_intermediate_size")
    shared = Fields.count(fields, "n_shared_experts", 0)

    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "n_routed_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: hidden,
     scores: :sigmoid,
     correction: true,
     normalize: Fields.flag(fields, "norm_topk_prob", true),
     scale: Fields.number(fields, "routed_scaling_factor", 1.0),
     groups: {Fields.size(fields, "n_group", 1), Fields.size(fields, "topk_group", 1)},
     shared: if(shared > 0, do: shared * hidden)}
  end

  @impl true
  def names,
    do: [{"mlp.shared_experts", "mlp.shared_expert"}, {"gate.e_score_correction_bias", "e_score_correction_bias"}]

  # The choice of experts is not quantized.
  @impl true
  def packing(path), do: not String.ends_with?(path, "mlp.gate")

  @impl true
  def tensors(tensors, fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    tensors |> Map.reject(fn {name, _array} -> further?(name, count) end) |> Tensors.stack_experts()
  end

  defp further?("model.layers." <> rest, count), do: match?({layer, _rest} when layer >= count, Integer.parse(rest))
  defp further?(_name, _count), do: false
end
