for file <- ["rounds.exs", "table.exs", "transformer.exs", "loop.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.NxModels do
  @moduledoc false
  # The models of train_step.py, in Nx: `{parameters, loss, inputs}`.

  alias Bench.Transformer
  alias Mlx.Nx.Fast

  @width Transformer.width()
  @heads Transformer.heads()
  @vocabulary Transformer.vocabulary()

  def new("mlp"), do: mlp([784, 128, 10], 64)
  def new("tiny"), do: mlp([16, 16, 4], 8)

  def new("transformer") do
    layers =
      for _layer <- 1..Transformer.layers() do
        Map.new(Transformer.layer_shapes(), fn {name, shape} -> {name, weight(shape)} end)
      end

    parameters = %{
      embedding: weight({@vocabulary, @width}),
      layers: List.to_tuple(layers),
      norm: weight({@width}),
      head: weight({@width, @vocabulary})
    }

    tokens = Nx.remainder(Nx.iota({8, 128}), @vocabulary)
    {parameters, &transformer_loss/3, {tokens, Nx.remainder(Nx.add(tokens, 1), @vocabulary)}}
  end

  defp mlp(widths, batch) do
    layers =
      for [input, output] <- Enum.chunk_every(widths, 2, 1, :discard) do
        %{weight: weight({input, output}), bias: Nx.broadcast(0.0, {output})}
      end

    {x, _key} = Nx.Random.normal(Nx.Random.key(1), shape: {batch, hd(widths)})
    {List.to_tuple(layers), &mlp_loss/3, {x, Nx.remainder(Nx.iota({batch}), List.last(widths))}}
  end

  defp weight(shape) do
    {numbers, _key} = Nx.Random.normal(Nx.Random.key(0), shape: shape)
    Nx.multiply(numbers, 0.05)
  end

  defp mlp_loss({first, second}, x, targets) do
    x |> linear(first) |> Nx.max(0) |> linear(second) |> cross_entropy(targets)
  end

  defp linear(x, %{weight: weight, bias: bias}), do: x |> Nx.dot(weight) |> Nx.add(bias)

  defp transformer_loss(parameters, tokens, targets) do
    parameters.layers
    |> Tuple.to_list()
    |> Enum.reduce(Nx.take(parameters.embedding, tokens, axis: 0), &block/2)
    |> Fast.rms_norm(parameters.norm)
    |> Nx.dot(parameters.head)
    |> cross_entropy(targets)
  end

  defp block(layer, x) do
    x = Nx.add(x, attention(layer, Fast.rms_norm(x, layer.attention_norm)))
    hidden = x |> Fast.rms_norm(layer.norm) |> Nx.dot(layer.up)
    Nx.add(x, Nx.dot(Nx.multiply(hidden, Nx.sigmoid(hidden)), layer.down))
  end

  defp attention(layer, x) do
    {batch, length, _width} = x.shape

    [queries, keys, values] =
      for name <- [:query, :key, :value] do
        x
        |> Nx.dot(Map.fetch!(layer, name))
        |> Nx.reshape({batch, length, @heads, div(@width, @heads)})
        |> Nx.transpose(axes: [0, 2, 1, 3])
      end

    queries
    |> Fast.scaled_dot_product_attention(keys, values, mask: :causal)
    |> Nx.transpose(axes: [0, 2, 1, 3])
    |> Nx.reshape({batch, length, @width})
    |> Nx.dot(layer.output)
  end

  defp cross_entropy(logits, targets) do
    chosen = logits |> Nx.take_along_axis(Nx.new_axis(targets, -1), axis: -1) |> Nx.squeeze(axes: [-1])
    logits |> Nx.logsumexp(axes: [-1]) |> Nx.subtract(chosen) |> Nx.mean()
  end
end

defmodule Bench.Nx do
  @moduledoc false

  alias Bench.{Rounds, Table}
  alias Nx.Defn

  @rounds 10
  @chain 1000
  @reads 100
  @rate 0.01
  @steps %{"tiny" => 500, "mlp" => 200, "transformer" => 3}

  def run do
    Table.header("us, best of #{@rounds} rounds", "Nx")
    operations()
    Bench.Loop.run()

    steps("tiny",
      compiled: &Defn.compile/3,
      "called by jit": fn step, _arguments, options -> Defn.jit(step, options) end
    )

    steps("mlp", compiled: &Defn.compile/3)
    steps("transformer", compiled: &Defn.compile/3)
  end

  defp operations do
    one = Nx.tensor([1.0, 1.0], backend: Mlx.Backend)
    lazy_one = Nx.tensor([1.0, 1.0], backend: {Mlx.Backend, lazy: true})
    arguments = Enum.map([@chain, @reads, Rounds.repetitions()], &Integer.to_string/1)

    {ours, [lazy, _forced, _eval, read]} =
      Rounds.compare("dispatch.py", arguments, @rounds, fn ->
        Rounds.best_repetition(fn -> measure_operations(one, lazy_one) end)
      end)

    Table.print(["lazy add, chain of #{@chain}", "add + to_binary"], ours, [lazy, read])
  end

  defp measure_operations(one, lazy_one) do
    {lazy, _sum} = Rounds.time(fn -> chain(lazy_one, lazy_one, @chain) end)
    [lazy / @chain, Rounds.time_of_one(@reads, fn -> one |> Nx.add(one) |> Nx.to_binary() end)]
  end

  defp steps(model, ways) do
    count = Map.fetch!(@steps, model)
    {parameters, loss, {x, targets}} = Bench.NxModels.new(model)
    step = fn parameters, x, targets -> step(loss, parameters, x, targets) end
    steps = for {_name, way} <- ways, do: way.(step, [parameters, x, targets], compiler: Mlx, donate: [0])
    arguments = [model, Float.to_string(@rate), Integer.to_string(count), "1"]

    {ours, [compiled, _built]} =
      Rounds.compare("train_step.py", arguments, @rounds, fn ->
        for step <- steps do
          :erlang.garbage_collect()
          warm = train(step, copy(parameters), x, targets, count)
          {us, _parameters} = Rounds.time(fn -> train(step, warm, x, targets, count) end)
          us / count
        end
      end)

    names = for {name, _way} <- ways, do: "#{model}: step #{name}"
    Table.print(names, ours, Enum.map(names, fn _ -> compiled end))
  end

  defp step(loss, parameters, x, targets) do
    {value, gradient} = Defn.value_and_grad(parameters, &loss.(&1, x, targets))
    {value, updated(parameters, gradient)}
  end

  defp updated(parameters, gradient) do
    {updated, []} =
      Defn.Composite.traverse(parameters, Defn.Composite.flatten_list([gradient]), fn parameter, [gradient | rest] ->
        {Nx.subtract(parameter, Nx.multiply(gradient, @rate)), rest}
      end)

    updated
  end

  # The parameters are donated to each step, as in Python, which counts references.
  defp train(_step, parameters, _x, _targets, 0), do: parameters

  defp train(step, parameters, x, targets, count) do
    {value, parameters} = step.(parameters, x, targets)
    Nx.to_number(value)
    train(step, parameters, x, targets, count - 1)
  end

  defp copy(parameters), do: Defn.Composite.traverse(parameters, &Nx.backend_copy(&1, Mlx.Backend))

  defp chain(sum, _one, 0), do: sum
  defp chain(sum, one, count), do: chain(Nx.add(sum, one), one, count - 1)
end

Nx.global_default_backend(Mlx.Backend)
Bench.Nx.run()
