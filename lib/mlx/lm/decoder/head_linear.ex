defmodule Mlx.LM.Decoder.HeadLinear do
  @moduledoc false
  # A linear layer for each head: the stack of matrices of a SwitchLinear, of which head number n takes the one of number
  # n. It is called forwards and backwards, `{batch, heads, length, features}` each.

  alias Mlx.Array
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchLinear}

  @type t :: SwitchLinear.t() | QuantizedSwitchLinear.t()

  @doc "The layers of so many heads, with zeros for arrays."
  @spec new(pos_integer(), pos_integer(), pos_integer()) :: SwitchLinear.t()
  def new(heads, inputs, outputs), do: SwitchLinear.new(heads, inputs, outputs, false)

  @doc "The product with the transposed matrices: outputs for inputs."
  @spec call(t(), Array.t()) :: Array.t()
  def call(%SwitchLinear{weight: weight}, x), do: Mlx.matmul(x, Mlx.matrix_transpose(weight))
  def call(%QuantizedSwitchLinear{} = layer, x), do: quantized(layer, x, true)

  @doc "The product with the matrices themselves: inputs for outputs."
  @spec back(t(), Array.t()) :: Array.t()
  def back(%SwitchLinear{weight: weight}, x), do: Mlx.matmul(x, weight)
  def back(%QuantizedSwitchLinear{} = layer, x), do: quantized(layer, x, false)

  defp quantized(layer, x, transpose) do
    options = [transpose: transpose, group_size: layer.group_size, bits: layer.bits, mode: layer.mode]
    Mlx.quantized_matmul(x, layer.weight, layer.scales, layer.biases, options)
  end
end
