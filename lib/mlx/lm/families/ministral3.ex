defmodule Mlx.LM.Families.Ministral3 do
  @moduledoc false
  # Llama whose queries grow with the position, beyond the length of the training.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    rope = Fields.under(fields, "rope_parameters") || Fields.refuse(fields, "rope_parameters", "an object")
    temperature = {Fields.number(rope, "llama_4_scaling_beta"), Fields.size(rope, "original_max_position_embeddings")}
    windows = Plain.windows(fields, fn _layer -> false end)

    Plain.config(fields,
      attention: [temperature: temperature, bias: false, output_bias: false],
      feed_forward: [bias: false],
      block: &[attention: [window: Enum.at(windows, &1)]]
    )
  end

  # Matrices of 8-bit numbers have a scale each.
  @impl true
  def tensors(tensors, _fields) do
    tensors = Map.reject(tensors, fn {name, _array} -> name =~ "activation_scale" end)
    {scales, others} = Map.split_with(tensors, fn {name, _array} -> String.ends_with?(name, "weight_scale_inv") end)

    Enum.reduce(scales, others, fn {name, scale}, tensors ->
      Map.update!(
        tensors,
        String.replace_suffix(name, "_scale_inv", ""),
        &Mlx.multiply(Mlx.from_fp8(&1, type: scale.type), scale)
      )
    end)
  end
end
