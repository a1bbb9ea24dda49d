defmodule Mlx.LM.Grammar.ReachTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.Grammar
  alias Mlx.LM.Grammar.{Compiled, Program, Rules, Vocabulary}
  alias Mlx.{RandomSchema, SlowReach}

  @moduletag timeout: 600_000

  @regexes [
    "[^x]*x",
    "(.|\\n)*",
    "((.|\\n)(.|\\n))*",
    "[\\u00e0-\\uffff]*;|[a-z]+;",
    "\\S+@\\S+",
    "(\\w{2,3} ){1,40}",
    "[A-Z]\\w+( [^\\d\\s]+){2,5}[.!?]"
  ]

  @sources [
    ~S{root ::= (word | "(" root ")") (" " root)?
       word ::= [a-z]+ | [а-я]+ | [一-鿿]+},
    ~S{root ::= "a" (x | y) root? "b"?
       x ::= "a" root?
       y ::= "a" root?}
  ]

  defp grammars(schemas) do
    Enum.map(@regexes, &Grammar.regex/1) ++
      Enum.map(@sources, &Grammar.ebnf/1) ++
      for number <- schemas do
        Grammar.json_schema(RandomSchema.numbered(number), whitespace: if(rem(number, 2) == 0, do: :none, else: :some))
      end
  end

  # Each state of the grammar alone, and those of counted rules with numbers of texts of all kinds.
  defp states(%Program{flags: flags, calls: calls, first: {_rank, first}}) do
    called = for {_state, calls} <- calls, {_rank, first, _target} <- calls, do: first

    counted =
      for {_state, first, low, high} <- Enum.uniq([first | called]),
          {low, high} <- [{low, high}, {0, 1}, {0, :infinity}, {2, 4}, {1, 30}],
          state <- Enum.uniq([first, min(first + 1, byte_size(flags) - 1)]),
          do: {state, first, low, high}

    Enum.to_list(1..(byte_size(flags) - 1)) ++ counted
  end

  # At a root, and at the nodes where the rule may return or call, as another state goes on from there.
  defp assert_same(compiled, states, root) do
    for state <- states do
      {_tokens, returns, calls} = at_root = SlowReach.of(compiled, state, <<root::32-little>>)
      assert SlowReach.fast(compiled, state, <<root::32-little>>) == at_root
      nodes = for node <- Enum.take(Enum.concat([returns | Map.values(calls)]), 40), into: <<>>, do: <<node::32-little>>
      other = Enum.random(states)
      assert SlowReach.fast(compiled, other, nodes) == SlowReach.of(compiled, other, nodes)
    end
  end

  defp vocabulary(start) do
    starts = ["", "a", "th", " ", " th", "é", "日", <<0xE6>>, <<0xF0, 0x9F>>, "\"", "\\", "9", "{\"", ",\n"]

    parts =
      ~w(a b c z 0 7 . - @ é 日 😀 true null) ++
        ["\"", "\\", "\n", "n", " ", ":", "}", "]", <<0x80>>, <<0xBF>>, <<0xE6>>, <<0xED, 0xA0>>, <<0xFF>>]

    draw = fn -> Enum.random(starts) <> Enum.join(for _ <- 1..Enum.random(1..5), do: Enum.random(parts)) end
    texts = for(byte <- 0..255, do: <<byte>>) ++ for(_ <- 1..600, do: draw.())
    texts |> Enum.with_index(1) |> Enum.map(fn {text, id} -> {id, text} end) |> Vocabulary.new(start)
  end

  test "is what the bytes of all tokens say, for all states of grammars" do
    :rand.seed(:exsss, 5)

    for start <- [:same, :spaces_stripped] do
      vocabulary = vocabulary(start)

      for %Grammar{rules: rules} <- grammars(1..25) do
        program = rules |> Rules.without_bytes(&Vocabulary.writes?(vocabulary, &1)) |> Program.new()
        assert_same(Compiled.new(program, vocabulary), Enum.take_random(states(program), 60), vocabulary.start)
      end
    end
  end

  @tag :model
  test "is what the bytes of all tokens say, for a real vocabulary" do
    :rand.seed(:exsss, 6)
    tokenizer = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL")).tokenizer

    for grammar <- grammars(26..50) do
      compiled = Grammar.compile(grammar, tokenizer)
      assert_same(compiled, Enum.take_random(states(compiled.program), 6), compiled.vocabulary.inside)
    end
  end
end
