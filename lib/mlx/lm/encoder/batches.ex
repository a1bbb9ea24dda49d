defmodule Mlx.LM.Encoder.Batches do
  @moduledoc false
  # Sequences of tokens in batches of about the same length.
  #
  # A batch is padded to one of a few lengths, and has one of a few numbers of rows, because the function that reads it is
  # compiled for each. The longest sequences come first. Batches of very long ones have fewer rows, because the scores of
  # attention grow with the square of the length.

  alias Mlx.Array
  alias Mlx.LM.Encoder.{Attention, Text}

  # Of one layer, at a time: half a gigabyte of numbers of four bytes.
  @most_scores 2 ** 27
  @most_tokens 2 ** 14
  @shortest 8

  @typedoc "`heads` of the attention, rows of a batch at most, and positions of a sequence at most."
  @type limits :: %{heads: pos_integer(), batch_size: pos_integer(), length: pos_integer()}

  @doc """
  The rows that `fun` gives for the sequences, `{n, width}`, in their order.

  `fun` takes the tokens `{rows, length}`, the lengths `{rows}`, and the types `{rows, length}` or nil, and returns an array
  `{rows, width}`.
  """
  @spec run([Text.sequence(), ...], limits(), (Array.t(), Array.t(), Array.t() | nil -> Array.t())) :: Array.t()
  def run(sequences, limits, fun) do
    sorted =
      sequences
      |> Enum.with_index()
      |> Enum.map(fn {{ids, _types} = sequence, place} -> {length(ids), place, sequence} end)
      |> Enum.sort(:desc)

    results = sorted |> chunks(limits) |> read(limits, fun)
    restored(results, for({_length, place, _sequence} <- sorted, do: place))
  end

  defp chunks([], _limits), do: []

  defp chunks([{longest, _place, _sequence} | _] = sorted, limits) do
    {chunk, rest} = Enum.split(sorted, rows(length(sorted), padded(longest, limits.length), limits))
    [chunk | chunks(rest, limits)]
  end

  @doc "How many of `left` sequences one batch of this length takes."
  @spec rows(pos_integer(), pos_integer(), limits()) :: pos_integer()
  def rows(left, length, limits) do
    fitting = max(1, min(div(@most_scores, limits.heads * Attention.scores(length)), div(@most_tokens, length)))

    if left >= limits.batch_size and fitting >= limits.batch_size,
      do: limits.batch_size,
      else: [left, limits.batch_size, fitting] |> Enum.min() |> power_of_two(1)
  end

  defp power_of_two(most, power) when 2 * power > most, do: power
  defp power_of_two(most, power), do: power_of_two(most, 2 * power)

  @doc "The length that a sequence of this length is padded to: 8, 12, 16, 24, 32, 48, ..., and the greatest that there is."
  @spec padded(pos_integer(), pos_integer()) :: pos_integer()
  def padded(length, greatest), do: min(greatest, step(length, @shortest))

  defp step(length, size) when length <= size, do: size
  defp step(length, size) when 2 * length <= 3 * size, do: div(3 * size, 2)
  defp step(length, size), do: step(length, 2 * size)

  # While the device computes one batch, the next is made.
  defp read(chunks, limits, fun) do
    {results, last} =
      Enum.map_reduce(chunks, nil, fn chunk, former ->
        result = Mlx.async_eval(batch(chunk, limits, fun))
        if former, do: Mlx.eval(former)
        {result, result}
      end)

    Mlx.eval(last)
    results
  end

  defp batch([{longest, _place, {_ids, types}} | _] = chunk, limits, fun) do
    length = padded(longest, limits.length)
    rows = length(chunk)

    matrix = fn lists ->
      lists |> Enum.map(&row(&1, length)) |> IO.iodata_to_binary() |> Mlx.from_binary({rows, length}, :s32)
    end

    ids = matrix.(for {_length, _place, {ids, _types}} <- chunk, do: ids)
    types = if types, do: matrix.(for {_length, _place, {_ids, types}} <- chunk, do: types)
    lengths = Mlx.array(for({length, _place, _sequence} <- chunk, do: length), type: :s32)
    fun.(ids, lengths, types)
  end

  defp row(numbers, length) do
    bytes = for number <- numbers, into: <<>>, do: <<number::32-native>>
    [bytes, <<0::size(32 * (length - div(byte_size(bytes), 4)))>>]
  end

  # The row of the sequence at each place.
  defp restored(results, places) do
    order = places |> Enum.with_index() |> Enum.sort() |> Enum.map(fn {_place, row} -> row end)
    results |> Mlx.concatenate() |> Mlx.take(Mlx.array(order, type: :s32), axis: 0) |> Mlx.eval()
  end
end
