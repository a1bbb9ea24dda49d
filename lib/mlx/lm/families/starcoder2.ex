defmodule Mlx.LM.Families.StarCoder2 do
  @moduledoc false
  # Layer normalisations, biases everywhere, and a plain feed-forward layer.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @theta 100_000.0

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)

    fields
    |> Fields.put_new("vocab_size", 49_152)
    |> Plain.config(
      norm: {:layer, Fields.positive(fields, "norm_epsilon", 1.0e-5)},
      attention: [
        bias: true,
        output_bias: true,
        rope: Rope.read(fields, size, base: Rope.theta(fields, @theta), scaling: false)
      ],
      feed_forward:
        {PlainFeedForward,
         width: Fields.size(fields, "hidden_size"),
         hidden: Fields.size(fields, "intermediate_size"),
         bias: true,
         activation: "gelu"}
    )
  end

  @impl true
  def names, do: [{"mlp.c_fc", "mlp.fc1"}, {"mlp.c_proj", "mlp.fc2"}]
end
