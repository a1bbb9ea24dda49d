defmodule Mlx.LM.Decoder.Matrix do
  @moduledoc false
  # The matrix of a linear layer, an embedding or experts, whatever form it has.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.{DenseLinear, Rotation}
  alias Mlx.NN.QuantizedMatrix

  @doc """
  The matrix as numbers, the outputs along its rows. `type` is that of a matrix whose scales are bytes, in place of MLX's
  choice.
  """
  @spec dense(struct(), Mlx.Type.t() | nil) :: Array.t()
  def dense(layer, type \\ nil)

  def dense(%{signs: _signs} = layer, _type), do: Rotation.dense(layer)

  def dense(%{scales: scales} = layer, type) do
    matrix = Mlx.dequantize(layer.weight, scales, layer.biases, QuantizedMatrix.packing(layer))
    if type && layer.mode != :affine, do: Mlx.as_type(matrix, type), else: matrix
  end

  def dense(%DenseLinear{matrix: matrix}, _type), do: matrix |> Mlx.squeeze(axes: [0]) |> Mlx.transpose()
  def dense(%{weight: weight}, _type), do: weight

  @doc "The type that most numbers of a decoder have which are in no packed layer, or nil."
  @spec type(Decoder.t()) :: Mlx.Type.t() | nil
  def type(decoder) do
    packed =
      for {path, %{scales: _scales}} <- NN.layers(Map.take(decoder, [:model, :lm_head])), into: MapSet.new(), do: path

    types =
      for {path, %Array{type: type}} <- Mlx.Tree.flatten(Map.take(decoder, [:model, :lm_head])),
          type in [:f32, :f16, :bf16],
          Path.rootname(path) not in packed,
          do: type

    if types != [], do: types |> Enum.frequencies() |> Enum.max_by(&elem(&1, 1)) |> elem(0)
  end

  @doc "Its shape."
  @spec shape(struct()) :: tuple()
  def shape(%{weight: %Array{shape: shape}, scales: _scales} = layer) do
    last = tuple_size(shape) - 1
    put_elem(shape, last, div(elem(shape, last) * 32, layer.bits))
  end

  def shape(%DenseLinear{matrix: %Array{shape: {1, inputs, outputs}}}), do: {outputs, inputs}
  def shape(%{weight: %Array{shape: shape}}), do: shape

  @doc "The lengths of the rows of a matrix."
  @spec lengths(Array.t()) :: Array.t()
  def lengths(matrix), do: matrix |> Mlx.square() |> Mlx.sum(axes: [-1]) |> Mlx.sqrt()
end
