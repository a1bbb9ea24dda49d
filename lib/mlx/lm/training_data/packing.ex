defmodule Mlx.LM.TrainingData.Packing do
  @moduledoc false
  # Several texts in one row. A text takes a place more than it has tokens, with a zero, where it is not cut off: the position
  # behind its last token counts, as it does in a row of its own.

  alias Mlx.LM.TrainingData.Example

  @doc """
  Lists of the numbers of texts, each of which fits into a row of `most` places. `lengths` are pairs of a number and the
  tokens of its text, of which none has more than `most`. Each text goes, the longest first, where it leaves the least room.
  """
  @spec rows([{non_neg_integer(), pos_integer()}], pos_integer()) :: [[non_neg_integer(), ...]]
  def rows(lengths, most) do
    {rows, _rooms} =
      lengths
      |> Enum.sort_by(fn {number, length} -> {-length, number} end)
      |> Enum.reduce({%{}, :gb_sets.new()}, fn {number, length}, {rows, rooms} ->
        places = places(length, most)
        {row, room, rooms} = take(rooms, places, map_size(rows), most)
        {Map.update(rows, row, [number], &[number | &1]), :gb_sets.add({room - places, row}, rooms)}
      end)

    rows |> Map.values() |> Enum.map(&Enum.sort/1) |> Enum.sort()
  end

  # The row with the least room that is enough, or a new one.
  defp take(rooms, places, new, most) do
    case :gb_sets.next(:gb_sets.iterator_from({places, 0}, rooms)) do
      {{room, row}, _others} -> {row, room, :gb_sets.delete({room, row}, rooms)}
      :none -> {new, most, rooms}
    end
  end

  @doc "How many places a text of so many tokens takes."
  @spec places(pos_integer(), pos_integer()) :: pos_integer()
  def places(length, most), do: min(length + 1, most)

  @doc """
  A row of so many places with these texts, as three lists: the tokens, for each token the place at which its text begins, and 1 for the
  tokens that count.
  """
  @spec row([Example.text(), ...], pos_integer(), pos_integer()) :: [[non_neg_integer()]]
  def row(texts, length, most) do
    {parts, used} = Enum.map_reduce(texts, 0, &part(&1, &2, most))
    left = length - used
    rest = [List.duplicate(0, left), List.duplicate(used, left), List.duplicate(0, left)]
    Enum.zip_with(parts ++ [rest], &Enum.concat/1)
  end

  defp part({ids, from}, start, most) do
    places = ids |> length() |> places(most)
    silent = min(max(from, 1), places)
    counts = List.duplicate(0, silent) ++ List.duplicate(1, places - silent)
    {[Enum.take(ids ++ [0], places), List.duplicate(start, places), counts], start + places}
  end
end
