defmodule Mlx.LM.Tokenizer.LongWordsTest do
  # Three ways to merge a word give the same tokens, whatever the merges are. `models_test` compares those of models with Python.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer.BytePairEncoding
  alias Mlx.LM.Tokenizer.BytePairEncoding.{Beginning, LinkedWord, LongWord, Merges, ShortWord, Sieve}
  alias Mlx.LM.Tokenizer.{CharacterSize, Heap, Trie}

  doctest CharacterSize

  # Merges in an order that need not be the one in which tokens can be made.
  defp random_merges(letters, count) do
    {tokens, merges} =
      Enum.reduce(1..count, {letters, []}, fn _merge, {tokens, merges} ->
        {left, right} = {Enum.random(tokens), Enum.random(tokens)}

        if byte_size(left <> right) > 24,
          do: {tokens, merges},
          else: {[left <> right | tokens], [{left, right} | merges]}
      end)

    {tokens |> Enum.uniq() |> Enum.with_index() |> Map.new(), merges |> Enum.uniq() |> Enum.shuffle()}
  end

  defp word(letters, size) do
    case :rand.uniform(4) do
      1 -> for(_letter <- 1..size, into: "", do: Enum.random(letters))
      2 -> String.duplicate(Enum.random(letters), size)
      3 -> String.duplicate(for(_letter <- 1..:rand.uniform(30), into: "", do: Enum.random(letters)), div(size, 8))
      4 -> Enum.map_join(1..8, fn _run -> String.duplicate(Enum.random(letters), :rand.uniform(div(size, 4))) end)
    end
  end

  defp all(_model, nil), do: []

  defp all(model, rest) do
    {tokens, rest} = Beginning.part(model, rest, false)
    tokens ++ all(model, rest)
  end

  # The definition: the best pair, the leftmost of it, again and again.
  defp by_definition(tokens, merges) do
    pairs = Enum.zip(tokens, tl(tokens))

    case pairs |> Enum.filter(&is_map_key(merges, &1)) |> Enum.min_by(&merges[&1], fn -> nil end) do
      nil ->
        tokens

      {left, right} = best ->
        {before, [_left, _right | rest]} = Enum.split(tokens, Enum.find_index(pairs, &(&1 == best)))
        by_definition(before ++ [left <> right | rest], merges)
    end
  end

  test "words of random merges" do
    :rand.seed(:exsss, {8, 8, 8})

    for round <- 1..150 do
      letters = Enum.take(~w(a b c é), Enum.random(1..4))
      {ids, merges} = random_merges(letters, Enum.random([3, 10, 40, 150]))
      model = BytePairEncoding.new(ids, merges)
      ranks = merges |> Enum.with_index() |> Map.new()
      word = word(letters, Enum.random([60, 300, 3_000]))

      if word != "" do
        tokens = all(model, Beginning.word(model, word, false))

        {short, _rounds} = tokens |> ShortWord.first(length(tokens), model.merges) |> ShortWord.merged(model.merges)
        short = ShortWord.tokens(short)
        assert {merges, word, LinkedWord.merged(tokens, model.merges)} == {merges, word, short}
        long = LongWord.merged(model, Beginning.word(model, word, false), false)
        assert {merges, word, Enum.reverse(long)} == {merges, word, short}
        assert Enum.sum(for token <- short, do: Merges.size(token)) == byte_size(word)
        assert BytePairEncoding.encode(model, word, false) == Enum.map(short, &Merges.id/1)

        if rem(round, 5) == 0 and byte_size(word) <= 700 do
          expected = word |> String.codepoints() |> by_definition(ranks) |> Enum.map(&ids[&1])
          assert {merges, word, Enum.map(short, &Merges.id/1)} == {merges, word, expected}
        end
      end
    end
  end

  test "a token that is longer than all windows" do
    size = 50
    tokens = for length <- 1..size, do: String.duplicate("a", length)
    ids = ["b" | tokens ++ ["ab"]] |> Enum.with_index() |> Map.new()
    merges = [{"a", "b"} | for(length <- 1..(size - 1), do: {String.duplicate("a", length), "a"})]
    model = BytePairEncoding.new(ids, merges)
    word = String.duplicate("a", 4_000)
    assert length(BytePairEncoding.encode(model, word <> "b", false)) == 2_000
    assert length(BytePairEncoding.encode(model, word, false)) == 2_000
    # No window has more than one of these tokens.
    doubled = for power <- 0..12, do: String.duplicate("a", 2 ** power)

    model =
      BytePairEncoding.new(doubled |> Enum.with_index() |> Map.new(), doubled |> Enum.drop(-1) |> Enum.map(&{&1, &1}))

    assert BytePairEncoding.encode(model, String.duplicate("a", 3 * 4_096 + 5), false) == [12, 12, 12, 2, 0]
  end

  test "a sieve leaves all pairs through that have a merge, and few others" do
    :rand.seed(:exsss, {8, 8, 9})
    pairs = for _pair <- 1..20_000, uniq: true, do: {:rand.uniform(150_000), :rand.uniform(150_000)}
    sieve = Sieve.new(for {left, right} <- pairs, do: Bitwise.bor(Bitwise.bsl(left, 24), right))
    assert Enum.all?(pairs, fn {left, right} -> Sieve.may?(sieve, left, right) end)
    others = for _pair <- 1..20_000, do: Sieve.may?(sieve, :rand.uniform(150_000), :rand.uniform(16_777_215))
    assert Enum.count(others, & &1) < 4_000
    empty = Sieve.new([])
    refute Sieve.may?(empty, 16_777_215, 16_777_215)
  end

  test "a trie has all tokens, and says where none goes on" do
    trie = Trie.new(%{"a" => 0, "aé" => 1, "aéb" => 2, "中" => 3, "" => 4, <<0xFF>> => 5})
    assert {node, 0} = Trie.step(trie, 0, ?a)
    assert {node, 1} = Trie.step(trie, node, ?é)
    assert Trie.step(trie, node, ?b) == {nil, 2}
    assert Trie.step(trie, node, ?c) == {nil, nil}
    assert Trie.step(trie, 0, ?中) == {nil, 3}
    assert Trie.walk(trie, 0, "aé") == node
    assert Trie.walk(trie, 0, "") == 0
    assert Trie.walk(trie, 0, "中") == nil
  end

  test "a process has its settings back, and one with little room is left as it is" do
    least = fn -> self() |> Process.info(:garbage_collection) |> elem(1) |> Keyword.fetch!(:min_heap_size) end
    before = least.()
    assert Heap.roomy(100_000, fn -> least.() > 500_000 end)
    assert least.() == before
    assert_raise RuntimeError, fn -> Heap.roomy(100_000, fn -> raise "x" end) end
    assert least.() == before
    refute Heap.roomy(100, fn -> least.() > 500_000 end)

    task =
      Task.async(fn ->
        Process.flag(:max_heap_size, 500_000)
        Heap.roomy(100_000, fn -> least.() < 500_000 end)
      end)

    assert Task.await(task)
  end
end
