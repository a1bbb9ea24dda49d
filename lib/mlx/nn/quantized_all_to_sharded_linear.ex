defmodule Mlx.NN.QuantizedAllToShardedLinear do
  @moduledoc """
  `Mlx.NN.AllToShardedLinear` with a quantized weight: each process computes a part of the outputs. The gradients of the inputs
  are summed over the processes.

  | array | shape, of `n` processes |
  | --- | --- |
  | `weight` | `{output_dims / n, input_dims * bits / 32}`, packed in `:u32` |
  | `scales`, `biases` | `{output_dims / n, input_dims / group_size}`; without biases for most modes |
  | `bias` | `{output_dims / n}`, or `nil` |

  The weight, with its scales and biases, is not trained; the bias is. `Mlx.NN.shard_linear/3` makes such a layer of an
  `Mlx.NN.QuantizedLinear`.

  Python: `mlx.nn.QuantizedAllToShardedLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.NN.{AllToShardedLinear, QuantizedLinear, ShardedLinear}

  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases]}
  @enforce_keys [:weight, :scales, :biases, :bias, :group_size, :bits, :mode, :group]
  defstruct @enforce_keys

  @sharding :all_to_sharded

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
  weight of a new `Mlx.NN.AllToShardedLinear` and a bias of zeros.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.QuantizedAllToShardedLinear.new(64, 2, bits: 8)
      iex> {layer.weight.shape, layer.scales.shape, layer.bias.shape}
      {{2, 16}, {2, 1}, {2}}

  Raises `ArgumentError` when the processes cannot share `output_dims` equally. Python: `mlx.nn.QuantizedAllToShardedLinear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    ShardedLinear.new_quantized(__MODULE__, AllToShardedLinear, input_dims, output_dims, options)
  end

  @doc """
  The part of this process in a quantized linear layer.

  Options:

    * `:segments` - of how many matrices beside each other the outputs consist, see `Mlx.NN.shard/3`; default 1
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.QuantizedLinear.new(64, 4)
      iex> Mlx.NN.QuantizedAllToShardedLinear.from_quantized_linear(layer).weight |> Mlx.array_equal(layer.weight) |> Mlx.to_number()
      true

  Raises `ArgumentError` when the processes cannot share the weight or its scales equally. Python:
  `QuantizedAllToShardedLinear.from_quantized_linear`.
  """
  @spec from_quantized_linear(QuantizedLinear.t(), keyword()) :: t()
  def from_quantized_linear(layer, options \\ [])

  def from_quantized_linear(%QuantizedLinear{} = layer, options) do
    ShardedLinear.part_of(__MODULE__, @sharding, layer, options, "from_quantized_linear")
  end

  @doc """
  This process's part `{..., output_dims / n}` of the outputs for inputs `{..., input_dims}`.

      iex> layer = Mlx.NN.QuantizedAllToShardedLinear.new(64, 2)
      iex> Mlx.NN.QuantizedAllToShardedLinear.call(layer, Mlx.ones({3, 64})).shape
      {3, 2}

  Python: `QuantizedAllToShardedLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = x), do: ShardedLinear.call(layer, @sharding, x)
end
