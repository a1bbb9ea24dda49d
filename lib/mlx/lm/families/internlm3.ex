defmodule Mlx.LM.Families.InternLM3 do
  @moduledoc false
  # Llama with two more switches for biases.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    bias = Fields.flag(fields, "qkv_bias", false)

    fields
    |> Fields.put_new("max_position_embeddings", 32_768)
    |> Plain.config(
      attention: [bias: bias, output_bias: bias],
      feed_forward: [bias: Fields.flag(fields, "bias", false)]
    )
  end
end
