defmodule Mlx.LM.Decoder.PlainRMSNorm do
  @moduledoc false
  # Root mean square normalisation without a weight.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{eps: eps}, x), do: Fast.rms_norm(x, nil, eps: eps)
end
