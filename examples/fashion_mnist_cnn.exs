# A convolutional network, or a perceptron, trained on Fashion-MNIST with Mlx.Training. It shows its progress, its accuracy on
# the 10,000 test images, and its curve.
#
#   apt-get install dataset-fashion-mnist
#   mix run examples/fashion_mnist_cnn.exs [FOLDER] [--model cnn] [--epochs 8] [--batch 128] [--rate 0.003]
#     [--images 60000] [--test-images 10000] [--svg curve.svg] [--checkpoint cnn.safetensors]
#
# Eight epochs of the perceptron (--model perceptron) take a minute on two cores, and recognise 88 of 100 images.
# options.exs says how options are given. With a checkpoint a run that was ended goes on.
# The folder has the four files of the data set; fashion_mnist_data.exs says how to get them without an installation.
for file <- ["options.exs", "fashion_mnist_data.exs"], do: Code.require_file(file, __DIR__)

defmodule Examples.FashionMNISTCNN do
  @moduledoc false

  alias Examples.{FashionMNISTData, Options}
  alias Mlx.{NN, Optimizers, Random, Training}
  alias Mlx.NN.{Activations, BatchNorm, Conv2d, Dropout, Linear, Losses, MaxPool2d}
  alias Mlx.Optimizers.Schedules

  @options [
    model: "cnn",
    epochs: 8,
    batch: 128,
    rate: 0.003,
    images: 60_000,
    test_images: 10_000,
    svg: nil,
    checkpoint: nil
  ]
  @weight_decay 0.05

  def main(arguments) do
    {options, folders} = Options.parse!(arguments, @options)
    Random.seed(0)
    {train, test} = folders |> List.first(FashionMNISTData.folder()) |> FashionMNISTData.load(options)
    model = model(options.model)
    {microseconds, training} = :timer.tc(fn -> train(model, train, test, options) end)

    Options.show_curve(training, options)
    IO.puts("#{training.epoch} epochs in #{round(microseconds / 1.0e6)} s")
    Options.show_accuracy(training, elem(test.y.shape, 0), "test images")
  end

  # The rate falls to nothing with the last step.
  defp train(model, train, test, options) do
    rate = Schedules.cosine_decay(options.rate, options.epochs * div(elem(train.y.shape, 0), options.batch))

    Training.run(
      model,
      &loss/2,
      Optimizers.AdamW.new(rate, weight_decay: @weight_decay, bias_correction: true),
      train |> Training.batches(options.batch, shuffle: true, drop_last: true) |> Stream.map(&mirrored/1),
      epochs: options.epochs,
      seed: 1,
      validation: Training.batches(test, 500),
      metrics: [accuracy: &accuracy/2],
      checkpoint: options.checkpoint,
      resume: options.checkpoint != nil
    )
  end

  # Half of the images, another half in each epoch, are mirrored: a shoe may point to either side.
  defp mirrored(%{x: %Mlx.Array{shape: {count, _height, _width, _colours}} = x} = batch) do
    mirror = Random.bernoulli(0.5, shape: {count, 1, 1, 1})
    %{batch | x: Mlx.select(mirror, Mlx.reverse(x, axes: 2), x)}
  end

  # Three convolutions, each with a batch normalisation and a pool that halves the image.
  defp model("cnn") do
    [
      block(1, 32),
      block(32, 64),
      block(64, 128),
      &Mlx.flatten(&1, axes: 1..3),
      Dropout.new(p: 0.3),
      Linear.new(3 * 3 * 128, 128),
      &Activations.relu/1,
      Dropout.new(p: 0.3),
      Linear.new(128, 10)
    ]
  end

  defp model("perceptron") do
    [
      &Mlx.flatten(&1, axes: 1..3),
      Linear.new(28 * 28, 256),
      &Activations.relu/1,
      Linear.new(256, 128),
      &Activations.relu/1,
      Linear.new(128, 10)
    ]
  end

  # The bias of the convolution would be taken away again by the normalisation.
  defp block(inputs, outputs) do
    [
      Conv2d.new(inputs, outputs, 3, padding: 1, bias: false),
      BatchNorm.new(outputs),
      &Activations.relu/1,
      MaxPool2d.new(2, strides: 2)
    ]
  end

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.cross_entropy(batch.y, reduction: :mean)

  defp accuracy(model, batch) do
    batch.x |> NN.forward(model) |> Mlx.argmax(axis: -1) |> Mlx.equal(batch.y) |> Mlx.mean()
  end
end

Examples.FashionMNISTCNN.main(System.argv())
