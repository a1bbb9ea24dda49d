defmodule Mlx.LM.Decoder.ShiftedLayerNorm do
  @moduledoc false
  # Layer normalisation whose weight is one more than what files hold. For inference it becomes an Mlx.NN.LayerNorm.

  alias Mlx.{Array, Fast}
  alias Mlx.NN.LayerNorm

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias, eps: eps}, x) do
    Fast.layer_norm(x, Mlx.add(weight, 1), bias, eps: eps)
  end

  @doc "The normalisation with the sum as its weight."
  @spec summed(t()) :: LayerNorm.t()
  def summed(%__MODULE__{weight: weight, bias: bias, eps: eps}) do
    %LayerNorm{weight: Mlx.add(weight, 1), bias: bias, dims: Mlx.axis_size(weight, 0), eps: eps}
  end
end
