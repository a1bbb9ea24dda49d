defmodule Mlx.LM.Families.BailingHybrid do
  @moduledoc false
  # BailingMoELinear with latent attention in the layers that see everything.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.DecayedAttention
  alias Mlx.LM.Families.{BailingMoELinear, Fields, GLM4MoE, Latent, Rope}

  @defaults %{
    "use_qk_norm" => true,
    "partial_rotary_factor" => 0.5,
    "score_function" => "sigmoid",
    "moe_router_enable_expert_bias" => true,
    "norm_topk_prob" => true,
    "tie_word_embeddings" => false
  }

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)

    BailingMoELinear.config(fields,
      global: latent(fields, bias: Fields.flag(fields, "use_qkv_bias", false)),
      linear: &{DecayedAttention, BailingMoELinear.linear(fields, &1)},
      experts: experts(fields)
    )
  end

  @doc "Latent attention, with what is different."
  @spec latent(Fields.t(), keyword()) :: {module(), keyword()}
  def latent(fields, different) do
    neighbours = Fields.flag(fields, "rope_interleave", true)
    rope = Rope.read(fields, Fields.size(fields, "qk_rope_head_dim"), traditional: neighbours)
    eps = Fields.positive(fields, "rms_norm_eps")
    {_name, mixer} = Latent.mixer(fields, [rope: rope, eps: eps] ++ different)
    mixer
  end

  @doc "What is different in experts: one size of all shared ones, and groups of which none else is chosen."
  @spec experts(Fields.t()) :: keyword()
  def experts(fields) do
    count = Fields.count(fields, "num_shared_experts", 0)
    hidden = count * Fields.size(fields, "moe_intermediate_size")
    shared = if count > 0, do: Fields.size(fields, "moe_shared_expert_intermediate_size", hidden)
    top = Fields.size(fields, "num_experts_per_tok")
    normalize = top > 1 and Fields.flag(fields, "norm_topk_prob", true)
    [dropped: :neg_infinity, shared: shared, normalize: normalize]
  end

  @impl true
  defdelegate names, to: BailingMoELinear

  # The choice of experts has 8 bits, and what is made of one matrix none.
  @impl true
  def packing(path) do
    cond do
      String.ends_with?(path, "mlp.gate") -> [group_size: 64, bits: 8]
      String.ends_with?(path, ["self_attn.embed_q", "self_attn.unembed_out"]) -> false
      true -> true
    end
  end

  @impl true
  def tensors(tensors, fields) do
    tensors |> GLM4MoE.tensors(fields) |> Latent.embedded(fields, Fields.size(fields, "v_head_dim"))
  end
end
