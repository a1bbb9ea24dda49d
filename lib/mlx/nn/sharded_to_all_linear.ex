defmodule Mlx.NN.ShardedToAllLinear do
  @moduledoc """
  A linear layer of which each process has a part of the inputs, as they come from `Mlx.NN.AllToShardedLinear`. What the
  processes make of their parts is summed, so that all have the same outputs.

  | parameter | shape, of `n` processes |
  | --- | --- |
  | `weight` | `{output_dims, input_dims / n}` |
  | `bias` | `{output_dims}`, or `nil` |

  Each process has the whole bias.
  `Mlx.NN.shard_linear/3` makes such a layer of an `Mlx.NN.Linear`.

  Python: `mlx.nn.ShardedToAllLinear`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Distributed.Group
  alias Mlx.NN.{Linear, ShardedLinear}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :group]
  defstruct @enforce_keys

  @sharding :sharded_to_all

  @type t :: %__MODULE__{weight: Array.t(), bias: Array.t() | nil, group: Group.t()}

  @doc """
  The part of this process in a layer for inputs of `input_dims` features and outputs of `output_dims`. Its parameters are
  uniform numbers between `-1 / sqrt(input_dims)` and `1 / sqrt(input_dims)`.

  Options:

    * `:bias` - whether it has a bias, default true
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.ShardedToAllLinear.new(3, 4)
      iex> {layer.weight.shape, layer.bias.shape}
      {{4, 3}, {4}}

  Raises `ArgumentError` when the processes cannot share `input_dims` equally. Python: `mlx.nn.ShardedToAllLinear`.
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

    * `:segments` - of how many matrices beside each other the inputs consist, see `Mlx.NN.shard/3`; default 1
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.Linear.new(2, 4)
      iex> Mlx.NN.ShardedToAllLinear.from_linear(layer).weight |> Mlx.array_equal(layer.weight) |> Mlx.to_number()
      true

  Raises `ArgumentError` when the processes cannot share the weight equally. Python: `ShardedToAllLinear.from_linear`.
  """
  @spec from_linear(Linear.t(), keyword()) :: t()
  def from_linear(layer, options \\ [])

  def from_linear(%Linear{} = layer, options) do
    ShardedLinear.part_of(__MODULE__, @sharding, layer, options, "from_linear")
  end

  @doc """
  The outputs `{..., output_dims}` for this process's part `{..., input_dims / n}` of the inputs.

      iex> layer = Mlx.NN.ShardedToAllLinear.new(3, 4)
      iex> Mlx.NN.ShardedToAllLinear.call(layer, Mlx.ones({5, 3})).shape
      {5, 4}

  Python: `ShardedToAllLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = x), do: ShardedLinear.call(layer, @sharding, x)
end
