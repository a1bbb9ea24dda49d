defmodule Mlx.LM.Decoder.Attention.OutputGate do
  @moduledoc false
  # The gates of the outputs of attention: one that `q_proj` gives beside the queries, and one of a matrix of its own.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.Attention
  alias Mlx.NN.Activations

  @doc "The outputs, `{..., features}`, behind the gates that there are. `x` is what the attention was called with."
  @spec call(Attention.t(), Array.t(), Array.t() | nil, Array.t()) :: Array.t()
  def call(%Attention{} = attention, y, gate, x), do: outer_gate(attention, gated(y, gate), x)

  defp gated(y, nil), do: y
  defp gated(y, gate), do: Mlx.multiply(y, Mlx.sigmoid(gate))

  defp outer_gate(%Attention{gate: nil}, y, _x), do: y

  defp outer_gate(%Attention{gate: {of, activation}} = attention, %Array{shape: shape} = y, x) do
    gate = activated(activation, NN.Layer.call(attention.g_proj, x))

    if of == :features do
      Mlx.multiply(y, gate)
    else
      y |> Mlx.unflatten(-1, {attention.heads, -1}) |> Mlx.multiply(Mlx.new_axis(gate, -1)) |> Mlx.reshape(shape)
    end
  end

  defp activated(:sigmoid, gate), do: Mlx.sigmoid(gate)
  defp activated(:softplus, gate), do: gate |> Mlx.as_type(:f32) |> Activations.softplus() |> Mlx.as_type(gate.type)
end
