defmodule Mlx.LM.Decoder.RoundedRMSNorm do
  @moduledoc false
  # Root mean square normalisation whose outputs have the type of its weight, for a stream of a larger one.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: %Array{type: type} = weight, eps: eps}, x) do
    x |> Fast.rms_norm(weight, eps: eps) |> Mlx.as_type(type)
  end
end
