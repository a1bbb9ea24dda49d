defmodule Mlx.NN.Embedding do
  @moduledoc """
  A vector for each of some tokens: the rows of a matrix.

  | parameter | shape |
  | --- | --- |
  | `weight` | `{num_embeddings, dims}` |

  Python: `mlx.nn.Embedding`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Random}
  alias Mlx.NN.{Features, Projection}

  @derive Mlx.NN.Layer
  @enforce_keys [:weight]
  defstruct [:weight]

  @type t :: %__MODULE__{weight: Array.t()}

  @doc """
  A layer for so many tokens, with vectors of `dims` numbers. They are normally distributed with the deviation
  `1 / sqrt(dims)`.

      iex> Mlx.NN.Embedding.new(100, 8)
      #Mlx.NN.Embedding<weight: f32[100][8]>

  Python: `mlx.nn.Embedding`.
  """
  @spec new(pos_integer(), pos_integer()) :: t()
  def new(num_embeddings, dims)
      when is_integer(num_embeddings) and num_embeddings > 0 and is_integer(dims) and dims > 0 do
    %__MODULE__{weight: Random.normal({num_embeddings, dims}, scale: :math.sqrt(1 / dims))}
  end

  @doc """
  The vectors `{..., dims}` of tokens, an array of integers `{...}`. Tokens out of bounds are those at the bounds, as for
  `Mlx.take/3`.

      iex> layer = %Mlx.NN.Embedding{weight: Mlx.array([[1.0, 2.0], [3.0, 4.0]])}
      iex> Mlx.NN.Embedding.call(layer, Mlx.array([1, 0, 1])) |> Mlx.to_list()
      [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]

  Python: `Embedding.__call__`.
  """
  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{weight: weight}, %Array{} = tokens), do: Mlx.take(weight, tokens, axis: 0)

  @doc """
  The products `{..., num_embeddings}` of `x`, `{..., dims}`, with the vectors of all tokens: the layer as the last one of a
  language model that begins with it.

      iex> layer = %Mlx.NN.Embedding{weight: Mlx.array([[1.0, 2.0], [3.0, 4.0]])}
      iex> Mlx.NN.Embedding.as_linear(layer, Mlx.array([1.0, 1.0])) |> Mlx.to_list()
      [3.0, 7.0]

  Python: `Embedding.as_linear`.
  """
  @spec as_linear(t(), Array.t()) :: Array.t()
  def as_linear(%__MODULE__{weight: weight}, %Array{} = x) do
    Features.check!(x, elem(weight.shape, 1), "Mlx.NN.Embedding.as_linear")
    Projection.apply(x, weight, nil)
  end
end
