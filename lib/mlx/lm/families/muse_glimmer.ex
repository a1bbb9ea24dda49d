defmodule Mlx.LM.Families.MuseGlimmer do
  @moduledoc false
  # Gemma's normalisations before and after each part; heads and the embedding are normalised without weights; a gate for
  # each feature of the outputs; three layers with a window and positions to one without either.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @defaults %{"rms_norm_eps" => 1.0e-5, "head_dim" => 128, "sliding_window" => 2048}

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    eps = Fields.positive(fields, "rms_norm_eps")
    size = Fields.size(fields, "head_dim")
    later = {:rms_plus_one, Fields.positive(fields, "post_norm_eps", 1.0e-8)}
    windows = Plain.windows(fields, &(rem(&1, 4) != 3))
    bases = bases(fields, windows, Rope.theta(fields, 500_000.0))

    Plain.config(fields,
      norms: :sandwich,
      norm: {:rms_plus_one, eps},
      norm_kinds: [post_attention_layernorm: later, post_feedforward_layernorm: later],
      attention: [
        bias: false,
        output_bias: false,
        norm: {:rms_without_weight, eps},
        scale: Fields.positive(fields, "qk_scale_factor", 3.87) / :math.sqrt(size),
        gate: {:features, :sigmoid}
      ],
      block:
        &[
          attention: [
            window: Enum.at(windows, &1),
            rope: if(base = Enum.at(bases, &1), do: Rope.read(fields, size, base: base, scaling: false))
          ]
        ],
      feed_forward: [bias: false],
      embedding_norm: {:rms_without_weight, eps},
      tied: Fields.flag(fields, "tie_word_embeddings", false),
      logit_scale: Fields.positive(fields, "output_multiplier", 0.19611613513818404),
      logit_cap: Fields.positive(fields, "final_logit_softcapping", 20.0)
    )
    |> Map.put(:norm, {:rms, eps})
  end

  @doc """
  The base of each layer's rotation, which is `theta`, or `nil` for a layer without positions. By default those are the
  layers without a window.
  """
  @spec bases(Fields.t(), [pos_integer() | nil], number()) :: [number() | nil]
  def bases(fields, windows, theta) do
    count = length(windows)

    for base <- Fields.list(fields, "layer_rope_theta", count, Enum.map(windows, &(&1 && theta))) do
      cond do
        base in [nil, 0, 0.0] -> nil
        is_number(base) and base > 1.0e-30 and base < 1.0e30 -> theta
        true -> Fields.refuse(fields, "layer_rope_theta", "a list of #{count} numbers")
      end
    end
  end

  @impl true
  def names, do: [{"self_attn.gate_proj", "self_attn.g_proj"}]
end
