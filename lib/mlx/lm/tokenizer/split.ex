defmodule Mlx.LM.Tokenizer.Split do
  @moduledoc false
  # What becomes of a text's pieces that match and of those that do not, when a pre-tokenizer splits it.

  alias Mlx.LM.Tokenizer.Pattern.CharacterSet

  @type behaviour :: :isolated | :removed | :contiguous | :merged_with_previous | :merged_with_next
  @type tiles :: [{String.t(), boolean}]

  @behaviours %{
    "Isolated" => :isolated,
    "Removed" => :removed,
    "Contiguous" => :contiguous,
    "MergedWithPrevious" => :merged_with_previous,
    "MergedWithNext" => :merged_with_next
  }

  @doc "The behaviours by the names that a file has for them."
  @spec behaviours() :: %{String.t() => behaviour}
  def behaviours, do: @behaviours

  @doc "The parts that are left, and whether the first of them begins where the text did."
  @spec parts(tiles, behaviour) :: {[String.t()], boolean}
  def parts(tiles, :isolated), do: {for({text, _match} <- tiles, text != "", do: text), true}

  def parts(tiles, :removed) do
    {for({text, false} <- tiles, text != "", do: text), match?([{_text, false} | _], tiles)}
  end

  def parts(tiles, :contiguous) do
    {tiles |> contiguous(false, []) |> joined(), true}
  end

  def parts(tiles, :merged_with_previous) do
    {tiles |> merged(false, []) |> joined(), true}
  end

  def parts(tiles, :merged_with_next) do
    parts = tiles |> Enum.reverse() |> merged(false, []) |> Enum.map(&IO.iodata_to_binary/1)
    {for(part <- parts, part != "", do: part), true}
  end

  # Parts as lists of pieces, last first.
  defp contiguous([{text, match} | tiles], match, [part | parts]), do: contiguous(tiles, match, [[text | part] | parts])
  defp contiguous([{text, match} | tiles], _previous, parts), do: contiguous(tiles, match, [[text] | parts])
  defp contiguous([], _previous, parts), do: parts

  defp merged([{text, true} | tiles], false, [part | parts]), do: merged(tiles, true, [[text | part] | parts])
  defp merged([{text, match} | tiles], _previous, parts), do: merged(tiles, match, [[text] | parts])
  defp merged([], _previous, parts), do: parts

  defp joined(parts) do
    for part <- Enum.reverse(parts), text = part |> Enum.reverse() |> IO.iodata_to_binary(), text != "", do: text
  end

  @doc "The pieces of a text by a set of characters: each character of the set, and the runs of others."
  @spec characters(String.t(), CharacterSet.t()) :: tiles
  def characters(text, set), do: characters(text, set, text, 0, 0, [])

  @doc "The runs of characters that are in a set, and the runs of others."
  @spec runs(String.t(), CharacterSet.t()) :: tiles
  def runs(text, set) do
    text
    |> characters(set)
    |> Enum.chunk_by(fn {_text, match} -> match end)
    |> Enum.map(fn [{_text, match} | _] = tiles -> {Enum.map_join(tiles, &elem(&1, 0)), match} end)
  end

  defp characters(<<code::utf8, rest::binary>>, set, text, from, at, tiles) do
    to = byte_size(text) - byte_size(rest)

    if CharacterSet.member?(set, code) do
      tiles = if at > from, do: [{binary_part(text, from, at - from), false} | tiles], else: tiles
      characters(rest, set, text, to, to, [{binary_part(text, at, to - at), true} | tiles])
    else
      characters(rest, set, text, from, to, tiles)
    end
  end

  defp characters(<<>>, _set, text, from, at, tiles) do
    Enum.reverse(if at > from, do: [{binary_part(text, from, at - from), false} | tiles], else: tiles)
  end
end
