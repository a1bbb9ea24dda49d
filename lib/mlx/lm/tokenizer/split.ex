defmodule Mlx.LM.Tokenizer.Split do
  @moduledoc false
  # What becomes of a text's pieces that match and of those that do not, when a pre-tokenizer splits it.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.Pattern.CharacterSet

  @type behaviour :: :isolated | :removed | :contiguous | :merged_with_previous | :merged_with_next

  @typedoc "The pieces of a text, one behind the other: the place and the size of each, and whether it matches."
  @type tiles :: [{non_neg_integer, non_neg_integer, boolean}]

  @typedoc "A part of a text: its place and its size."
  @type part :: {non_neg_integer, non_neg_integer}

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

  @doc "The parts that are left, none of which is empty, and whether the first of them begins where the text did."
  @spec parts(tiles, behaviour) :: {[part], boolean}
  def parts(tiles, :isolated), do: {for({at, size, _match} <- tiles, size > 0, do: {at, size}), true}

  def parts(tiles, :removed) do
    {for({at, size, false} <- tiles, size > 0, do: {at, size}), match?([{_at, _size, false} | _], tiles)}
  end

  def parts(tiles, :contiguous), do: {tiles |> contiguous(false, []) |> Enum.reverse() |> filled(), true}
  def parts(tiles, :merged_with_previous), do: {tiles |> merged(false, []) |> Enum.reverse() |> filled(), true}
  def parts(tiles, :merged_with_next), do: {tiles |> Enum.reverse() |> merged(false, []) |> filled(), true}

  defp filled(parts), do: Enum.reject(parts, fn {_at, size} -> size == 0 end)

  # The last part first, with the tiles in their order.
  defp contiguous([{at, size, match} | tiles], match, [part | parts]),
    do: contiguous(tiles, match, [joined(part, {at, size}) | parts])

  defp contiguous([{at, size, match} | tiles], _previous, parts), do: contiguous(tiles, match, [{at, size} | parts])
  defp contiguous([], _previous, parts), do: parts

  # The same, with the tiles in their order or from the last to the first.
  defp merged([{at, size, true} | tiles], false, [part | parts]),
    do: merged(tiles, true, [joined(part, {at, size}) | parts])

  defp merged([{at, size, match} | tiles], _previous, parts), do: merged(tiles, match, [{at, size} | parts])
  defp merged([], _previous, parts), do: parts

  # Neighbours.
  defp joined({at, size}, {other, other_size}), do: {min(at, other), size + other_size}

  @doc "The pieces of a text by a set of characters: each character of the set, and the runs of others."
  @spec characters(String.t(), CharacterSet.t()) :: tiles
  def characters(text, set), do: characters(text, set, 0, 0, [])

  defp characters(<<code::utf8, rest::binary>>, set, from, at, tiles) do
    size = size(code)

    if CharacterSet.member?(set, code) do
      characters(rest, set, at + size, at + size, [{at, size, true} | run(from, at, tiles)])
    else
      characters(rest, set, from, at + size, tiles)
    end
  end

  defp characters(<<>>, _set, from, at, tiles), do: Enum.reverse(run(from, at, tiles))

  defp run(at, at, tiles), do: tiles
  defp run(from, at, tiles), do: [{from, at - from, false} | tiles]

  @doc "The runs of characters that are in a set, and the runs of others."
  @spec runs(String.t(), CharacterSet.t()) :: tiles
  def runs(text, set), do: text |> characters(set) |> together([])

  defp together([{at, size, true}, {_next, more, true} | tiles], runs),
    do: together([{at, size + more, true} | tiles], runs)

  defp together([tile | tiles], runs), do: together(tiles, [tile | runs])
  defp together([], runs), do: Enum.reverse(runs)
end
