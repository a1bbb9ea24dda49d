defmodule Mlx.LM.TrainingData.Batches do
  @moduledoc false
  # Batches of the texts of a file, which is read when they are made.

  alias Mlx.Random
  alias Mlx.Arguments.OptionKinds
  alias Mlx.LM.TrainingData
  alias Mlx.LM.TrainingData.{Example, Lines, Packing}

  # Lengths are rounded up, so that a compiled step meets few of them.
  @multiple 32

  # A line has one text, or the two texts of a pair. The arrays of pairs have an axis for them behind that of the rows.

  @typedoc "The number, the offset, the bytes and the tokens of the longest text of each line."
  @type index :: tuple()

  @options [
    sort: {false, :boolean},
    shuffle: {false, :boolean},
    pack: {false, :boolean},
    drop_last: {false, :boolean},
    limit: {nil, {:optional, :at_least_one}},
    mean_of: {:batch, {:one_of, [:batch, :all]}}
  ]

  @doc "The options, their defaults and kinds."
  @spec options() :: OptionKinds.t()
  def options, do: @options

  @doc "The stream of batches."
  @spec stream(TrainingData.t(), pos_integer(), keyword()) :: Enumerable.t()
  def stream(data, size, options) do
    Stream.resource(
      fn -> {Lines.open!(data.path), groups(data, size, options)} end,
      fn
        {file, []} -> {:halt, {file, []}}
        {file, [{rows, mean} | groups]} -> {[batch(data, file, rows, mean, options[:pack])], {file, groups}}
      end,
      fn {file, _groups} -> :file.close(file) end
    )
  end

  # The rows of each batch, lists of the numbers of their texts, and what makes its mean.
  defp groups(data, size, options) do
    rows = rows(data, options)
    groups = Enum.chunk_every(rows, size, size, if(options[:drop_last], do: :discard, else: []))
    groups = if options[:shuffle], do: shuffled(groups), else: groups
    groups = if options[:limit], do: Enum.take(groups, options[:limit]), else: groups
    mean = if options[:mean_of] == :all, do: counts(data, groups)
    for group <- groups, do: {group, mean}
  end

  @doc "The rows of all batches, lists of the numbers of their texts."
  @spec rows(TrainingData.t(), keyword()) :: [[non_neg_integer(), ...]]
  def rows(%{index: index, max_length: most}, options) do
    lengths = for number <- 0..(tuple_size(index) - 1), do: {number, elem(elem(index, number), 3)}
    rows = if options[:pack], do: Packing.rows(lengths, most), else: for({number, _length} <- lengths, do: [number])

    if options[:sort],
      do: Enum.sort_by(rows, fn row -> Enum.sum_by(row, &elem(elem(index, &1), 3)) end),
      else: rows
  end

  defp shuffled(groups) do
    order = groups |> length() |> Random.permutation() |> Mlx.to_list()
    groups = List.to_tuple(groups)
    for number <- order, do: elem(groups, number)
  end

  # Texts are read once more for it, one after the other.
  defp counts(data, groups) do
    file = Lines.open!(data.path)

    try do
      Enum.reduce(groups, {0, 0}, fn group, {tokens, rows} ->
        {tokens + Enum.sum_by(texts(data, file, group), &counted(&1, data.max_length)), rows + length(group)}
      end)
    after
      :file.close(file)
    end
  end

  # The texts of each row, cut off.
  defp texts(%{max_length: most} = data, file, group) do
    for row <- group, do: for(number <- row, {ids, from} <- read(data, file, number), do: {Enum.take(ids, most), from})
  end

  # How many tokens of a row are foretold and count.
  defp counted(row, most) do
    Enum.sum_by(row, fn {ids, from} -> max(Packing.places(length(ids), most) - max(from, 1), 0) end)
  end

  defp batch(data, file, group, mean, pack?) do
    texts = texts(data, file, group)
    {tokens, rows} = mean || {Enum.sum_by(texts, &counted(&1, data.max_length)), length(group)}
    mean = for {name, number} <- [tokens: tokens, rows: rows], do: {name, List.duplicate(number, length(group))}
    arrays = if pack?, do: packed(data, texts), else: padded(data, Enum.concat(texts))
    Map.new(arrays ++ mean, fn {name, list} -> {name, Mlx.array(list, type: :s32)} end)
  end

  defp in_pairs(list, %{pairs: true}), do: Enum.chunk_every(list, 2)
  defp in_pairs(list, _data), do: list

  defp packed(%{max_length: most}, texts) do
    longest = for row <- texts, do: Enum.sum_by(row, fn {ids, _from} -> Packing.places(length(ids), most) end)
    length = row_length(Enum.max(longest) - 1, most)
    Enum.zip([:ids, :starts, :counts], Enum.zip_with(for(row <- texts, do: Packing.row(row, length, most)), & &1))
  end

  defp padded(%{max_length: most} = data, texts) do
    lengths = for {ids, _from} <- texts, do: length(ids)
    length = row_length(Enum.max(lengths), most)
    rows = for {ids, _from} <- texts, do: ids ++ List.duplicate(0, length - length(ids))

    for {name, list} <- [ids: rows, from: for({_ids, from} <- texts, do: from), to: lengths],
        do: {name, in_pairs(list, data)}
  end

  defp row_length(tokens, most), do: min(1 + @multiple * div(tokens + @multiple - 1, @multiple), most)

  @doc "The texts of a line."
  @spec fetch(TrainingData.t(), non_neg_integer()) :: [Example.text(), ...]
  def fetch(data, number) do
    file = Lines.open!(data.path)

    try do
      read(data, file, number)
    after
      :file.close(file)
    end
  end

  defp read(%{index: index} = data, file, number) do
    {line, offset, bytes, length} = elem(index, number)

    with {:ok, text} when byte_size(text) == bytes <- :file.pread(file, offset, bytes),
         texts = Example.of(data, line, text),
         true <- length(texts) == if(data.pairs, do: 2, else: 1),
         true <- longest(data, texts) == length do
      texts
    else
      _other -> raise Mlx.Error, "#{data.path}, line #{line} is not what it was when the file was opened"
    end
  end

  @doc "How many tokens the longest of the texts of a line has, as they are cut off."
  @spec longest(TrainingData.t(), [Example.text(), ...]) :: pos_integer()
  def longest(data, texts) do
    texts |> Enum.map(fn {ids, _from} -> min(length(ids), data.max_length) end) |> Enum.max()
  end
end
