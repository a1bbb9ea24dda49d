defmodule Mlx.LM.Decoder.Matrix do
  @moduledoc false
  # The matrix of a linear layer, an embedding or experts, whatever form it has.

  alias Mlx.Array
  alias Mlx.LM.Decoder.DenseLinear
  alias Mlx.NN.QuantizedMatrix

  @doc "The matrix as numbers, the outputs along its rows."
  @spec dense(struct()) :: Array.t()
  def dense(%{scales: scales} = layer) do
    Mlx.dequantize(layer.weight, scales, layer.biases, QuantizedMatrix.packing(layer))
  end

  def dense(%DenseLinear{matrix: matrix}), do: Mlx.transpose(matrix)
  def dense(%{weight: weight}), do: weight

  @doc "Its shape."
  @spec shape(struct()) :: tuple()
  def shape(%{weight: %Array{shape: shape}, scales: _scales} = layer) do
    last = tuple_size(shape) - 1
    put_elem(shape, last, div(elem(shape, last) * 32, layer.bits))
  end

  def shape(%DenseLinear{matrix: %Array{shape: {inputs, outputs}}}), do: {outputs, inputs}
  def shape(%{weight: %Array{shape: shape}}), do: shape

  @doc "The lengths of the rows of a matrix."
  @spec lengths(Array.t()) :: Array.t()
  def lengths(matrix), do: matrix |> Mlx.square() |> Mlx.sum(axes: [-1]) |> Mlx.sqrt()
end
