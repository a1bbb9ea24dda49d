defmodule Mlx.LM.Decoder.HeadRMSNorm do
  @moduledoc false
  # Root mean square normalisation of heads, each with its weight, {heads, features}.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: Mlx.multiply(weight, Fast.rms_norm(x, nil, eps: eps))
end
