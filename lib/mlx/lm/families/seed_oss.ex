defmodule Mlx.LM.Families.SeedOss do
  @moduledoc false
  # Llama with a separate switch for the bias of the output.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @impl true
  def config(fields) do
    [bias, output_bias] = for key <- ["attention_bias", "attention_out_bias"], do: Fields.flag(fields, key, false)
    Plain.config(fields, attention: [bias: bias, output_bias: output_bias])
  end
end
