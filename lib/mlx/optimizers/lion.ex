defmodule Mlx.Optimizers.Lion do
  @moduledoc """
  Lion: the sign of a running mean of the gradient.

      c = b1 * m + (1 - b1) * g
      m = b2 * m + (1 - b2) * g
      w = w - learning_rate * (sign(c) + weight_decay * w)

  A step is larger than Adam's. The learning rate is best 3 to 10 times smaller than that of
  `Mlx.Optimizers.AdamW`, and the weight decay as many times larger.

  X. Chen and others, "Symbolic Discovery of Optimization Algorithms", 2023,
  [arXiv:2302.06675](https://arxiv.org/abs/2302.06675).

  Of each parameter it remembers `m`.

  Python: `mlx.optimizers.Lion`.
  """

  use Mlx.Optimizers.PerParameter,
    betas: {{0.9, 0.99}, {:fraction, :fraction}},
    weight_decay: {0.0, :number}

  use Mlx.Operators

  alias Mlx.Optimizers

  @doc """
  Lion with a learning rate: a number, a scalar array or a schedule.

  Options: `:betas`, `{b1, b2}`, two numbers of at least 0 and below 1, default `{0.9, 0.99}`, and `:weight_decay`, a
  number, default 0.0. A weight decay below 0 is taken for 0.

      iex> optimizer = Mlx.Optimizers.Lion.new(0.1)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.9, 1.1]

  Python: `mlx.optimizers.Lion`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  def init_single(_optimizer, parameter), do: %{m: Mlx.zeros_like(parameter)}

  @impl true
  def apply_single(%{betas: {b1, b2}, weight_decay: decay}, gradient, parameter, %{m: m}, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    direction = Mlx.sign(b1 * m + (1 - b1) * gradient)
    parameter = if decay > 0, do: (1 - rate * decay) * parameter, else: parameter
    {parameter - rate * direction, %{m: b2 * m + (1 - b2) * gradient}}
  end
end
