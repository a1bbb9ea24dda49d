defmodule Mlx.LM.Families.Gemma2 do
  @moduledoc false
  # Gemma with normalisations before and after each part, and caps of scores and logits. Where the configuration has a
  # window, every second layer has it.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    window = Fields.size(fields, "sliding_window", nil)
    windows = if window, do: Plain.windows(fields, &(rem(&1, 2) == 0), window), else: []

    Plain.config(fields,
      norm: {:rms_plus_one, Fields.positive(fields, "rms_norm_eps")},
      norms: :sandwich,
      attention: [
        scale: Fields.positive(fields, "query_pre_attn_scalar", 144.0) ** -0.5,
        soft_cap: Fields.positive(fields, "attn_logit_softcapping", 50.0)
      ],
      block: &[attention: [window: Enum.at(windows, &1)]],
      feed_forward: [activation: "gelu_pytorch_tanh"],
      embedding_scale: :math.sqrt(Fields.size(fields, "hidden_size")),
      logit_cap: Fields.positive(fields, "final_logit_softcapping", 30.0),
      tied: true
    )
  end
end
