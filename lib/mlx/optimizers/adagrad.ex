defmodule Mlx.Optimizers.Adagrad do
  @moduledoc """
  Adagrad: the gradient over the root of the sum of all squares so far.

      v = v + g ** 2
      w = w - learning_rate * g / (sqrt(v) + eps)

  J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 2011.

  Of each parameter it remembers `v`.

  Python: `mlx.optimizers.Adagrad`.
  """

  use Mlx.Optimizers.PerParameter, eps: {1.0e-8, :positive}
  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  Adagrad with a learning rate: a number, a scalar array or a schedule.

  Option: `:eps`, a number above 0, default 1.0e-8.

      iex> optimizer = Mlx.Optimizers.Adagrad.new(0.1)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.9, 1.1]

  Python: `mlx.optimizers.Adagrad`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{eps: eps}, gradient, parameter, %{v: v}, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    v = v + Mlx.square(gradient)
    {parameter - rate * gradient / (Mlx.sqrt(v) + eps), %{v: v}}
  end
end
