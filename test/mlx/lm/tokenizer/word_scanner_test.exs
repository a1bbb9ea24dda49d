defmodule Mlx.LM.Tokenizer.WordScannerTest do
  # Scanners cut as the regular expressions do whose place they take. `tokenizer_test` compares them with Python.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer.{CharacterCategory, LoneBytes, Pattern, WordScanner}

  # What decides where a word ends.
  @special [
             "'s",
             "'S",
             "'t",
             "'LL",
             "'ll",
             "'rE",
             "'Ve",
             "'m",
             "'D",
             "'ſ",
             "'",
             "\r",
             "\n",
             "\r\n",
             " ",
             "  ",
             "\t",
             "/"
           ] ++
             ["//", "!", "-", "a", "B", "aB", "Ba", "ABC", "中", "e\u0301", "\u0301", "ʰ", "ǅ", "1", "1234", "²"] ++
             ["\u0085", "\u00A0", "\u2028", "\u3000"]

  # Characters of each category, those of the first pages all, and some of the others.
  defp categories do
    (Enum.to_list(0..0x24FF) ++ Enum.take_every(0x2500..0xD7FF, 5) ++ Enum.take_every(0xE000..0x10FFFF, 37))
    |> Enum.group_by(&CharacterCategory.of/1)
    |> Enum.map(fn {_category, codes} -> List.to_tuple(codes) end)
  end

  defp piece(categories, bytes) do
    case :rand.uniform(12) do
      one when one < 9 ->
        Enum.random(@special)

      12 when bytes ->
        :rand.bytes(1)

      _character ->
        codes = Enum.random(categories)
        <<elem(codes, :rand.uniform(tuple_size(codes)) - 1)::utf8>>
    end
  end

  test "cut texts of all categories as their regular expressions do, and bytes that are not UTF-8 as others" do
    :rand.seed(:exsss, {6, 1, 8})
    categories = categories()
    assert length(categories) >= 29
    known = WordScanner.known()
    assert map_size(known) == 6

    for {regex, kind} <- known do
      assert WordScanner.known(regex) == kind
      {:ok, pattern} = Pattern.regex(regex)

      for round <- 1..3_000 do
        bytes = for _piece <- 1..:rand.uniform(16), into: "", do: piece(categories, rem(round, 3) == 0)
        {text, lone} = LoneBytes.hide(bytes)
        expected = for {at, size, _match} <- Pattern.tiles(pattern, text), size > 0, do: binary_part(text, at, size)
        assert {kind, text, WordScanner.split(text, kind)} == {kind, text, expected}
        if lone, do: assert(bytes |> WordScanner.split(kind) |> Enum.join() == bytes)
      end
    end
  end

  test "are linear in the text" do
    for kind <- Map.values(WordScanner.known()),
        text <- ["A", "a", "aA", "中A", "\u0301", "1", " ", " \n", "\n ", "!", "!/\n/", "'s", <<0xFF>>] do
      work = fn count ->
        text = String.duplicate(text, count)
        {:reductions, before} = Process.info(self(), :reductions)
        WordScanner.split(text, kind)
        {:reductions, now} = Process.info(self(), :reductions)
        now - before
      end

      assert {kind, text, work.(40_000) < 20 * work.(4_000)} == {kind, text, true}
    end
  end
end
