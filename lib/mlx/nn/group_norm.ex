defmodule Mlx.NN.GroupNorm do
  @moduledoc """
  Group normalisation: the features are split into groups, and each group of each entry of the batch is normalised over
  its features and the axes in between.

  `(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`, with the mean and the variance of a group.

  | parameter | shape |
  | --- | --- |
  | `weight`, `bias` | `{dims}`, or `nil` |

  Source: Wu and He, "Group Normalization" (2018). Python: `mlx.nn.GroupNorm`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Fast}
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Affine, Epsilon, Features}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :num_groups, :dims, :eps, :pytorch_compatible]
  defstruct [:weight, :bias, :num_groups, :dims, :eps, :pytorch_compatible]

  @type t :: %__MODULE__{
          weight: Array.t() | nil,
          bias: Array.t() | nil,
          num_groups: pos_integer(),
          dims: pos_integer(),
          eps: float(),
          pytorch_compatible: boolean()
        }

  @doc """
  A layer for inputs of `dims` features in `num_groups` groups, which divide them.

  Options:

    * `:eps` - default 1.0e-5
    * `:affine` - whether it has a weight, ones at first, and a bias, zeros at first; default true
    * `:pytorch_compatible` - whether a group is features that follow one another, as in PyTorch. By default, false, a group
      is every `num_groups`-th feature.

  Examples:

      iex> Mlx.NN.GroupNorm.new(2, 4, affine: false).num_groups
      2

  Python: `mlx.nn.GroupNorm`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(num_groups, dims, options \\ [])

  def new(num_groups, dims, options)
      when is_integer(num_groups) and num_groups > 0 and is_integer(dims) and dims > 0 and rem(dims, num_groups) == 0 do
    defaults = [eps: Epsilon.default(), affine: true, pytorch_compatible: false]
    [eps, affine, pytorch_compatible] = Options.without_stream(options, :"NN.GroupNorm.new", defaults)
    Epsilon.check!(eps, "Mlx.NN.GroupNorm.new")
    {weight, bias} = Affine.new(affine, dims)

    %__MODULE__{
      weight: weight,
      bias: bias,
      num_groups: num_groups,
      dims: dims,
      eps: eps,
      pytorch_compatible: pytorch_compatible
    }
  end

  def new(num_groups, dims, _options) when is_integer(num_groups) and num_groups > 0 and is_integer(dims) do
    raise ArgumentError,
          "Mlx.NN.GroupNorm.new: expected a positive number of features that #{num_groups} groups divide, got: #{dims}"
  end

  @doc """
  The outputs for an array `{batch, ..., dims}`.

      iex> layer = Mlx.NN.GroupNorm.new(1, 2)
      iex> Mlx.NN.GroupNorm.call(layer, Mlx.array([[[1.0, 3.0]]])) |> Mlx.round() |> Mlx.to_list()
      [[[-1.0, 1.0]]]

  Python: `GroupNorm.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias} = layer, %Array{shape: shape} = x) when tuple_size(shape) >= 2 do
    Features.check!(x, layer.dims, "Mlx.NN.GroupNorm.call")
    normal = if layer.pytorch_compatible, do: of_neighbours(layer, x), else: of_every_nth(layer, x)
    Affine.apply(normal, weight, bias)
  end

  def call(%__MODULE__{}, %Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.NN.GroupNorm.call: expected an input of two axes or more {batch, ..., dims}, got: #{inspect(shape)}"
  end

  defp of_every_nth(layer, %Array{shape: shape} = x) do
    grouped = Mlx.reshape(x, {elem(shape, 0), places(shape) * div(layer.dims, layer.num_groups), layer.num_groups})
    mean = Mlx.mean(grouped, axes: [1], keep_axes: true)
    variance = Mlx.variance(grouped, axes: [1], keep_axes: true)

    grouped
    |> Mlx.subtract(mean)
    |> Mlx.multiply(Mlx.rsqrt(Mlx.add(variance, layer.eps)))
    |> Mlx.reshape(shape)
  end

  defp of_neighbours(%__MODULE__{num_groups: groups} = layer, %Array{shape: shape} = x) do
    {batch, places, size} = {elem(shape, 0), places(shape), div(layer.dims, groups)}

    x
    |> Mlx.reshape({batch, places, groups, size})
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.reshape({batch, groups, places * size})
    |> Fast.layer_norm(nil, nil, eps: layer.eps)
    |> Mlx.reshape({batch, groups, places, size})
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.reshape(shape)
  end

  # How many places the axes between the batch and the features have.
  defp places(shape), do: shape |> Tuple.to_list() |> Enum.slice(1..-2//1) |> Enum.product()
end
