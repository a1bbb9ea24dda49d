defmodule Mlx.LM.Families.Llama do
  @moduledoc false
  # Llama, Mistral, and what has the same form.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain}

  @heads 32

  @impl true
  def config(fields) do
    fields = Fields.put_new(fields, "num_attention_heads", @heads)
    windows = Plain.windows(fields, fn _layer -> false end)
    Plain.config(fields, block: &[attention: [window: Enum.at(windows, &1)]])
  end
end
