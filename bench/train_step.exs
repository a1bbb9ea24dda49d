for file <- ["rounds.exs", "table.exs", "transformer.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Models do
  @moduledoc false
  # Models as plain functions: `{parameters, loss, inputs}`, where `loss` takes the parameters and the inputs.
  # train_step.py has the same.

  alias Bench.Transformer
  alias Mlx.{Fast, Random}

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
      layers: layers,
      norm: weight({@width}),
      head: weight({@width, @vocabulary})
    }

    tokens = Mlx.remainder(Mlx.reshape(Mlx.iota({8 * 128}), {8, 128}), @vocabulary)
    {parameters, &transformer_loss/3, [tokens, Mlx.remainder(Mlx.add(tokens, 1), @vocabulary)]}
  end

  defp mlp(widths, batch) do
    layers =
      for [input, output] <- Enum.chunk_every(widths, 2, 1, :discard) do
        %{weight: weight({input, output}), bias: Mlx.zeros({output})}
      end

    targets = Mlx.remainder(Mlx.iota({batch}), List.last(widths))
    {layers, &mlp_loss/3, [Random.normal({batch, hd(widths)}, key: Random.key(1)), targets]}
  end

  defp weight(shape), do: Mlx.multiply(Random.normal(shape, key: Random.key(0)), 0.05)

  defp mlp_loss([first, second], x, targets) do
    x |> linear(first) |> Mlx.max(0) |> linear(second) |> cross_entropy(targets)
  end

  defp linear(x, %{weight: weight, bias: bias}), do: Mlx.add(Mlx.matmul(x, weight), bias)

  defp transformer_loss(parameters, tokens, targets) do
    parameters.layers
    |> Enum.reduce(Mlx.take(parameters.embedding, tokens, axis: 0), &block/2)
    |> Fast.rms_norm(parameters.norm)
    |> Mlx.matmul(parameters.head)
    |> cross_entropy(targets)
  end

  defp block(layer, x) do
    x = Mlx.add(x, attention(layer, Fast.rms_norm(x, layer.attention_norm)))
    hidden = x |> Fast.rms_norm(layer.norm) |> Mlx.matmul(layer.up)
    Mlx.add(x, Mlx.matmul(Mlx.multiply(hidden, Mlx.sigmoid(hidden)), layer.down))
  end

  defp attention(layer, %Mlx.Array{shape: {batch, length, _width}} = x) do
    [queries, keys, values] =
      for name <- [:query, :key, :value] do
        x
        |> Mlx.matmul(Map.fetch!(layer, name))
        |> Mlx.reshape({batch, length, @heads, div(@width, @heads)})
        |> Mlx.transpose(axes: [0, 2, 1, 3])
      end

    queries
    |> Fast.scaled_dot_product_attention(keys, values, scale: :math.sqrt(@heads / @width), mask: :causal)
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.reshape({batch, length, @width})
    |> Mlx.matmul(layer.output)
  end

  defp cross_entropy(logits, targets) do
    targets = Mlx.new_axis(targets, -1)
    chosen = logits |> Mlx.take_along_axis(targets, axis: -1) |> Mlx.squeeze(axes: -1)
    Mlx.mean(Mlx.subtract(Mlx.logsumexp(logits, axes: -1), chosen))
  end
end

defmodule Bench.TrainStep do
  @moduledoc false

  alias Bench.{Rounds, Table}
  alias Mlx.Tree

  @rounds 10
  @rate 0.01
  # The steps of a round: compiled ones, and ones that are traced and built but not evaluated.
  @counts %{"tiny" => {500, 100}, "mlp" => {200, 100}, "transformer" => {3, 10}}

  def run(models) do
    Table.header("us, best of #{@rounds} rounds", "Mlx")
    Enum.each(models, &compare/1)
  end

  defp compare(model) do
    {compiled, built} = Map.fetch!(@counts, model)
    {parameters, loss, inputs} = Bench.Models.new(model)
    Mlx.eval([parameters, inputs])
    step = fn parameters, x, targets -> step(loss, parameters, x, targets) end
    fast = Mlx.compile(step, donate: [0])
    arguments = [model, Float.to_string(@rate), Integer.to_string(compiled), Integer.to_string(built)]

    {ours, theirs} =
      Rounds.compare("train_step.py", arguments, @rounds, fn ->
        :erlang.garbage_collect()
        warm = train(fast, Tree.map(parameters, &Mlx.copy/1), inputs, compiled)
        {trained, _parameters} = Rounds.time(fn -> train(fast, warm, inputs, compiled) end)
        [trained / compiled, Rounds.time_of_one(built, fn -> apply(step, [parameters | inputs]) end)]
      end)

    names = ["#{model}: compiled step", "#{model}: tracing and building"]
    Table.print(names, ours, theirs)
  end

  defp step(loss, parameters, x, targets) do
    {value, gradient} = Mlx.value_and_grad(loss).(parameters, x, targets)

    updated =
      Enum.zip_with(Tree.arrays(parameters), Tree.arrays(gradient), fn parameter, gradient ->
        Mlx.subtract(parameter, Mlx.multiply(gradient, @rate))
      end)

    {value, Tree.with_arrays(parameters, updated)}
  end

  # The parameters are donated to each step, as in Python, which counts references.
  defp train(_step, parameters, _inputs, 0), do: parameters

  defp train(step, parameters, [x, targets] = inputs, count) do
    {_value, parameters} = Mlx.eval(step.(parameters, x, targets))
    train(step, parameters, inputs, count - 1)
  end
end

Bench.TrainStep.run(System.argv())
