defmodule Mlx.Optimizers.Muon do
  @moduledoc """
  Muon: momentum made nearly orthogonal, for the matrices of hidden layers.

      g' = g + weight_decay * w
      v  = momentum * v + (1 - momentum) * g'
      u  = (1 - momentum) * g' + momentum * v
      w  = w - learning_rate * sqrt(max(1, rows / columns)) * orthogonal(u)

  Without Nesterov's variant `u` is `v`. A few steps of a Newton-Schulz iteration bring the singular values of `u` close to
  1. Axes behind the first, as those of a convolution, are taken for one. Parameters of fewer than two axes move by `u`
  itself; these, embeddings and the last layer are better left to another optimizer: see `Mlx.Optimizers.MultiOptimizer`.

  K. Jordan and others, [Muon: An optimizer for hidden layers in neural networks](https://kellerjordan.github.io/posts/muon),
  2024.

  Of each parameter it remembers `v`.

  Python: `mlx.optimizers.Muon`.
  """

  use Mlx.Optimizers.PerParameter,
    momentum: {0.95, :number},
    weight_decay: {0.01, :number},
    nesterov: {true, :boolean},
    ns_steps: {5, :count}

  use Mlx.Operators

  alias Mlx.Optimizers

  # Of x, x^3 and x^5, for singular values from 0 to 1: they come near 1 in few steps, and no closer than about 0.7 to 1.2.
  @coefficients {3.4445, -4.7750, 2.0315}

  # Keeps a matrix of zeros finite.
  @least_norm 1.0e-7

  @doc """
  Muon with a learning rate: a number, a scalar array or a schedule.

  Options: `:momentum`, a number, default 0.95, `:weight_decay`, a number, default 0.01, `:nesterov`, default true, and
  `:ns_steps`, the number of steps of the iteration, default 5.

      iex> optimizer = Mlx.Optimizers.Muon.new(0.1, weight_decay: 0.0)
      iex> w = Mlx.zeros({2, 2})
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.eye(2), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> List.flatten() |> Enum.map(&(Float.round(&1, 1) + 0.0))
      [-0.1, 0.0, 0.0, -0.1]

  Python: `mlx.optimizers.Muon`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{momentum: momentum} = optimizer, gradient, parameter, %{v: v}, shared) do
    decay = optimizer.weight_decay
    gradient = if decay == 0, do: gradient, else: gradient + decay * parameter
    v = momentum * v + (1 - momentum) * gradient
    change = if optimizer.nesterov, do: gradient * (1 - momentum) + v * momentum, else: v
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    {parameter - scaled(rate, change.shape) * orthogonal(change, optimizer.ns_steps), %{v: v}}
  end

  # By the last two axes, as in Python, although a convolution is one matrix.
  defp scaled(rate, shape) when tuple_size(shape) < 2, do: rate

  defp scaled(rate, shape) do
    [columns, rows | _] = shape |> Tuple.to_list() |> Enum.reverse()
    rate * max(1, rows / max(columns, 1)) ** 0.5
  end

  defp orthogonal(%{shape: shape} = change, _steps) when tuple_size(shape) < 2, do: change

  defp orthogonal(%{shape: {rows, columns}} = matrix, steps) when rows > columns,
    do: matrix |> Mlx.transpose() |> orthogonal(steps) |> Mlx.transpose()

  defp orthogonal(%{shape: {_rows, _columns}} = matrix, steps) do
    Enum.reduce(1..steps//1, matrix / (Mlx.Linalg.norm(matrix, keep_axes: true) + @least_norm), &iterate/2)
  end

  defp orthogonal(%{shape: shape} = change, steps) do
    change |> Mlx.reshape({elem(shape, 0), -1}) |> orthogonal(steps) |> Mlx.reshape(shape)
  end

  # a X + (b A + c A A) X with A = X X'
  defp iterate(_step, x) do
    {a, b, c} = @coefficients
    squares = x <~> Mlx.transpose(x)
    Mlx.addmm(a * x, Mlx.addmm(b * squares, squares, squares, alpha: c, beta: 1.0), x, alpha: 1.0, beta: 1.0)
  end
end
