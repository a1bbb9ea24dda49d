defmodule Mlx.NN.ShardedLinear do
  @moduledoc false
  # What linear layers of several processes have in common, quantized or not. With `:all_to_sharded` each process has a part
  # of the outputs, with `:sharded_to_all` a part of the inputs.

  alias Mlx.{Array, Distributed, Random}
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.Distributed.{Collective, Group}
  alias Mlx.NN.{Features, Projection, QuantizedMatrix, Sharding}

  @type sharding :: :all_to_sharded | :sharded_to_all

  @doc "The part of this process in a new layer of `module`, whose parameters are uniform numbers."
  @spec new(module(), sharding(), pos_integer(), pos_integer(), keyword()) :: struct()
  def new(module, sharding, input_dims, output_dims, options) do
    "Mlx." <> name = function = "#{inspect(module)}.new"
    [bias, group] = Options.without_stream(options, :"#{name}", bias: true, group: nil)
    group = Sharding.group!(group, function)
    shape = {outputs, _inputs} = shape(sharding, input_dims, output_dims, group, function)
    scale = :math.sqrt(1.0 / input_dims)
    weight = Random.uniform(shape, low: -scale, high: scale)
    bias = if bias, do: Random.uniform({outputs}, low: -scale, high: scale)
    struct!(module, weight: weight, bias: bias, group: group)
  end

  defp shape(:all_to_sharded, input_dims, output_dims, group, function),
    do: {Sharding.share!(output_dims, group, "output_dims", function), input_dims}

  defp shape(:sharded_to_all, input_dims, output_dims, group, function),
    do: {output_dims, Sharding.share!(input_dims, group, "input_dims", function)}

  @doc "A new layer of `module`, with the quantized weight of a new layer of `unquantized` and a bias of zeros."
  @spec new_quantized(module(), module(), pos_integer(), pos_integer(), keyword()) :: struct()
  def new_quantized(module, unquantized, input_dims, output_dims, options) do
    "Mlx." <> name = function = "#{inspect(module)}.new"
    settings = QuantizedMatrix.options(options, :"#{name}", bias: true, group: nil)

    CalledFunction.name(function, ["#{inspect(unquantized)}.new", "Mlx.quantize"], fn ->
      %{weight: weight, group: group} =
        unquantized.new(input_dims, output_dims, bias: false, group: settings[:group])

      bias = if settings[:bias], do: Mlx.zeros({elem(weight.shape, 0)})
      struct!(module, [bias: bias, group: group] ++ QuantizedMatrix.fields(weight, settings))
    end)
  end

  @doc "The part of this process in a layer, as a layer of `module`. Both have the same fields, but for the group."
  @spec part_of(module(), sharding(), struct(), keyword(), String.t()) :: struct()
  def part_of(module, sharding, layer, options, function) do
    {group, segments} = Sharding.options(options, "#{inspect(module)}.#{function}")
    part = Sharding.shard(layer, sharding, segments, group, "#{inspect(module)}.#{function}")
    struct!(module, part |> Map.from_struct() |> Map.put(:group, group))
  end

  @doc "The outputs of a layer, or this process's part of them."
  @spec call(struct(), sharding(), Array.t()) :: Array.t()
  def call(%module{group: group, bias: bias} = layer, sharding, x) do
    Features.check!(x, columns(layer), "#{inspect(module)}.call")
    outputs(sharding, layer, x, bias, group)
  end

  # The gradients of the inputs, which all processes have, are those of all of them together.
  defp outputs(:all_to_sharded, layer, x, bias, group) do
    x |> Collective.sum_cotangents(group) |> product(layer, bias)
  end

  # Each process has the whole bias, which is added once.
  defp outputs(:sharded_to_all, layer, x, bias, %Group{} = group) do
    x |> product(layer, nil) |> Distributed.all_sum(group: group) |> with_bias(bias)
  end

  defp columns(%{scales: _scales} = layer), do: QuantizedMatrix.columns(layer)
  defp columns(%{weight: weight}), do: elem(weight.shape, 1)

  defp product(x, %{scales: _scales} = layer, bias), do: layer |> QuantizedMatrix.multiply(x) |> with_bias(bias)
  defp product(x, %{weight: weight}, bias), do: Projection.apply(x, weight, bias)

  defp with_bias(y, nil), do: y
  defp with_bias(y, bias), do: Mlx.add(y, bias)
end
