defprotocol Mlx.NN.Kept do
  @moduledoc false
  # Which fields of a layer hold arrays that training keeps as they are. `Mlx.NN.Layer` has an option for it.

  @fallback_to_any true

  @doc "The names of the fields."
  @spec fields(t()) :: [atom()]
  def fields(layer)
end

defimpl Mlx.NN.Kept, for: Any do
  def fields(_other), do: []
end
