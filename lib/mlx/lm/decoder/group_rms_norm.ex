defmodule Mlx.LM.Decoder.GroupRMSNorm do
  @moduledoc false
  # Root mean square normalisation of equal parts of the features, each by itself.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps, :groups]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float(), groups: pos_integer()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps, groups: groups}, %Array{shape: {batch, length, features}} = x) do
    parts = x |> Mlx.reshape({batch, length, groups, div(features, groups)}) |> Fast.rms_norm(nil, eps: eps)
    Mlx.multiply(weight, Mlx.reshape(parts, x.shape))
  end
end
