# A convolutional network, or a perceptron, trained on Fashion-MNIST with Mlx.Training. It shows its progress, its accuracy on
# the 10,000 test images, and its curve.
#
#   apt-get install dataset-fashion-mnist
#   mix run examples/fashion_mnist_cnn.exs [FOLDER] [--model cnn] [--epochs 12] [--svg curve.svg]
#
# Eight epochs of the perceptron (--model perceptron) take a minute on two cores, and recognise 88 of 100 images.
# The folder has the four files of the data set; fashion_mnist_data.exs says how to get them without an installation.
Code.require_file("fashion_mnist_data.exs", __DIR__)

defmodule Examples.FashionMNISTCNN do
  @moduledoc false

  alias Examples.FashionMNISTData
  alias Mlx.{NN, Optimizers, Training}
  alias Mlx.NN.{Activations, Conv2d, Dropout, Linear, Losses, MaxPool2d}
  alias Mlx.Optimizers.Schedules
  alias Mlx.Training.Curve

  @batch 100
  @rate 0.002

  def main(arguments) do
    {options, folders} = OptionParser.parse!(arguments, strict: [model: :string, epochs: :integer, svg: :string])
    epochs = Keyword.get(options, :epochs, 12)
    Mlx.Random.seed(0)
    {train, test} = folders |> List.first(FashionMNISTData.folder()) |> FashionMNISTData.load()
    model = options |> Keyword.get(:model, "cnn") |> model()
    {microseconds, training} = :timer.tc(fn -> train(model, train, test, epochs) end)

    IO.puts(Curve.to_text(Training.curve(training)))
    [{_step, %{accuracy: accuracy}} | _] = training.validations
    IO.puts("#{training.epoch} epochs in #{round(microseconds / 1.0e6)} s")
    IO.puts("accuracy on #{elem(test.y.shape, 0)} test images: #{Float.round(100 * accuracy, 2)} %")
    if path = options[:svg], do: File.write!(path, training |> Training.curve() |> Curve.to_svg())
  end

  # The rate falls to nothing with the last step.
  defp train(model, train, test, epochs) do
    steps = epochs * div(elem(train.y.shape, 0), @batch)

    Training.run(
      model,
      &loss/2,
      Optimizers.AdamW.new(Schedules.cosine_decay(@rate, steps)),
      Training.batches(train, @batch, shuffle: true),
      epochs: epochs,
      seed: 1,
      validation: Training.batches(test, @batch),
      metrics: [accuracy: &accuracy/2]
    )
  end

  defp model("cnn") do
    [
      Conv2d.new(1, 32, 3, padding: 1),
      &Activations.relu/1,
      MaxPool2d.new(2, strides: 2),
      Conv2d.new(32, 64, 3, padding: 1),
      &Activations.relu/1,
      MaxPool2d.new(2, strides: 2),
      &Mlx.flatten(&1, axes: 1..3),
      Dropout.new(p: 0.25),
      Linear.new(7 * 7 * 64, 128),
      &Activations.relu/1,
      Dropout.new(p: 0.25),
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

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.cross_entropy(batch.y, reduction: :mean)

  defp accuracy(model, batch) do
    batch.x |> NN.forward(model) |> Mlx.argmax(axis: -1) |> Mlx.equal(batch.y) |> Mlx.mean()
  end
end

Examples.FashionMNISTCNN.main(System.argv())
