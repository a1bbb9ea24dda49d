defmodule Mlx.LM.Families.Dots1 do
  @moduledoc false
  # Qwen 3 with the experts of GLM 4.5.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GLM4MoE, Plain, Qwen3, Tensors}

  @impl true
  def config(fields) do
    plain = Fields.count(fields, "first_k_dense_replace", 0)

    Plain.config(fields,
      attention: [bias: false, output_bias: false] ++ Qwen3.attention(fields),
      block: &if(&1 >= plain, do: [feed_forward: GLM4MoE.experts(fields)], else: [])
    )
  end

  @impl true
  def names do
    [
      {"mlp.experts.gate_proj", "mlp.switch_mlp.gate_proj"},
      {"mlp.experts.up_proj", "mlp.switch_mlp.up_proj"},
      {"mlp.experts.down_proj", "mlp.switch_mlp.down_proj"} | GLM4MoE.names()
    ]
  end

  # The choice of experts is not quantized.
  @impl true
  def packing(path), do: not String.ends_with?(path, "mlp.gate")

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
