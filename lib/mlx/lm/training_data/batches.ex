defmodule Mlx.LM.TrainingData.Batches do
  @moduledoc false
  # Batches of the texts of a file, which is read when they are made.

  alias Mlx.Random
  alias Mlx.Arguments.OptionKinds
  alias Mlx.LM.TrainingData
  alias Mlx.LM.TrainingData.{Example, Lines}

  # Lengths are rounded up, so that a compiled step meets few of them.
  @multiple 32

  # A line has one text, or the two texts of a pair. The arrays of pairs have an axis for them behind that of the rows.

  @typedoc "The number, the offset, the bytes and the tokens of the longest text of each line."
  @type index :: tuple()

  @options [
    sort: {false, :boolean},
    shuffle: {false, :boolean},
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
        {file, [{rows, mean} | groups]} -> {[batch(data, file, rows, mean)], {file, groups}}
      end,
      fn {file, _groups} -> :file.close(file) end
    )
  end

  # The numbers of the texts of each batch, and what makes its mean.
  defp groups(%{index: index} = data, size, options) do
    numbers = Enum.to_list(0..(tuple_size(index) - 1))
    numbers = if options[:sort], do: Enum.sort_by(numbers, &elem(elem(index, &1), 3)), else: numbers
    groups = Enum.chunk_every(numbers, size, size, if(options[:drop_last], do: :discard, else: []))
    groups = if options[:shuffle], do: shuffled(groups), else: groups
    groups = if options[:limit], do: Enum.take(groups, options[:limit]), else: groups
    mean = if options[:mean_of] == :all, do: counts(data, groups)
    for group <- groups, do: {group, mean}
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
        {_ids, from, to, length} = padded(data, for(number <- group, text <- read(data, file, number), do: text))
        {tokens + counted(from, to, length), rows + length(group)}
      end)
    after
      :file.close(file)
    end
  end

  defp batch(data, file, numbers, mean) do
    {ids, from, to, length} = padded(data, for(number <- numbers, text <- read(data, file, number), do: text))
    {tokens, rows} = mean || {counted(from, to, length), length(numbers)}
    [ids, from, to] = for list <- [ids, from, to], do: list |> in_pairs(data) |> Mlx.array(type: :s32)
    [tokens, rows] = for number <- [tokens, rows], do: Mlx.array(List.duplicate(number, length(numbers)), type: :s32)
    %{ids: ids, from: from, to: to, tokens: tokens, rows: rows}
  end

  defp in_pairs(list, %{pairs: true}), do: Enum.chunk_every(list, 2)
  defp in_pairs(list, _data), do: list

  defp padded(%{max_length: most}, examples) do
    texts = for {ids, from} <- examples, do: {Enum.take(ids, most), from}
    longest = texts |> Enum.map(fn {ids, _from} -> length(ids) end) |> Enum.max()
    length = min(1 + @multiple * div(longest + @multiple - 1, @multiple), most)
    rows = for {ids, _from} <- texts, do: ids ++ List.duplicate(0, length - length(ids))
    {rows, for({_ids, from} <- texts, do: from), for({ids, _from} <- texts, do: length(ids)), length}
  end

  # The positions from 1 on whose tokens are foretold and count.
  defp counted(from, to, length) do
    Enum.zip_reduce(from, to, 0, fn from, to, sum -> sum + max(min(to, length - 1) - max(from, 1) + 1, 0) end)
  end

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
