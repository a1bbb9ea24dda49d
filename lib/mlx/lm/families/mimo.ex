defmodule Mlx.LM.Families.MiMo do
  @moduledoc false
  # Queries, keys and values have biases. Layers that predict further tokens are left out.

  use Mlx.LM.Family

  alias Mlx.LM.Families.Plain

  @impl true
  def config(fields), do: Plain.config(fields, attention: [bias: true, output_bias: false])

  @impl true
  def tensors(tensors, _fields) do
    Map.reject(tensors, fn {name, _array} -> String.starts_with?(name, "model.mtp_layers.") end)
  end
end
