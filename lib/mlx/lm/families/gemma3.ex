defmodule Mlx.LM.Families.Gemma3 do
  @moduledoc false
  # Gemma with normalisations before and after each part, normalised heads, and five layers with a window and a smaller
  # base to one without. The scale of the embedding is rounded to bf16.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @defaults %{
    "hidden_size" => 1152,
    "num_hidden_layers" => 26,
    "intermediate_size" => 6912,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 1,
    "head_dim" => 256,
    "rms_norm_eps" => 1.0e-6,
    "vocab_size" => 262_144,
    "query_pre_attn_scalar" => 256,
    "sliding_window" => 512,
    "sliding_window_pattern" => 6,
    "max_position_embeddings" => 32_768
  }

  @theta 1_000_000.0
  @local_theta 10_000.0

  @impl true
  def config(fields) do
    fields = Enum.reduce(@defaults, fields, fn {key, value}, fields -> Fields.put_new(fields, key, value) end)
    eps = Fields.positive(fields, "rms_norm_eps")
    pattern = Fields.size(fields, "sliding_window_pattern")
    size = Fields.size(fields, "head_dim")
    windows = Plain.windows(fields, &(rem(&1 + 1, pattern) != 0))
    local = Rope.read(fields, size, base: Fields.positive(fields, "rope_local_base_freq", @local_theta), scaling: false)
    global = Rope.read(fields, size, base: Rope.theta(fields, @theta))

    Plain.config(fields,
      norm: {:rms_plus_one, eps},
      norms: :sandwich,
      attention: [norm: {:rms_plus_one, eps}, scale: Fields.positive(fields, "query_pre_attn_scalar") ** -0.5],
      block: fn layer ->
        window = Enum.at(windows, layer)
        [attention: [window: window, rope: if(window, do: local, else: global)]]
      end,
      feed_forward: [activation: "gelu_pytorch_tanh"],
      embedding_scale: rounded(:math.sqrt(Fields.size(fields, "hidden_size"))),
      logit_cap: Fields.positive(fields, "final_logit_softcapping", nil)
    )
  end

  defp rounded(number), do: number |> Mlx.array(type: :bf16) |> Mlx.to_number()
end
