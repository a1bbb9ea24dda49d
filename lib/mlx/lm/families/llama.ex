defmodule Mlx.LM.Families.Llama do
  @moduledoc false
  # Llama, Mistral, and what has the same form.

  use Mlx.LM.Family

  alias Mlx.LM.Families.Plain

  @impl true
  def config(fields) do
    windows = Plain.windows(fields, fn _layer -> false end)
    Plain.config(fields, block: &[attention: [window: Enum.at(windows, &1)]])
  end
end
