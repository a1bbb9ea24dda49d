defmodule Examples.FashionMNISTData do
  @moduledoc false
  # The images of Fashion-MNIST, for the examples that are trained on them.
  #
  # The data set is the package `dataset-fashion-mnist` of Debian. Its four files are in this folder where it is installed:
  #
  #   apt-get install dataset-fashion-mnist
  #
  # It can be unpacked without a change to the system, too. The folder is then fashion-mnist/usr/share/datasets/fashion-mnist:
  #
  #   apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion-mnist
  @folder "/usr/share/datasets/fashion-mnist"

  @doc "The folder of an installed package."
  def folder, do: @folder

  @doc """
  The 60,000 images to train on, and the 10,000 of the test: maps of `x`, `{images, 28, 28, 1}` with values from 0 to 1, and
  `y`, their classes from 0 to 9. The options `:images` and `:test_images` say how many of the first ones are wanted.
  """
  def load(folder, options \\ %{}) do
    for {name, option} <- [{"train", :images}, {"t10k", :test_images}] do
      folder |> read_arrays(name) |> first(options[option])
    end
    |> List.to_tuple()
  end

  defp first(arrays, nil), do: arrays
  defp first(arrays, count), do: Mlx.Tree.map(arrays, & &1[0..(min(count, elem(&1.shape, 0)) - 1)])

  defp read_arrays(folder, name) do
    <<2051::32, count::32, 28::32, 28::32, images::binary>> = read(folder, name <> "-images-idx3-ubyte.gz")
    <<2049::32, ^count::32, labels::binary>> = read(folder, name <> "-labels-idx1-ubyte.gz")
    x = images |> Mlx.from_binary({count, 28, 28, 1}, :u8) |> Mlx.divide(255)
    Mlx.eval(%{x: x, y: Mlx.from_binary(labels, {count}, :u8)})
  end

  defp read(folder, name), do: folder |> Path.join(name) |> File.read!() |> :zlib.gunzip()
end
