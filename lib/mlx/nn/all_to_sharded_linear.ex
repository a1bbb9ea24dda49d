defmodule Mlx.NN.AllToShardedLinear do
  @moduledoc """
  A linear layer of which each process computes a part of the outputs: the inputs are the same for all processes, and the
  outputs of the layer are those of all of them beside each other. `Mlx.NN.ShardedToAllLinear` takes such outputs.

  | parameter | shape, of `n` processes |
  | --- | --- |
  | `weight` | `{output_dims / n, input_dims}` |
  | `bias` | `{output_dims / n}`, or `nil` |

  The gradients of the inputs are summed over the processes.
  `Mlx.NN.shard_linear/3` makes such a layer of an `Mlx.NN.Linear`.

  Python: `mlx.nn.AllToShardedLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.NN.{Linear, ShardedLinear}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :group]
  defstruct @enforce_keys

  @sharding :all_to_sharded

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil, group: Group.t()}

  @doc """
  The part of this process in a layer for inputs of `input_dims` features and outputs of `output_dims`. Its parameters are
  uniform numbers between `-1 / sqrt(input_dims)` and `1 / sqrt(input_dims)`.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.AllToShardedLinear.new(3, 4)
      iex> {layer.weight.shape, layer.bias.shape}
      {{4, 3}, {4}}

  Raises `ArgumentError` when the processes cannot share `output_dims` equally. Python: `mlx.nn.AllToShardedLinear`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(input_dims, output_dims, options \\ [])

  def new(input_dims, output_dims, options)
      when is_integer(input_dims) and input_dims > 0 and is_integer(output_dims) and output_dims > 0 do
    ShardedLinear.new(__MODULE__, @sharding, input_dims, output_dims, options)
  end

  @doc """
  The part of this process in a linear layer.

  Options:

    * `:segments` - of how many matrices beside each other the outputs consist, see `Mlx.NN.shard/3`; default 1
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.Linear.new(2, 4)
      iex> Mlx.NN.AllToShardedLinear.from_linear(layer).weight |> Mlx.array_equal(layer.weight) |> Mlx.to_number()
      true

  Raises `ArgumentError` when the processes cannot share the weight equally. Python: `AllToShardedLinear.from_linear`.
  """
  @spec from_linear(Linear.t(), keyword()) :: t()
  def from_linear(layer, options \\ [])

  def from_linear(%Linear{} = layer, options) do
    ShardedLinear.part_of(__MODULE__, @sharding, layer, options, "from_linear")
  end

  @doc """
  This process's part `{..., output_dims / n}` of the outputs for inputs `{..., input_dims}`.

      iex> layer = Mlx.NN.AllToShardedLinear.new(3, 4)
      iex> Mlx.NN.AllToShardedLinear.call(layer, Mlx.ones({5, 3})).shape
      {5, 4}

  Python: `AllToShardedLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = x), do: ShardedLinear.call(layer, @sharding, x)
end
