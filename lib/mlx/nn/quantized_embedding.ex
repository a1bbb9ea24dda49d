defmodule Mlx.NN.QuantizedEmbedding do
  @moduledoc """
  A vector for each of some tokens: the rows of a quantized matrix, of which only those that are looked up are unpacked.

  | array | shape | |
  | --- | --- | --- |
  | `weight` | `{num_embeddings, dims * bits / 32}` | packed in `:u32` |
  | `scales`, `biases` | `{num_embeddings, dims / group_size}` | of groups; without biases for most modes |

  None of them is trained. `Mlx.NN.quantize/2` makes such layers of a model.

  Python: `mlx.nn.QuantizedEmbedding`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.CalledFunction
  alias Mlx.NN.{Embedding, Features, QuantizedMatrix}

  @derive {Mlx.NN.Layer, kept: [:weight, :scales, :biases]}
  @enforce_keys [:weight, :scales, :biases, :group_size, :bits, :mode]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          weight: Array.t(),
          scales: Array.t(),
          biases: Array.t() | nil,
          group_size: pos_integer(),
          bits: pos_integer(),
          mode: atom()
        }

  @doc """
  A layer for so many tokens, with the quantized vectors of a new `Mlx.NN.Embedding`.

  Options:

    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults

  Examples:

      iex> Mlx.NN.QuantizedEmbedding.new(10, 64).weight.shape
      {10, 8}

  Python: `mlx.nn.QuantizedEmbedding`.
  """
  @spec new(pos_integer(), pos_integer(), keyword()) :: t()
  def new(num_embeddings, dims, options \\ [])

  def new(num_embeddings, dims, options)
      when is_integer(num_embeddings) and num_embeddings > 0 and is_integer(dims) and dims > 0 do
    settings = QuantizedMatrix.options(options, :"NN.QuantizedEmbedding.new")
    quantized("Mlx.NN.QuantizedEmbedding.new", Embedding.new(num_embeddings, dims), settings)
  end

  @doc """
  The layer with the quantized vectors of an embedding.

  Options:

    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults

  Examples:

      iex> layer = Mlx.NN.Embedding.new(10, 64)
      iex> Mlx.NN.QuantizedEmbedding.from_embedding(layer, bits: 8).weight.shape
      {10, 16}

  Python: `QuantizedEmbedding.from_embedding`, `Embedding.to_quantized`.
  """
  @spec from_embedding(Embedding.t(), keyword()) :: t()
  def from_embedding(layer, options \\ [])

  def from_embedding(%Embedding{} = layer, options) do
    settings = QuantizedMatrix.options(options, :"NN.QuantizedEmbedding.from_embedding")
    quantized("Mlx.NN.QuantizedEmbedding.from_embedding", layer, settings)
  end

  defp quantized(function, %Embedding{weight: weight}, settings) do
    struct!(__MODULE__, CalledFunction.name(function, fn -> QuantizedMatrix.fields(weight, settings) end))
  end

  @doc """
  The vectors `{..., dims}` of tokens, an array of integers `{...}`.

      iex> layer = Mlx.NN.QuantizedEmbedding.new(10, 64)
      iex> Mlx.NN.QuantizedEmbedding.call(layer, Mlx.array([[1, 9, 1]])).shape
      {1, 3, 64}

  Python: `QuantizedEmbedding.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{} = tokens), do: QuantizedMatrix.rows(layer, tokens)

  @doc """
  The products `{..., num_embeddings}` of `x`, `{..., dims}`, with the vectors of all tokens.

      iex> layer = Mlx.NN.QuantizedEmbedding.new(10, 64)
      iex> Mlx.NN.QuantizedEmbedding.as_linear(layer, Mlx.ones({3, 64})).shape
      {3, 10}

  Python: `QuantizedEmbedding.as_linear`.
  """
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{} = layer, %Array{} = x) do
    Features.check!(x, QuantizedMatrix.columns(layer), "Mlx.NN.QuantizedEmbedding.as_linear")
    QuantizedMatrix.multiply(layer, x)
  end
end
