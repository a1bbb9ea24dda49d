defmodule Mlx.LM.Decoder.Factor do
  @moduledoc "A product with a learned number, or with one for each feature: `y = weight * x`."

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.Parameter

  @derive NN.Layer
  @enforce_keys [:weight]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t()}

  @doc "A factor with zeros. Options: `:size`, how many numbers it has."
  @spec new(size: pos_integer()) :: t()
  def new(size: size), do: %__MODULE__{weight: Parameter.zeros({size})}

  @doc "The product."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight}, x), do: Mlx.multiply(x, weight)
end
