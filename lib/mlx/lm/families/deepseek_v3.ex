defmodule Mlx.LM.Families.DeepseekV3 do
  @moduledoc false
  # Latent attention, and the experts of GLM 4.5 in all but the first layers. Layers that predict further tokens are left
  # out.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GLM4MoE, Latent, Plain}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields), do: config(fields, [])

  @doc "The configuration with what is different in the attention of a descendant."
  @spec config(Fields.t(), keyword()) :: Mlx.LM.Decoder.Config.t()
  def config(fields, attention) do
    Plain.config(fields,
      mixers: [Latent.mixer(fields, attention)],
      block: &if(experts?(fields, &1), do: [feed_forward: experts(fields)], else: []),
      tied: false
    )
  end

  @doc "Whether a layer has experts."
  @spec experts?(Fields.t(), non_neg_integer()) :: boolean()
  def experts?(fields, layer) do
    Fields.has?(fields, "n_routed_experts") and layer >= Fields.count(fields, "first_k_dense_replace", 0) and
      rem(layer, Fields.size(fields, "moe_layer_freq", 1)) == 0
  end

  # A single expert's score is not divided by itself.
  defp experts(fields) do
    {module, options} = GLM4MoE.experts(fields)
    {module, Keyword.update!(options, :normalize, &(&1 and options[:top] > 1))}
  end

  @impl true
  defdelegate names, to: GLM4MoE

  @impl true
  def tensors(tensors, fields) do
    tensors |> GLM4MoE.tensors(fields) |> Latent.embedded(fields, Fields.size(fields, "v_head_dim"))
  end
end
