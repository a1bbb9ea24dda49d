defmodule Mlx.NN.QQLinear do
  @moduledoc """
  A linear layer that multiplies in quantized form: the inputs are quantized on the fly, the weight on the fly in training
  and once by `Mlx.NN.eval/1`. It has no bias, and needs a GPU whose MLX has the operation, `Mlx.qqmm/3`.

  | array | shape | |
  | --- | --- | --- |
  | `weight` | `{output_dims, input_dims}`; after `Mlx.NN.eval/1` `{output_dims, input_dims * bits / 32}` | then packed in `:u32` |
  | `scales` | `nil`; after `Mlx.NN.eval/1` `{output_dims, input_dims / group_size}` | of groups |

  Python: `mlx.nn.QQLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.NN.{Features, Linear, QuantizedMatrix}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :scales, :group_size, :bits, :mode]
  defstruct @enforce_keys ++ [training: true]

  @type t :: %__MODULE__{
          weight: Array.t(),
          scales: Array.t() | nil,
          group_size: pos_integer(),
          bits: pos_integer(),
          mode: atom(),
          training: boolean()
        }

  @modes [:nvfp4, :mxfp8]

  @doc """
  A layer for inputs of `input_dims` features and outputs of `output_dims`, with the weight of a new `Mlx.NN.Linear`.

  Options:

    * `:mode` - `:nvfp4` (default) or `:mxfp8`
    * `:group_size`, `:bits` - those of `Mlx.quantize/2` for the mode, with the same defaults

  Examples:

      iex> layer = Mlx.NN.QQLinear.new(64, 2)
      iex> {layer.weight.shape, Mlx.NN.eval(layer).weight.shape}
      {{2, 64}, {2, 8}}

  Python: `mlx.nn.QQLinear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    settings = settings!(options, "NN.QQLinear.new")
    made(Linear.new(input_dims, output_dims, bias: false), settings)
  end

  @doc """
  The layer with the weight of a linear one that has no bias. The options are those of `new/3`.

      iex> layer = Mlx.NN.Linear.new(64, 2, bias: false)
      iex> Mlx.NN.QQLinear.from_linear(layer, mode: :mxfp8).bits
      8

  Raises `ArgumentError` for a layer with a bias. Python: `QQLinear.from_linear`.
  """
  @spec from_linear(Linear.t(), keyword()) :: t()
  def from_linear(layer, options \\ [])

  def from_linear(%Linear{bias: nil} = layer, options), do: made(layer, settings!(options, "NN.QQLinear.from_linear"))

  def from_linear(%Linear{} = layer, _options) do
    raise ArgumentError,
          "Mlx.NN.QQLinear.from_linear: expected a layer without a bias, got: #{Mlx.Arguments.Given.text(layer)}"
  end

  defp made(%Linear{weight: weight}, settings), do: struct!(__MODULE__, [weight: weight, scales: nil] ++ settings)

  defp settings!(options, function) do
    options = if Keyword.keyword?(options), do: Keyword.put_new(options, :mode, :nvfp4), else: options
    settings = QuantizedMatrix.options(options, :"#{function}")

    unless settings[:mode] in @modes do
      raise ArgumentError,
            "Mlx.#{function}: expected :mode to be one of #{inspect(@modes)}, got: #{inspect(settings[:mode])}"
    end

    settings
  end

  @doc """
  The outputs `{..., output_dims}` for inputs `{..., input_dims}`.

      iex> layer = Mlx.NN.QQLinear.new(64, 2)
      iex> Mlx.NN.QQLinear.call(layer, Mlx.ones({3, 32}))
      ** (ArgumentError) Mlx.NN.QQLinear.call: expected an input of the shape {..., 64}, got: {3, 32}

  Python: `QQLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, scales: scales} = layer, %Array{} = x) do
    Features.check!(x, input_dims(layer), "Mlx.NN.QQLinear.call")
    Mlx.qqmm(x, weight, [scales: scales] ++ QuantizedMatrix.packing(layer))
  end

  defp input_dims(%__MODULE__{scales: nil, weight: weight}), do: elem(weight.shape, 1)
  defp input_dims(%__MODULE__{} = layer), do: QuantizedMatrix.columns(layer)

  # Quantizes the weight or unpacks it.
  @doc false
  @spec with_mode(t(), boolean()) :: t()
  def with_mode(%__MODULE__{scales: nil} = layer, false) do
    {weight, scales} = Mlx.quantize(layer.weight, QuantizedMatrix.packing(layer))
    %{layer | weight: weight, scales: scales, training: false}
  end

  def with_mode(%__MODULE__{scales: %Array{}} = layer, true) do
    weight = Mlx.dequantize(layer.weight, layer.scales, nil, QuantizedMatrix.packing(layer))
    %{layer | weight: weight, scales: nil, training: true}
  end

  def with_mode(%__MODULE__{} = layer, training), do: %{layer | training: training}
end
