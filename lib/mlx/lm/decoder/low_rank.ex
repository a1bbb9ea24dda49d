defmodule Mlx.LM.Decoder.LowRank do
  @moduledoc false
  # Two linear layers through a few features, with an activation between them.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.Parameter

  @derive NN.Layer
  @enforce_keys [:down, :up, :activation]
  defstruct @enforce_keys

  @type t :: %__MODULE__{down: struct(), up: struct(), activation: :none | :tanh | :sigmoid}

  @doc "The layers with zeros for arrays."
  @spec new(pos_integer(), pos_integer(), boolean(), :none | :tanh | :sigmoid) :: t()
  def new(width, rank, bias, activation) do
    %__MODULE__{down: Parameter.linear(width, rank), up: Parameter.linear(rank, width, bias), activation: activation}
  end

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{down: down, up: up, activation: activation}, x) do
    NN.Layer.call(up, activated(activation, NN.Layer.call(down, x)))
  end

  defp activated(:none, x), do: x
  defp activated(:tanh, x), do: Mlx.tanh(x)
  defp activated(:sigmoid, x), do: Mlx.sigmoid(x)
end
