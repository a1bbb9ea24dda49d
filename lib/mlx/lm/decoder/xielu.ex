defmodule Mlx.LM.Decoder.XIELU do
  @moduledoc """
  The activation xIELU, whose two slopes are learned: quadratic for positive numbers, exponential for others.

  Source: Huang and Schlag, "Deriving Activation Functions Using Integration" (2024).
  """

  alias Mlx.{Array, NN}
  alias Mlx.NN.Activations

  @derive NN.Layer
  @enforce_keys [:alpha_p, :alpha_n, :beta, :eps]
  defstruct @enforce_keys

  @type t :: %__MODULE__{alpha_p: Array.t(), alpha_n: Array.t(), beta: Array.t(), eps: Array.t()}

  @doc "The activation with zeros for its four numbers."
  @spec new() :: t()
  def new, do: %__MODULE__{alpha_p: Mlx.zeros({}), alpha_n: Mlx.zeros({}), beta: Mlx.zeros({}), eps: Mlx.zeros({})}

  @doc "The activation of an array."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{beta: beta} = layer, x) do
    positive = Mlx.add(Mlx.multiply(Activations.softplus(layer.alpha_p), Mlx.square(x)), Mlx.multiply(beta, x))
    slope = Mlx.add(beta, Activations.softplus(layer.alpha_n))
    curve = Mlx.subtract(Mlx.expm1(Mlx.min(x, layer.eps)), x)
    Mlx.select(Mlx.greater(x, 0), positive, Mlx.add(Mlx.multiply(curve, slope), Mlx.multiply(beta, x)))
  end
end
