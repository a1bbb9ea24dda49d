defmodule Mlx.Optimizers.Adam do
  @moduledoc """
  Adam: a running mean of the gradient over the root of a running mean of its square.

      m = b1 * m + (1 - b1) * g
      v = b2 * v + (1 - b2) * g ** 2
      w = w - learning_rate * m / (sqrt(v) + eps)

  Both means begin with 0. The correction of this, as in the paper, is an option: then `m` is divided by `1 - b1 ** step`
  and `v` by `1 - b2 ** step`.

  D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015,
  [arXiv:1412.6980](https://arxiv.org/abs/1412.6980).

  Of each parameter it remembers `m` and `v`.

  Python: `mlx.optimizers.Adam`.
  """

  use Mlx.Optimizers.PerParameter,
    betas: {{0.9, 0.999}, {:fraction, :fraction}},
    eps: {1.0e-8, :not_negative},
    bias_correction: {false, :boolean}

  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  Adam with a learning rate: a number, a scalar array or a schedule.

  Options:

    * `:betas` - `{b1, b2}`, two numbers of at least 0 and below 1, default `{0.9, 0.999}`
    * `:eps` - a number of at least 0, default 1.0e-8
    * `:bias_correction` - default false

  Examples:

      iex> optimizer = Mlx.Optimizers.Adam.new(0.1, bias_correction: true)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.9, 1.1]

  Python: `mlx.optimizers.Adam`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{m: Mlx.zeros_like(parameter), v: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{betas: {b1, b2}} = optimizer, gradient, parameter, %{m: m, v: v}, shared) do
    m = b1 * m + (1 - b1) * gradient
    v = b2 * v + (1 - b2) * Mlx.square(gradient)
    {parameter - change(optimizer, m, v, gradient.type, shared), %{m: m, v: v}}
  end

  defp change(%{bias_correction: false, eps: eps}, m, v, type, shared) do
    Mlx.as_type(shared.learning_rate, type) * m / (Mlx.sqrt(v) + eps)
  end

  # The corrections are scalars; so are the factors that they are made of.
  defp change(%{bias_correction: true, eps: eps, betas: {b1, b2}}, m, v, type, shared) do
    rate = Mlx.as_type(shared.learning_rate, type)
    of_m = Mlx.as_type(rate / (1 - b1 ** shared.step), type)
    of_v = Mlx.as_type(Mlx.rsqrt(1 - b2 ** shared.step), type)
    of_m * m / (Mlx.sqrt(v) * of_v + eps)
  end
end
