defmodule Mlx.Native.GrammarTablesTest do
  # Tables of vocabularies and grammars that are wrong: they raise, or give something else, and end nothing.
  use ExUnit.Case, async: true

  import Bitwise

  alias Mlx.LM.Grammar
  alias Mlx.LM.Grammar.{Kinds, Program, Vocabulary}
  alias Mlx.Native

  @root <<0::32>>

  defp vocabulary do
    words = ~w(a ab abc b ba c ca cab é ée "a" "b {" }) ++ [<<0xC3>>, "\"", String.duplicate("ab", 300)]
    words |> Enum.with_index(1) |> Enum.map(fn {text, id} -> {id, text} end) |> Vocabulary.new()
  end

  defp program, do: Program.new(Grammar.json_schema(%{items: %{type: "string", maxLength: 4}}).rules)

  defp changed(tuple, index, change), do: put_elem(tuple, index, change.(elem(tuple, index)))

  defp put(binary, place, bytes) do
    size = byte_size(bytes)
    <<before::binary-size(^place), _::binary-size(^size), rest::binary>> = binary
    before <> bytes <> rest
  end

  test "are refused, with what does not fit" do
    {vocabulary, program} = {vocabulary(), program()}
    {tree, rules} = {Vocabulary.tables(vocabulary), Program.tables(program)}
    assert {_tokens, _returns, _calls} = Native.grammar_reach(tree, rules, 1, @root, nil)
    states = byte_size(program.flags)

    for {message, wrong_tree, wrong_rules, state, nodes, all} <- [
          {"a number of bytes of nodes that cannot be: 17", put_elem(tree, 0, <<0::136>>), rules, 1, @root, nil},
          {"a node of the tree that cannot be: 0", put_elem(tree, 0, <<>>), rules, 1, @root, nil},
          {"a node of the tree that cannot be: 7000", tree, rules, 1, <<7000::32-little>>, nil},
          {"a number of bytes of numbers that cannot be: 3", tree, rules, 1, <<1, 2, 3>>, nil},
          {"a number of bytes of numbers that cannot be: 5", put_elem(tree, 1, <<0::40>>), rules, 1, @root, nil},
          {"a run of tokens that cannot be: ", put_elem(tree, 1, <<0::32>>), rules, 1, @root, nil},
          {"a token beyond the words that cannot be: 99",
           changed(put_elem(tree, 2, 1), 1, &String.replace(&1, <<1::32-little>>, <<99::32-little>>)), everything(), 1,
           @root, nil},
          {"a number of words that cannot be: 67108865", put_elem(tree, 2, 67_108_865), rules, 1, @root, nil},
          {"an end of a node that cannot be: 1", changed(tree, 0, &put(&1, 24, <<1::32-little>>)), rules, 1, @root,
           nil},
          {"an end of a node that cannot be: 1", changed(tree, 0, &put(&1, 24, <<0xFFFFFFFF::32>>)), rules, 1, @root,
           nil},
          {"a state that cannot be: #{states}", tree, rules, states, @root, nil},
          {"a number of classes of bytes that cannot be: 3", tree, put_elem(rules, 1, "abc"), 1, @root, nil},
          {"a number of classes that cannot be: 0", tree, put_elem(rules, 2, 0), 1, @root, nil},
          {"a number of classes that cannot be: 257", tree, put_elem(rules, 2, 257), 1, @root, nil},
          {"a number of states that cannot be: #{states}", tree, put_elem(rules, 2, program.width + 1), 1, @root, nil},
          {"a number of states that cannot be: #{states - 1}", tree, changed(rules, 3, &binary_part(&1, 1, states - 1)),
           1, @root, nil},
          {"a number of states that cannot be: #{states}", tree, changed(rules, 4, &(&1 <> <<0>>)), 1, @root, nil},
          {"a state of the grammar that cannot be: 16777215", tree,
           changed(rules, 0, &:binary.copy(<<255, 255, 255, 0>>, div(byte_size(&1), 4))), 1, @root, nil},
          {"a number of bytes of all tokens that cannot be: 3", tree, rules, 1, @root, <<1, 2, 3>>},
          {"a number of bytes of all tokens that cannot be: 4", tree, rules, 1, @root <> @root, <<0::32>>}
        ] do
      expected = "Mlx.LM.Grammar.mask: expected tables that fit together, got #{message}"
      error = assert_raise ArgumentError, fn -> Native.grammar_reach(wrong_tree, wrong_rules, state, nodes, all) end
      assert String.starts_with?(error.message, expected)

      error =
        assert_raise ArgumentError, fn ->
          Native.grammar_count(wrong_tree, wrong_rules, {state, state, (1 <<< 56) - 1}, nodes, all)
        end

      assert String.starts_with?(error.message, expected)
    end

    assert_raise ArgumentError, ~r/expected a tuple of 3 elements, got: \{1\}/, fn ->
      Native.grammar_reach({1}, rules, 1, @root, nil)
    end

    assert_raise ArgumentError, ~r/expected a binary, got: <<1:1>>/, fn ->
      Native.grammar_reach(tree, rules, 1, <<1::1>>, nil)
    end
  end

  # Of a grammar of one state, which takes all bytes.
  defp everything, do: {<<0::32, 1::32-little>>, :binary.copy(<<0>>, 256), 1, <<0, 0>>, <<0::64, -1::64>>}

  test "are sets that fit into their words" do
    assert Native.grammar_union([], {:ids, <<>>}, 0) == nil
    assert Native.grammar_union([{:ids, <<33::32-little>>}, <<5>>], <<4, 0, 0, 0>>, 2) == <<1::32-little, 2::32-little>>
    long = :binary.copy(<<0xFF>>, 4_000_000)
    assert Native.grammar_union([long, <<0::64>>], {:ids, <<0::32>>}, 1_000_001) == put(long, 0, <<254>>) <> <<0::32>>

    for {message, sets, without, words} <- [
          {"a token beyond the words that cannot be: 64", [{:ids, <<64::32-little>>}], {:ids, <<>>}, 2},
          {"a token beyond the words that cannot be: 4294967295", [], {:ids, <<-1::32>>}, 2},
          {"a number of bytes of words that cannot be: 9", [<<0::72>>], {:ids, <<>>}, 2},
          {"a number of bytes of words that cannot be: 12", [], <<0::96>>, 2},
          {"a number of bytes of numbers that cannot be: 2", [{:ids, <<1, 2>>}], {:ids, <<>>}, 2},
          {"a number of words that cannot be: 1000000000000", [], {:ids, <<>>}, 1_000_000_000_000}
        ] do
      message = "Mlx.LM.Grammar.mask: expected tables that fit together, got #{message}"
      assert_raise ArgumentError, message, fn -> Native.grammar_union(sets, without, words) end
    end

    for wrong <- [{:ids, 1}, {:ids}, {:words, <<>>}, 7, nil] do
      assert_raise ArgumentError, ~r/^Mlx.LM.Grammar.mask: expected /, fn -> Native.grammar_union([wrong], <<>>, 1) end
    end
  end

  test "may be damaged anywhere" do
    {vocabulary, program} = {vocabulary(), program()}
    {tree, rules} = {Vocabulary.tables(vocabulary), Program.tables(program)}
    %{all: %{0 => all}} = vocabulary
    states = for {_state, calls} <- program.calls, {_rank, {first, first, _low, _high}, _target} <- calls, do: first
    first = hd(states)
    :rand.seed(:exsss, 7)

    outcomes =
      for _ <- 1..30_000 do
        {index, which} = {:rand.uniform(2) - 1, :rand.uniform(2)}

        {tree, rules} =
          if which == 1, do: {damaged(tree, index), rules}, else: {tree, damaged(rules, Enum.random([0, 1, 3, 4]))}

        all = Enum.random([nil, all])

        try do
          if :rand.uniform(2) == 1,
            do: Native.grammar_reach(tree, rules, Enum.random(1..(byte_size(program.flags) - 1)), @root, all),
            else: Native.grammar_count(tree, rules, {first, first, Kinds.counted(program, first)}, @root, all)

          :ok
        rescue
          ArgumentError -> :refused
        end
      end

    assert %{ok: ok, refused: refused} = Enum.frequencies(outcomes)
    assert ok > 1000 and refused > 1000
  end

  defp damaged(tables, index) do
    changed(tables, index, fn binary ->
      for _ <- 1..Enum.random(1..3), reduce: binary do
        binary -> put(binary, :rand.uniform(byte_size(binary)) - 1, <<Enum.random([0, 1, 2, 127, 255])>>)
      end
    end)
  end

  test "may be those of long tokens" do
    vocabulary = Vocabulary.new([{1, String.duplicate("a", 300_000)}, {2, "a"}])
    rules = Program.tables(Program.new(Grammar.regex("a*b").rules))
    words = <<0b110::32-little>>
    assert {^words, <<>>, []} = Native.grammar_reach(Vocabulary.tables(vocabulary), rules, 1, @root, nil)

    assert {^words, <<>>, []} =
             Native.grammar_reach(
               Vocabulary.tables(vocabulary),
               put_elem(rules, 4, :binary.copy(<<0>>, byte_size(elem(rules, 4)))),
               1,
               @root,
               nil
             )
  end
end
