defmodule Mlx.Optimizers.Adafactor do
  @moduledoc """
  Adafactor: the gradient over its running size, of which a matrix keeps a row and a column.

      b = 1 - step ** decay_rate
      r = b * r + (1 - b) * mean(g ** 2 + eps1, columns)
      c = b * c + (1 - b) * mean(g ** 2 + eps1, rows)
      u = g / sqrt(r / mean(r) * c)
      u = u / max(1, rms(u) / clip_threshold)
      w = w - rate * u

  The rate is the smaller one of 0.01 and `1 / sqrt(step)`, or a learning rate, times the root mean square of the parameter.

  N. Shazeer, M. Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018,
  [arXiv:1804.04235](https://arxiv.org/abs/1804.04235).

  Of a parameter of two axes and more, whose last two are the rows and columns of matrices, it remembers `exp_avg_sq_row` and
  `exp_avg_sq_col`, of any other `exp_avg_sq`; with `:beta_1` also `exp_avg`.

  Python: `mlx.optimizers.Adafactor`.
  """

  use Mlx.Optimizers.PerParameter,
    learning_rate: {nil, {:optional, :rate}},
    eps: {{1.0e-30, 1.0e-3}, {:number, :number}},
    clip_threshold: {1.0, :positive},
    decay_rate: {-0.8, :number},
    beta_1: {nil, {:optional, :number}},
    weight_decay: {0.0, :number},
    scale_parameter: {true, :boolean},
    relative_step: {true, :boolean},
    warmup_init: {false, :boolean}

  use Mlx.Operators

  alias Mlx.Optimizers

  # The greatest relative step, and what it grows by with `:warmup_init`.
  @relative_step 1.0e-2
  @warmup 1.0e-6

  @doc """
  Adafactor. The learning rate, a number, a scalar array or a schedule, is used with `relative_step: false` only.

  Options:

    * `:eps` - `{eps1, eps2}`: what is added to the squares, and the least root mean square of a parameter that counts,
      default `{1.0e-30, 1.0e-3}`
    * `:clip_threshold` - the greatest root mean square of a change before the rate, default 1.0
    * `:decay_rate` - how the running mean of the squares slows down, default -0.8
    * `:beta_1` - the part of the running mean of the changes that stays, default nil, for no such mean
    * `:weight_decay` - default 0.0
    * `:scale_parameter` - whether the rate is multiplied by the root mean square of the parameter, default true
    * `:relative_step` - whether the rate is found from the step, default true
    * `:warmup_init` - whether this rate grows by 1.0e-6 a step at first, default false

  Examples:

      iex> optimizer = Mlx.Optimizers.Adafactor.new()
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.99, 1.01]

  Raises `ArgumentError` when there is neither a learning rate nor a relative step. Python: `mlx.optimizers.Adafactor`.
  """
  @spec new(Optimizers.learning_rate() | nil, keyword()) :: t()
  def new(learning_rate \\ nil, options \\ []) do
    optimizer = new!(learning_rate, options)

    if learning_rate == nil and not optimizer.relative_step do
      raise ArgumentError, "Mlx.Optimizers.Adafactor.new: expected a learning rate with relative_step: false"
    end

    optimizer
  end

  @impl true
  def init_single(optimizer, parameter) do
    first = if optimizer.beta_1 == nil, do: %{}, else: %{exp_avg: Mlx.zeros_like(parameter)}
    for {name, _axis, shape} <- means(parameter), into: first, do: {name, Mlx.zeros(shape, type: parameter.type)}
  end

  # The running means of the squares: name, the axis that each is the mean of, shape.
  defp means(%{shape: shape}) do
    case tuple_size(shape) do
      axes when axes >= 2 ->
        [
          {:exp_avg_sq_row, -1, Tuple.delete_at(shape, axes - 1)},
          {:exp_avg_sq_col, -2, Tuple.delete_at(shape, axes - 2)}
        ]

      _axes ->
        [{:exp_avg_sq, nil, shape}]
    end
  end

  @impl true
  def apply_single(optimizer, gradient, parameter, remembered, shared) do
    size = root_mean_square(parameter)
    rate = rate(optimizer, size, shared)

    kept = 1.0 - Mlx.as_type(shared.step ** optimizer.decay_rate, size.type)
    means = mean_squares(optimizer, gradient, remembered, kept)
    change = rate * clipped(scale(means) * gradient, optimizer.clip_threshold)
    first = first_moment(optimizer.beta_1, change, remembered)
    {decayed(parameter, optimizer.weight_decay, rate) - Map.get(first, :exp_avg, change), Map.merge(means, first)}
  end

  defp root_mean_square(array), do: array |> Mlx.square() |> Mlx.mean() |> Mlx.sqrt()

  defp rate(optimizer, size, shared) do
    rate = optimizer |> relative_step(shared) |> Mlx.as_type(size.type)
    if optimizer.scale_parameter, do: max(elem(optimizer.eps, 1), size) * rate, else: rate
  end

  defp relative_step(%{relative_step: false}, shared), do: shared.learning_rate
  defp relative_step(%{warmup_init: true}, %{step: step}), do: min(@warmup * step, Mlx.rsqrt(step))
  defp relative_step(%{warmup_init: false}, %{step: step}), do: min(@relative_step, Mlx.rsqrt(step))

  # `kept` is the part of a running mean that stays.
  defp mean_squares(optimizer, gradient, remembered, kept) do
    squares = Mlx.square(gradient) + elem(optimizer.eps, 0)

    for {name, axis, _shape} <- means(gradient), into: %{} do
      new = if axis == nil, do: squares, else: Mlx.mean(squares, axes: axis)
      {name, kept * Map.fetch!(remembered, name) + (1 - kept) * new}
    end
  end

  # One over the root of the mean squares: of a matrix the product of a column and a row.
  defp scale(%{exp_avg_sq: mean}), do: Mlx.rsqrt(mean)

  defp scale(%{exp_avg_sq_row: row, exp_avg_sq_col: column}) do
    of_rows = Mlx.rsqrt(row / Mlx.mean(row, axes: -1, keep_axes: true))
    Mlx.new_axis(of_rows, -1) * Mlx.new_axis(Mlx.rsqrt(column), -2)
  end

  defp clipped(change, threshold), do: change / max(1.0, root_mean_square(change) / threshold)

  defp first_moment(nil, _change, _remembered), do: %{}
  defp first_moment(beta, change, %{exp_avg: mean}), do: %{exp_avg: beta * mean + (1 - beta) * change}

  defp decayed(parameter, decay, _rate) when decay == 0, do: parameter
  defp decayed(parameter, decay, rate), do: parameter + parameter * (-decay * rate)
end
