defmodule Mlx.NN.FullyShardedModule do
  @moduledoc """
  A layer of which each process keeps only a part of every array. They are gathered for a call, and their gradients are the
  mean of those of all processes, cut again: each process trains and remembers only its own part.

  The arrays are those of `module`, cut along their first axis. `Mlx.NN.fully_shard/2` makes such a layer, and
  `Mlx.NN.map_layers/2` replaces those of a model by such ones. A layer with layers of this kind inside leaves their arrays
  to them.

  Python: `mlx.nn.FullyShardedModule`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Distributed, Native, Tree, Type}
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.Distributed.Group
  alias Mlx.NN.{Layer, Sharding}

  @derive Mlx.NN.Layer
  @enforce_keys [:module, :group, :compute_type]
  defstruct @enforce_keys

  @type t :: %__MODULE__{module: Layer.t(), group: Group.t(), compute_type: Type.t() | nil}

  @doc """
  The part of this process in a layer, any that `Mlx.NN.forward/2` takes.

  Options:

    * `:group` - the processes, default `Mlx.Distributed.init()`
    * `:compute_type` - the type that gathered arrays of floating-point numbers have, default the one that they are kept in

  Examples:

      iex> layer = Mlx.NN.FullyShardedModule.new(Mlx.NN.Linear.new(2, 4))
      iex> for {path, array} <- Mlx.Tree.flatten(layer), do: {path, array.shape}
      [{"module.bias", {4}}, {"module.weight", {4, 2}}]

  Raises `ArgumentError` when the processes cannot share the first axis of each array equally. Python:
  `mlx.nn.FullyShardedModule`; `compute_dtype` is `:compute_type` here.
  """
  @spec new(Layer.t(), keyword()) :: t()
  def new(module, options \\ []) do
    [group, type] = Options.without_stream(options, :"NN.FullyShardedModule.new", group: nil, compute_type: nil)
    group = Sharding.group!(group, "Mlx.NN.FullyShardedModule.new")
    type = type && Type.normalize!(type)

    CalledFunction.name("Mlx.NN.FullyShardedModule.new", ["Mlx.Tree.flatten"], fn ->
      parts = for {path, array} <- own(module), do: {array.ref, part(path, array, group)}
      %__MODULE__{module: replaced(module, Map.new(parts)), group: group, compute_type: type}
    end)
  end

  # The arrays that no such layer inside of the layer has.
  defp own(module) do
    for {path, %Array{} = array} <- Tree.flatten(module, is_leaf: &is_struct(&1, __MODULE__)), do: {path, array}
  end

  defp part(path, %Array{shape: {}}, _group) do
    raise ArgumentError, "Mlx.NN.FullyShardedModule.new: expected arrays of at least one axis, but #{path} has none"
  end

  defp part(path, array, group) do
    Sharding.shard(%{path => array}, fn _path, _array -> 0 end, 1, group, "Mlx.NN.FullyShardedModule.new")[path]
  end

  defp replaced(module, by_reference), do: Tree.map(module, &Map.get(by_reference, &1.ref, &1))

  @doc """
  The output of the layer for an input.

      iex> layer = Mlx.NN.FullyShardedModule.new(Mlx.NN.Linear.new(2, 4))
      iex> Mlx.NN.FullyShardedModule.call(layer, Mlx.ones({3, 2})).shape
      {3, 4}

  Python: `FullyShardedModule.__call__`.
  """
  @spec call(t(), term()) :: term()
  def call(%__MODULE__{} = layer, input) do
    module = gathered(layer)
    CalledFunction.name("Mlx.NN.FullyShardedModule.call", ["Mlx.NN.Layer.call"], fn -> Layer.call(module, input) end)
  end

  @doc """
  The products of `x` with the vectors of all tokens, where the layer is an `Mlx.NN.Embedding` or an
  `Mlx.NN.QuantizedEmbedding`.

      iex> layer = Mlx.NN.FullyShardedModule.new(Mlx.NN.Embedding.new(10, 4))
      iex> Mlx.NN.FullyShardedModule.as_linear(layer, Mlx.ones({3, 4})).shape
      {3, 10}

  Python: `FullyShardedModule.as_linear`.
  """
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{module: %module{}} = layer, %Array{} = x)
      when module in [Mlx.NN.Embedding, Mlx.NN.QuantizedEmbedding] do
    module.as_linear(gathered(layer), x)
  end

  defp gathered(%__MODULE__{module: module} = layer) do
    CalledFunction.name("Mlx.NN.FullyShardedModule.call", ["Mlx.custom_function", "Mlx.Distributed.all_gather"], fn ->
      parts = for {_path, array} <- own(module), uniq: true, do: array

      wholes =
        parts
        |> Enum.group_by(& &1.type)
        |> Enum.sort()
        |> Enum.flat_map(fn {type, parts} -> Enum.zip(Enum.map(parts, & &1.ref), gather(parts, type, layer)) end)

      replaced(module, Map.new(wholes))
    end)
  end

  # Arrays of one type go together, each as a row.
  defp gather(parts, type, %__MODULE__{group: group, compute_type: compute_type}) do
    gathered_type = if Type.fractional?(type), do: compute_type || type, else: type
    whole = fn parts -> parts |> Enum.map(&Mlx.as_type(&1, gathered_type)) |> gather_rows(group) end

    if Native.is_traced(parts) do
      Mlx.custom_function(whole, vjp: fn [parts], cotangents, _wholes -> [cut(parts, cotangents, group)] end).(parts)
    else
      whole.(parts)
    end
  end

  defp gather_rows(parts, group) do
    rows = parts |> in_rows(1) |> Distributed.all_gather(group: group)

    parts
    |> from_rows(rows)
    |> Enum.zip_with(parts, fn row, part ->
      Mlx.reshape(row, put_elem(part.shape, 0, elem(part.shape, 0) * group.size))
    end)
  end

  # The mean of the cotangents of all processes, each in its parts.
  defp cut(parts, cotangents, group) do
    row = cotangents |> in_rows(group.size) |> Distributed.sum_scatter(group: group) |> Mlx.divide(group.size)

    parts
    |> from_rows(row)
    |> Enum.zip_with(parts, fn row, part -> row |> Mlx.reshape(part.shape) |> Mlx.as_type(part.type) end)
  end

  defp in_rows(arrays, count), do: arrays |> Enum.map(&Mlx.reshape(&1, {count, -1})) |> Mlx.concatenate(axis: 1)

  defp from_rows(parts, rows) do
    ends = parts |> Enum.map(&Mlx.size/1) |> Enum.scan(&+/2)
    Mlx.split(rows, Enum.drop(ends, -1), axis: 1)
  end
end
