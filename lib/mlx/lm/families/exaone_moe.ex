defmodule Mlx.LM.Families.ExaoneMoE do
  @moduledoc false
  # Qwen 3 with windows; where there are any, layers without one have no rotary positions. The experts of GLM 4.5 are in
  # the layers that a list names.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, GLM4MoE, Plain, Qwen3, Rope, Tensors}

  @theta 1_000_000.0

  @impl true
  defdelegate packing(path), to: GLM4MoE

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    windows = Plain.windows(fields, fn _layer -> false end)
    experts? = Fields.list(fields, "is_moe_layer", count, nil) || List.duplicate(false, count)
    scaling? = Fields.has?(fields, "rope_scaling")

    rope =
      Rope.read(fields, Plain.head_size(fields),
        base: Rope.theta(fields, @theta),
        traditional: false,
        scaling: scaling?
      )

    Plain.config(fields,
      attention: [bias: false, output_bias: false] ++ Qwen3.attention(fields),
      block: fn layer ->
        window = Enum.at(windows, layer)
        everywhere? = Enum.all?(windows, &(&1 == nil))
        own = [attention: [window: window, rope: if(window != nil or everywhere?, do: rope)]]
        if Enum.at(experts?, layer), do: own ++ [feed_forward: experts(fields)], else: own
      end
    )
  end

  defp experts(fields) do
    {module, options} =
      fields
      |> Fields.put_new("n_routed_experts", Fields.size(fields, "num_experts"))
      |> Fields.put_new("n_shared_experts", Fields.count(fields, "num_shared_experts", 0))
      |> Fields.put_new("routed_scaling_factor", 2.5)
      |> GLM4MoE.experts()

    {module, Keyword.update!(options, :normalize, &(&1 and options[:top] > 1))}
  end

  @impl true
  defdelegate names, to: GLM4MoE

  @impl true
  def tensors(tensors, _fields) do
    tensors |> Map.reject(fn {name, _array} -> String.starts_with?(name, "mtp.") end) |> Tensors.stack_experts()
  end
end
