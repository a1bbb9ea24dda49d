defmodule Mlx.LM.Norm do
  @moduledoc "Root mean square normalisation: `y = x / sqrt(mean(x ** 2) + eps) * weight`."

  alias Mlx.Array
  alias Mlx.LM.Weights

  @enforce_keys [:weight, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @doc "The normalisation with the tensor `name.weight` of a file."
  @spec new(Weights.t(), String.t(), float()) :: t()
  def new(weights, name, eps), do: %__MODULE__{weight: Mlx.eval(Weights.tensor!(weights, "#{name}.weight")), eps: eps}

  @doc "The outputs for `x` of the shape `{..., width}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, x), do: Mlx.Fast.rms_norm(x, weight, eps: eps)
end
