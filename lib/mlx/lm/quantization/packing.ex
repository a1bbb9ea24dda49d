defmodule Mlx.LM.Quantization.Packing do
  @moduledoc false
  # Layers of a decoder with the names of files: quantized, unpacked, and how they are packed.

  alias Mlx.LM.Decoder
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, RotatedEmbedding, RotatedLinear, SwitchLinear}
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear, QuantizedMatrix}

  @whole [Linear, Embedding, SwitchLinear]
  @packed [QuantizedLinear, QuantizedEmbedding, QuantizedSwitchLinear]
  # They stay packed: what a file says of them holds as long as they are.
  @rotated [RotatedLinear, RotatedEmbedding]

  @doc "The decoder with the layers quantized for which a function of the path and the layer gives settings, not false."
  @spec quantize(Decoder.t(), (String.t(), struct() -> keyword() | false)) :: Decoder.t()
  def quantize(decoder, choose) do
    map(decoder, fn
      path, %kind{} = layer when kind in @whole ->
        case choose.(path, layer) do
          false -> layer
          settings -> packed(layer, settings)
        end

      _path, layer ->
        layer
    end)
  end

  @doc "A layer, quantized."
  @spec packed(struct(), keyword()) :: struct()
  def packed(layer, settings), do: with_matrix(layer, QuantizedMatrix.fields(layer.weight, settings))

  @doc "The quantized layer in the place of a whole one, with the fields of its matrix: weight, scales, biases and packing."
  @spec with_matrix(struct(), keyword()) :: struct()
  def with_matrix(%Linear{bias: bias}, fields), do: struct!(QuantizedLinear, [bias: bias] ++ fields)
  def with_matrix(%SwitchLinear{bias: bias}, fields), do: struct!(QuantizedSwitchLinear, [bias: bias] ++ fields)
  def with_matrix(%Embedding{}, fields), do: struct!(QuantizedEmbedding, fields)

  @doc "The decoder without quantized layers. `type` is that of the matrices whose scales are no floats."
  @spec unpack(Decoder.t(), Mlx.Type.t() | nil) :: Decoder.t()
  def unpack(decoder, type) do
    map(decoder, fn
      _path, %kind{} = layer when kind in @packed -> whole(layer, type)
      _path, layer -> layer
    end)
  end

  @doc "A quantized layer, unpacked. `type` is that of the matrix whose scales are no floats."
  @spec whole(struct(), Mlx.Type.t() | nil) :: struct()
  def whole(layer, type), do: unpacked(layer, dense(layer, type))

  defp dense(%{weight: weight, scales: scales, biases: biases} = layer, type) do
    packing = QuantizedMatrix.packing(layer)
    dense = Mlx.dequantize(weight, scales, biases, packing)
    if packing[:mode] != :affine and type, do: Mlx.as_type(dense, type), else: dense
  end

  defp unpacked(%QuantizedLinear{bias: bias}, weight), do: %Linear{weight: weight, bias: bias}
  defp unpacked(%QuantizedSwitchLinear{bias: bias}, weight), do: %SwitchLinear{weight: weight, bias: bias}
  defp unpacked(%QuantizedEmbedding{}, weight), do: %Embedding{weight: weight}

  @doc "How the quantized layers are packed, by their paths."
  @spec packings(Decoder.t()) :: %{String.t() => keyword()}
  def packings(decoder) do
    for {path, %kind{} = layer} <- Mlx.NN.layers(parts(decoder)), kind in (@packed ++ @rotated), into: %{} do
      {path, QuantizedMatrix.packing(layer)}
    end
  end

  defp map(decoder, fun), do: Map.merge(decoder, Mlx.NN.map_layers(parts(decoder), fun))
  defp parts(decoder), do: Map.take(decoder, [:model, :lm_head])
end
