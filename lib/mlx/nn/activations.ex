defmodule Mlx.NN.Activations do
  @moduledoc """
  Activation functions, for each element or along an axis.

  Each is also a layer, such as `Mlx.NN.ReLU` for `relu/1`.

      iex> Mlx.array([-1.0, 2.0]) |> Mlx.NN.Activations.relu() |> Mlx.to_list()
      [0.0, 2.0]

  Python: the functions of `mlx.nn`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Options}

  @doc """
  The continuously differentiable exponential linear unit: `max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)`.

  Options:

    * `:alpha` - the scale of the negative side, default 1.0

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.celu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.865, 0.5, 3.0]

  Python: `mlx.nn.celu`.
  """
  @spec celu(Array.t(), keyword()) :: Array.t()
  def celu(x, options \\ [])

  def celu(%Array{} = x, options) do
    [alpha] = Options.without_stream(options, :"NN.Activations.celu", alpha: 1.0)
    max(x, 0.0) + alpha * (Mlx.exp(min(x, 0.0) / alpha) - 1)
  end

  @doc """
  The exponential linear unit: `x` where it is positive, else `alpha * (exp(x) - 1)`.

  Options:

    * `:alpha` - the scale of the negative side, default 1.0

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.elu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.865, 0.5, 3.0]

  Python: `mlx.nn.elu`.
  """
  @spec elu(Array.t(), keyword()) :: Array.t()
  def elu(x, options \\ [])

  def elu(%Array{} = x, options) do
    [alpha] = Options.without_stream(options, :"NN.Activations.elu", alpha: 1.0)
    Mlx.select(x > 0, x, alpha * (Mlx.exp(x) - 1))
  end

  @doc """
  The Gaussian error linear unit: `x` times the probability that a standard normal number is less than `x`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.gelu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.046, 0.346, 2.996]

  Python: `mlx.nn.gelu`.
  """
  @spec gelu(Array.t()) :: Array.t()
  def gelu(%Array{} = x), do: x * (1 + Mlx.erf(x / :math.sqrt(2))) / 2

  @doc """
  An approximation of `gelu/1` by a hyperbolic tangent: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3)))`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.gelu_approx() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.045, 0.346, 2.996]

  Python: `mlx.nn.gelu_approx`.
  """
  @spec gelu_approx(Array.t()) :: Array.t()
  def gelu_approx(%Array{} = x), do: 0.5 * x * (1 + Mlx.tanh(:math.sqrt(2 / :math.pi()) * (x + 0.044715 * x ** 3)))

  @doc """
  A cheaper approximation of `gelu/1`: `x * sigmoid(1.702 * x)`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.gelu_fast_approx() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.064, 0.35, 2.982]

  Python: `mlx.nn.gelu_fast_approx`.
  """
  @spec gelu_fast_approx(Array.t()) :: Array.t()
  def gelu_fast_approx(%Array{} = x), do: x * Mlx.sigmoid(1.702 * x)

  @doc """
  The gated linear unit: one half of `x` times the sigmoid of the other half.

  Options:

    * `:axis` - the axis whose first and second halves these are, default -1; its size is even

  Examples:

      iex> Mlx.array([1.0, 2.0, 0.0, 3.0]) |> Mlx.NN.Activations.glu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.5, 1.905]

  Python: `mlx.nn.glu`.
  """
  @spec glu(Array.t(), keyword()) :: Array.t()
  def glu(x, options \\ [])

  def glu(%Array{} = x, options) do
    [axis] = Options.without_stream(options, :"NN.Activations.glu", axis: -1)
    [value, gate] = CalledFunction.name("Mlx.NN.Activations.glu", ["Mlx.split"], fn -> Mlx.split(x, 2, axis: axis) end)
    value * Mlx.sigmoid(gate)
  end

  @doc """
  `x` where its absolute value is greater than `lambda`, else 0.

  Options:

    * `:lambda` - half the width of what becomes 0, default 0.5

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.hard_shrink() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-2.0, 0.0, 3.0]

  Python: `mlx.nn.hard_shrink`.
  """
  @spec hard_shrink(Array.t(), keyword()) :: Array.t()
  def hard_shrink(x, options \\ [])

  def hard_shrink(%Array{} = x, options) do
    [lambda] = Options.without_stream(options, :"NN.Activations.hard_shrink", lambda: 0.5)
    Mlx.select(Mlx.abs(x) > lambda, x, 0)
  end

  @doc """
  `x`, but no less than `:min` and no more than `:max`.

  Options:

    * `:min` - the least value, default -1.0
    * `:max` - the greatest value, default 1.0

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.hard_tanh() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-1.0, 0.5, 1.0]

  Python: `mlx.nn.hard_tanh`.
  """
  @spec hard_tanh(Array.t(), keyword()) :: Array.t()
  def hard_tanh(x, options \\ [])

  def hard_tanh(%Array{} = x, options) do
    [least, greatest] = Options.without_stream(options, :"NN.Activations.hard_tanh", min: -1.0, max: 1.0)
    min(max(x, least), greatest)
  end

  @doc """
  A piecewise form of `silu/1`: `x * min(max(x + 3, 0), 6) / 6`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.hardswish() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.333, 0.292, 3.0]

  Python: `mlx.nn.hardswish`.
  """
  @spec hardswish(Array.t()) :: Array.t()
  def hardswish(%Array{} = x), do: x * min(max(x + 3, 0), 6) / 6

  @doc """
  `max(negative_slope * x, x)`.

  Options:

    * `:negative_slope` - the slope where `x` is negative, default 0.01

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.leaky_relu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.02, 0.5, 3.0]

  Python: `mlx.nn.leaky_relu`.
  """
  @spec leaky_relu(Array.t(), keyword()) :: Array.t()
  def leaky_relu(x, options \\ [])

  def leaky_relu(%Array{} = x, options) do
    [negative_slope] = Options.without_stream(options, :"NN.Activations.leaky_relu", negative_slope: 0.01)
    max(negative_slope * x, x)
  end

  @doc """
  The logarithm of the sigmoid: `-softplus(-x)`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.log_sigmoid() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-2.127, -0.474, -0.049]

  Python: `mlx.nn.log_sigmoid`.
  """
  @spec log_sigmoid(Array.t()) :: Array.t()
  def log_sigmoid(%Array{} = x), do: -softplus(-x)

  @doc """
  The logarithm of `softmax/2`, also where an exponential is too large or too small for the type.

  Options:

    * `:axis` - the axis whose exponentials sum to 1, default -1

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.log_softmax() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-5.085, -2.585, -0.085]

  Python: `mlx.nn.log_softmax`.
  """
  @spec log_softmax(Array.t(), keyword()) :: Array.t()
  def log_softmax(x, options \\ [])

  def log_softmax(%Array{} = x, options) do
    [axis] = Options.without_stream(options, :"NN.Activations.log_softmax", axis: -1)
    # The greatest is taken away first: beside it the logarithm of the sum would be lost.
    shifted = x - Mlx.stop_gradient(Mlx.reduce_max(x, axes: [axis], keep_axes: true))
    shifted - Mlx.logsumexp(shifted, axes: [axis], keep_axes: true)
  end

  @doc """
  `x * tanh(softplus(x))`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.mish() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.253, 0.375, 2.987]

  Python: `mlx.nn.mish`.
  """
  @spec mish(Array.t()) :: Array.t()
  def mish(%Array{} = x), do: x * Mlx.tanh(softplus(x))

  @doc """
  The parametric rectified linear unit: `max(x, 0) + alpha * min(x, 0)`. `alpha` is an array that broadcasts to `x`.

      iex> Mlx.NN.Activations.prelu(Mlx.array([-2.0, 3.0]), Mlx.array([0.25])) |> Mlx.to_list()
      [-0.5, 3.0]

  Python: `mlx.nn.prelu`.
  """
  @spec prelu(Array.t(), Array.t()) :: Array.t()
  def prelu(%Array{} = x, %Array{} = alpha), do: max(0, x) + alpha * min(0, x)

  @doc """
  The rectified linear unit: `max(x, 0)`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.relu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.0, 0.5, 3.0]

  Python: `mlx.nn.relu`.
  """
  @spec relu(Array.t()) :: Array.t()
  def relu(%Array{} = x), do: max(x, 0)

  @doc """
  The square of `relu/1`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.relu2() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.0, 0.25, 9.0]

  Python: `mlx.nn.relu2`.
  """
  @spec relu2(Array.t()) :: Array.t()
  def relu2(%Array{} = x), do: Mlx.square(max(x, 0))

  @doc """
  `relu/1`, but no more than 6.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.relu6() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.0, 0.5, 3.0]

  Python: `mlx.nn.relu6`.
  """
  @spec relu6(Array.t()) :: Array.t()
  def relu6(%Array{} = x), do: min(max(x, 0), 6.0)

  @doc """
  The scaled exponential linear unit: `1.0507 * elu(x, alpha: 1.67326)`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.selu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-1.52, 0.525, 3.152]

  Python: `mlx.nn.selu`.
  """
  @spec selu(Array.t()) :: Array.t()
  def selu(%Array{} = x), do: elu(x, alpha: 1.67326) * 1.0507

  @doc """
  `1 / (1 + exp(-x))`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.sigmoid() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.119, 0.622, 0.953]

  Python: `mlx.nn.sigmoid`.
  """
  @spec sigmoid(Array.t()) :: Array.t()
  def sigmoid(%Array{} = x), do: Mlx.sigmoid(x)

  @doc """
  The sigmoid linear unit, also called Swish: `x * sigmoid(x)`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.silu() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.238, 0.311, 2.858]

  Python: `mlx.nn.silu`.
  """
  @spec silu(Array.t()) :: Array.t()
  def silu(%Array{} = x), do: x * Mlx.sigmoid(x)

  @doc """
  `exp(x) / sum(exp(x))` along an axis.

  Options:

    * `:axis` - the axis whose elements sum to 1, default -1

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.softmax() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.006, 0.075, 0.918]

  Python: `mlx.nn.softmax`.
  """
  @spec softmax(Array.t(), keyword()) :: Array.t()
  def softmax(x, options \\ [])

  def softmax(%Array{} = x, options) do
    [axis] = Options.without_stream(options, :"NN.Activations.softmax", axis: -1)
    Mlx.softmax(x, axes: [axis])
  end

  @doc """
  `softmax/2` of `-x`.

  Options:

    * `:axis` - the axis whose elements sum to 1, default -1

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.softmin() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.918, 0.075, 0.006]

  Python: `mlx.nn.softmin`.
  """
  @spec softmin(Array.t(), keyword()) :: Array.t()
  def softmin(x, options \\ [])

  def softmin(%Array{} = x, options) do
    [axis] = Options.without_stream(options, :"NN.Activations.softmin", axis: -1)
    Mlx.softmax(-x, axes: [axis])
  end

  @doc """
  `log(1 + exp(x))`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.softplus() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [0.127, 0.974, 3.049]

  Python: `mlx.nn.softplus`.
  """
  @spec softplus(Array.t()) :: Array.t()
  def softplus(%Array{} = x), do: Mlx.logaddexp(x, 0)

  @doc """
  `x` brought nearer to 0 by `lambda`, and 0 where it was no farther than that.

  Options:

    * `:lambda` - half the width of what becomes 0, default 0.5

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.softshrink() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-1.5, 0.0, 2.5]

  Python: `mlx.nn.softshrink`.
  """
  @spec softshrink(Array.t(), keyword()) :: Array.t()
  def softshrink(x, options \\ [])

  def softshrink(%Array{} = x, options) do
    [lambda] = Options.without_stream(options, :"NN.Activations.softshrink", lambda: 0.5)
    Mlx.select(Mlx.abs(x) > lambda, x - Mlx.sign(x) * lambda, 0)
  end

  @doc """
  `x / (1 + abs(x))`.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.softsign() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.667, 0.333, 0.75]

  Python: `mlx.nn.softsign`.
  """
  @spec softsign(Array.t()) :: Array.t()
  def softsign(%Array{} = x), do: x / (1 + Mlx.abs(x))

  @doc """
  1 where `x` is at least the threshold, else 0, of the type `:s32`.

  Options:

    * `:threshold` - where the step is, default 0.0

  Examples:

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.step() |> Mlx.to_list()
      [0, 1, 1]

  Python: `mlx.nn.step`.
  """
  @spec step(Array.t(), keyword()) :: Array.t()
  def step(x, options \\ [])

  def step(%Array{} = x, options) do
    [threshold] = Options.without_stream(options, :"NN.Activations.step", threshold: 0.0)
    Mlx.select(x >= threshold, 1, 0)
  end

  @doc """
  The hyperbolic tangent.

      iex> Mlx.array([-2.0, 0.5, 3.0]) |> Mlx.NN.Activations.tanh() |> Mlx.to_list() |> Enum.map(&Float.round(&1, 3))
      [-0.964, 0.462, 0.995]

  Python: `mlx.nn.tanh`.
  """
  @spec tanh(Array.t()) :: Array.t()
  def tanh(%Array{} = x), do: Mlx.tanh(x)
end
