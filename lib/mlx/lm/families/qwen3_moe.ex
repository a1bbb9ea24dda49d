defmodule Mlx.LM.Families.Qwen3MoE do
  @moduledoc false
  # Qwen 3 with experts.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention: Qwen3.attention(fields),
      block: &if(experts?(fields, &1), do: [feed_forward: experts(fields)], else: [])
    )
  end

  @doc "Whether a layer has experts."
  @spec experts?(Fields.t(), non_neg_integer()) :: boolean()
  def experts?(fields, layer) do
    plain = Map.get(fields.map, "mlp_only_layers") || []
    if not is_list(plain), do: Fields.refuse(fields, "mlp_only_layers", "a list of the numbers of layers")
    layer not in plain and rem(layer + 1, Fields.size(fields, "decoder_sparse_step", 1)) == 0
  end

  @doc "The layer of experts."
  @spec experts(Fields.t()) :: {module(), keyword()}
  def experts(fields) do
    {Experts,
     width: Fields.size(fields, "hidden_size"),
     experts: Fields.size(fields, "num_experts"),
     top: Fields.size(fields, "num_experts_per_tok"),
     hidden: Fields.size(fields, "moe_intermediate_size"),
     normalize: Fields.flag(fields, "norm_topk_prob", false)}
  end

  # The choice of experts needs more bits than what they do.
  @impl true
  def packing(path), do: if(String.ends_with?(path, "mlp.gate"), do: [group_size: 64, bits: 8], else: true)

  # In files of models for pictures too, the experts are stacks, and the gate and the other factor one of them.
  @impl true
  def tensors(tensors, _fields) do
    tensors |> Tensors.stack_experts() |> unstacked(true)
  end

  @doc "The tensors with the stacks `experts.gate_up_proj` and `experts.down_proj`, which may be transposed, taken apart."
  @spec unstacked(Mlx.LM.Family.tensors(), boolean()) :: Mlx.LM.Family.tensors()
  def unstacked(tensors, transposed) do
    Tensors.replace(tensors, ~r/\.mlp\.experts\.(gate_up|down)_proj$/, fn name, array ->
      parts(name, if(transposed, do: Mlx.matrix_transpose(array), else: array))
    end)
  end

  defp parts(name, array) do
    [path, matrix] = String.split(name, ".experts.")

    case matrix do
      "down_proj" ->
        [{"#{path}.switch_mlp.down_proj.weight", array}]

      "gate_up_proj" ->
        [gate, up] = Mlx.split(array, 2, axis: -2)
        [{"#{path}.switch_mlp.gate_proj.weight", gate}, {"#{path}.switch_mlp.up_proj.weight", up}]
    end
  end
end
