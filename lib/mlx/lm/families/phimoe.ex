defmodule Mlx.LM.Families.PhiMoE do
  @moduledoc false
  # Layer normalisations, biases of the attention and of the output, and experts that are chosen one after the other.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.Experts
  alias Mlx.LM.Families.{Fields, Mixtral, Plain}

  @impl true
  def config(fields) do
    fields = Fields.put_new(fields, "original_max_position_embeddings", 4096)

    Plain.config(fields,
      norm: {:layer, Fields.positive(fields, "rms_norm_eps", 1.0e-6)},
      attention: [bias: true, output_bias: true],
      feed_forward:
        {Experts,
         width: Fields.size(fields, "hidden_size"),
         experts: Fields.size(fields, "num_local_experts", 16),
         top: Fields.size(fields, "num_experts_per_tok", 2),
         hidden: Fields.size(fields, "intermediate_size"),
         scores: :sparse_mixer,
         jitter: Fields.number(fields, "router_jitter_noise", 0.01)},
      tied: false,
      output_bias: true
    )
  end

  @impl true
  defdelegate names, to: Mixtral

  @impl true
  defdelegate tensors(tensors, fields), to: Mixtral
end
