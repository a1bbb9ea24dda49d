defmodule Mlx.LM.Decoder.RotatedEmbedding do
  @moduledoc false
  # A packed embedding, whose rows are rotated back (`Mlx.LM.Decoder.Rotation`).

  alias Mlx.Array
  alias Mlx.LM.Decoder.Rotation
  alias Mlx.NN.{Layer, QuantizedMatrix}

  @derive {Layer, kept: [:weight, :scales, :biases, :signs]}
  @enforce_keys [:weight, :scales, :biases, :signs, :block, :group_size, :bits, :mode]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "The vectors `{..., width}` of tokens."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, tokens), do: Rotation.back(layer, QuantizedMatrix.rows(layer, tokens))

  @doc "The products of `x` with the vectors of all tokens."
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{} = layer, x), do: QuantizedMatrix.multiply(layer, Rotation.into(layer, x))
end
