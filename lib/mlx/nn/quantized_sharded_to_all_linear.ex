defmodule Mlx.NN.QuantizedShardedToAllLinear do
  @moduledoc """
  `Mlx.NN.ShardedToAllLinear` with a quantized weight: each process has a part of the inputs, and all have the same outputs.
  Each has the whole bias.

  | array | shape, of `n` processes |
  | --- | --- |
  | `weight` | `{output_dims, input_dims / n * bits / 32}`, packed in `:u32` |
  | `scales`, `biases` | `{output_dims, input_dims / n / group_size}`; without biases for most modes |
  | `bias` | `{output_dims}`, or `nil` |

  The weight, with its scales and biases, is not trained; the bias is. `Mlx.NN.shard_linear/3` makes such a layer of an
  `Mlx.NN.QuantizedLinear`.

  Python: `mlx.nn.QuantizedShardedToAllLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.NN.{QuantizedLinear, ShardedLinear, ShardedToAllLinear}

  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases]}
  @enforce_keys [:weight, :scales, :biases, :bias, :group_size, :bits, :mode, :group]
  defstruct @enforce_keys

  @sharding :sharded_to_all

  @type t :: %__MODULE__{
          weight: Array.t(),
          scales: Array.t(),
          biases: Array.t() | nil,
          bias: Array.t() | nil,
          group_size: pos_integer(),
          bits: pos_integer(),
          mode: atom(),
          group: Group.t()
        }

  @doc """
  The part of this process in a layer for inputs of `input_dims` features and outputs of `output_dims`, with the quantized
  weight of a new `Mlx.NN.ShardedToAllLinear` and a bias of zeros.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.QuantizedShardedToAllLinear.new(64, 2, bits: 8)
      iex> {layer.weight.shape, layer.scales.shape, layer.bias.shape}
      {{2, 16}, {2, 1}, {2}}

  Raises `ArgumentError` when the processes cannot share `input_dims` equally. Python: `mlx.nn.QuantizedShardedToAllLinear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    ShardedLinear.new_quantized(__MODULE__, ShardedToAllLinear, input_dims, output_dims, options)
  end

  @doc """
  The part of this process in a quantized linear layer.

  Options:

    * `:segments` - of how many matrices beside each other the inputs consist, see `Mlx.NN.shard/3`; default 1
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.QuantizedLinear.new(64, 4)
      iex> Mlx.NN.QuantizedShardedToAllLinear.from_quantized_linear(layer).weight |> Mlx.array_equal(layer.weight) |> Mlx.to_number()
      true

  Raises `ArgumentError` when the processes cannot share the weight or its scales equally. Python:
  `QuantizedShardedToAllLinear.from_quantized_linear`.
  """
  @spec from_quantized_linear(QuantizedLinear.t(), keyword()) :: t()
  def from_quantized_linear(layer, options \\ [])

  def from_quantized_linear(%QuantizedLinear{} = layer, options) do
    ShardedLinear.part_of(__MODULE__, @sharding, layer, options, "from_quantized_linear")
  end

  @doc """
  The outputs `{..., output_dims}` for this process's part `{..., input_dims / n}` of the inputs.

      iex> layer = Mlx.NN.QuantizedShardedToAllLinear.new(64, 2)
      iex> Mlx.NN.QuantizedShardedToAllLinear.call(layer, Mlx.ones({3, 64})).shape
      {3, 2}

  Python: `QuantizedShardedToAllLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = x), do: ShardedLinear.call(layer, @sharding, x)
end
