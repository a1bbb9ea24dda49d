defmodule Mlx.LM.Decoder.WeighedRMSNorm do
  @moduledoc false
  # Root mean square normalisation of the product with a weight.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: x |> Mlx.multiply(weight) |> Fast.rms_norm(nil, eps: eps)
end
