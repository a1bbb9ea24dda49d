defmodule Mlx.LM.Families.Gemma do
  @moduledoc false
  # Normalisations have weights that are one less, the embedding is scaled, and the gate is a GELU.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    Plain.config(fields,
      norm: {:rms_plus_one, Fields.positive(fields, "rms_norm_eps")},
      feed_forward: [activation: "gelu"],
      embedding_scale: :math.sqrt(Fields.size(fields, "hidden_size")),
      tied: true
    )
  end
end
