# A convolutional network, trained on the digits of scikit-learn with Mlx.Training. It shows its progress, its accuracy on
# a fifth of the images, which it was not trained on, and its curve.
#
#   pip download --no-deps scikit-learn
#   mix run examples/digits.exs scikit_learn-*.whl [--epochs 30] [--batch 64] [--rate 0.002] [--svg digits.svg]
#     [--checkpoint digits.safetensors]
#
# options.exs says how options are given.
# With a checkpoint a run that was ended goes on. 30 epochs take some seconds; about 99 of 100 images are recognised.
Code.require_file("options.exs", __DIR__)

defmodule Examples.Digits do
  @moduledoc false

  alias Examples.Options
  alias Mlx.{NN, Training}
  alias Mlx.NN.{Activations, Conv2d, Dropout, Linear, Losses, MaxPool2d}

  @file_in_wheel "sklearn/datasets/data/digits.csv.gz"
  @options [epochs: 30, batch: 64, rate: 0.002, svg: nil, checkpoint: nil]
  # Of how many images one is for the test.
  @test_of 5
  @brightest 16

  def main(arguments) do
    {options, [wheel]} = Options.parse!(arguments, @options)

    # A CPU makes its kernels before the first step, so that a run that goes on gives the same numbers.
    Application.put_env(:mlx, :kernels, :wait)
    Mlx.Random.seed(0)
    {train, test} = wheel |> rows() |> split()
    training = train(train, test, options)
    Options.show_curve(training, options)
    Options.show_accuracy(training, elem(test.y.shape, 0), "test images")
  end

  defp train(train, test, options) do
    batches = Training.batches(train, options.batch, shuffle: true)

    Training.run(model(), &loss/2, Mlx.Optimizers.AdamW.new(options.rate), batches,
      epochs: options.epochs,
      seed: 1,
      validation: Training.batches(test, options.batch),
      metrics: [accuracy: &accuracy/2],
      checkpoint: options.checkpoint,
      resume: options.checkpoint != nil
    )
  end

  defp model do
    [
      Conv2d.new(1, 32, 3, padding: 1),
      &Activations.relu/1,
      MaxPool2d.new(2, strides: 2),
      Conv2d.new(32, 64, 3, padding: 1),
      &Activations.relu/1,
      MaxPool2d.new(2, strides: 2),
      &Mlx.flatten(&1, axes: 1..3),
      Linear.new(256, 128),
      &Activations.relu/1,
      Dropout.new(p: 0.3),
      Linear.new(128, 10)
    ]
  end

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.cross_entropy(batch.y, reduction: :mean)

  defp accuracy(model, batch) do
    batch.x |> NN.forward(model) |> Mlx.argmax(axis: -1) |> Mlx.equal(batch.y) |> Mlx.mean()
  end

  # Each row has the 64 pixels of an image and its digit.
  defp rows(wheel) do
    {:ok, [{_name, compressed}]} = :zip.extract(to_charlist(wheel), [:memory, file_list: [to_charlist(@file_in_wheel)]])

    for line <- compressed |> :zlib.gunzip() |> String.split("\n", trim: true) do
      for text <- String.split(line, ","), do: text |> Float.parse() |> elem(0) |> trunc()
    end
  end

  defp split(rows) do
    {test, train} = rows |> Enum.with_index() |> Enum.split_with(fn {_row, index} -> rem(index, @test_of) == 0 end)
    {arrays(train), arrays(test)}
  end

  defp arrays(rows) do
    {images, digits} = rows |> Enum.map(fn {row, _index} -> Enum.split(row, 64) end) |> Enum.unzip()
    x = images |> Mlx.array() |> Mlx.reshape({length(rows), 8, 8, 1}) |> Mlx.divide(@brightest)
    Mlx.eval(%{x: x, y: digits |> Mlx.array() |> Mlx.flatten()})
  end
end

Examples.Digits.main(System.argv())
