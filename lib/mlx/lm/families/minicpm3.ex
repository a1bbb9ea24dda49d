defmodule Mlx.LM.Families.MiniCPM3 do
  @moduledoc false
  # MiniCPM with latent attention, whose values are of the size that a head has of the width.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Latent, Plain, Rope}

  @theta 1_000_000.0

  @impl true
  def config(fields) do
    rope =
      Rope.read(fields, Fields.size(fields, "qk_rope_head_dim"), base: Rope.theta(fields, @theta), traditional: false)

    depth = :math.sqrt(Fields.layers(fields, "num_hidden_layers"))
    tied = Fields.flag(fields, "tie_word_embeddings", false)
    attention = [keys: :k_b_proj, eps: 1.0e-5, value_size: value_size(fields), rope: rope]

    Plain.config(fields,
      mixers: [Latent.mixer(fields, attention)],
      tied: tied,
      embedding_scale: Fields.number(fields, "scale_emb"),
      residual_scale: Fields.number(fields, "scale_depth") / depth,
      logit_scale: if(not tied, do: Fields.size(fields, "dim_model_base") / Fields.size(fields, "hidden_size"))
    )
  end

  defp value_size(fields), do: div(Fields.size(fields, "hidden_size"), Fields.size(fields, "num_attention_heads"))

  @impl true
  defdelegate joints, to: Latent

  @impl true
  def tensors(tensors, fields), do: Latent.apart(tensors, fields, value_size(fields))
end
