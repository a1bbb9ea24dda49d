defmodule Mlx.LM.Encoder.Embeddings do
  @moduledoc false
  # The vectors that the first layer reads: those of the tokens, with those of the positions and of the kinds of text where
  # the model has any.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Encoder.{Config, Parameter}
  alias Mlx.NN.{Embedding, LayerNorm}

  @derive NN.Layer
  @enforce_keys [:word, :position, :token_type, :norm, :position_offset]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          word: Embedding.t() | NN.QuantizedEmbedding.t(),
          position: Embedding.t() | nil,
          token_type: Embedding.t() | nil,
          norm: LayerNorm.t(),
          position_offset: non_neg_integer()
        }

  @doc "The embeddings of a configuration, with zeros for arrays."
  @spec new(Config.t()) :: t()
  def new(%Config{hidden_size: width} = config) do
    %__MODULE__{
      word: Parameter.embedding(config.vocab_size, width),
      position: Parameter.embedding(config.positions, width),
      token_type: Parameter.embedding(config.token_types, width),
      norm: Parameter.norm(width, config.norm_eps, config.norm_bias),
      position_offset: config.position_offset
    }
  end

  @doc "The vectors `{batch, length, width}` of tokens and their types, `{batch, length}`; all types are 0 where they are nil."
  @spec call(t(), Array.t(), Array.t() | nil) :: Array.t()
  def call(%__MODULE__{} = embeddings, %Array{shape: {_batch, length}} = ids, types \\ nil) do
    ids
    |> NN.forward(embeddings.word)
    |> add_types(embeddings.token_type, types)
    |> add_positions(embeddings.position, embeddings.position_offset, length)
    |> NN.forward(embeddings.norm)
  end

  defp add_types(x, nil, _types), do: x
  defp add_types(x, %Embedding{weight: weight}, nil), do: Mlx.add(x, rows(weight, 0, 1))
  defp add_types(x, layer, types), do: Mlx.add(x, Embedding.call(layer, types))

  defp add_positions(x, nil, _offset, _length), do: x
  defp add_positions(x, %Embedding{weight: weight}, offset, length), do: Mlx.add(x, rows(weight, offset, length))

  defp rows(%Array{shape: {_rows, width}} = weight, first, count), do: Mlx.slice(weight, [first, 0], [count, width])
end
