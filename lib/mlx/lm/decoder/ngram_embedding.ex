defmodule Mlx.LM.Decoder.NgramEmbedding do
  @moduledoc """
  What the last tokens say together, added to the embedding of a token: for each length of 2 and more tokens there are some
  tables, in which the tokens have a row by a remainder of the number that they make.

      row = (token + before * vocabulary + ...) mod rows of the table
      y = (x + sum over tables of post_proj(table[row])) / (1 + tables)

  No two tables have the same number of rows. It is a mixer, whose cache is the tokens before. Before the first token there
  is token 0.
  """

  @behaviour Mlx.LM.Decoder.Mixer

  alias Mlx.{Array, NN}
  alias Mlx.Arguments.Options
  alias Mlx.LM.Decoder.Parameter
  alias Mlx.LM.StateCache

  @enforce_keys [:embedders, :post_projs, :vocabulary, :longest, :rows]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc """
  An embedding with zeros for arrays.

  Options:

    * `:width` - the features of the stream
    * `:vocabulary` - the tokens
    * `:longest` - how many tokens are seen together at most, at least 2
    * `:tables` - how many tables each length has
    * `:size` - the features of a row
    * `:rows` - how many rows the tables have: the first one more, the next three more, and so on
  """
  @impl true
  @spec new(keyword()) :: t()
  def new(options) do
    defaults = [width: nil, vocabulary: nil, longest: nil, tables: nil, size: nil, rows: nil]

    [width, vocabulary, longest, tables, size, rows] =
      Options.without_stream(options, :"LM.Decoder.NgramEmbedding.new", defaults)

    rows = for table <- 0..(tables * (longest - 1) - 1), do: rows + 2 * table + 1

    %__MODULE__{
      embedders: for(rows <- rows, do: Parameter.embedding(rows, size)),
      post_projs: for(_rows <- rows, do: Parameter.linear(size, width)),
      vocabulary: vocabulary,
      longest: longest,
      rows: rows
    }
  end

  @impl true
  def cache(%__MODULE__{}), do: StateCache.new()

  @impl true
  def call(%__MODULE__{longest: longest} = layer, %Array{shape: {batch, length, _width}} = x, cache, %{ids: ids} = step) do
    {before} = cache.state || {Mlx.zeros({batch, longest - 1}, type: :s64)}
    ids = Mlx.concatenate([before, Mlx.as_type(ids, :s64)], axis: 1)
    back = for count <- 0..(longest - 1), do: Mlx.slice(ids, [0, longest - 1 - count], [batch, length])
    tables = length(layer.embedders)

    y =
      [layer.embedders, layer.post_projs, layer.rows, 0..(tables - 1)]
      |> Enum.zip_reduce(x, fn [table, matrix, rows, number], y ->
        seen = Enum.take(back, 2 + div(number * (longest - 1), tables))
        row = row(seen, layer.vocabulary, rows)
        Mlx.add(y, NN.Layer.call(matrix, NN.Layer.call(table, row)))
      end)
      |> Mlx.divide(1 + tables)

    kept = Mlx.contiguous(Mlx.slice(ids, [0, length], [batch, longest - 1]))
    {y, StateCache.put(cache, {kept}, length), step}
  end

  # Each token counts a remainder of a power of the vocabulary, so that the sum is a number of 64 bits.
  defp row(tokens, vocabulary, rows) do
    1
    |> Stream.iterate(&rem(&1 * vocabulary, rows))
    |> Enum.zip_with(tokens, &Mlx.multiply(&2, &1))
    |> Enum.reduce(&Mlx.add/2)
    |> Mlx.remainder(rows)
  end
end
