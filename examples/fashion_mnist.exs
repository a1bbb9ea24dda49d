# A convolutional network of Axon, trained on Fashion-MNIST with Mlx.Backend and compiler Mlx, which prints its accuracy.
#
#   mix compile && elixir -pa "_build/dev/lib/*/ebin" examples/fashion_mnist.exs [--folder FOLDER] [--epochs 2] [--examples 60000]
#
# Axon and Polaris come from the dependencies or from ERL_LIBS. The folder has the four files of the data set
# (Debian: dataset-fashion-mnist). An epoch takes little more than a minute on one core of a server; after the first, about 86
# of 100 test images are recognised.
defmodule Examples.FashionMNIST do
  @moduledoc false

  @batch 100

  def main(arguments) do
    {options, []} =
      OptionParser.parse!(arguments, strict: [folder: :string, epochs: :integer, examples: :integer])

    options = Keyword.merge([folder: "/usr/share/datasets/fashion-mnist", epochs: 2, examples: 60_000], options)
    {:ok, _} = Application.ensure_all_started(:mlx)
    Nx.global_default_backend(Mlx.Backend)
    Nx.Defn.global_default_options(compiler: Mlx)

    training = batches(options[:folder], "train") |> Enum.take(div(options[:examples], @batch))
    test = batches(options[:folder], "t10k")
    {microseconds, state} = :timer.tc(fn -> train(training, options[:epochs]) end)
    correct = accuracy(state, test)
    IO.puts("#{options[:epochs]} epochs in #{Float.round(microseconds / 1.0e6, 1)} s")
    IO.puts("accuracy on #{length(test) * @batch} test images: #{Float.round(100 * correct, 2)} %")
  end

  defp model do
    Axon.input("images", shape: {nil, 28, 28, 1})
    |> Axon.conv(32, kernel_size: 3, padding: :same, activation: :relu)
    |> Axon.max_pool(kernel_size: 2)
    |> Axon.conv(64, kernel_size: 3, padding: :same, activation: :relu)
    |> Axon.max_pool(kernel_size: 2)
    |> Axon.flatten()
    |> Axon.dense(128, activation: :relu)
    |> Axon.dropout(rate: 0.25)
    |> Axon.dense(10, activation: :softmax)
  end

  defp train(batches, epochs) do
    model()
    |> Axon.Loop.trainer(:categorical_cross_entropy, Polaris.Optimizers.adam(learning_rate: 1.0e-3))
    |> Axon.Loop.run(batches, Axon.ModelState.empty(), epochs: epochs)
  end

  defp accuracy(state, batches) do
    {_initialize, predict} = Axon.build(model())

    correct =
      for {images, labels} <- batches do
        predicted = Nx.argmax(predict.(state, images), axis: 1)
        Nx.mean(Nx.equal(predicted, Nx.argmax(labels, axis: 1))) |> Nx.to_number()
      end

    Enum.sum(correct) / length(correct)
  end

  # Images between 0 and 1, and labels as vectors with one 1.
  defp batches(folder, name) do
    <<2051::32, count::32, 28::32, 28::32, images::binary>> = read(folder, name <> "-images-idx3-ubyte.gz")
    <<2049::32, ^count::32, labels::binary>> = read(folder, name <> "-labels-idx1-ubyte.gz")
    images = images |> Nx.from_binary(:u8) |> Nx.reshape({count, 28, 28, 1}) |> Nx.divide(255)
    labels = labels |> Nx.from_binary(:u8) |> Nx.reshape({count, 1}) |> Nx.equal(Nx.iota({1, 10}))
    Enum.zip(Nx.to_batched(images, @batch), Nx.to_batched(labels, @batch))
  end

  defp read(folder, name), do: folder |> Path.join(name) |> File.read!() |> :zlib.gunzip()
end

Examples.FashionMNIST.main(System.argv())
