defmodule Mlx.LM.Encoder do
  @moduledoc """
  A transformer that reads a text in both directions and gives a vector for each of its tokens. `Mlx.LM.Embedder` and
  `Mlx.LM.Ranker` make embeddings and scores of these.

  It is made of parts that a configuration chooses:

  | part | kinds |
  | --- | --- |
  | positions | learned ones, or rotations in each layer |
  | attention | to the whole text, or to a window around each token, layer by layer |
  | normalisations | after each residual sum, or before each unit |
  | feed-forward units | plain, or gated by one half of their inputs |

  A family, such as BERT, maps `config.json` to a configuration and the names of a file's tensors to the paths of the
  model's arrays; `Mlx.Tree.flatten/1` lists these.

  Python: the models of `transformers` with an encoder alone.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Given
  alias Mlx.LM.Encoder.{Classifier, Config, Embeddings, Family, FromDecoder, Layer, Parameter, Quantized}
  alias Mlx.NN.LayerNorm

  @derive NN.Layer
  @enforce_keys [:embeddings, :layers, :norm, :classifier]
  defstruct @enforce_keys

  @typep embeddings :: Embeddings.t()
  @typep layer :: Layer.t()
  @typep classifier :: Classifier.t()

  @type t :: %__MODULE__{
          embeddings: embeddings(),
          layers: [layer()],
          norm: LayerNorm.t() | nil,
          classifier: classifier() | nil
        }

  @doc """
  The types of models, `model_type` in a `config.json`, that there are families for.

      iex> "modernbert" in Mlx.LM.Encoder.types()
      true
  """
  @spec types() :: [String.t()]
  def types, do: Family.types()

  @doc """
  The model that a `config.json`, decoded to a map, describes, with zeros for its arrays.

      iex> config = %{"model_type" => "bert", "vocab_size" => 10, "hidden_size" => 4, "num_attention_heads" => 2,
      ...>   "num_hidden_layers" => 1, "intermediate_size" => 8}
      iex> model = Mlx.LM.Encoder.new(config)
      iex> for {"layers.0.feed_forward." <> name, array} <- Mlx.Tree.flatten(model), do: {name, array.shape}
      [{"input.bias", {8}}, {"input.weight", {8, 4}}, {"output.bias", {4}}, {"output.weight", {4, 8}}]

  Raises `Mlx.Error` for an unknown `model_type`, and for values that are missing, wrong or not supported.
  """
  @spec new(%{String.t() => term()}) :: t()
  def new(config) when is_map(config) and not is_struct(config) do
    build(Family.fetch!(config).config(config, false))
  end

  @doc false
  @spec build(Config.t()) :: t()
  def build(%Config{} = config) do
    %__MODULE__{
      embeddings: Embeddings.new(config),
      layers: for({layer, index} <- Enum.with_index(config.layers), do: Layer.new(config, layer, index)),
      norm: if(config.final_norm, do: Parameter.norm(config.hidden_size, config.norm_eps, config.norm_bias)),
      classifier: Classifier.new(config)
    }
  end

  @doc """
  The vectors `{batch, length, width}` of tokens `{batch, length}`, none of which is padding.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(encoder, ids)

  def call(%__MODULE__{} = encoder, %Array{shape: {batch, length}} = ids) do
    call(encoder, ids, Mlx.full({batch}, length, type: :s32))
  end

  def call(%__MODULE__{}, %Array{} = ids), do: refuse_shape(ids)

  @doc """
  The vectors `{batch, length, width}` of tokens `{batch, length}`, of which the first `lengths`, an array `{batch}` of
  integers, belong to a text and the rest is padding. Padding changes no vector of the text.
  """
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(encoder, ids, lengths)
  def call(%__MODULE__{} = encoder, %Array{} = ids, %Array{} = lengths), do: read(encoder, ids, lengths, nil)

  @doc """
  As `call/3`, with the types of the tokens, an array `{batch, length}`: 0 for the first text of a pair, 1 for the second.
  """
  @spec call(t(), Array.t(), Array.t(), Array.t()) :: Array.t()
  def call(encoder, ids, lengths, types)

  def call(%__MODULE__{} = encoder, %Array{} = ids, %Array{} = lengths, %Array{} = types) do
    read(encoder, ids, lengths, types)
  end

  @doc false
  # How many tokens a model knows, and how long their vectors are.
  @spec sizes(t() | struct()) :: {pos_integer(), pos_integer()}
  def sizes(%__MODULE__{embeddings: embeddings}), do: Quantized.sizes(embeddings)
  def sizes(%FromDecoder{} = model), do: FromDecoder.sizes(model)

  @doc false
  # The vectors of an encoder, or of a decoder that is one.
  @spec read(t() | struct(), Array.t(), Array.t(), Array.t() | nil) :: Array.t()
  def read(%FromDecoder{} = model, ids, lengths, _types), do: FromDecoder.read(model, ids, lengths)

  def read(%__MODULE__{} = encoder, %Array{shape: {batch, _length}} = ids, %Array{shape: {batch}} = lengths, types)
      when is_nil(types) or types.shape == ids.shape do
    x = Embeddings.call(encoder.embeddings, ids, types)
    x = Enum.reduce(encoder.layers, x, &Layer.call(&1, &2, lengths))
    if encoder.norm, do: LayerNorm.call(encoder.norm, x), else: x
  end

  def read(%__MODULE__{}, %Array{shape: {batch, length}}, lengths, types) do
    raise ArgumentError,
          "Mlx.LM.Encoder.call: expected lengths of the shape {#{batch}} and types of {#{batch}, #{length}}, " <>
            "got: #{Given.text(lengths)} and #{Given.text(types)}"
  end

  def read(%__MODULE__{}, ids, _lengths, _types), do: refuse_shape(ids)

  @spec refuse_shape(Array.t()) :: no_return()
  defp refuse_shape(ids) do
    raise ArgumentError, "Mlx.LM.Encoder.call: expected tokens of the shape {batch, length}, got: #{Given.text(ids)}"
  end
end
