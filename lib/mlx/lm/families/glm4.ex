defmodule Mlx.LM.Families.GLM4 do
  @moduledoc false
  # Normalisations before and after each part, a part of each head rotates, and the matrices of the gate and the other
  # factor are one in the file.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)

    rope =
      Rope.read(fields, size,
        dims: Rope.partial(fields, size, 0.5),
        traditional: Fields.flag(fields, "rope_traditional", true)
      )

    Plain.config(fields,
      norms: :sandwich,
      attention: [output_bias: false, rope: rope],
      feed_forward: [joined: true],
      tied: false
    )
  end

  @impl true
  def names do
    [
      {"post_self_attn_layernorm", "post_attention_layernorm"},
      {"post_attention_layernorm", "pre_feedforward_layernorm"},
      {"post_mlp_layernorm", "post_feedforward_layernorm"}
    ]
  end
end
