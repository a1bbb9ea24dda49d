defmodule Mlx.LM.GrammarTest do
  use ExUnit.Case, async: true

  import Bitwise

  alias Mlx.GrammarTexts
  alias Mlx.LM.{Grammar, Tokenizer}
  alias Mlx.LM.Grammar.{Compiled, Program, Reach, Rules, Stacks, TokenSet, Vocabulary}

  doctest Mlx.LM.Grammar
  doctest Mlx.LM.Grammar.UTF8

  @moduletag timeout: 600_000

  # Every end token is 0, which writes nothing.
  defp compiled(%Grammar{rules: rules}, texts, start \\ :same) do
    vocabulary = texts |> Enum.with_index(1) |> Enum.map(fn {text, id} -> {id, text} end) |> Vocabulary.new(start)
    rules |> Rules.without_bytes(&Vocabulary.writes?(vocabulary, &1)) |> Program.new() |> Compiled.new(vocabulary)
  end

  defp start(grammar, texts), do: grammar |> compiled(texts) |> Grammar.start(end_ids: [0])

  # The texts that may come next, with :end.
  defp next(state, texts),
    do: for(id <- Grammar.allowed(state), do: if(id == 0, do: :end, else: Enum.at(texts, id - 1)))

  defp accepts?(grammar, text) do
    bytes = for byte <- 0..255, do: <<byte>>
    walk(start(grammar, bytes), text)
  end

  defp walk(state, ""), do: Grammar.done?(state)

  defp walk(state, <<byte, rest::binary>>),
    do: Grammar.allowed?(state, byte + 1) and walk(Grammar.accept(state, byte + 1), rest)

  describe "the tokens that may come" do
    # All texts of a tree of a finite language, by its meaning.
    defp texts({:bytes, text}), do: [text]
    defp texts({:set, ranges}), do: for({low, high} <- ranges, code <- low..high, do: <<code::utf8>>)

    defp texts({:seq, nodes}),
      do: Enum.reduce(nodes, [""], fn node, all -> for(a <- all, b <- texts(node), do: a <> b) end)

    defp texts({:alt, nodes}), do: Enum.flat_map(nodes, &texts/1)
    defp texts({:repeat, node, min, max}), do: Enum.flat_map(min..max, &texts({:seq, List.duplicate(node, &1)}))

    defp draw(0),
      do:
        Enum.random([
          {:bytes, "a"},
          {:bytes, "ab"},
          {:set, [{?a, ?b}]},
          {:set, [{?é, ?ê}, {0x20AC, 0x20AC}]},
          {:bytes, ""}
        ])

    defp draw(depth) do
      some = fn -> for _ <- 1..Enum.random(1..3), do: draw(depth - 1) end

      case Enum.random(1..4) do
        1 -> {:alt, some.()}
        2 -> {:seq, some.()}
        3 -> {:repeat, draw(depth - 1), Enum.random(0..1), Enum.random(1..2)}
        4 -> draw(0)
      end
    end

    # Some nodes are rules of their own, so that stacks are made.
    defp rules(tree), do: rules(tree, %{})

    defp rules({kind, nodes}, trees) when kind in [:seq, :alt] do
      {nodes, trees} =
        Enum.map_reduce(nodes, trees, fn node, trees ->
          {node, trees} = rules(node, trees)

          if Enum.random(1..2) == 1,
            do: {{:ref, map_size(trees)}, Map.put(trees, map_size(trees), node)},
            else: {node, trees}
        end)

      {{kind, nodes}, trees}
    end

    defp rules({:repeat, node, min, max}, trees) do
      {node, trees} = rules(node, trees)
      {{:repeat, node, min, max}, trees}
    end

    defp rules(leaf, trees), do: {leaf, trees}

    defp same_everywhere(state, vocabulary, language, before) do
      expected =
        for {token, id} <- Enum.with_index(vocabulary, 1),
            Enum.any?(language, &String.starts_with?(&1, before <> token)),
            do: id

      expected = if before in language, do: [0 | expected], else: expected
      assert Grammar.allowed(state) == expected

      for id <- expected, id != 0 do
        token = Enum.at(vocabulary, id - 1)
        rest = Enum.filter(language, &String.starts_with?(&1, before <> token))
        same_everywhere(Grammar.accept(state, id), vocabulary, rest, before <> token)
      end
    end

    test "are those with which a text begins, for all texts of 100 finite grammars" do
      bytes = ["a", "b", <<0xC3>>, <<0xA9>>, <<0xAA>>, <<0xE2>>, <<0x82>>, <<0xAC>>]
      more = ["ab", "ba", "aab", "abab", "é", "aé", <<0xA9, ?a>>, "bé€", <<0x82, 0xAC, ?b>>, <<?a, 0xE2>>]

      for seed <- 1..100 do
        :rand.seed(:exsss, seed)
        tree = draw(3)
        language = tree |> texts() |> Enum.uniq()

        if length(language) < 3000 do
          {tree, trees} = rules(tree)
          vocabulary = bytes ++ Enum.take_random(more, 6)
          grammar = %Grammar{rules: Rules.new(Map.put(trees, :root, tree), :root), kind: :test}
          same_everywhere(start(grammar, vocabulary), vocabulary, Enum.take(language, 3000), "")
        end
      end
    end

    test "are those of brackets, with which a text of them goes on" do
      vocabulary = ["(", ")", "()", "((", "))", ")(", "(()", "[", "]", "[]", "([", "])", "])]"]
      grammar = Grammar.ebnf(~S{root ::= pair*
        pair ::= "(" root ")" | "[" root "]"})

      open = fn open, token ->
        Enum.reduce_while(String.graphemes(token), open, fn
          char, open when char in ["(", "["] -> {:cont, [char | open]}
          ")", ["(" | open] -> {:cont, open}
          "]", ["[" | open] -> {:cont, open}
          _char, _open -> {:halt, nil}
        end)
      end

      for seed <- 1..40 do
        :rand.seed(:exsss, seed)

        Enum.reduce(1..40, {start(grammar, vocabulary), []}, fn _step, {state, stack} ->
          expected = for {token, id} <- Enum.with_index(vocabulary, 1), open.(stack, token), do: id
          expected = if stack == [], do: [0 | expected], else: expected
          assert Grammar.allowed(state) == expected
          id = Enum.random(expected -- [0])
          {Grammar.accept(state, id), open.(stack, Enum.at(vocabulary, id - 1))}
        end)
      end
    end

    test "are found for grammars with very many readings, in bounded time" do
      vocabulary = ["a", "b", String.duplicate("a", 24), String.duplicate("a", 12) <> "b", "c"]

      for source <- [
            ~S{root ::= one | two
               one ::= "a" root? | "a" two root | "b"
               two ::= "a" root? | "a" one root | "b"},
            ~S{root ::= "a" root root | "a" root | "a" | "b"},
            ~S{root ::= "a" (x | y) root? "b"?
               x ::= "a" root?
               y ::= "a" root?}
          ] do
        state = start(Grammar.ebnf(source), vocabulary)

        Enum.reduce(1..12, state, fn _step, state ->
          ids = Enum.to_list(1..length(vocabulary))
          assert GrammarTexts.by_masks(state) == GrammarTexts.by_bytes(state, ids)

          assert GrammarTexts.numbers([Reach.by_steps(state.compiled, state.items, 0)]) ==
                   GrammarTexts.by_bytes(state, ids)

          refute "c" in next(state, vocabulary)
          assert length(state.items) < 60
          Grammar.accept(state, if("a" in next(state, vocabulary), do: 1, else: 2))
        end)
      end
    end

    test "of counted characters are those of as many" do
      vocabulary = [
        "\"",
        "a",
        "aa",
        "aaa",
        "aaaa\"",
        "é",
        "\\",
        "n",
        "u",
        "0",
        "\\n",
        "a\\n",
        "aa\"",
        "\"a",
        <<0xC3>>,
        <<0xA9>>,
        "\\u00",
        "e9"
      ]

      grammar = Grammar.json_schema(%{type: "string", minLength: 2, maxLength: 3})
      bytes = fn text -> for <<byte <- text>>, do: <<byte>> end
      vocabulary = Enum.uniq(vocabulary ++ bytes.("ebc123456789fdtr/ABCDEF"))
      ids = Enum.to_list(1..length(vocabulary))

      for seed <- 1..30 do
        :rand.seed(:exsss, seed)

        Enum.reduce_while(1..40, start(grammar, vocabulary), fn _step, state ->
          assert GrammarTexts.by_masks(state) == GrammarTexts.by_bytes(state, ids)
          allowed = Grammar.allowed(state)
          assert allowed != []
          id = Enum.random(allowed)
          if id == 0, do: {:halt, state}, else: {:cont, Grammar.accept(state, id)}
        end)
      end
    end

    test "are those of whole branches, with characters that are cut off, bytes that are none, and tokens that are the same" do
      :rand.seed(:exsss, 12)
      # Many begin alike, so that branches are large.
      starts = ["", "a", "th", " ", " th", "é", "日", <<0xE6>>, <<0xF0, 0x9F>>, "\"", "\\", "9"]

      parts =
        ~w(a b c z 0 7 . é 日 😀) ++ ["\"", "\\", "\n", "n", " ", <<0x80>>, <<0xBF>>, <<0xE6>>, <<0xED, 0xA0>>, <<0xFF>>]

      draw = fn -> Enum.random(starts) <> Enum.join(for _ <- 1..Enum.random(1..4), do: Enum.random(parts)) end
      texts = for(byte <- 0..255, do: <<byte>>) ++ for(_ <- 1..800, do: draw.())
      ids = Enum.to_list(1..length(texts))

      grammars = [
        Grammar.json_schema(%{type: "string"}),
        Grammar.json_schema(%{type: "string", minLength: 2, maxLength: 5}),
        Grammar.json_schema(%{type: "object", additionalProperties: %{type: "string", maxLength: 3}}),
        Grammar.regex("[^x]*x"),
        Grammar.regex("(.|\\n)*"),
        Grammar.regex("[\\u00e0-\\uffff]*;|[a-z]+;")
      ]

      for grammar <- grammars, start <- [:same, :stripped, :spaces_stripped] do
        compiled = compiled(grammar, texts, start)

        Enum.reduce(1..4, Grammar.start(compiled, end_ids: [0]), fn _token, state ->
          assert GrammarTexts.by_masks(state) == GrammarTexts.by_bytes(state, ids)
          more = for id <- Grammar.allowed(state), id != 0, do: id
          if more == [], do: state, else: Grammar.accept(state, Enum.random(more))
        end)
      end
    end

    test "leave out a space at the start of a text where SentencePiece does" do
      vocabulary = [" yes", "yes", " no", " ", "n", "o", "  no"]
      compiled = compiled(Grammar.regex("yes( no)?"), vocabulary, :stripped)
      state = Grammar.start(compiled, end_ids: [0])
      assert next(state, vocabulary) == [" yes", "yes"]
      state = Grammar.accept(state, 1)
      assert next(state, vocabulary) == [:end, " no", " "]
      refute Grammar.allowed?(state, 7)

      spaced = Grammar.start(compiled(Grammar.regex(" no"), vocabulary, :stripped), end_ids: [0])
      assert next(spaced, vocabulary) == ["  no"]

      state =
        Grammar.start(compiled(Grammar.regex("a* no| no"), ["a", " no", " ", "no"], :spaces_stripped), end_ids: [0])

      assert next(state, ["a", " no", " ", "no"]) == ["a"]
    end

    test "are the same for tokens of the same bytes" do
      vocabulary = ["a", "b", "a", "ab", "ab"]
      assert next(start(Grammar.regex("ab?"), vocabulary), vocabulary) == ["a", "a", "ab", "ab"]
    end

    test "end nowhere where the vocabulary lacks bytes" do
      assert next(start(Grammar.regex("é|a"), ["a", <<0xC3>>, "b"]), ["a", <<0xC3>>, "b"]) == ["a"]

      assert_raise Mlx.Error, ~r/^Mlx.LM.Grammar.compile: no text fits/, fn ->
        tokenizer =
          Tokenizer.from_json(
            ~s({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "decoder": {"type": "ByteLevel"}})
          )

        Grammar.compile(Grammar.regex("b"), tokenizer)
      end
    end

    test "are none behind the end" do
      state = start(Grammar.choices(["a"]), ["a"])
      assert Grammar.allowed(state) == [1]
      state = Grammar.accept(state, 1)
      assert {Grammar.allowed(state), Grammar.done?(state), Grammar.finished?(state)} == {[0], true, false}
      state = Grammar.accept(state, 0)
      assert {Grammar.allowed(state), Grammar.done?(state), Grammar.finished?(state)} == {[], true, true}
      assert_raise ArgumentError, ~r/^Mlx.LM.Grammar.accept: token 1 does not fit/, fn -> Grammar.accept(state, 1) end
    end
  end

  describe "any JSON" do
    test "takes texts that Elixir reads, and refuses others" do
      for text <- [
            ~s({"a": [1, -2.5e3, true, null], "b": {"c": "\\u00e9\\ud83d\\ude00é\\n"}}),
            "[]",
            "{ }",
            "0",
            "\"\"",
            "{\n  \"a\": {},\n  \"b\": []\n}"
          ] do
        assert {:ok, _} = JSON.decode(text)
        assert accepts?(Grammar.json(), text), text
      end

      for text <- [
            "",
            "{",
            "01",
            "1.",
            "[1,]",
            "{\"a\"}",
            "\"\\ud800\"",
            "\"\n\"",
            "nul",
            "'a'",
            <<?", 0xFF, ?">>,
            "+1",
            "[1 2]"
          ] do
        assert match?({:error, _}, JSON.decode(text)) or text =~ "ud800"
        refute accepts?(Grammar.json(), text), text
      end
    end

    test "has white space only where it was asked for" do
      assert accepts?(Grammar.json(), "{\"a\": 1}")
      refute accepts?(Grammar.json(whitespace: :none), "{\"a\": 1}")
      assert accepts?(Grammar.json(whitespace: :none), "{\"a\":[1,2]}")
    end
  end

  describe "what cannot be enforced" do
    for {schema, message} <- [
          {%{"not" => %{}}, ~s(the keyword "not" at # cannot be enforced: it is none of $ref, additionalProperties,)},
          {%{"properties" => %{"a" => %{"if" => true}}}, ~s(the keyword "if" at #/properties/a cannot be enforced)},
          {%{"type" => "array", "uniqueItems" => true}, ~s(the keyword "uniqueItems" at #: expected false)},
          {%{"type" => "object", "minProperties" => 1}, ~s(the keyword "minProperties" at #)},
          {%{"type" => "object", "patternProperties" => %{}}, ~s(the keyword "patternProperties" at #)},
          {%{"items" => %{"contains" => %{}}}, ~s(the keyword "contains" at #/items)},
          {%{"type" => "string", "pattern" => "(?=a)"}, ~s(the keyword "pattern" at # cannot be enforced)},
          {%{"type" => "string", "format" => "idn-email"},
           ~s(the keyword "format" at # cannot be enforced: "idn-email" is none)},
          {%{"type" => "number", "multipleOf" => 0.01}, ~s(the keyword "multipleOf" at # cannot be enforced)},
          {%{"type" => "integer", "multipleOf" => 1_000_000}, ~s(the keyword "multipleOf" at # cannot be enforced)},
          {%{"type" => "strange"}, ~s(the keyword "type" at #: expected a type)},
          {%{"minLength" => -1}, ~s(the keyword "minLength" at #: expected an integer from 0 on)},
          {%{"required" => "a"}, ~s(the keyword "required" at #: expected a list of strings)},
          {%{"items" => [%{}]}, ~s(the keyword "items" at #: expected a schema)},
          {%{"enum" => []}, ~s(the keyword "enum" at #: expected a list of one or more)},
          {%{"$ref" => "#/$defs/none"}, ~s(the keyword "$ref" at # cannot be enforced)},
          {%{"$ref" => "other.json"}, ~s(the keyword "$ref" at # cannot be enforced)},
          {%{"$ref" => "#"}, ~s(the keyword "$ref" at # cannot be enforced: "#" leads back to itself)},
          {%{"oneOf" => [%{"type" => "integer"}, %{"type" => "number"}]},
           ~s(the keyword "oneOf" at # cannot be enforced)},
          {%{"type" => "array", "maxItems" => 1_000_000_000}, ~s(the keyword "maxItems" at # cannot be enforced)},
          {%{"type" => "string", "enum" => [1, 2]}, "no text fits"},
          {%{"type" => "integer", "minimum" => 2, "maximum" => 1}, "no text fits"},
          {%{"type" => "string", "minLength" => 2, "maxLength" => 1}, "no text fits"},
          {%{"allOf" => [%{"type" => "string"}, %{"type" => "integer"}]}, "no text fits"},
          {%{"type" => "object", "required" => ["a"], "additionalProperties" => false}, "no text fits"},
          {false, "no text fits"}
        ] do
      test "is refused: #{inspect(schema)}" do
        error = assert_raise Mlx.Error, fn -> Grammar.json_schema(unquote(Macro.escape(schema))) end
        assert String.starts_with?(error.message, "Mlx.LM.Grammar.json_schema: " <> unquote(message)), error.message
      end
    end

    test "is refused in bounded time, also where it is made to take long" do
      deep = Enum.reduce(1..5000, %{"type" => "string"}, fn _, schema -> %{"type" => "array", "items" => schema} end)
      wide = %{"anyOf" => for(_ <- 1..300, do: %{"type" => "string"})}

      growing = %{
        "properties" => %{"a" => %{"allOf" => [%{"$ref" => "#"}, %{"properties" => %{"b" => %{"$ref" => "#"}}}]}}
      }

      for {grammar, message} <- [
            {fn -> Grammar.json_schema(deep) end, ~r/nested more than/},
            {fn -> Grammar.json_schema(JSON.encode!(deep)) end, ~r/nested more than/},
            {fn ->
               Grammar.json_schema(%{"allOf" => [wide, Map.put(wide, "anyOf", Enum.reverse([true | wide["anyOf"]]))]})
             end, ~r/"anyOf" .* cannot be enforced/},
            {fn -> Grammar.json_schema(%{"type" => "string", "pattern" => "(a|b)*a(a|b){30}"}) end,
             ~r/more than 20000 states/},
            {fn -> Grammar.json_schema(%{"type" => "string", "pattern" => "a{1000000000}"}) end,
             ~r/"pattern" .* more than/},
            {fn -> Grammar.regex("(a|b)*a(a|b){40}") end, ~r/more than 20000 states/},
            {fn -> Grammar.regex("((((a{0,100}){0,100}){0,100}){0,100}){0,100}") end, ~r/more than 20000 states/},
            {fn -> Grammar.regex("(){999999}(){999999}") end, ~r/more than 20000 states/},
            {fn -> Grammar.ebnf("root ::= \"a\"{1000000}") end, ~r/more than 20000 states/},
            {fn -> Grammar.json_schema("{") end, ~r/the schema is no JSON/},
            {fn -> Grammar.json_schema(String.duplicate("[", 100_000)) end, ~r/the schema is no JSON/}
          ] do
        error = assert_raise Mlx.Error, grammar
        assert error.message =~ message
      end

      assert %Grammar{} = Grammar.json_schema(growing)
    end

    test "is refused in regular expressions and grammars, with the reason" do
      for {source, message} <- [
            {"(?=a)", "look-ahead"},
            {"(a)\\1", "back-references"},
            {"\\bword", "`\\b` is not supported"},
            {"a**", "repeated without a group"},
            {"*a", "nothing that `*` could repeat"},
            {"(a", "a `(` has no `)`"},
            {"a)", "a `)` without a `(`"},
            {"[a", "a `[` has no `]`"},
            {"[b-a]", "runs backwards"},
            {"a^b", "`^` and `$` can stand only"},
            {"a{3,2}", "a minimum above its maximum"},
            {"\\", "a `\\` ends it"},
            {<<0xFF>>, "it is not UTF-8"}
          ] do
        error = assert_raise Mlx.Error, fn -> Grammar.regex(source) end
        assert String.starts_with?(error.message, "Mlx.LM.Grammar.regex: the regular expression ")
        assert error.message =~ message
      end

      for {source, message} <- [
            {"", "line 1: there is no rule"},
            {"root ::= (\"a\"", "line 1: expected `)`"},
            {"root ::= \"a", "line 1: a quoted text has no end"},
            {"root ::= a", "the rule root calls a, which is not defined"},
            {"root ::= a \"x\"\na ::= root | \"b\"", "calls itself"},
            {"root ::= a root | \"b\"\na ::= \"x\"?", "calls itself"},
            {"root ::= \"a\"\nroot ::= \"b\"", "the rule root is defined twice"},
            {"root ::= root", "no text fits"},
            {"root ::= \"a\" root", "no text fits"},
            {"root ::= \"\\q\"", "line 1: `\\q` is no known escape"},
            {"\nroot ::= @", "line 2: \"@\" cannot stand here"}
          ] do
        error = assert_raise Mlx.Error, fn -> Grammar.ebnf(source) end
        assert error.message =~ message
        assert String.starts_with?(error.message, "Mlx.LM.Grammar.ebnf: ")
      end
    end

    test "no text of noise breaks a reader" do
      pieces = ~w|( ) [ ] { } * + ? . ^ $ \\ \\d a b - , 1 2 : = " ' # é < > root ::=| ++ ["|", "\n", " "]

      for seed <- 1..400 do
        :rand.seed(:exsss, seed)
        source = Enum.map_join(1..Enum.random(1..14), fn _ -> Enum.random(pieces) end)

        for read <- [
              &Grammar.regex/1,
              &Grammar.ebnf/1,
              &Grammar.json_schema(%{"pattern" => &1}),
              &Grammar.json_schema/1
            ] do
          try do
            assert %Grammar{} = read.(source)
          rescue
            error in Mlx.Error -> assert error.message =~ "Mlx.LM.Grammar."
          end
        end
      end
    end
  end

  describe "a schema" do
    test "orders properties as it has them" do
      schema = %{
        "properties" => %{"b" => %{"const" => 1}, "a" => %{"const" => 2}, "c" => true},
        "required" => ["b", "a"]
      }

      assert accepts?(Grammar.json_schema(schema), ~s({"b": 1, "a": 2}))
      refute accepts?(Grammar.json_schema(schema), ~s({"a": 2, "b": 1}))
      text = ~s({"properties": {"b": {"const": 1}, "a": {"const": 2}}, "required": ["a", "b"]})
      assert accepts?(Grammar.json_schema(text), ~s({"b": 1, "a": 2}))
      pairs = [type: :object, properties: [z: %{const: 1}, a: %{const: 2}], required: [:a]]
      assert accepts?(Grammar.json_schema(pairs), ~s({"z": 1, "a": 2}))
      assert accepts?(Grammar.json_schema(pairs), ~s({"a": 2}))
      refute accepts?(Grammar.json_schema(pairs), ~s({"z": 1}))
    end

    test "has numbers exactly between its bounds" do
      :rand.seed(:exsss, 3)

      name = fn low ->
        if(low, do: Enum.random(~w(minimum exclusiveMinimum)), else: Enum.random(~w(maximum exclusiveMaximum)))
      end

      for _ <- 1..60 do
        bounds = for low <- [true, false], do: {name.(low), Enum.random(-120..120) / Enum.random([1, 1, 10, 100])}
        bounds = Map.new(Enum.take_random(bounds, Enum.random(1..2)))
        number = try_schema(Map.put(bounds, "type", "number"))
        integer = try_schema(Map.put(bounds, "type", "integer"))

        for _ <- 1..60 do
          value = Enum.random(-12500..12500) / Enum.random([1, 10, 100])
          text = if trunc(value) == value, do: "#{trunc(value)}", else: Float.to_string(value)
          expected = Enum.all?(bounds, fn {name, bound} -> within?(name, value, bound) end) and text != "-0"
          assert {bounds, text, number != nil and accepts?(number, text)} == {bounds, text, expected}

          if trunc(value) == value,
            do: assert({bounds, text, integer != nil and accepts?(integer, text)} == {bounds, text, expected})
        end
      end
    end

    # nil where no number fits.
    defp try_schema(schema) do
      Grammar.json_schema(schema)
    rescue
      error in Mlx.Error ->
        assert error.message =~ "no text fits"
        nil
    end

    defp within?("minimum", value, bound), do: value >= bound
    defp within?("exclusiveMinimum", value, bound), do: value > bound
    defp within?("maximum", value, bound), do: value <= bound
    defp within?("exclusiveMaximum", value, bound), do: value < bound

    test "has multiples of integers" do
      grammar = Grammar.json_schema(%{"type" => "integer", "multipleOf" => 7, "minimum" => -50, "maximum" => 1000})
      for value <- -60..1010, do: assert(accepts?(grammar, "#{value}") == (rem(value, 7) == 0 and value in -50..1000))
    end

    test "leaves out of constants what does not fit the other keywords" do
      schema = %{"type" => "string", "enum" => ["a", "bb", 3, "ccc"], "maxLength" => 2, "pattern" => "^[ab]"}
      grammar = Grammar.json_schema(schema)
      assert for(text <- ["\"a\"", "\"bb\"", "3", "\"ccc\""], do: accepts?(grammar, text)) == [true, true, false, false]
    end

    test "has no second property of a name, however it is written" do
      schema = %{
        "properties" => %{"a" => %{"const" => 1}},
        "required" => ["a"],
        "additionalProperties" => %{"type" => "string"}
      }

      grammar = Grammar.json_schema(schema)
      assert accepts?(grammar, ~s({"a": 1, "b": "x", "aa": "y", "": "z"}))
      refute accepts?(grammar, ~s({"a": 1, "a": "x"}))
      refute accepts?(grammar, ~s({"a": 1, "\\u0061": "x"}))
    end

    test "counts characters, whatever their bytes" do
      grammar = Grammar.json_schema(%{"type" => "string", "minLength" => 1, "maxLength" => 2})
      for text <- ["\"é€\"", "\"\\ud83d\\ude00x\"", "\"😀\"", "\"\\n\\\"\""], do: assert(accepts?(grammar, text), text)
      for text <- ["\"\"", "\"abc\"", "\"\\ud83d\\ude00xy\""], do: refute(accepts?(grammar, text), text)
      assert %Grammar{} = Grammar.json_schema(%{"type" => "string", "maxLength" => 1_000_000_000_000})
    end

    test "has any number of optional properties" do
      names = for index <- 1..300, do: "name #{index}"

      schema = %{
        "properties" => Map.new(names, &{&1, %{"const" => 1}}),
        "required" => ["name 7"],
        "additionalProperties" => %{"const" => 2}
      }

      grammar = Grammar.json_schema(schema)
      assert accepts?(grammar, ~s({"name 7": 1}))
      assert accepts?(grammar, ~s({"name 7": 1, "name 1": 1, "name 20": 1, "other": 2}))
      refute accepts?(grammar, ~s({"name 1": 1, "name 20": 1}))
      refute accepts?(grammar, ~s({"name 7": 1, "name 20": 1, "name 1": 1}))
      refute accepts?(grammar, ~s({"name 7": 1, "name 20": 2}))
    end

    test "has days of the calendar" do
      grammar = Grammar.json_schema(%{"type" => "string", "format" => "date"})

      for year <- [1, 4, 1900, 2000, 2023, 2024], month <- 0..13, day <- 0..32 do
        text =
          Enum.map_join([{year, 4}, {month, 2}, {day, 2}], "-", fn {n, width} ->
            String.pad_leading("#{n}", width, "0")
          end)

        assert accepts?(grammar, "\"#{text}\"") == match?({:ok, _}, Date.from_iso8601(text))
      end
    end
  end

  describe "masks" do
    test "stand before all in logits" do
      logits = Mlx.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
      masked = Grammar.apply_masks(logits, [<<0b0110::32-little>>, nil])
      assert Mlx.to_list(masked) == [[:neg_infinity, 2.0, 3.0, :neg_infinity], [1.0, 2.0, 3.0, 4.0]]
      ids = for _ <- 1..70, do: 1.0
      [row] = Mlx.to_list(Grammar.apply_masks(Mlx.array([ids]), [<<1::32-little, 1::32-little>>]))
      assert for({1.0, index} <- Enum.with_index(row), do: index) == [0, 32]
    end
  end

  describe "real vocabularies" do
    @describetag :model

    setup do
      %{tokenizer: Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL")).tokenizer}
    end

    test "have the tokens that their bytes say, at places of texts of many grammars", %{tokenizer: tokenizer} do
      :rand.seed(:exsss, 9)
      ids = Enum.to_list(0..(Tokenizer.size(tokenizer) - 1))

      grammars = [
        Grammar.json(),
        Grammar.regex("[A-Z]\\w+( [^\\d\\s]+){2,5}[.!?]"),
        Grammar.json_schema(%{
          "properties" => %{"a" => %{"maxLength" => 5}, "b" => %{"format" => "uri"}},
          "required" => ["a"]
        }),
        Grammar.ebnf(~S{root ::= (word | "(" root ")") (" " root)?
          word ::= [a-z]+ | [а-я]+ | [一-鿿]+})
      ]

      for grammar <- grammars do
        compiled = Grammar.compile(grammar, tokenizer)

        Enum.reduce_while(1..6, Grammar.start(compiled), fn _step, state ->
          assert GrammarTexts.by_masks(state) == GrammarTexts.by_bytes(state, ids)

          case Grammar.allowed(state) -- Enum.to_list(state.end_ids) do
            [] -> {:halt, state}
            allowed -> {:cont, Grammar.accept(state, Enum.random(allowed))}
          end
        end)
      end
    end
  end

  test "sets of tokens are those of their numbers" do
    for seed <- 1..50 do
      :rand.seed(:exsss, seed)
      sets = for _ <- 1..3, do: for(_ <- 1..Enum.random(0..60)//1, do: Enum.random(0..3000))
      [one, two, without] = for ids <- sets, do: Enum.random([TokenSet.new(ids), words(ids)])
      all = Enum.sort(Enum.uniq(Enum.at(sets, 0) ++ Enum.at(sets, 1)))
      assert GrammarTexts.numbers([TokenSet.union([one, two], 94)]) == all
      left = all -- Enum.at(sets, 2)
      assert TokenSet.words([one, two], without, 95) == if(left != [], do: words(left) <> <<0::32>>)
    end

    assert TokenSet.least_words(TokenSet.new([31, 64, 3])) == 3
    assert Stacks.end?([]) == false
  end

  defp words(ids) do
    bits = Enum.reduce(ids, 0, &(&2 ||| 1 <<< &1))
    <<bits::size(94 * 32)-little>>
  end
end
