defmodule Mlx.LM.Families.Nemotron do
  @moduledoc false
  # Layer normalisations whose weights are one less, a part of each head rotates, and a plain feed-forward layer.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.PlainFeedForward
  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    size = Plain.head_size(fields)

    Plain.config(fields,
      norm: {:layer_plus_one, Fields.positive(fields, "norm_eps", 1.0e-5)},
      attention: [rope: Rope.read(fields, size, dims: Rope.partial(fields, size, 0.5), traditional: false)],
      feed_forward:
        {PlainFeedForward,
         width: Fields.size(fields, "hidden_size"),
         hidden: Fields.size(fields, "intermediate_size"),
         bias: Fields.flag(fields, "mlp_bias", false),
         activation: "relu2"}
    )
  end

  @impl true
  def names, do: [{"mlp.up_proj", "mlp.fc1"}, {"mlp.down_proj", "mlp.fc2"}]
end
