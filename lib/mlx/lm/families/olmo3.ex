defmodule Mlx.LM.Families.Olmo3 do
  @moduledoc false
  # OLMo 2 with a window in three of four layers, whose positions are not scaled.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Olmo2, Plain, Rope}

  @impl true
  def config(fields) do
    windows = Plain.windows(fields, &(rem(&1 + 1, 4) != 0))
    size = Plain.head_size(fields)

    Plain.config(fields,
      norms: :post,
      attention: Olmo2.attention(fields),
      block: fn layer ->
        window = Enum.at(windows, layer)
        [attention: [window: window, rope: Rope.read(fields, size, traditional: false, scaling: window == nil)]]
      end
    )
  end
end
