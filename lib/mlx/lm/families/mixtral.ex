defmodule Mlx.LM.Families.Mixtral do
  @moduledoc false
  # Mistral with experts, whose scores are a softmax of those that were chosen.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Plain, Rope, Tensors}

  @theta 1_000_000.0

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention: [rope: Rope.read(fields, Plain.head_size(fields), base: Rope.theta(fields, @theta), scaling: false)],
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_local_experts"),
         top: Fields.size(fields, "num_experts_per_tok"),
         hidden: Fields.size(fields, "intermediate_size"),
         scores: :softmax_of_chosen}
    )
  end

  @impl true
  def names, do: [{"block_sparse_moe", "mlp"}]

  @impl true
  def tensors(tensors, _fields) do
    Tensors.stack_experts(tensors, %{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
  end
end
