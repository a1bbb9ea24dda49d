defmodule Mlx.LM.Decoder.LayerInput do
  @moduledoc """
  The output for the separate input of a block (`Mlx.LM.Decoder.LayerInputs`): `projection(gelu(gate(x)) * input)`.

  It is a mixer without a cache, because the inputs of all blocks are in the step.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.Arguments.Options
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.Parameter
  alias Mlx.NN

  defstruct [:gate, :projection, :layer, :size]

  @type t :: %__MODULE__{}

  @doc "A part with zeros for arrays. Options: `:width`, `:size`, and `:layer`, the number of the block."
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, size: nil, layer: nil]
    [width, size, layer] = Options.without_stream(options, :"LM.Decoder.LayerInput.new", defaults)

    %__MODULE__{
      gate: Parameter.linear(width, size),
      projection: Parameter.linear(size, width),
      layer: layer,
      size: size
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: nil

  @impl true
  def call(%__MODULE__{layer: layer, size: size} = part, x, nil, %{layer_inputs: inputs} = step) do
    {batch, length, _layers, _size} = inputs.shape
    input = inputs |> Mlx.slice([0, 0, layer, 0], [batch, length, 1, size]) |> Mlx.squeeze(axes: [2])
    y = Activation.gate("gelu_pytorch_tanh", NN.Layer.call(part.gate, x), input)
    {NN.Layer.call(part.projection, y), nil, step}
  end
end
