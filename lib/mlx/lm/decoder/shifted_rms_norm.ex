defmodule Mlx.LM.Decoder.ShiftedRMSNorm do
  @moduledoc false
  # Root mean square normalisation whose weight is more than what files hold by a constant, mostly one. For
  # inference it becomes an Mlx.NN.RMSNorm.

  alias Mlx.{Array, Fast}
  alias Mlx.NN.RMSNorm

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys ++ [shift: 1]

  @type t :: %__MODULE__{weight: Array.t(), eps: float(), shift: number()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps, shift: shift}, x) do
    Fast.rms_norm(x, Mlx.add(weight, shift), eps: eps)
  end

  @doc "The normalisation with the sum as its weight."
  @spec summed(t()) :: RMSNorm.t()
  def summed(%__MODULE__{weight: weight, eps: eps, shift: shift}) do
    %RMSNorm{weight: Mlx.add(weight, shift), eps: eps}
  end
end
