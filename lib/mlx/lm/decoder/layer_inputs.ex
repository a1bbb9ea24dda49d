defmodule Mlx.LM.Decoder.LayerInputs do
  @moduledoc """
  A separate input for each block, which comes from the tokens and from their embedding `x`:

      inputs = (embedding(tokens) * sqrt(size) + norm(projection(x) / sqrt(width))) / sqrt(2)

  They are `{batch, length, layers, size}`, and `Mlx.LM.Decoder.LayerInput` adds the one of a block to the stream.
  """

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter

  defstruct [:embedding, :projection, :norm, :vocabulary, :width, :layers, :size]

  @type t :: %__MODULE__{}

  @doc """
  Inputs with zeros for arrays. Options: `:vocabulary`, `:width`, `:layers`, `:size` and `:eps`, that of the normalisation.
  """
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [vocabulary: nil, width: nil, layers: nil, size: nil, eps: 1.0e-6]

    [vocabulary, width, layers, size, eps] =
      Options.without_stream(options, :"LM.Decoder.LayerInputs.new", defaults)

    %__MODULE__{
      embedding: Parameter.embedding(vocabulary, layers * size),
      projection: Parameter.linear(width, layers * size),
      norm: Parameter.norm({:rms, eps}, size),
      vocabulary: vocabulary,
      width: width,
      layers: layers,
      size: size
    }
  end

  @doc "The inputs for the tokens `{batch, length}` and their embedding. Tokens that have none here have that of token 0."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{layers: layers, size: size} = inputs, %Array{shape: {batch, length}} = ids, x) do
    shape = {batch, length, layers, size}
    ids = Mlx.select(Mlx.less(ids, inputs.vocabulary), ids, 0)
    of_tokens = inputs.embedding |> NN.Layer.call(ids) |> Mlx.multiply(:math.sqrt(size)) |> Mlx.reshape(shape)
    of_stream = inputs.projection |> NN.Layer.call(x) |> Mlx.multiply(inputs.width ** -0.5) |> Mlx.reshape(shape)
    inputs.norm |> NN.Layer.call(of_stream) |> Mlx.add(of_tokens) |> Mlx.multiply(2 ** -0.5)
  end
end
