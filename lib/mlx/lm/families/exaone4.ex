defmodule Mlx.LM.Families.Exaone4 do
  @moduledoc false
  # Normalisations after the parts, normalised heads; where there is a pattern of windows, layers without one have no
  # rotary positions.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Qwen3}

  @impl true
  def config(fields) do
    pattern = Fields.text(fields, "sliding_window_pattern", nil)

    Plain.config(fields,
      norms: :post,
      attention: Qwen3.attention(fields),
      block: fn layer ->
        if pattern in [nil, ""], do: [], else: [attention: attention(fields, local?(pattern, layer))]
      end
    )
  end

  defp local?(pattern, layer), do: String.at(pattern, rem(layer, String.length(pattern))) == "L"

  defp attention(fields, true), do: [window: Fields.size(fields, "sliding_window")]
  defp attention(_fields, false), do: [rope: nil]
end
