defmodule Mlx.NN.BatchNorm do
  @moduledoc """
  Batch normalisation: each feature is normalised over all other axes.

  `(x - mean) / sqrt(variance + eps) * weight + bias`. In training, mean and variance are those of the batch. After it they
  are running statistics, which training has gathered: at each call a statistic becomes
  `(1 - momentum) * running + momentum * statistic`, with the variance for `n - 1` degrees of freedom.

  | array | shape | |
  | --- | --- | --- |
  | `weight`, `bias` | `{num_features}`, or `nil` | parameters |
  | `running_mean`, `running_var` | `{num_features}`, or `nil` | statistics, which have no gradient |

  A call does not change the layer. `Mlx.NN.value_and_grad/2` and `Mlx.NN.run/2` return the model with the new
  statistics.

  Source: Ioffe and Szegedy, "Batch Normalization" (2015). Python: `mlx.nn.BatchNorm`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.Options
  alias Mlx.NN.{Affine, Epsilon, Features}
  alias Mlx.Transforms.Replacement

  @derive {Mlx.NN.Layer, kept: [:running_mean, :running_var]}
  @enforce_keys [:weight, :bias, :running_mean, :running_var, :num_features, :eps, :momentum]
  defstruct @enforce_keys ++ [training: true]

  @type t :: %__MODULE__{
          weight: Array.t() | nil,
          bias: Array.t() | nil,
          running_mean: Array.t() | nil,
          running_var: Array.t() | nil,
          num_features: pos_integer(),
          eps: float(),
          momentum: float(),
          training: boolean()
        }

  @doc """
  A layer for inputs of so many features.

  Options:

    * `:eps` - default 1.0e-5
    * `:momentum` - how much of a batch's statistics goes into the running ones, default 0.1
    * `:affine` - whether it has a weight, ones at first, and a bias, zeros at first; default true
    * `:track_running_stats` - whether it has running statistics, default true. Without them those of the batch are always
      used.

  Examples:

      iex> Mlx.NN.BatchNorm.new(4).running_var |> Mlx.to_list()
      [1.0, 1.0, 1.0, 1.0]

  Python: `mlx.nn.BatchNorm`.
  """
  @spec new(pos_integer(), keyword()) :: t()
  def new(num_features, options \\ [])

  def new(num_features, options) when is_integer(num_features) and num_features > 0 do
    defaults = [eps: Epsilon.default(), momentum: 0.1, affine: true, track_running_stats: true]
    [eps, momentum, affine, track] = Options.without_stream(options, :"NN.BatchNorm.new", defaults)
    Epsilon.check!(eps, "Mlx.NN.BatchNorm.new")
    {weight, bias} = Affine.new(affine, num_features)

    %__MODULE__{
      weight: weight,
      bias: bias,
      running_mean: if(track, do: Mlx.zeros({num_features})),
      running_var: if(track, do: Mlx.ones({num_features})),
      num_features: num_features,
      eps: eps,
      momentum: momentum
    }
  end

  @doc """
  The outputs for an array `{batch, num_features}`, `{batch, length, num_features}` or
  `{batch, height, width, num_features}`.

      iex> layer = Mlx.NN.BatchNorm.new(1, eps: 1.0e-12)
      iex> x = Mlx.array([[1.0], [3.0]])
      iex> Mlx.NN.BatchNorm.call(layer, x) |> Mlx.to_list()
      [[-1.0], [1.0]]
      iex> layer |> Mlx.NN.eval() |> Mlx.NN.BatchNorm.call(x) |> Mlx.to_list()
      [[1.0], [3.0]]

  Raises `ArgumentError` in training when there is only one value for each feature. Python: `BatchNorm.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{shape: shape} = x) when tuple_size(shape) in 2..4 do
    Features.check!(x, layer.num_features, "Mlx.NN.BatchNorm.call")
    {mean, variance} = statistics(layer, x)

    x
    |> Mlx.subtract(mean)
    |> Mlx.multiply(Mlx.rsqrt(Mlx.add(variance, layer.eps)))
    |> Affine.apply(layer.weight, layer.bias)
  end

  def call(%__MODULE__{}, %Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.NN.BatchNorm.call: expected an input of two, three or four axes {batch, ..., num_features}, " <>
            "got: #{inspect(shape)}"
  end

  defp statistics(%__MODULE__{training: false, running_mean: %Array{}} = layer, _x) do
    {Replacement.current(layer.running_mean), Replacement.current(layer.running_var)}
  end

  defp statistics(%__MODULE__{} = layer, %Array{shape: shape} = x) do
    if layer.training and div(Tuple.product(shape), layer.num_features) == 1 do
      raise ArgumentError,
            "Mlx.NN.BatchNorm.call: training needs more than one value for each feature, got an input of the shape " <>
              inspect(shape)
    end

    axes = Enum.to_list(0..(tuple_size(shape) - 2))
    mean = Mlx.mean(x, axes: axes)

    if layer.running_mean do
      gather(layer.running_mean, mean, layer.momentum)
      gather(layer.running_var, Mlx.variance(x, axes: axes, ddof: 1), layer.momentum)
    end

    {mean, Mlx.variance(x, axes: axes)}
  end

  defp gather(running, statistic, momentum) do
    kept = Mlx.multiply(1 - momentum, Replacement.current(running))
    Replacement.leave(running, Mlx.add(kept, Mlx.multiply(momentum, statistic)))
  end
end
