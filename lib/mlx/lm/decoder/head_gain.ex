defmodule Mlx.LM.Decoder.HeadGain do
  @moduledoc false
  # Root mean square normalisation of heads, `{batch, heads, length, features}`, each of which has one number as its weight.

  alias Mlx.{Array, Fast}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x) do
    x
    |> Fast.rms_norm(nil, eps: eps)
    |> Mlx.multiply(weight |> Mlx.as_type(x.type) |> Mlx.new_axis(-1) |> Mlx.new_axis(-1))
  end
end
