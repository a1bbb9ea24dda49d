defmodule Mlx.LM.Families.Spark25 do
  @moduledoc false
  # Each head has a gate; three of four layers have a window and positions of their own; q, k and v are one matrix, and the
  # gate of the feed-forward layer is a GELU.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @impl true
  def config(fields) do
    windows = Plain.windows(fields, &(rem(&1 + 1, 4) != 0))
    size = Fields.size(fields, "head_dim")
    fields = Fields.put_new(fields, "rms_norm_eps", 1.0e-6)

    Plain.config(fields,
      attention: [joined: true, gate: {:heads, :sigmoid}],
      block: fn layer ->
        window = Enum.at(windows, layer)
        kind = if window, do: "sliding_attention", else: "full_attention"
        rope = Rope.of_kind(fields, kind, size, partial: true, traditional: false, scaling: false)
        [attention: [window: window, rope: rope]]
      end,
      feed_forward: [activation: "gelu"]
    )
  end

  @impl true
  def names do
    [
      {"model.embedding", "model.embed_tokens"},
      {"self_attn.q_k_v_proj", "self_attn.qkv_proj"},
      {"self_attn.out_proj", "self_attn.o_proj"}
    ]
  end
end
