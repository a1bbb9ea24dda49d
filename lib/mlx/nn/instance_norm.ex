defmodule Mlx.NN.InstanceNorm do
  @moduledoc """
  Instance normalisation: each feature of each entry of the batch is normalised over the axes in between.

  `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`, with the mean and the variance over these axes.

  | parameter | shape |
  | --- | --- |
  | `weight`, `bias` | `{dims}`, or `nil` |

  Source: Ulyanov et al., "Instance Normalization" (2016). Python: `mlx.nn.InstanceNorm`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Affine, Epsilon, Features}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :dims, :eps]
  defstruct [:weight, :bias, :dims, :eps]

  @type t :: %__MODULE__{weight: Array.t() | nil, bias: Array.t() | nil, dims: pos_integer(), eps: float()}

  @doc """
  A layer for inputs of `dims` features.

  Options:

    * `:eps` - default 1.0e-5
    * `:affine` - whether it has a weight, ones at first, and a bias, zeros at first; default false

  Examples:

      iex> Mlx.NN.InstanceNorm.new(4, affine: true)
      #Mlx.NN.InstanceNorm<weight: f32[4], bias: f32[4], dims: 4, eps: 1.0e-5>

  Python: `mlx.nn.InstanceNorm`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(dims, options \\ [])

  def new(dims, options) when is_integer(dims) and dims > 0 do
    [eps, affine] = Options.without_stream(options, :"NN.InstanceNorm.new", eps: Epsilon.default(), affine: false)
    Epsilon.check!(eps, "Mlx.NN.InstanceNorm.new")
    {weight, bias} = Affine.new(affine, dims)
    %__MODULE__{weight: weight, bias: bias, dims: dims, eps: eps}
  end

  @doc """
  The outputs for an array `{batch, axis_1, ..., dims}` of three axes or more.

      iex> layer = Mlx.NN.InstanceNorm.new(1, eps: 1.0e-12)
      iex> Mlx.NN.InstanceNorm.call(layer, Mlx.array([[[1.0], [3.0]], [[9.0], [1.0]]])) |> Mlx.to_list()
      [[[-1.0], [1.0]], [[1.0], [-1.0]]]

  Python: `InstanceNorm.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias, dims: dims, eps: eps}, %Array{shape: shape} = x)
      when tuple_size(shape) >= 3 do
    Features.check!(x, dims, "Mlx.NN.InstanceNorm.call")
    channels_first = Mlx.move_axis(x, -1, 1)

    channels_first
    |> Mlx.flatten(axes: 2..(tuple_size(shape) - 1)//1)
    |> Fast.layer_norm(nil, nil, eps: eps)
    |> Mlx.reshape(channels_first.shape)
    |> Mlx.move_axis(1, -1)
    |> Affine.apply(weight, bias)
  end

  def call(%__MODULE__{}, %Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.NN.InstanceNorm.call: expected an input of three axes or more {batch, ..., dims}, got: #{inspect(shape)}"
  end
end
