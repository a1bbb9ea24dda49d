defmodule Mlx.Optimizers.AdaDelta do
  @moduledoc """
  AdaDelta: the gradient over its running size, times the running size of the changes.

      v = rho * v + (1 - rho) * g ** 2
      d = sqrt(u + eps) / sqrt(v + eps) * g
      u = rho * u + (1 - rho) * d ** 2
      w = w - learning_rate * d

  M. D. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", [arXiv:1212.5701](https://arxiv.org/abs/1212.5701).

  Of each parameter it remembers `u` and `v`.

  Python: `mlx.optimizers.AdaDelta`.
  """

  use Mlx.Optimizers.PerParameter, rho: {0.9, :not_negative}, eps: {1.0e-6, :positive}
  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  AdaDelta with a learning rate: a number, a scalar array or a schedule. In the paper it is 1.

  Options: `:rho`, a number of at least 0, default 0.9, and `:eps`, a number above 0, default 1.0e-6.

      iex> optimizer = Mlx.Optimizers.AdaDelta.new(1.0, eps: 0.01)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.6985, 1.3123]

  Python: `mlx.optimizers.AdaDelta`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{v: Mlx.zeros_like(parameter), u: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{rho: rho, eps: eps}, gradient, parameter, %{v: v, u: u}, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    v = rho * v + (1 - rho) * Mlx.square(gradient)
    change = Mlx.sqrt(u + eps) / Mlx.sqrt(v + eps) * gradient
    u = rho * u + (1 - rho) * Mlx.square(change)
    {parameter - rate * change, %{v: v, u: u}}
  end
end
