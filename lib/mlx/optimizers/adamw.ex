defmodule Mlx.Optimizers.AdamW do
  @moduledoc """
  AdamW: `Mlx.Optimizers.Adam` on parameters that shrink by a part of themselves in each step.

      w = w - learning_rate * (m / (sqrt(v) + eps) + weight_decay * w)

  I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019,
  [arXiv:1711.05101](https://arxiv.org/abs/1711.05101).

  Of each parameter it remembers `m` and `v`.

  Python: `mlx.optimizers.AdamW`.
  """

  use Mlx.Optimizers.PerParameter,
    betas: {{0.9, 0.999}, {:fraction, :fraction}},
    eps: {1.0e-8, :not_negative},
    weight_decay: {0.01, :number},
    bias_correction: {false, :boolean}

  use Mlx.Operators

  alias Mlx.Optimizers
  alias Mlx.Optimizers.Adam

  @doc """
  AdamW with a learning rate: a number, a scalar array or a schedule.

  Options: those of `Mlx.Optimizers.Adam.new/2`, and `:weight_decay`, a number, default 0.01.

      iex> optimizer = Mlx.Optimizers.AdamW.new(0.1, weight_decay: 0.5, bias_correction: true)
      iex> w = Mlx.array([1.0, 1.0])
      iex> {w, _state} = Mlx.Optimizers.update(optimizer, Mlx.array([1.0, -2.0]), w, Mlx.Optimizers.init(optimizer, w))
      iex> w |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [0.85, 1.05]

  Python: `mlx.optimizers.AdamW`.
  """
  @spec new(Optimizers.learning_rate(), keyword()) :: t()
  def new(learning_rate, options \\ []), do: new!(learning_rate, options)

  @impl true
  defdelegate init_single(optimizer, parameter), to: Adam

  @impl true
  def apply_single(optimizer, gradient, parameter, remembered, shared) do
    rate = Mlx.as_type(shared.learning_rate, gradient.type)
    Adam.apply_single(optimizer, gradient, parameter * (1 - rate * optimizer.weight_decay), remembered, shared)
  end
end
