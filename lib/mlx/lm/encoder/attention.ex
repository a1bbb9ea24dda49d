defmodule Mlx.LM.Encoder.Attention do
  @moduledoc false
  # Attention to the tokens of a text on both sides of each, or to those in a window around it:
  #
  #     q, k, v = query_key_value(x)
  #     y = output(softmax(rotate(q) rotate(k)' / sqrt(d) + mask) v)
  #
  # A long text is read in blocks of queries, so that its scores never are in memory all at once; a window then needs the
  # keys around the block only.

  alias Mlx.{Array, Fast, NN}
  alias Mlx.LM.Encoder.{Config, Parameter}

  # Of one head, at a time.
  @most_scores 2 ** 20
  @smallest_block 64

  @derive {Inspect, only: [:heads, :rope, :window]}
  @enforce_keys [:query_key_value, :output, :heads, :rope, :window]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          query_key_value: struct(),
          output: struct(),
          heads: pos_integer(),
          rope: number() | nil,
          window: pos_integer() | nil
        }

  @doc "The attention of a layer, with zeros for arrays."
  @spec new(Config.t(), Config.layer()) :: t()
  def new(%Config{hidden_size: width, attention_bias: bias} = config, layer) do
    %__MODULE__{
      query_key_value: Parameter.linear(width, 3 * width, bias),
      output: Parameter.linear(width, width, bias),
      heads: config.heads,
      rope: layer.rope,
      window: layer.window
    }
  end

  @doc "The greatest number of scores that one head has at a time for a text of this length."
  @spec scores(pos_integer()) :: pos_integer()
  def scores(length), do: min(length, block_size(length)) * length

  defp block_size(length), do: max(@smallest_block, div(@most_scores, length))

  @doc "The outputs for `x`, `{batch, length, width}`, where the first `lengths`, `{batch}`, of the positions are tokens."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{heads: heads} = attention, %Array{shape: {batch, length, width}} = x, %Array{} = lengths) do
    parts = x |> NN.forward(attention.query_key_value) |> Mlx.reshape({batch, length, 3, heads, div(width, heads)})
    [queries, keys, values] = for part <- 0..2, do: parts[[.., .., part]] |> Mlx.transpose(axes: [0, 2, 1, 3])
    [queries, keys] = for part <- [queries, keys], do: rotate(part, attention.rope)

    queries
    |> attend(keys, values, lengths, attention.window)
    |> Mlx.transpose(axes: [0, 2, 1, 3])
    |> Mlx.reshape({batch, length, width})
    |> NN.forward(attention.output)
  end

  defp rotate(x, nil), do: x
  defp rotate(x, base), do: Fast.rope(x, elem(x.shape, 3), base: base)

  defp attend(%Array{shape: {_, _, length, _}} = queries, keys, values, lengths, window) do
    case block_size(length) do
      size when size >= length ->
        block(queries, keys, values, lengths, window, {0, length}, {0, length})

      size ->
        starts = 0..(length - 1)//size
        rows = for start <- starts, do: {start, min(size, length - start)}
        in_blocks(queries, keys, values, lengths, window, rows)
    end
  end

  defp in_blocks(%Array{shape: {_, _, length, _}} = queries, keys, values, lengths, window, rows) do
    {blocks, _last} =
      Enum.map_reduce(rows, nil, fn rows, former ->
        block = block(behind(queries, former), keys, values, lengths, window, rows, seen(rows, length, window))
        {block, block}
      end)

    Mlx.concatenate(blocks, axis: 2)
  end

  # MLX would compute the scores of all blocks before it uses those of the first.
  defp behind(x, nil), do: x
  defp behind(x, former), do: hd(Mlx.depends([x], [former]))

  # The keys that a block of queries can see.
  defp seen(_rows, length, nil), do: {0, length}

  defp seen({start, count}, length, window) do
    first = max(0, start - window)
    {first, min(length, start + count + window) - first}
  end

  defp block(queries, keys, values, lengths, window, rows, columns) do
    [keys, values] = for part <- [keys, values], do: positions(part, columns)
    mask = mask(lengths, window, rows, columns)
    Fast.scaled_dot_product_attention(positions(queries, rows), keys, values, mask: mask)
  end

  defp positions(%Array{shape: {_, _, length, _}} = x, {0, length}), do: x

  defp positions(%Array{shape: {batch, heads, _, size}} = x, {first, count}) do
    Mlx.slice(x, [0, 0, first, 0], [batch, heads, count, size])
  end

  @doc """
  True where a query sees a key, for the positions `{first, count}` of both. One that sees none, of the padding, sees itself,
  or its outputs would be no numbers.
  """
  @spec mask(Array.t(), non_neg_integer() | nil, range, range) :: Array.t()
        when range: {non_neg_integer(), pos_integer()}
  def mask(lengths, nil, _rows, columns), do: Mlx.less(range(columns, {1, 1, 1, :n}), column(lengths))

  def mask(lengths, window, rows, columns) do
    queries = range(rows, {1, 1, :n, 1})
    keys = range(columns, {1, 1, 1, :n})
    distance = Mlx.abs(Mlx.subtract(queries, keys))
    token = Mlx.logical_or(Mlx.less(keys, column(lengths)), Mlx.equal(distance, 0))
    Mlx.logical_and(token, Mlx.less_equal(distance, window))
  end

  defp column(lengths), do: Mlx.reshape(lengths, {elem(lengths.shape, 0), 1, 1, 1})

  defp range({first, count}, shape) do
    shape = shape |> Tuple.to_list() |> Enum.map(&if(&1 == :n, do: count, else: &1)) |> List.to_tuple()
    first |> Mlx.arange(first + count, type: :s32) |> Mlx.reshape(shape)
  end
end
