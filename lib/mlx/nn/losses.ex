defmodule Mlx.NN.Losses do
  @moduledoc """
  Loss functions.

  Each compares predictions with targets and gives a loss for each of them, or their mean or sum:

  | `:reduction` | result |
  | --- | --- |
  | `:none` | the losses |
  | `:mean` | their mean, a scalar |
  | `:sum` | their sum, a scalar |

  The defaults are those of Python, and differ between the functions. The gradient of a model needs a scalar.

      iex> Mlx.NN.Losses.mse_loss(Mlx.array([1.0, 2.0]), Mlx.array([1.0, 4.0])) |> Mlx.to_number()
      2.0

  Python: `mlx.nn.losses`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Operators

  alias Mlx.{Array, Fast, Linalg, Type}
  alias Mlx.Arguments.Options

  @none "`:reduction` - `:none` (default), `:mean` or `:sum`"
  @mean "`:reduction` - `:none`, `:mean` (default) or `:sum`"

  @doc """
  The cross entropy of logits and targets.

  `targets` are the indices of the classes, in the shape of the logits without the axis of the classes; or probabilities,
  in the shape of the logits. The losses have the shape of the logits without that axis.

  Options:

    * `:axis` - the axis of the classes, default -1
    * `:weights` - a factor for each loss, an array of the shape of the losses, default `nil`
    * `:label_smoothing` - how much of each target is spread over all classes, at least 0 and less than 1, default 0.0
    * #{@none}

  Examples:

      iex> logits = Mlx.array([[2.0, -1.0], [-1.0, 2.0]])
      iex> losses = Mlx.NN.Losses.cross_entropy(logits, Mlx.array([0, 1]))
      iex> losses |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.0486, 0.0486]
      iex> targets = Mlx.array([[0.9, 0.1], [0.1, 0.9]])
      iex> Mlx.NN.Losses.cross_entropy(logits, targets, reduction: :mean) |> Mlx.to_number() |> Float.round(4)
      0.3486

  Python: `mlx.nn.losses.cross_entropy`.
  """
  @spec cross_entropy(Array.t(), Array.t(), keyword()) :: Array.t()
  def cross_entropy(logits, targets, options \\ [])

  def cross_entropy(%Array{} = logits, %Array{} = targets, options) do
    defaults = [axis: -1, weights: nil, label_smoothing: 0.0, reduction: :none]
    [axis, weights, smoothing, reduction] = Options.without_stream(options, :"NN.Losses.cross_entropy", defaults)
    axis = axis!(axis, logits, "cross_entropy")
    expected = if Mlx.rank(targets) == Mlx.rank(logits), do: logits.shape, else: Tuple.delete_at(logits.shape, axis)
    same_shape!("cross_entropy", "targets", targets.shape, expected)
    smoothing!(smoothing)

    logits
    |> entropies(targets, axis, smoothing)
    |> weighted(weights, "cross_entropy")
    |> reduce(reduction, "cross_entropy")
  end

  # A GPU has a kernel for it.
  defp entropies(logits, targets, axis, smoothing) do
    if Mlx.Device.default() == :gpu and smoothing == 0 and axis == Mlx.rank(targets) and
         Type.subtype?(logits.type, :float) and Type.subtype?(targets.type, :integer) do
      logits |> Fast.cross_entropy(targets) |> Mlx.as_type(logits.type)
    else
      shifted = logits - Mlx.stop_gradient(Mlx.reduce_max(logits, axes: [axis], keep_axes: true))
      smoothed(Mlx.logsumexp(shifted, axes: [axis]), score(shifted, targets, axis), shifted, axis, smoothing)
    end
  end

  defp score(logits, targets, axis) do
    if Mlx.rank(targets) == Mlx.rank(logits),
      do: Mlx.sum(logits * targets, axes: [axis]),
      else: at_targets(logits, targets, axis)
  end

  defp at_targets(array, targets, axis) do
    array |> Mlx.take_along_axis(Mlx.new_axis(targets, axis), axis: axis) |> Mlx.squeeze(axes: [axis])
  end

  defp smoothed(normalizer, score, _logits, _axis, smoothing) when smoothing == 0, do: normalizer - score

  defp smoothed(normalizer, score, logits, axis, smoothing) do
    normalizer - (1 - smoothing) * score + -Mlx.mean(logits, axes: [axis]) * smoothing
  end

  defp smoothing!(smoothing) do
    unless is_number(smoothing) and smoothing >= 0 and smoothing < 1 do
      raise ArgumentError,
            "Mlx.NN.Losses.cross_entropy: expected :label_smoothing to be at least 0 and less than 1, " <>
              "got: #{inspect(smoothing)}"
    end
  end

  @doc """
  The binary cross entropy of predictions and targets of one shape. The targets are 0 or 1, or probabilities.

  Options:

    * `:with_logits` - whether the predictions are logits (default true) or probabilities, whose logarithms are taken to
      be at least -100
    * `:weights` - a factor for each loss, an array of the same shape, default `nil`
    * #{@mean}

  Examples:

      iex> logits = Mlx.array([0.105361, 0.223144, 1.20397, 0.916291])
      iex> targets = Mlx.array([0, 0, 1, 1])
      iex> Mlx.NN.Losses.binary_cross_entropy(logits, targets) |> Mlx.to_number() |> Float.round(4)
      0.5392

  Python: `mlx.nn.losses.binary_cross_entropy`.
  """
  @spec binary_cross_entropy(Array.t(), Array.t(), keyword()) :: Array.t()
  def binary_cross_entropy(inputs, targets, options \\ [])

  def binary_cross_entropy(%Array{} = inputs, %Array{} = targets, options) do
    defaults = [with_logits: true, weights: nil, reduction: :mean]
    [logits?, weights, reduction] = Options.without_stream(options, :"NN.Losses.binary_cross_entropy", defaults)
    same_shape!("binary_cross_entropy", "targets", targets.shape, inputs.shape)

    inputs
    |> binary_entropies(targets, logits?)
    |> weighted(weights, "binary_cross_entropy")
    |> reduce(reduction, "binary_cross_entropy")
  end

  defp binary_entropies(logits, targets, true), do: Mlx.logaddexp(0.0, logits) - logits * targets

  defp binary_entropies(inputs, targets, false) do
    [of_one, of_zero] = for x <- [inputs, 1 - inputs], do: Mlx.max(Mlx.log(x), -100)
    -(targets * of_one + (1 - targets) * of_zero)
  end

  defp binary_entropies(_inputs, _targets, other) do
    raise ArgumentError,
          "Mlx.NN.Losses.binary_cross_entropy: expected :with_logits to be true or false, got: #{inspect(other)}"
  end

  @doc """
  The absolute differences of predictions and targets of one shape.

  Options:

    * #{@mean}

  Examples:

      iex> Mlx.NN.Losses.l1_loss(Mlx.array([1.0, 2.0]), Mlx.array([1.0, 4.0])) |> Mlx.to_number()
      1.0

  Python: `mlx.nn.losses.l1_loss`.
  """
  @spec l1_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def l1_loss(predictions, targets, options \\ [])

  def l1_loss(%Array{} = predictions, %Array{} = targets, options) do
    [reduction] = Options.without_stream(options, :"NN.Losses.l1_loss", reduction: :mean)
    same_shape!("l1_loss", "targets", targets.shape, predictions.shape)
    reduce(Mlx.abs(predictions - targets), reduction, "l1_loss")
  end

  @doc """
  The squared differences of predictions and targets of one shape.

  Options:

    * #{@mean}

  Examples:

      iex> Mlx.NN.Losses.mse_loss(Mlx.array([1.0, 2.0]), Mlx.array([1.0, 4.0]), reduction: :none) |> Mlx.to_list()
      [0.0, 4.0]

  Python: `mlx.nn.losses.mse_loss`.
  """
  @spec mse_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def mse_loss(predictions, targets, options \\ [])

  def mse_loss(%Array{} = predictions, %Array{} = targets, options) do
    [reduction] = Options.without_stream(options, :"NN.Losses.mse_loss", reduction: :mean)
    same_shape!("mse_loss", "targets", targets.shape, predictions.shape)
    reduce(Mlx.square(predictions - targets), reduction, "mse_loss")
  end

  @doc """
  The negative log likelihood of the classes `targets`, indices in the shape of `inputs` without the axis of the classes.
  `inputs` are logarithms of probabilities.

  Options:

    * `:axis` - the axis of the classes, default -1
    * #{@none}

  Examples:

      iex> Mlx.NN.Losses.nll_loss(Mlx.array([[-0.5, -1.0]]), Mlx.array([1])) |> Mlx.to_list()
      [1.0]

  Python: `mlx.nn.losses.nll_loss`.
  """
  @spec nll_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def nll_loss(inputs, targets, options \\ [])

  def nll_loss(%Array{} = inputs, %Array{} = targets, options) do
    [axis, reduction] = Options.without_stream(options, :"NN.Losses.nll_loss", axis: -1, reduction: :none)
    axis = axis!(axis, inputs, "nll_loss")
    same_shape!("nll_loss", "targets", targets.shape, Tuple.delete_at(inputs.shape, axis))
    reduce(-at_targets(inputs, targets, axis), reduction, "nll_loss")
  end

  @doc """
  The negative log likelihood of targets where the predictions are means and variances of normal distributions:
  `(log(variances) + (targets - means) ** 2 / variances) / 2`. All have one shape.

  Options:

    * `:full` - whether to add the constant `log(2 * pi) / 2`, default false
    * `:eps` - the least variance, default 1.0e-6
    * #{@mean}

  Examples:

      iex> one = Mlx.array([1.0])
      iex> Mlx.NN.Losses.gaussian_nll_loss(Mlx.array([3.0]), one, one) |> Mlx.to_number()
      2.0

  Python: `mlx.nn.losses.gaussian_nll_loss`.
  """
  @spec gaussian_nll_loss(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def gaussian_nll_loss(means, targets, variances, options \\ [])

  def gaussian_nll_loss(%Array{} = means, %Array{} = targets, %Array{} = variances, options) do
    defaults = [full: false, eps: 1.0e-6, reduction: :mean]
    [full, eps, reduction] = Options.without_stream(options, :"NN.Losses.gaussian_nll_loss", defaults)
    same_shape!("gaussian_nll_loss", "targets", targets.shape, means.shape)
    same_shape!("gaussian_nll_loss", "variances", variances.shape, means.shape)
    variances = max(variances, eps)
    losses = 0.5 * (Mlx.log(variances) + Mlx.square(targets - means) / variances)
    losses = if full, do: losses + 0.5 * :math.log(2 * :math.pi()), else: losses
    reduce(losses, reduction, "gaussian_nll_loss")
  end

  @doc """
  The Kullback-Leibler divergence of the distributions `inputs` from `targets`, both logarithms of probabilities:
  `sum(exp(targets) * (targets - inputs))` along an axis.

  Options:

    * `:axis` - the axis of a distribution, default -1
    * #{@none}

  Examples:

      iex> [p, q] = for list <- [[0.5, 0.5], [0.25, 0.75]], do: Mlx.log(Mlx.array(list))
      iex> Mlx.NN.Losses.kl_div_loss(q, p) |> Mlx.to_number() |> Float.round(4)
      0.1438

  Python: `mlx.nn.losses.kl_div_loss`.
  """
  @spec kl_div_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def kl_div_loss(inputs, targets, options \\ [])

  def kl_div_loss(%Array{} = inputs, %Array{} = targets, options) do
    [axis, reduction] = Options.without_stream(options, :"NN.Losses.kl_div_loss", axis: -1, reduction: :none)
    reduce(Mlx.sum(Mlx.exp(targets) * (targets - inputs), axes: [axis]), reduction, "kl_div_loss")
  end

  @doc """
  The smooth L1 loss of predictions and targets of one shape: quadratic where they differ by less than `beta`,
  `difference ** 2 / (2 * beta)`, else `difference - beta / 2`.

  Options:

    * `:beta` - default 1.0
    * #{@mean}

  Examples:

      iex> Mlx.NN.Losses.smooth_l1_loss(Mlx.array([0.5, 3.0]), Mlx.array([0.0, 0.0]), reduction: :none) |> Mlx.to_list()
      [0.125, 2.5]

  Python: `mlx.nn.losses.smooth_l1_loss`.
  """
  @spec smooth_l1_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def smooth_l1_loss(predictions, targets, options \\ [])

  def smooth_l1_loss(%Array{} = predictions, %Array{} = targets, options) do
    [beta, reduction] = Options.without_stream(options, :"NN.Losses.smooth_l1_loss", beta: 1.0, reduction: :mean)
    same_shape!("smooth_l1_loss", "targets", targets.shape, predictions.shape)
    difference = Mlx.abs(predictions - targets)
    losses = Mlx.select(difference < beta, 0.5 * Mlx.square(difference) / beta, Mlx.abs(difference) - 0.5 * beta)
    reduce(losses, reduction, "smooth_l1_loss")
  end

  @doc """
  The triplet loss: how much farther the anchors are from the positives than from the negatives, with a margin:
  `max(distance(anchors, positives) - distance(anchors, negatives) + margin, 0)`.

  Options:

    * `:axis` - the axis of an embedding, default -1; the losses do not have it
    * `:p` - the order of the norm that is the distance, default 2
    * `:margin` - default 1.0
    * `:eps` - what is added to the sum below the root of the norm, default 1.0e-6
    * #{@none}

  Examples:

      iex> [anchors, positives, negatives] = for list <- [[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]], do: Mlx.array([list])
      iex> Mlx.NN.Losses.triplet_loss(anchors, positives, negatives, margin: 2.0, eps: 0.0) |> Mlx.to_list()
      [1.0]

  Python: `mlx.nn.losses.triplet_loss`.
  """
  @spec triplet_loss(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def triplet_loss(anchors, positives, negatives, options \\ [])

  def triplet_loss(%Array{} = anchors, %Array{} = positives, %Array{} = negatives, options) do
    defaults = [axis: -1, p: 2, margin: 1.0, eps: 1.0e-6, reduction: :none]
    [axis, p, margin, eps, reduction] = Options.without_stream(options, :"NN.Losses.triplet_loss", defaults)
    distance = fn others -> (Mlx.sum(Mlx.abs(anchors - others) ** p, axes: [axis]) + eps) ** (1.0 / p) end
    reduce(max(distance.(positives) - distance.(negatives) + margin, 0), reduction, "triplet_loss")
  end

  @doc """
  The hinge loss of predictions and targets, which are -1 or 1: `max(1 - inputs * targets, 0)`.

  Options:

    * #{@none}

  Examples:

      iex> Mlx.NN.Losses.hinge_loss(Mlx.array([0.5, 2.0, 2.0]), Mlx.array([1, 1, -1])) |> Mlx.to_list()
      [0.5, 0.0, 3.0]

  Python: `mlx.nn.losses.hinge_loss`.
  """
  @spec hinge_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def hinge_loss(inputs, targets, options \\ [])

  def hinge_loss(%Array{} = inputs, %Array{} = targets, options) do
    [reduction] = Options.without_stream(options, :"NN.Losses.hinge_loss", reduction: :none)
    reduce(max(1 - inputs * targets, 0), reduction, "hinge_loss")
  end

  @doc """
  The Huber loss of predictions and targets: `difference ** 2 / 2` where they differ by no more than `delta`, else
  `delta * (difference - delta / 2)`.

  Options:

    * `:delta` - default 1.0
    * #{@none}

  Examples:

      iex> Mlx.NN.Losses.huber_loss(Mlx.array([0.5, 3.0]), Mlx.array([0.0, 0.0]), delta: 2.0) |> Mlx.to_list()
      [0.125, 4.0]

  Python: `mlx.nn.losses.huber_loss`.
  """
  @spec huber_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def huber_loss(inputs, targets, options \\ [])

  def huber_loss(%Array{} = inputs, %Array{} = targets, options) do
    [delta, reduction] = Options.without_stream(options, :"NN.Losses.huber_loss", delta: 1.0, reduction: :none)
    difference = Mlx.abs(inputs - targets)
    quadratic = min(difference, delta)
    reduce(0.5 * quadratic ** 2 + delta * (difference - quadratic), reduction, "huber_loss")
  end

  @doc """
  The logarithms of the hyperbolic cosines of the differences of predictions and targets.

  Options:

    * #{@none}

  Examples:

      iex> Mlx.NN.Losses.log_cosh_loss(Mlx.array([1.0]), Mlx.array([0.0])) |> Mlx.to_number() |> Float.round(4)
      0.4338

  Python: `mlx.nn.losses.log_cosh_loss`.
  """
  @spec log_cosh_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def log_cosh_loss(inputs, targets, options \\ [])

  def log_cosh_loss(%Array{} = inputs, %Array{} = targets, options) do
    [reduction] = Options.without_stream(options, :"NN.Losses.log_cosh_loss", reduction: :none)
    difference = inputs - targets
    reduce(Mlx.logaddexp(difference, -difference) - :math.log(2), reduction, "log_cosh_loss")
  end

  @doc """
  The cosines of the angles between the vectors of two arrays: `x1 · x2 / max(norm(x1) * norm(x2), eps)`.

  It is greatest, 1, for vectors of one direction, so a training that brings vectors together takes its negative.

  Options:

    * `:axis` - the axis of a vector, default 1; the result does not have it
    * `:eps` - the least denominator, default 1.0e-8
    * #{@none}

  Examples:

      iex> Mlx.NN.Losses.cosine_similarity_loss(Mlx.array([[3.0, 4.0]]), Mlx.array([[1.0, 0.0]])) |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.6]

  Python: `mlx.nn.losses.cosine_similarity_loss`.
  """
  @spec cosine_similarity_loss(Array.t(), Array.t(), keyword()) :: Array.t()
  def cosine_similarity_loss(x1, x2, options \\ [])

  def cosine_similarity_loss(%Array{} = x1, %Array{} = x2, options) do
    defaults = [axis: 1, eps: 1.0e-8, reduction: :none]
    [axis, eps, reduction] = Options.without_stream(options, :"NN.Losses.cosine_similarity_loss", defaults)
    [norm1, norm2] = for x <- [x1, x2], do: Linalg.norm(x, axes: [axis])
    reduce(Mlx.sum(x1 * x2, axes: [axis]) / max(norm1 * norm2, eps), reduction, "cosine_similarity_loss")
  end

  @doc """
  The margin ranking loss of two scores: `max(-targets * (inputs1 - inputs2) + margin, 0)`. A target is 1 where the first
  score should be greater, else -1. All have one shape.

  Options:

    * `:margin` - default 0.0
    * #{@none}

  Examples:

      iex> [inputs1, inputs2] = for list <- [[0.5, 2.0], [1.0, 1.0]], do: Mlx.array(list)
      iex> Mlx.NN.Losses.margin_ranking_loss(inputs1, inputs2, Mlx.array([1, -1])) |> Mlx.to_list()
      [0.5, 1.0]

  Python: `mlx.nn.losses.margin_ranking_loss`.
  """
  @spec margin_ranking_loss(Array.t(), Array.t(), Array.t(), keyword()) :: Array.t()
  def margin_ranking_loss(inputs1, inputs2, targets, options \\ [])

  def margin_ranking_loss(%Array{} = inputs1, %Array{} = inputs2, %Array{} = targets, options) do
    defaults = [margin: 0.0, reduction: :none]
    [margin, reduction] = Options.without_stream(options, :"NN.Losses.margin_ranking_loss", defaults)
    same_shape!("margin_ranking_loss", "inputs2", inputs2.shape, inputs1.shape)
    same_shape!("margin_ranking_loss", "targets", targets.shape, inputs1.shape)
    reduce(max(0, -targets * (inputs1 - inputs2) + margin), reduction, "margin_ranking_loss")
  end

  defp axis!(axis, %Array{shape: shape} = array, function) do
    rank = tuple_size(shape)

    unless is_integer(axis) and axis in -rank..(rank - 1)//1 do
      raise ArgumentError,
            "Mlx.NN.Losses.#{function}: expected :axis to be an axis of #{Mlx.Arguments.Given.text(array)}, got: #{inspect(axis)}"
    end

    Integer.mod(axis, rank)
  end

  defp same_shape!(_function, _name, shape, shape), do: :ok

  defp same_shape!(function, name, given, expected) do
    raise ArgumentError,
          "Mlx.NN.Losses.#{function}: expected #{name} of the shape #{inspect(expected)}, got: #{inspect(given)}"
  end

  defp weighted(losses, nil, _function), do: losses

  defp weighted(%Array{shape: shape} = losses, %Array{shape: given} = weights, function) do
    same_shape!(function, ":weights", given, shape)
    losses * weights
  end

  defp weighted(_losses, other, function) do
    raise ArgumentError,
          "Mlx.NN.Losses.#{function}: expected :weights to be an Mlx.Array, got: #{Mlx.Arguments.Given.text(other)}"
  end

  defp reduce(losses, :none, _function), do: losses
  defp reduce(losses, :mean, _function), do: Mlx.mean(losses)
  defp reduce(losses, :sum, _function), do: Mlx.sum(losses)

  defp reduce(_losses, other, function) do
    raise ArgumentError,
          "Mlx.NN.Losses.#{function}: expected :reduction to be :none, :mean or :sum, got: #{inspect(other)}"
  end
end
