defmodule Mlx.Optimizers.RMSprop do
  @moduledoc """
  RMSprop: the gradient over the root of a running mean of its square.

      v = alpha * v + (1 - alpha) * g ** 2
      w = w - learning_rate * g / (sqrt(v) + eps)

  T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Neural Networks for Machine Learning, 2012.

  Of each parameter it remembers `v`.

  Python: `mlx.optimizers.RMSprop`.
  """

  use Mlx.Optimizers.PerParameter, alpha: {0.99, :not_negative}, eps: {1.0e-8, :positive}
  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  RMSprop with a learning rate: a number, a scalar array or a schedule.

  Options: `:alpha`, a number of at least 0, default 0.99, and `:eps`, a number above 0, default 1.0e-8.

      iex> optimizer = Mlx.Optimizers.RMSprop.new(0.1)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.0, 2.0]

  Python: `mlx.optimizers.RMSprop`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{alpha: alpha, eps: eps}, gradient, parameter, %{v: v}, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    v = alpha * v + (1 - alpha) * Mlx.square(gradient)
    {parameter - rate * gradient / (Mlx.sqrt(v) + eps), %{v: v}}
  end
end
