# A residual network, trained on Fashion-MNIST with Mlx.Training. It shows its progress, its accuracy on the 10,000 test images,
# which its batch normalisation reads with the statistics that training gathered, and its curve.
#
#   apt-get install dataset-fashion-mnist
#   mix run examples/resnet.exs [FOLDER] [--blocks 1] [--epochs 4] [--batch 100] [--rate 0.1] [--images 60000]
#     [--test-images 10000] [--svg curve.svg] [--checkpoint resnet.safetensors]
#
# options.exs says how options are given. With a checkpoint a run that was ended goes on.
# The folder has the four files of the data set; fashion_mnist_data.exs says how to get them without an installation.
for file <- ["options.exs", "fashion_mnist_data.exs"], do: Code.require_file(file, __DIR__)

defmodule Examples.ResNet do
  @moduledoc false
  # The network for small images of He et al., "Deep Residual Learning for Image Recognition" (2015), section 4.2: a convolution,
  # three stages of blocks, each with half the size of the images and twice the features of the one before, the mean over
  # each image, and a linear layer.

  alias Mlx.NN
  alias Mlx.NN.{Activations, BatchNorm, Conv2d, Linear}

  defmodule Block do
    @moduledoc false
    # Two convolutions, and the input added to what they give. Where the sizes differ, a convolution of one pixel fits the
    # input to them.

    @derive NN.Layer
    defstruct [:conv1, :bn1, :conv2, :bn2, :shortcut]

    def new(inputs, outputs, stride) do
      %__MODULE__{
        conv1: Conv2d.new(inputs, outputs, 3, strides: stride, padding: 1, bias: false),
        bn1: BatchNorm.new(outputs),
        conv2: Conv2d.new(outputs, outputs, 3, padding: 1, bias: false),
        bn2: BatchNorm.new(outputs),
        shortcut: shortcut(inputs, outputs, stride)
      }
    end

    defp shortcut(width, width, 1), do: []

    defp shortcut(inputs, outputs, stride) do
      [Conv2d.new(inputs, outputs, 1, strides: stride, bias: false), BatchNorm.new(outputs)]
    end

    def call(%__MODULE__{} = block, x) do
      x
      |> NN.forward([block.conv1, block.bn1, &Activations.relu/1, block.conv2, block.bn2])
      |> Mlx.add(NN.forward(x, block.shortcut))
      |> Activations.relu()
    end
  end

  @derive NN.Layer
  defstruct [:conv1, :bn1, :stages, :output]

  @widths [16, 32, 64]
  @classes 10

  @doc "A network with so many blocks in each stage."
  def new(blocks) do
    stages = for {width, inputs} <- Enum.zip(@widths, [hd(@widths) | @widths]), do: stage(inputs, width, blocks)

    %__MODULE__{
      conv1: Conv2d.new(1, hd(@widths), 3, padding: 1, bias: false),
      bn1: BatchNorm.new(hd(@widths)),
      stages: stages,
      output: Linear.new(List.last(@widths), @classes)
    }
  end

  # Its first block halves the size of the images where it changes the features.
  defp stage(inputs, width, blocks) do
    first = Block.new(inputs, width, if(inputs == width, do: 1, else: 2))
    [first | for(_block <- 2..blocks//1, do: Block.new(width, width, 1))]
  end

  def call(%__MODULE__{} = model, images) do
    images
    |> NN.forward([model.conv1, model.bn1, &Activations.relu/1, model.stages])
    |> Mlx.mean(axes: [1, 2])
    |> NN.forward(model.output)
  end
end

defmodule Examples.ResNetTraining do
  @moduledoc false

  alias Examples.{FashionMNISTData, Options, ResNet}
  alias Mlx.{NN, Optimizers, Training}
  alias Mlx.NN.Losses

  @options [blocks: 1, epochs: 4, batch: 100, rate: 0.1, images: 60_000, test_images: 10_000, svg: nil, checkpoint: nil]

  def main(arguments) do
    {options, folders} = Options.parse!(arguments, @options)
    Mlx.Random.seed(0)
    {train, test} = folders |> List.first(FashionMNISTData.folder()) |> FashionMNISTData.load(options)
    model = ResNet.new(options.blocks)
    %{trained: trained, kept: kept} = NN.parameter_count(model)
    IO.puts("#{trained} parameters, and #{kept} running statistics")
    training = train(model, train, test, options)
    Options.show_curve(training, options)
    Options.show_accuracy(training, elem(test.y.shape, 0), "test images")
  end

  # The rate falls to nothing with the last step.
  defp train(model, train, test, options) do
    steps = options.epochs * div(elem(train.y.shape, 0), options.batch)
    rate = Optimizers.Schedules.cosine_decay(options.rate, steps)

    Training.run(
      model,
      &loss/2,
      Optimizers.SGD.new(rate, momentum: 0.9, weight_decay: 5.0e-4),
      Training.batches(train, options.batch, shuffle: true, drop_last: true),
      epochs: options.epochs,
      seed: 1,
      validation: Training.batches(test, 500),
      metrics: [accuracy: &accuracy/2],
      checkpoint: options.checkpoint,
      resume: options.checkpoint != nil
    )
  end

  defp loss(model, batch), do: batch.x |> NN.forward(model) |> Losses.cross_entropy(batch.y, reduction: :mean)

  defp accuracy(model, batch) do
    batch.x |> NN.forward(model) |> Mlx.argmax(axis: -1) |> Mlx.equal(batch.y) |> Mlx.mean()
  end
end

Examples.ResNetTraining.main(System.argv())
