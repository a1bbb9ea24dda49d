defmodule Mlx.LM.Families.SmolLM3 do
  @moduledoc false
  # Some layers have no rotary positions.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    count = Fields.layers(fields, "num_hidden_layers")
    interval = Fields.size(fields, "no_rope_layer_interval", 4)
    every = for layer <- 1..count, do: if(rem(layer, interval) == 0, do: 0, else: 1)
    rotated = Fields.list(fields, "no_rope_layers", count, every)
    Plain.config(fields, block: &if(Enum.at(rotated, &1) in [0, false], do: [attention: [rope: nil]], else: []))
  end
end
