defmodule Mlx.LM.Decoder.ResidualGate do
  @moduledoc """
  How much of the stream goes on, and how much a branch gives to it, for each feature: `x = alpha * x + beta * y`.

  A gate of a file is one number for each feature, of which both are made:

      beta = sigmoid(gate / 0.3);  alpha = sqrt(max(1 - beta ** 2, 0.001))
  """

  alias Mlx.Array
  alias Mlx.LM.Decoder.Parameter

  @temperature 0.3
  @least 1.0e-3

  @enforce_keys [:alpha, :beta]
  defstruct @enforce_keys

  @type t :: %__MODULE__{alpha: Array.t(), beta: Array.t()}

  @doc "A gate with zeros for arrays. Options: `:width`."
  @spec new(width: pos_integer()) :: t()
  def new(width: width), do: %__MODULE__{alpha: Parameter.zeros({width}), beta: Parameter.zeros({width})}

  @doc "The gate of these numbers."
  @spec of(Array.t()) :: t()
  def of(gate) do
    gate = gate |> Mlx.as_type(:f32) |> Mlx.divide(@temperature)
    beta = Mlx.sigmoid(gate)
    # 1 - beta is a sigmoid, too, so that nothing is lost where beta is close to 1.
    rest = gate |> Mlx.negate() |> Mlx.sigmoid() |> Mlx.multiply(Mlx.add(beta, 1))
    %__MODULE__{alpha: Mlx.sqrt(Mlx.max(rest, @least)), beta: beta}
  end

  @doc "The stream after a branch has given `y`."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{alpha: alpha, beta: beta}, x, y), do: Mlx.add(Mlx.multiply(x, alpha), Mlx.multiply(y, beta))
end
