defmodule Mlx.LM.Families.GraniteMoE do
  @moduledoc false
  # Granite with experts, whose scores are a softmax of those that were chosen. In files of IBM the matrices of the gate
  # and the other factor are one.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Granite, Tensors}

  @impl true
  def config(fields) do
    Granite.config(fields, feed_forward: {Experts, experts(fields)})
  end

  @doc "The options of the experts."
  @spec experts(Fields.t()) :: keyword()
  def experts(fields) do
    [
      width: Fields.size(fields, "hidden_size"),
      experts: Fields.size(fields, "num_local_experts"),
      top: Fields.size(fields, "num_experts_per_tok"),
      hidden: Fields.size(fields, "intermediate_size"),
      scores: :softmax_of_chosen
    ]
  end

  @impl true
  def names do
    parts = for part <- ~w(switch_mlp input_linear output_linear), do: {"block_sparse_moe.#{part}", "mlp.#{part}"}
    [{"block_sparse_moe.router.layer", "mlp.gate"} | parts]
  end

  # The scales of these matrices are too small for some modes.
  @impl true
  def packing(path) do
    if path == "lm_head" or String.ends_with?(path, ["mlp.gate", "self_attn.o_proj", "mlp.down_proj"]),
      do: [group_size: 64, bits: 8],
      else: true
  end

  @impl true
  def tensors(tensors, _fields) do
    Tensors.replace(tensors, ~r/\.mlp\.(input|output)_linear\.weight$/, fn name, array ->
      case String.split(name, ~r/\.(?=(input|output)_linear)/) do
        [path, "output_linear.weight"] ->
          [{"#{path}.switch_mlp.down_proj.weight", array}]

        [path, "input_linear.weight"] ->
          [gate, up] = Mlx.split(array, 2, axis: 1)
          [{"#{path}.switch_mlp.gate_proj.weight", gate}, {"#{path}.switch_mlp.up_proj.weight", up}]
      end
    end)
  end
end
