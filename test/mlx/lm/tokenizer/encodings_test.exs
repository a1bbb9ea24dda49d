defmodule Mlx.LM.Tokenizer.EncodingsTest do
  # Pairs of texts, truncation, padding and batches.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.TokenizerTexts

  @moduletag :tmp_dir

  @script Path.expand("../../../oracle/encodings.py", __DIR__)

  @words ~w([CLS] [SEP] [PAD] [UNK] a b c d e)
  @special for {token, id} <- Enum.with_index(["[CLS]", "[SEP]", "[PAD]"]),
               into: %{},
               do: {token, %{"id" => token, "ids" => [id], "tokens" => [token]}}

  defp definition(changes) do
    Map.merge(
      %{
        "version" => "1.0",
        "added_tokens" => [],
        "normalizer" => nil,
        "pre_tokenizer" => %{"type" => "Whitespace"},
        "decoder" => nil,
        "truncation" => nil,
        "padding" => nil,
        "post_processor" => nil,
        "model" => %{"type" => "WordLevel", "vocab" => @words |> Enum.with_index() |> Map.new(), "unk_token" => "[UNK]"}
      },
      changes
    )
  end

  defp special(token, type), do: %{"SpecialToken" => %{"id" => token, "type_id" => type}}
  defp text(name, type), do: %{"Sequence" => %{"id" => name, "type_id" => type}}

  defp template(single, pair),
    do: %{"type" => "TemplateProcessing", "single" => single, "pair" => pair, "special_tokens" => @special}

  defp bert(type), do: %{"type" => type, "sep" => ["[SEP]", 1], "cls" => ["[CLS]", 0]}
  defp roberta, do: Map.merge(bert("RobertaProcessing"), %{"trim_offsets" => true, "add_prefix_space" => false})

  defp byte_level,
    do: %{"type" => "ByteLevel", "add_prefix_space" => true, "trim_offsets" => false, "use_regex" => true}

  defp post_processors do
    cls = special("[CLS]", 0)

    [
      nil,
      byte_level(),
      bert("BertProcessing"),
      roberta(),
      %{
        "type" => "Sequence",
        "processors" => [byte_level(), template([cls, text("A", 0)], [cls, text("A", 0), text("B", 1)])]
      },
      template([text("A", 0)], [text("A", 0), text("B", 1)]),
      template([text("A", 2), special("[SEP]", 3)], [text("B", 1), special("[SEP]", 5), text("A", 0), cls]),
      template([cls, cls, text("A", 0), special("[SEP]", 1)], [cls, text("A", 0), text("B", 1), text("A", 4)])
    ] ++ trimming()
  end

  # White space is trimmed before or behind tokens are put around texts, and perhaps twice.
  defp trimming do
    trim = fn prefix -> %{byte_level() | "trim_offsets" => true, "add_prefix_space" => prefix} end
    sequence = &%{"type" => "Sequence", "processors" => &1}

    [
      trim.(true),
      trim.(false),
      sequence.([bert("BertProcessing"), trim.(true)]),
      sequence.([trim.(true), bert("BertProcessing"), trim.(false)]),
      sequence.([roberta(), trim.(true)]),
      sequence.([%{roberta() | "trim_offsets" => false}, trim.(true)])
    ]
  end

  # A number in about half of all cases, and nil in others.
  defp one(choices), do: Enum.random(choices)

  defp truncation do
    one([
      nil,
      %{
        "max_length" => Enum.random(5..12),
        "strategy" => one(~w(LongestFirst LongestFirst OnlyFirst OnlySecond)),
        "direction" => one(~w(Left Right)),
        "stride" => 0
      }
    ])
  end

  defp padding do
    one([
      nil,
      %{
        "strategy" => one(["BatchLongest", %{"Fixed" => Enum.random(0..20)}]),
        "direction" => one(~w(Left Right)),
        "pad_to_multiple_of" => one([nil, 0, 1, 4, 7]),
        "pad_id" => 2,
        "pad_type_id" => Enum.random(0..3),
        "pad_token" => "[PAD]"
      }
    ])
  end

  defp words, do: Enum.map_join(1..Enum.random(0..9)//1, " ", fn _word -> Enum.random(~w(a b c d e f)) end)
  defp text_or_pair, do: one([words(), {words(), words()}])

  # What Python gives for `{file, texts, add_special}`.
  defp python(folder, cases) do
    cases =
      for {file, texts, add_special} <- cases do
        texts = for text <- texts, do: if(is_tuple(text), do: Tuple.to_list(text), else: text)
        %{file: file, texts: texts, add_special: add_special}
      end

    File.write!(Path.join(folder, "cases.json"), JSON.encode!(cases))
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, 0} = System.cmd("sh", ["-c", ~s(exec "$0" "$@" 2>/dev/null), python, @script, folder])

    for encodings <- JSON.decode!(output) do
      for [ids, types, special, mask, offsets] <- encodings || [:error],
          do: %{ids: ids, types: types, special: special, mask: mask, offsets: Enum.map(offsets, &List.to_tuple/1)}
    end
  rescue
    FunctionClauseError -> flunk("the script gave something else than encodings")
  end

  # Without the option, nothing else is different.
  defp ours(tokenizer, texts, options) do
    encodings = Tokenizer.encodings(tokenizer, texts, [offsets: true] ++ options)

    assert Enum.map(encodings, &Map.drop(&1, [:offsets, :byte_offsets])) ==
             Tokenizer.encodings(tokenizer, texts, options)

    Enum.map(encodings, &Map.delete(&1, :byte_offsets))
  rescue
    ArgumentError -> []
  end

  @tag :oracle
  test "encodings are those of Python", %{tmp_dir: folder} do
    :rand.seed(:exsss, {17, 1, 2})

    cases =
      for {post_processor, kind} <- Enum.with_index(post_processors()), number <- 1..60 do
        json =
          JSON.encode!(
            definition(%{"post_processor" => post_processor, "truncation" => truncation(), "padding" => padding()})
          )

        file = Path.join(folder, "#{kind}-#{number}.json")
        File.write!(file, json)
        {file, json, for(_text <- 1..Enum.random(1..4), do: text_or_pair()), one([true, true, false])}
      end

    expected = python(folder, for({file, _json, texts, add} <- cases, do: {file, texts, add}))

    for {{_file, json, texts, add}, expected} <- Enum.zip(cases, expected) do
      assert {json, texts, add, ours(Tokenizer.from_json(json), texts, add_special: add)} ==
               {json, texts, add, expected}
    end

    # Some cannot be cut, and most can.
    assert Enum.count(expected, &(&1 == [])) in 5..150
  end

  @tag :oracle
  @tag :tokenizers
  test "encodings of models are those of Python", %{tmp_dir: folder} do
    root = System.fetch_env!("MLX_TEST_TOKENIZERS")
    texts = TokenizerTexts.random(120, {5, 5, 5})
    pairs = Enum.zip(texts, Enum.reverse(texts))

    files = Path.wildcard(Path.join(root, "*/tokenizer.json"))
    assert length(files) >= 5

    for file <- files,
        {add, batch} <- [{true, Enum.take(pairs, 60) ++ Enum.take(texts, 60)}, {false, Enum.take(pairs, 20)}] do
      [expected] = python(folder, [{file, batch, add}])
      tokenizer = Tokenizer.from_folder(Path.dirname(file))

      for {text, ours, theirs} <- Enum.zip([batch, ours(tokenizer, batch, add_special: add), expected]),
          do: assert({file, text, ours} == {file, text, theirs})
    end
  end

  test "options stand in place of what the file says" do
    tokenizer =
      %{
        "post_processor" => bert("BertProcessing"),
        "truncation" => %{"max_length" => 6},
        "padding" => %{"strategy" => %{"Fixed" => 8}, "pad_id" => 2}
      }
      |> definition()
      |> JSON.encode!()
      |> Tokenizer.from_json()

    pair = {"a b c d e", "a b"}
    assert Tokenizer.encoding(tokenizer, pair).ids == [0, 4, 5, 1, 4, 1, 2, 2]
    assert Tokenizer.encoding(tokenizer, pair, truncation: nil, padding: nil).ids == [0, 4, 5, 6, 7, 8, 1, 4, 5, 1]
    cut = [max_length: 7, strategy: :only_first, direction: :left]
    assert Tokenizer.encoding(tokenizer, pair, truncation: cut, padding: nil).ids == [0, 7, 8, 1, 4, 5, 1]

    filled =
      Tokenizer.encodings(tokenizer, ["a", "a b c"], truncation: nil, padding: [multiple_of: 4, direction: :left])

    assert Enum.map(filled, & &1.ids) == [[2, 2, 2, 2, 2, 0, 4, 1], [2, 2, 2, 0, 4, 5, 6, 1]]
    assert Enum.map(filled, & &1.mask) == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert Tokenizer.encodings(tokenizer, []) == []
    # Without truncation or padding of the caller's, encode gives the same tokens.
    assert Tokenizer.encode(tokenizer, "a b c d e") ==
             Tokenizer.encoding(tokenizer, "a b c d e", truncation: nil, padding: nil).ids
  end

  test "tokenizers of GGUF files put around each text what they put around one" do
    letters = Enum.map(0..255, &Tokenizer.ByteAlphabet.character/1)

    tokenizer =
      Tokenizer.from_gguf(%{
        "tokenizer.ggml.model" => "gpt2",
        "tokenizer.ggml.tokens" => letters ++ ["ab", "<s>", "</s>"],
        "tokenizer.ggml.merges" => ["a b"],
        "tokenizer.ggml.bos_token_id" => 257,
        "tokenizer.ggml.eos_token_id" => 258,
        "tokenizer.ggml.add_bos_token" => true,
        "tokenizer.ggml.add_eos_token" => true
      })

    assert %{ids: [257, 256, 258, 257, ?c, 258], types: [0, 0, 0, 1, 1, 1]} = Tokenizer.encoding(tokenizer, {"ab", "c"})
  end

  test "wrong options and texts are told" do
    tokenizer = Tokenizer.from_json(JSON.encode!(definition(%{"post_processor" => roberta()})))

    for {text, options, problem} <- [
          {"a", [truncation: [max_length: -1]], "expected :truncation to be :file, nil, or a list of :max_length"},
          {"a", [truncation: [length: 3]], "expected :truncation to be"},
          {"a", [truncation: [max_length: 4, strategy: :best]], "expected :truncation to be"},
          {"a", [truncation: 4], "expected :truncation to be"},
          {"a", [padding: [length: :shortest]], "expected :padding to be :file, nil, or a list of :length"},
          {"a", [padding: [multiple_of: 0]], "expected :padding to be"},
          {"a", [padding: [length: 1_000_000_000_000]], "expected :padding to be"},
          {"a", [add_special: 1], "expected :add_special to be true or false, got: 1"},
          {"a", [offsets: :bytes], "expected :offsets to be true or false, got: :bytes"},
          {{"a", 1}, [], "expected a string, or a pair of strings {a, b}, got: {\"a\", 1}"},
          {"a", [truncation: [max_length: 1]], "expected a length of at least 2, the tokens that are put around"},
          {"a b c", [truncation: [max_length: 4, strategy: :only_second]], "expected a pair of texts"},
          {{"a", "b c"}, [truncation: [max_length: 5, strategy: :only_first]],
           "long enough to be cut alone, by 2 tokens"}
        ] do
      error = assert_raise ArgumentError, fn -> Tokenizer.encoding(tokenizer, text, options) end
      assert {problem, error.message =~ problem} == {problem, true}
      assert error.message =~ ~r/^Mlx\.LM\.Tokenizer\.encoding: /
    end
  end

  test "wrong parts of a file are told with their place" do
    for {changes, problem} <- [
          {%{"truncation" => 3}, "tokenizer.json, truncation has to be an object"},
          {%{"post_processor" => Map.put(byte_level(), "trim_offsets", 1)}, "post_processor.trim_offsets has to be"},
          {%{"truncation" => %{"max_length" => -3}}, "truncation.max_length has to be an integer that is not negative"},
          {%{"truncation" => %{"max_length" => 3, "strategy" => "x"}}, "truncation.strategy has to be one of"},
          {%{"padding" => %{"strategy" => %{"Fixed" => 1.0e300}}}, "padding.strategy has to be \"BatchLongest\""},
          {%{"padding" => %{"strategy" => "BatchLongest", "direction" => 1}}, "padding.direction has to be one of"},
          {%{"post_processor" => template([text("A", 0)], [text("A", 0)])}, "pair has to have the sequences A and B"},
          {%{"post_processor" => template([text("B", 0)], [])}, "single has to have the sequence A once"},
          {%{"post_processor" => template([text("A", -1)], [])}, "single[0].type_id has to be an integer"}
        ] do
      error = assert_raise Mlx.Error, fn -> Tokenizer.from_json(JSON.encode!(definition(changes))) end
      assert {problem, error.message =~ problem} == {problem, true}
    end
  end
end
