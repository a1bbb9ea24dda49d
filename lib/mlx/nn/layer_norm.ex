defmodule Mlx.NN.LayerNorm do
  @moduledoc """
  Layer normalisation over the last axis: `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`.

  | parameter | shape |
  | --- | --- |
  | `weight`, `bias` | `{dims}`, or `nil` |

  Source: Ba et al., "Layer Normalization" (2016). Python: `mlx.nn.LayerNorm`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Epsilon, Features}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :dims, :eps]
  defstruct [:weight, :bias, :dims, :eps]

  @type t :: %__MODULE__{weight: Array.t() | nil, bias: Array.t() | nil, dims: pos_integer(), eps: float()}

  @doc """
  A layer for inputs of `dims` features.

  Options:

    * `:eps` - default 1.0e-5
    * `:affine` - whether it has a weight, ones at first, and a bias, zeros at first; default true
    * `:bias` - whether it has a bias beside the weight, default true

  Examples:

      iex> Mlx.NN.LayerNorm.new(4, bias: false)
      #Mlx.NN.LayerNorm<weight: f32[4], bias: nil, dims: 4, eps: 1.0e-5>

  Python: `mlx.nn.LayerNorm`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ [])

  def new(dims, options) when is_integer(dims) and dims > 0 do
    defaults = [eps: Epsilon.default(), affine: true, bias: true]
    [eps, affine, bias] = Options.without_stream(options, :"NN.LayerNorm.new", defaults)
    Epsilon.check!(eps, "Mlx.NN.LayerNorm.new")

    %__MODULE__{
      weight: if(affine, do: Mlx.ones({dims})),
      bias: if(affine && bias, do: Mlx.zeros({dims})),
      dims: dims,
      eps: eps
    }
  end

  @doc """
  The outputs for an array `{..., dims}`.

      iex> layer = Mlx.NN.LayerNorm.new(2, eps: 1.0e-12)
      iex> Mlx.NN.LayerNorm.call(layer, Mlx.array([[1.0, 3.0], [5.0, 1.0]])) |> Mlx.to_list()
      [[-1.0, 1.0], [1.0, -1.0]]

  Python: `LayerNorm.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias, dims: dims, eps: eps}, %Array{} = x) do
    Features.check!(x, dims, "Mlx.NN.LayerNorm.call")
    Fast.layer_norm(x, weight, bias, eps: eps)
  end
end
