defmodule Mlx.LM.Families.Mellum do
  @moduledoc false
  # Qwen 3 with experts in all layers, some of which have a window and positions of their own.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Qwen3, Qwen3MoE, Rope}

  @impl true
  def config(fields) do
    windows = Plain.windows(fields, fn _layer -> false end)
    size = Fields.size(fields, "head_dim")

    Plain.config(fields,
      attention: [bias: false, output_bias: false] ++ Qwen3.attention(fields),
      block: fn layer ->
        window = Enum.at(windows, layer)
        kind = if window, do: "sliding_attention", else: "full_attention"
        [attention: [window: window, rope: Rope.of_kind(fields, kind, size, traditional: false)]]
      end,
      feed_forward: Qwen3MoE.experts(fields)
    )
  end

  @impl true
  defdelegate tensors(tensors, fields), to: Qwen3MoE
end
