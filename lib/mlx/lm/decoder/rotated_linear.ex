defmodule Mlx.LM.Decoder.RotatedLinear do
  @moduledoc false
  # A packed linear layer without a bias, whose inputs are rotated (`Mlx.LM.Decoder.Rotation`).

  alias Mlx.Array
  alias Mlx.LM.Decoder.Rotation
  alias Mlx.NN.{Layer, QuantizedMatrix}

  @derive {Layer, kept: [:weight, :scales, :biases, :signs]}
  @enforce_keys [:weight, :scales, :biases, :signs, :block, :group_size, :bits, :mode]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "The outputs `{..., outputs}` for `x`, `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, x), do: QuantizedMatrix.multiply(layer, Rotation.into(layer, x))
end
