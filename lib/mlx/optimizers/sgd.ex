defmodule Mlx.Optimizers.SGD do
  @moduledoc """
  Stochastic gradient descent, with momentum, damping and Nesterov's variant as options.

      g' = g + weight_decay * w
      v  = momentum * v + (1 - dampening) * g'
      w  = w - learning_rate * v

  Without momentum `w - learning_rate * g'` alone. Nesterov's variant takes `g' + momentum * v` in place of `v`: I.
  Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum in deep learning", ICML 2013.

  Of each parameter it remembers `v`.

  Python: `mlx.optimizers.SGD`.
  """

  use Mlx.Optimizers.PerParameter,
    momentum: {0.0, :number},
    weight_decay: {0.0, :number},
    dampening: {0.0, :number},
    nesterov: {false, :boolean}

  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  Stochastic gradient descent with a learning rate: a number, a scalar array or a schedule.

  Options: `:momentum`, `:weight_decay` and `:dampening`, numbers, default 0.0, and `:nesterov`, default false.

      iex> optimizer = Mlx.Optimizers.SGD.new(0.1, momentum: 0.9, nesterov: true)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, 2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.81, 0.62]

  Raises `ArgumentError` when Nesterov's variant has no momentum, or dampening. Python: `mlx.optimizers.SGD`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []) do
    optimizer = new!(learning_rate, options)

    if optimizer.nesterov and (optimizer.momentum <= 0 or optimizer.dampening != 0) do
      raise ArgumentError, "Mlx.Optimizers.SGD.new: expected a momentum above 0 and no dampening with nesterov: true"
    end

    optimizer
  end

  @impl true
  def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{momentum: momentum} = optimizer, gradient, parameter, %{v: v}, shared) do
    gradient = decayed(gradient, parameter, optimizer.weight_decay)
    rate = Mlx.as_type(shared.learning_rate, gradient.type)

    if momentum <= 0 do
      {parameter - rate * gradient, %{}}
    else
      v = momentum * v + damped(gradient, optimizer.dampening)
      change = if optimizer.nesterov, do: gradient + momentum * v, else: v
      {parameter - rate * change, %{v: v}}
    end
  end

  defp decayed(gradient, _parameter, decay) when decay == 0, do: gradient
  defp decayed(gradient, parameter, decay), do: gradient + decay * parameter

  defp damped(gradient, dampening) when dampening <= 0, do: gradient
  defp damped(gradient, dampening), do: (1 - dampening) * gradient
end
