defmodule Mlx.NN.RMSNorm do
  @moduledoc """
  Root mean square normalisation over the last axis: `x / sqrt(mean(x ** 2) + eps) * weight`.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{dims}` |

  Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019). Python: `mlx.nn.RMSNorm`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Epsilon, Features}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :eps]
  defstruct [:weight, :eps]

  @type t :: %__MODULE__{weight: Array.t(), eps: float()}

  @doc """
  A layer for inputs of `dims` features. Its weight is ones at first.

  Options:

    * `:eps` - default 1.0e-5

  Examples:

      iex> Mlx.NN.RMSNorm.new(4)
      #Mlx.NN.RMSNorm<weight: f32[4], eps: 1.0e-5>

  Python: `mlx.nn.RMSNorm`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ [])

  def new(dims, options) when is_integer(dims) and dims > 0 do
    [eps] = Options.without_stream(options, :"NN.RMSNorm.new", eps: Epsilon.default())
    Epsilon.check!(eps, "Mlx.NN.RMSNorm.new")
    %__MODULE__{weight: Mlx.ones({dims}), eps: eps}
  end

  @doc """
  The outputs for an array `{..., dims}`.

      iex> layer = Mlx.NN.RMSNorm.new(2, eps: 1.0e-12)
      iex> Mlx.NN.RMSNorm.call(layer, Mlx.array([[2.0, 2.0], [-5.0, 5.0]])) |> Mlx.to_list()
      [[1.0, 1.0], [-1.0, 1.0]]

  Python: `RMSNorm.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, eps: eps}, %Array{} = x) do
    Features.check!(x, elem(weight.shape, 0), "Mlx.NN.RMSNorm.call")
    Fast.rms_norm(x, weight, eps: eps)
  end
end
