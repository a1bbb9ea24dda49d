defmodule Mlx.LM.Decoder.PackedLinear do
  @moduledoc false
  # A quantized linear layer for which a CPU has kernels of this library. It takes the place of an Mlx.NN.QuantizedLinear
  # there, or of an embedding that is the output matrix too.
  #
  # Its product has other last digits than `Mlx.quantized_matmul/5`, whose digits are those of MLX.

  alias Mlx.{Array, Native}
  alias Mlx.NN.QuantizedMatrix

  # Fewer columns than a block of the kernels leave a rest, and they have other loops for each number of bits.
  @block 64
  @bits [4, 8]

  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases]}
  @enforce_keys [:weight, :scales, :biases, :group_size, :bits, :mode]
  defstruct @enforce_keys ++ [:bias]

  @type t :: %__MODULE__{}

  @doc "Whether the CPU has a kernel for the matrix of a quantized layer."
  @spec of?(struct()) :: boolean()
  def of?(%{mode: :affine, bits: bits} = layer), do: bits in @bits and rem(QuantizedMatrix.columns(layer), @block) == 0
  def of?(_layer), do: false

  @doc "The layer with the arrays of a quantized linear layer or embedding."
  @spec of(struct()) :: t()
  def of(layer), do: struct!(__MODULE__, layer |> Map.from_struct() |> Map.put_new(:bias, nil))

  @doc "The outputs `{..., outputs}` for `x`, `{..., inputs}`."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{bias: nil} = layer, x), do: product(layer, x)
  def call(%__MODULE__{bias: bias} = layer, x), do: layer |> product(x) |> Mlx.add(bias)

  defp product(layer, x) do
    Native.fast_packed_matmul(x, layer.weight, layer.scales, layer.biases, layer.group_size, layer.bits, nil)
  end
end
