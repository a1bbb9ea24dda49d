defmodule Mlx.LM.Decoder.HeadLayerNorm do
  @moduledoc false
  # Layer normalisation of heads `{..., heads, features}`, with a weight for each head and no bias.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: Mlx.multiply(weight, Fast.layer_norm(x, nil, nil, eps: eps))
end
