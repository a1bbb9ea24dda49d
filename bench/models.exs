for file <- ["rounds.exs", "transformer.exs"], do: Code.require_file(file, __DIR__)

defmodule Bench.Models do
  @moduledoc false
  # Models as plain functions: `{parameters, loss, inputs}`, where `loss` takes the parameters and the inputs.
  # models.py has the same.

  alias Bench.Transformer
  alias Mlx.{Fast, Random}

  @vocabulary Transformer.vocabulary()

  def new("mlp"), do: mlp([784, 128, 10], 64)
  def new("tiny"), do: mlp([16, 16, 4], 8)

  def new("transformer") do
    width = Transformer.width()

    parameters = %{
      embedding: weight({@vocabulary, width}),
      layers: for(_layer <- 1..Transformer.layers(), do: transformer_layer(width)),
      norm: weight({width}),
      head: weight({width, @vocabulary})
    }

    tokens = Mlx.remainder(Mlx.reshape(Mlx.iota({8 * 128}), {8, 128}), @vocabulary)
    {parameters, &transformer_loss/3, [tokens, Mlx.remainder(Mlx.add(tokens, 1), @vocabulary)]}
  end

  @doc "A perceptron of two layers, `[inputs, hidden, outputs]` wide."
  def mlp(widths, batch) do
    layers =
      for [input, output] <- Enum.chunk_every(widths, 2, 1, :discard) do
        %{weight: weight({input, output}), bias: Mlx.zeros({output})}
      end

    targets = Mlx.remainder(Mlx.iota({batch}), List.last(widths))
    {layers, &mlp_loss/3, [Random.normal({batch, hd(widths)}, key: Random.key(1)), targets]}
  end

  @doc "The parameters of a layer of a transformer."
  def transformer_layer(width) do
    Map.new(Transformer.layer_shapes(width), fn {name, shape} -> {name, weight(shape)} end)
  end

  def weight(shape), do: Mlx.multiply(Random.normal(shape, key: Random.key(0)), 0.05)

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

  @doc "What a layer of a transformer makes of `x`."
  def block(layer, x) do
    x = Mlx.add(x, attention(layer, Fast.rms_norm(x, layer.attention_norm)))
    hidden = x |> Fast.rms_norm(layer.norm) |> Mlx.matmul(layer.up)
    Mlx.add(x, Mlx.matmul(Mlx.multiply(hidden, Mlx.sigmoid(hidden)), layer.down))
  end

  defp attention(layer, %Mlx.Array{shape: {batch, length, width}} = x) do
    heads = Transformer.heads(width)

    [queries, keys, values] =
      for name <- [:query, :key, :value] do
        x
        |> Mlx.matmul(Map.fetch!(layer, name))
        |> Mlx.reshape({batch, length, heads, div(width, heads)})
        |> Mlx.transpose(axes: [0, 2, 1, 3])
      end

    queries
    |> Fast.scaled_dot_product_attention(keys, values, scale: :math.sqrt(heads / width), mask: :causal)
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.reshape({batch, length, width})
    |> Mlx.matmul(layer.output)
  end

  defp cross_entropy(logits, targets) do
    targets = Mlx.new_axis(targets, -1)
    chosen = logits |> Mlx.take_along_axis(targets, axis: -1) |> Mlx.squeeze(axes: -1)
    Mlx.mean(Mlx.subtract(Mlx.logsumexp(logits, axes: -1), chosen))
  end
end

defmodule Bench.Training do
  @moduledoc false
  # A step of gradient descent. models.py has the same.

  alias Bench.Rounds
  alias Mlx.Tree

  @rate 0.01

  def rate, do: @rate

  @doc "A function that takes parameters, inputs and targets, and returns the loss and the next parameters."
  def step(loss), do: &step(loss, &1, &2, &3)

  defp step(loss, parameters, x, targets) do
    {value, gradient} = Mlx.value_and_grad(loss).(parameters, x, targets)

    updated =
      Enum.zip_with(Tree.arrays(parameters), Tree.arrays(gradient), fn parameter, gradient ->
        Mlx.subtract(parameter, Mlx.multiply(gradient, @rate))
      end)

    {value, Tree.with_arrays(parameters, updated)}
  end

  @doc "The step, compiled. The parameters are donated to each step, as in Python, which counts references."
  def compiled(loss), do: Mlx.compile(step(loss), donate: [0])

  @doc "How long one of so many compiled steps takes, in microseconds, after as many to warm up."
  def time_of_step(compiled, parameters, inputs, count) do
    warm = train(compiled, Tree.map(parameters, &Mlx.copy/1), inputs, count)
    {us, _parameters} = Rounds.time(fn -> train(compiled, warm, inputs, count) end)
    us / count
  end

  defp train(_step, parameters, _inputs, 0), do: parameters

  defp train(step, parameters, [x, targets] = inputs, count) do
    {_value, parameters} = Mlx.eval(step.(parameters, x, targets))
    train(step, parameters, inputs, count - 1)
  end
end
