defmodule Mlx.LM.Families.Mistral4 do
  @moduledoc false
  # DeepSeek V3 whose experts are scored by a softmax, and whose queries grow with their position.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{DeepseekV3, Fields, GLM4MoE, Latent, Ministral3, Plain, Tensors}

  @impl true
  def config(fields) do
    rope = Fields.under(fields, "rope_parameters") || Fields.refuse(fields, "rope_parameters", "an object")
    temperature = {Fields.number(rope, "llama_4_scaling_beta"), Fields.size(rope, "original_max_position_embeddings")}
    attention = [temperature: temperature]

    Plain.config(fields,
      mixers: [Latent.mixer(fields, attention)],
      block: &if(DeepseekV3.experts?(fields, &1), do: [feed_forward: experts(fields)], else: [])
    )
  end

  defp experts(fields) do
    {module, options} = GLM4MoE.experts(fields)
    {module, Keyword.merge(options, scores: :softmax, correction: false)}
  end

  @impl true
  defdelegate names, to: GLM4MoE

  # In files of Hugging Face the experts are stacks, in which the gate and the other factor are one.
  @impl true
  def tensors(tensors, fields) do
    tensors
    |> Ministral3.tensors(fields)
    |> Tensors.replace(~r/\.mlp\.experts\.(gate_up|down)_proj$/, &Tensors.stacks/2)
    |> DeepseekV3.tensors(fields)
  end
end
