defmodule Mlx.LM.Families.MiniCPM do
  @moduledoc false
  # Llama with factors of the embedding, of what each part adds, and of the logits.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @theta 1_000_000.0

  @impl true
  def config(fields) do
    rope = Rope.read(fields, Plain.head_size(fields), base: Rope.theta(fields, @theta))
    depth = :math.sqrt(Fields.layers(fields, "num_hidden_layers"))

    Plain.config(fields,
      attention: [bias: false, output_bias: false, rope: rope],
      embedding_scale: Fields.number(fields, "scale_emb", 1),
      residual_scale: Fields.number(fields, "scale_depth", 1) / depth,
      logit_scale: Fields.size(fields, "dim_model_base", 256) / Fields.size(fields, "hidden_size")
    )
  end
end
