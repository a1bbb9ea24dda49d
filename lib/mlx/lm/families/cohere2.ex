defmodule Mlx.LM.Families.Cohere2 do
  @moduledoc false
  # Cohere with a window in three of four layers; the fourth has no rotary positions.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Cohere, Fields, Plain}

  @theta 50_000.0

  @impl true
  def config(fields) do
    pattern = Fields.size(fields, "sliding_window_pattern", 4)
    windows = fields |> Fields.put_new("sliding_window", 4096) |> Plain.windows(&(rem(&1 + 1, pattern) != 0))
    rope = Cohere.rope(fields, @theta)

    Cohere.config(fields,
      block: fn layer ->
        window = Enum.at(windows, layer)
        [attention: [window: window, rope: if(window, do: rope)]]
      end
    )
  end
end
