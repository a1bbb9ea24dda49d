defmodule Mlx.LM.Server.TokenTrieTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Server.TokenTrie

  defp common([token | a], [token | b]), do: 1 + common(a, b)
  defp common(_a, _b), do: 0

  # What a search through all keys finds: whole keys with their lengths, and the most tokens in common.
  defp searched(map, tokens) do
    whole = for {key, id} <- map, List.starts_with?(tokens, key), do: {length(key), id}
    {Enum.sort(whole, :desc), map |> Enum.map(fn {key, _id} -> common(key, tokens) end) |> Enum.max(fn -> nil end)}
  end

  defp keys, do: for(_token <- 1..Enum.random(1..6), do: Enum.random(0..2))

  test "finds what a search through all keys finds, whatever is put and deleted" do
    :rand.seed(:exsss, 11)

    for _round <- 1..200, reduce: {TokenTrie.new(), %{}} do
      {trie, map} ->
        {trie, map} =
          if map != %{} and :rand.uniform() < 0.4 do
            {key, _id} = Enum.random(map)
            {TokenTrie.delete(trie, key), Map.delete(map, key)}
          else
            {key, id} = {keys(), make_ref()}
            {TokenTrie.put(trie, key, id), Map.put(map, key, id)}
          end

        assert TokenTrie.delete(trie, [9]) == trie

        for _search <- 1..10 do
          tokens = keys()
          {whole, most} = searched(map, tokens)
          assert {^whole, found} = TokenTrie.find(trie, tokens)

          case found do
            nil ->
              assert map == %{}

            {count, id} ->
              assert count == most and Enum.any?(map, &(elem(&1, 1) == id and common(elem(&1, 0), tokens) == count))
          end
        end

        {trie, map}
    end
  end

  test "is empty again when all is deleted" do
    keys = [[1, 2, 3], [1, 2], [1, 2, 4, 5], [2], [1]]
    full = Enum.reduce(keys, TokenTrie.new(), &TokenTrie.put(&2, &1, &1))
    assert Enum.reduce(keys, full, &TokenTrie.delete(&2, &1)) == TokenTrie.new()
  end
end
