defmodule Mlx.NN.ALiBi do
  @moduledoc """
  Attention with linear biases: what is farther away gets a lower score, with another slope for each head.

  Source: Press et al., "Train Short, Test Long" (2021). Python: `mlx.nn.ALiBi`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.Options

  @derive Mlx.NN.Layer
  defstruct []

  @type t :: %__MODULE__{}

  @doc """
  The layer.

      iex> Mlx.NN.ALiBi.new()
      #Mlx.NN.ALiBi<>

  Python: `mlx.nn.ALiBi`.
  """
  @spec new() :: t()
  def new, do: %__MODULE__{}

  @doc """
  Scores `{batch, heads, query_length, key_length}` with the biases added.

  Options:

    * `:offset` - the position of the first query, an integer, default 0
    * `:mask` - an array that is added too, default `nil`

  Examples:

      iex> scores = Mlx.zeros({1, 1, 2, 2})
      iex> Mlx.NN.ALiBi.new() |> Mlx.NN.ALiBi.call(scores) |> Mlx.flatten() |> Mlx.multiply(256) |> Mlx.to_list()
      [0.0, -1.0, -1.0, 0.0]

  Python: `ALiBi.__call__`.
  """
  @spec call(t(), Array.t(), keyword()) :: Array.t()
  def call(layer, scores, options \\ [])

  def call(%__MODULE__{}, %Array{} = scores, options) do
    [offset, mask] = Options.without_stream(options, :"NN.ALiBi.call", offset: 0, mask: nil)
    {heads, queries, keys} = sizes!(scores.shape)
    biases = create_alibi_matrix(queries + offset, keys, heads, offset: offset, type: scores.type)
    Mlx.add(scores, if(mask, do: Mlx.add(biases, mask), else: biases))
  end

  defp sizes!({_batch, heads, queries, keys}), do: {heads, queries, keys}

  defp sizes!(shape) do
    raise ArgumentError,
          "Mlx.NN.ALiBi.call: expected scores {batch, heads, query_length, key_length}, got the shape #{inspect(shape)}"
  end

  @doc """
  The biases `{1, heads, queries, keys}` of the queries up to the position `query_length` and of `key_length` keys.

  Options:

    * `:offset` - the position of the first query, an integer, default 0
    * `:type` - default `:f32`

  Examples:

      iex> Mlx.NN.ALiBi.create_alibi_matrix(3, 4, 8, offset: 1).shape
      {1, 8, 2, 4}

  Python: `ALiBi.create_alibi_matrix`.
  """
  @spec create_alibi_matrix(non_neg_integer(), non_neg_integer(), pos_integer(), keyword()) :: Array.t()
  def create_alibi_matrix(query_length, key_length, num_heads, options \\ [])

  def create_alibi_matrix(query_length, key_length, num_heads, options)
      when is_integer(query_length) and query_length >= 0 and is_integer(key_length) and key_length >= 0 and
             is_integer(num_heads) and num_heads > 0 do
    [offset, type] = Options.without_stream(options, :"NN.ALiBi.create_alibi_matrix", offset: 0, type: :f32)
    type = Type.normalize!(type, :"NN.ALiBi.create_alibi_matrix")
    queries = Mlx.arange(offset, query_length) |> Mlx.new_axis(1)
    distances = queries |> Mlx.subtract(Mlx.arange(key_length)) |> Mlx.abs() |> Mlx.negate() |> Mlx.new_axis([0, 1])
    distances |> Mlx.multiply(create_alibi_slope(num_heads, type: type)) |> Mlx.as_type(type)
  end

  @doc """
  The slopes of heads, `{heads, 1, 1}`.

  Options:

    * `:type` - default `:f32`

  Examples:

      iex> Mlx.NN.ALiBi.create_alibi_slope(4) |> Mlx.flatten() |> Mlx.to_list()
      [0.25, 0.0625, 0.015625, 0.00390625]

  Python: `ALiBi.create_alibi_slope`.
  """
  @spec create_alibi_slope(pos_integer(), keyword()) :: Array.t()
  def create_alibi_slope(num_heads, options \\ [])

  def create_alibi_slope(num_heads, options) when is_integer(num_heads) and num_heads > 0 do
    [type] = Options.without_stream(options, :"NN.ALiBi.create_alibi_slope", type: :f32)
    type = Type.normalize!(type, :"NN.ALiBi.create_alibi_slope")
    num_heads |> slopes() |> Mlx.array(type: type) |> Mlx.reshape({num_heads, 1, 1})
  end

  # A geometric sequence for a power of two. For another number every second of the next one's fills up the sequence of
  # the power before.
  defp slopes(count) do
    power = 2 ** floor(:math.log2(count))
    more = (2 * power) |> sequence() |> Enum.take_every(2) |> Enum.take(count - power)
    sequence(power) ++ more
  end

  defp sequence(power) do
    first = :math.pow(2, -:math.pow(2, -(:math.log2(power) - 3)))
    for exponent <- 1..power, do: :math.pow(first, exponent)
  end
end
