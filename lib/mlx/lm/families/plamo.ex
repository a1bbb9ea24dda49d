defmodule Mlx.LM.Families.Plamo do
  @moduledoc false
  # One normalisation before both parts, which are added together. Heads of queries that share a head of keys do not stand
  # side by side.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    heads = Fields.size(fields, "num_attention_heads")
    group = Fields.size(fields, "n_shared_head", 8)
    if rem(heads, group) != 0, do: Fields.refuse(fields, "n_shared_head", "a divisor of the #{heads} heads")

    Plain.config(fields,
      norms: :parallel_norm,
      attention: [
        bias: false,
        output_bias: false,
        key_value_heads: div(heads, group),
        sharing: :apart,
        rope: Rope.read(fields, Plain.head_size(fields), scaling: false)
      ],
      feed_forward: [bias: false],
      tied: false
    )
  end

  @impl true
  def names, do: [{"model.layers.layers", "model.layers"}]
end
