defmodule Mlx.LM.Decoder.StateSpace do
  @moduledoc false
  # The state space of mixers that have one decay for each head:
  #
  #     state = exp(-exp(A_log) * dt) * state + dt * x bᵀ
  #     y = state c + D * x

  alias Mlx.Array
  alias Mlx.LM.Decoder.DecayedSum
  alias Mlx.NN.Activations

  @doc """
  The outputs for `x`, `{batch, length, heads, size}`, and the last state. `b` and `c` have the shape
  `{batch, length, groups, state}`, `dt` has `{batch, length, heads}`, and `mixer` has the arrays `A_log` and `D`.
  """
  @spec call({Array.t(), Array.t(), Array.t()}, Array.t(), struct(), Array.t() | nil) :: {Array.t(), Array.t()}
  def call({x, b, c}, dt, mixer, state) do
    decays = Mlx.negate(Mlx.multiply(dt, Mlx.exp(mixer."A_log")))
    {y, state} = DecayedSum.call(c, b, Mlx.multiply(x, Mlx.new_axis(dt, -1)), decays, state)
    {Mlx.add(Mlx.as_type(y, x.type), Mlx.multiply(x, mixer."D" |> Mlx.as_type(x.type) |> Mlx.new_axis(-1))), state}
  end

  @doc "The steps in time, of which a bound that is `nil` or 0 does not count."
  @spec times(Array.t(), Array.t(), {number(), number() | nil}) :: Array.t()
  def times(dt, bias, {least, most}) do
    dt = dt |> Mlx.as_type(:f32) |> Mlx.add(bias) |> Activations.softplus()
    dt = if least > 0, do: Mlx.max(dt, least), else: dt
    if most, do: Mlx.min(dt, most), else: dt
  end
end
