defmodule Mlx.LM.Families.OlmoE do
  @moduledoc false
  # Experts, and all queries, and all keys, are normalised together.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Olmo2, Plain, Tensors}

  @impl true
  def config(fields) do
    Plain.config(fields,
      attention: Olmo2.attention(fields),
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_experts"),
         top: Fields.size(fields, "num_experts_per_tok"),
         hidden: Fields.size(fields, "intermediate_size"),
         normalize: Fields.flag(fields, "norm_topk_prob", false),
         bias: Fields.flag(fields, "mlp_bias", false)}
    )
  end

  @impl true
  def tensors(tensors, _fields), do: Tensors.stack_experts(tensors)
end
