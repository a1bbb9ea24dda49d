defmodule Mlx.NN.QuantizedLinear do
  @moduledoc """
  A linear layer whose weight is quantized: `y = x @ transpose(dequantized weight) + bias`, without unpacking the weight.

  | array | shape | |
  | --- | --- | --- |
  | `weight` | `{output_dims, input_dims * bits / 32}` | packed in `:u32` |
  | `scales`, `biases` | `{output_dims, input_dims / group_size}` | of groups; without biases for most modes |
  | `bias` | `{output_dims}`, or `nil` | |

  The weight, with its scales and biases, is not trained; the bias is. `Mlx.NN.quantize/2` makes such layers of a model.

  Python: `mlx.nn.QuantizedLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.CalledFunction
  alias Mlx.NN.{Features, Linear, QuantizedMatrix}

  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases]}
  @enforce_keys [:weight, :scales, :biases, :bias, :group_size, :bits, :mode]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          weight: Array.t(),
          scales: Array.t(),
          biases: Array.t() | nil,
          bias: Array.t() | nil,
          group_size: pos_integer(),
          bits: pos_integer(),
          mode: atom()
        }

  @doc """
  A layer for inputs of `input_dims` features and outputs of `output_dims`, with the quantized weight of a new
  `Mlx.NN.Linear` and a bias of zeros.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults

  Examples:

      iex> layer = Mlx.NN.QuantizedLinear.new(64, 2, bits: 8)
      iex> {layer.weight.shape, layer.weight.type, layer.scales.shape, layer.bias.shape}
      {{2, 16}, :u32, {2, 1}, {2}}

  Python: `mlx.nn.QuantizedLinear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    settings = QuantizedMatrix.options(options, :"NN.QuantizedLinear.new", bias: true)
    linear = Linear.new(input_dims, output_dims, bias: false)
    bias = if settings[:bias], do: Mlx.zeros({output_dims})
    quantized("Mlx.NN.QuantizedLinear.new", %{linear | bias: bias}, settings)
  end

  @doc """
  The layer with the quantized weight, and the bias, of a linear one.

  Options:

    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults

  Examples:

      iex> layer = Mlx.NN.Linear.new(64, 2, bias: false)
      iex> Mlx.NN.QuantizedLinear.from_linear(layer, mode: :mxfp8).scales.type
      :u8

  Python: `QuantizedLinear.from_linear`, `Linear.to_quantized`.
  """
  @spec from_linear(Linear.t(), keyword()) :: t()
  def from_linear(layer, options \\ [])

  def from_linear(%Linear{} = layer, options) do
    settings = QuantizedMatrix.options(options, :"NN.QuantizedLinear.from_linear")
    quantized("Mlx.NN.QuantizedLinear.from_linear", layer, settings)
  end

  defp quantized(function, %Linear{weight: weight, bias: bias}, settings) do
    fields = CalledFunction.name(function, fn -> QuantizedMatrix.fields(weight, settings) end)
    struct!(__MODULE__, [bias: bias] ++ fields)
  end

  @doc """
  The outputs `{..., output_dims}` for inputs `{..., input_dims}`.

      iex> layer = Mlx.NN.QuantizedLinear.new(64, 2)
      iex> Mlx.NN.QuantizedLinear.call(layer, Mlx.ones({3, 64})).shape
      {3, 2}

  Python: `QuantizedLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{bias: bias} = layer, %Array{} = x) do
    Features.check!(x, QuantizedMatrix.columns(layer), "Mlx.NN.QuantizedLinear.call")
    y = QuantizedMatrix.multiply(layer, x)
    if bias, do: Mlx.add(y, bias), else: y
  end
end
