defmodule Mlx.LM.Families.Phi do
  @moduledoc false
  # One layer normalisation before both parts, which are added together; biases everywhere, and a plain feed-forward layer.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)
    rope = Rope.read(fields, size, dims: Rope.partial(fields, size, 0.4), traditional: false, scaling: false)

    Plain.config(fields,
      norm: {:layer, Fields.positive(fields, "layer_norm_eps", 1.0e-5)},
      norms: :parallel,
      attention: [bias: true, output_bias: true, rope: rope],
      feed_forward:
        {PlainFeedForward,
         width: Fields.size(fields, "hidden_size"),
         hidden: Fields.size(fields, "intermediate_size"),
         bias: true,
         activation: "gelu_new"},
      tied: false,
      output_bias: true
    )
  end

  @impl true
  def names, do: [{"self_attn.dense", "self_attn.o_proj"}, {"model.final_layernorm", "model.norm"}]
end
