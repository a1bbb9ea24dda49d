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

  alias Mlx.{Array, Random}
  alias Mlx.Arguments.Options
  alias Mlx.Distributed.Group
  alias Mlx.NN.{Features, Linear, Projection, Sharding}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight, :bias, :group]
  defstruct @enforce_keys

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
    [bias, group] = Options.without_stream(options, :"NN.ShardedToAllLinear.new", bias: true, group: nil)
    group = Sharding.group!(group, "Mlx.NN.ShardedToAllLinear.new")
    share = Sharding.share!(input_dims, group, "input_dims", "Mlx.NN.ShardedToAllLinear.new")
    scale = :math.sqrt(1.0 / input_dims)
    weight = Random.uniform({output_dims, share}, low: -scale, high: scale)
    bias = if bias, do: Random.uniform({output_dims}, low: -scale, high: scale)
    %__MODULE__{weight: weight, bias: bias, group: group}
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
    Sharding.part_of_layer(__MODULE__, layer, :sharded_to_all, options, "Mlx.NN.ShardedToAllLinear.from_linear")
  end

  @doc """
  The outputs `{..., output_dims}` for this process's part `{..., input_dims / n}` of the inputs.

      iex> layer = Mlx.NN.ShardedToAllLinear.new(3, 4)
      iex> Mlx.NN.ShardedToAllLinear.call(layer, Mlx.ones({5, 3})).shape
      {5, 4}

  Python: `ShardedToAllLinear.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight, bias: bias, group: group}, %Array{} = x) do
    Features.check!(x, elem(weight.shape, 1), "Mlx.NN.ShardedToAllLinear.call")
    y = x |> Projection.apply(weight, nil) |> Mlx.Distributed.all_sum(group: group)
    if bias, do: Mlx.add(y, bias), else: y
  end
end
