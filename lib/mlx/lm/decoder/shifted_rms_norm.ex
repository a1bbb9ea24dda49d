defmodule Mlx.LM.Decoder.ShiftedRMSNorm do
  @moduledoc false
  # Root mean square normalisation whose weight is one more than what files hold. For inference it becomes an
  # Mlx.NN.RMSNorm.

  alias Mlx.{Array, Fast}
  alias Mlx.NN.RMSNorm

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: Fast.rms_norm(x, Mlx.add(weight, 1), eps: eps)

  @doc "The normalisation with the sum as its weight."
  @spec summed(t()) :: RMSNorm.t()
  def summed(%__MODULE__{weight: weight, eps: eps}), do: %RMSNorm{weight: Mlx.add(weight, 1), eps: eps}
end
