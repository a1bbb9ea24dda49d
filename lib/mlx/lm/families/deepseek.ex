defmodule Mlx.LM.Families.Deepseek do
  @moduledoc false
  # Llama with the experts of DeepSeek V2 in all but the first layers.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{DeepseekV2, DeepseekV3, Plain, Tensors}

  @impl true
  defdelegate packing(path), to: Mlx.LM.Families.GLM4MoE

  @impl true
  def config(fields) do
    Plain.config(fields,
      block: &if(DeepseekV3.experts?(fields, &1), do: [feed_forward: experts(fields)], else: []),
      tied: false
    )
  end

  # It has neither a factor of the scores nor groups.
  defp experts(fields) do
    {module, options} = DeepseekV2.experts(fields)
    {module, Keyword.merge(options, scale: 1.0, groups: nil)}
  end

  @impl true
  defdelegate names, to: DeepseekV2

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
