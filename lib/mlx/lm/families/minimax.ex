defmodule Mlx.LM.Families.MiniMax do
  @moduledoc false
  # All queries, and all keys, are normalised together; a part of each head rotates; experts are scored by a sigmoid with a
  # bias for the choice.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Olmo2, Plain, Rope, Tensors}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    rope = Rope.read(fields, size, dims: Fields.size(fields, "rotary_dim", size), traditional: false, scaling: false)
    norm = if Fields.flag(fields, "use_qk_norm", true), do: Olmo2.attention(fields), else: []

    Plain.config(fields,
      attention: [bias: false, output_bias: false, rope: rope] ++ norm,
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_local_experts"),
         top: Fields.size(fields, "num_experts_per_tok"),
         hidden: Fields.size(fields, "intermediate_size"),
         scores: :sigmoid,
         correction: true,
         normalize: true}
    )
  end

  @impl true
  def names, do: [{"block_sparse_moe", "mlp"}]

  @impl true
  def tensors(tensors, _fields) do
    Tensors.stack_experts(tensors, %{"w1" => "gate_proj", "w2" => "down_proj", "w3" => "up_proj"})
  end
end
