defmodule Mlx.Optimizers.Adamax do
  @moduledoc """
  Adamax: `Mlx.Optimizers.Adam` with the greatest gradient, fading, in place of the running mean of its square.

      m = b1 * m + (1 - b1) * g
      v = max(b2 * v, |g|)
      w = w - learning_rate * m / (v + eps)

  D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
  [arXiv:1412.6980](https://arxiv.org/abs/1412.6980), section 7.1.

  Of each parameter it remembers `m` and `v`.

  Python: `mlx.optimizers.Adamax`.
  """

  use Mlx.Optimizers.PerParameter,
    betas: {{0.9, 0.999}, {:fraction, :fraction}},
    eps: {1.0e-8, :not_negative}

  use Mlx.Operators

  alias Mlx.Optimizers
  alias Mlx.Optimizers.Adam

  @doc """
  Adamax with a learning rate: a number, a scalar array or a schedule.

  Options: `:betas`, `{b1, b2}`, two numbers of at least 0 and below 1, default `{0.9, 0.999}`, and `:eps`, a number of at
  least 0, default 1.0e-8.

      iex> optimizer = Mlx.Optimizers.Adamax.new(0.1)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.99, 1.01]

  Python: `mlx.optimizers.Adamax`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  defdelegate init_single(optimizer, parameter), to: Adam

  @impl true
  def apply_single(%{betas: {b1, b2}, eps: eps}, gradient, parameter, %{m: m, v: v}, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    m = b1 * m + (1 - b1) * gradient
    v = max(b2 * v, Mlx.abs(gradient))
    {parameter - rate * m / (v + eps), %{m: m, v: v}}
  end
end
