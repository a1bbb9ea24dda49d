defmodule Mlx.LM.Decoder.Rotation do
  @moduledoc false
  # The rotation of features of packed layers by signs and Hadamard matrices, block by block, in 32 bits. The matrices of these
  # layers are in the rotated basis, in which their numbers are more alike.

  alias Mlx.Array
  alias Mlx.NN.QuantizedMatrix

  @doc "The inputs `{..., features}` in the basis of the matrix of a layer, with the fields `signs` and `block`."
  @spec into(struct(), Array.t()) :: Array.t()
  def into(%{signs: signs} = layer, %Array{type: type} = x) do
    x |> Mlx.as_type(:f32) |> Mlx.multiply(signs) |> by_blocks(layer) |> Mlx.as_type(type)
  end

  @doc "Rows of the matrix of a layer in the basis of the inputs."
  @spec back(struct(), Array.t()) :: Array.t()
  def back(%{signs: signs} = layer, %Array{type: type} = rows) do
    rows |> Mlx.as_type(:f32) |> by_blocks(layer) |> Mlx.multiply(signs) |> Mlx.as_type(type)
  end

  @doc "The matrix in the basis of the inputs, unpacked."
  @spec dense(struct()) :: Array.t()
  def dense(%{weight: weight, scales: scales, biases: biases} = layer) do
    back(layer, Mlx.dequantize(weight, scales, biases, QuantizedMatrix.packing(layer)))
  end

  defp by_blocks(%Array{shape: shape} = x, %{block: block}) do
    x |> Mlx.reshape({:auto, block}) |> Mlx.hadamard_transform() |> Mlx.reshape(shape)
  end
end
