defmodule Bench.Networks do
  @moduledoc false
  # Networks of Mlx.NN, with a loss, an optimizer and a batch. networks.py has the same, with the same names of parameters.

  alias Mlx.{NN, Optimizers, Random}
  alias Mlx.NN.{Activations, BatchNorm, Conv2d, Embedding, Linear, Losses, MaxPool2d, ReLU, Sequential}

  defmodule Block do
    @moduledoc false
    # Two convolutions, and the input added to what they give.

    @derive NN.Layer
    defstruct [:conv1, :bn1, :conv2, :bn2, :shortcut]

    def new(inputs, outputs, stride) do
      shortcut = [Conv2d.new(inputs, outputs, 1, strides: stride, bias: false), BatchNorm.new(outputs)]

      %__MODULE__{
        conv1: Conv2d.new(inputs, outputs, 3, strides: stride, padding: 1, bias: false),
        bn1: BatchNorm.new(outputs),
        conv2: Conv2d.new(outputs, outputs, 3, padding: 1, bias: false),
        bn2: BatchNorm.new(outputs),
        shortcut: if(inputs == outputs, do: [], else: shortcut)
      }
    end

    def call(%__MODULE__{} = block, x) do
      x
      |> NN.forward([block.conv1, block.bn1, &Activations.relu/1, block.conv2, block.bn2])
      |> Mlx.add(NN.forward(x, block.shortcut))
      |> Activations.relu()
    end
  end

  defmodule ResNet do
    @moduledoc false
    # ResNet-18 for small images.

    @derive NN.Layer
    defstruct [:conv1, :bn1, :blocks, :output]

    @widths [64, 64, 128, 128, 256, 256, 512, 512]

    def new do
      blocks =
        for {width, inputs} <- Enum.zip(@widths, [64 | @widths]), do: Block.new(inputs, width, div(width, inputs))

      %__MODULE__{
        conv1: Conv2d.new(3, 64, 3, padding: 1, bias: false),
        bn1: BatchNorm.new(64),
        blocks: blocks,
        output: Linear.new(512, 10)
      }
    end

    def call(%__MODULE__{} = model, x) do
      x
      |> NN.forward([model.conv1, model.bn1, &Activations.relu/1, model.blocks])
      |> Mlx.mean(axes: [1, 2])
      |> NN.forward(model.output)
    end
  end

  defmodule Letters do
    @moduledoc false
    # A transformer that reads letters.

    alias Mlx.NN.TransformerEncoder

    @derive NN.Layer
    defstruct [:letters, :places, :encoder, :output]

    def new(letters, length) do
      %__MODULE__{
        letters: Embedding.new(letters, 128),
        places: Embedding.new(length, 128),
        encoder: TransformerEncoder.new(2, 128, 4),
        output: Linear.new(128, letters)
      }
    end

    def call(%__MODULE__{} = model, %Mlx.Array{shape: {_batch, length}} = letters) do
      letters
      |> NN.forward(model.letters)
      |> Mlx.add(NN.forward(Mlx.arange(length), model.places))
      |> then(&TransformerEncoder.call(model.encoder, &1, mask: :causal))
      |> NN.forward(model.output)
    end
  end

  defmodule Deep do
    @moduledoc false
    # 150 layers, each with a weight and a bias, that are added to their input.

    @derive NN.Layer
    defstruct [:layers]

    def new, do: %__MODULE__{layers: for(_layer <- 1..150, do: Linear.new(32, 32))}

    def call(%__MODULE__{layers: layers}, x) do
      Enum.reduce(layers, x, fn layer, x -> x |> NN.forward(layer) |> Activations.relu() |> Mlx.add(x) end)
    end
  end

  @letters 128
  @length 64

  def length, do: @length

  @doc "The model, the optimizer and a batch of a name. A batch is `{x, y}`."
  def new("cnn"), do: {cnn(true), Optimizers.AdamW.new(0.001), images({32, 28, 28, 1})}
  def new("cnn without biases"), do: {cnn(false), Optimizers.AdamW.new(0.001), images({32, 28, 28, 1})}
  def new("resnet18"), do: {ResNet.new(), Optimizers.SGD.new(0.01, momentum: 0.9), images({4, 32, 32, 3})}
  def new("letters"), do: {Letters.new(@letters, @length), Optimizers.AdamW.new(0.001), letters()}
  def new("mlp of 300 arrays"), do: {Deep.new(), Optimizers.AdamW.new(0.001), images({32, 32})}

  def new("perceptron") do
    model = Sequential.new([Linear.new(32, 64), BatchNorm.new(64), ReLU.new(), Linear.new(64, 10)])
    {model, Optimizers.AdamW.new(0.001), images({32, 32})}
  end

  # Its convolutions have biases, or not.
  defp cnn(bias) do
    Sequential.new([
      Conv2d.new(1, 32, 3, padding: 1, bias: bias),
      ReLU.new(),
      MaxPool2d.new(2, strides: 2),
      Conv2d.new(32, 64, 3, padding: 1, bias: bias),
      ReLU.new(),
      MaxPool2d.new(2, strides: 2),
      &Mlx.flatten(&1, axes: 1..3),
      Linear.new(7 * 7 * 64, 128),
      ReLU.new(),
      Linear.new(128, 10)
    ])
  end

  defp images(shape) do
    {Random.normal(shape, key: Random.key(1)), Mlx.remainder(Mlx.arange(elem(shape, 0)), 10)}
  end

  defp letters do
    x = Mlx.remainder(Mlx.reshape(Mlx.arange(8 * @length), {8, @length}), @letters)
    {x, Mlx.remainder(Mlx.add(x, 1), @letters)}
  end

  @doc "A step: the loss, the model and the state of the optimizer after it."
  def step(optimizer) do
    gradients = NN.value_and_grad(&loss/2)

    fn model, state, batch ->
      {value, gradients, model} = gradients.(model, batch)
      {model, state} = Optimizers.update(optimizer, gradients, model, state)
      {value, model, state}
    end
  end

  @doc "The step, compiled. It takes the memory of the model and the state before it, as in Python, which counts references."
  def compiled(optimizer), do: Mlx.compile(step(optimizer), donate: [0, 1])

  @doc "The loss of a model for a batch."
  def loss(model, {x, y}), do: x |> NN.forward(model) |> Losses.cross_entropy(y, reduction: :mean)
end
