defmodule Mlx.LM.Tokenizer.OffsetsTest do
  # Which part of a text each token stands for. `kinds_test`, `models_test` and `encodings_test` compare many more.
  use ExUnit.Case, async: true

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.ByteAlphabet

  @moduletag :tmp_dir

  @script Path.expand("../../../oracle/encodings.py", __DIR__)

  @bytes %{"type" => "ByteLevel", "add_prefix_space" => false, "trim_offsets" => false, "use_regex" => true}
  @pieces [
    " ",
    " ",
    "  ",
    "\n",
    "\t",
    "\u00A0",
    "\u3000",
    "a",
    "b",
    "ab",
    "é",
    "中",
    "😀",
    "e\u0301",
    "<m>",
    " <m> ",
    "!"
  ]

  @marker %{
    "id" => 265,
    "content" => "<m>",
    "special" => true,
    "normalized" => false,
    "single_word" => false,
    "lstrip" => true,
    "rstrip" => true
  }

  # Bytes, and tokens with spaces at both ends.
  defp byte_level(changes) do
    letters = Enum.map(0..255, &ByteAlphabet.character/1)
    tokens = letters ++ ["ĠĠ", "Ġa", "aĠ", "ĠaĠ", "ab", "Ã©", "Ġab", "[C]", "[S]"]

    Map.merge(
      %{
        "version" => "1.0",
        "added_tokens" => [@marker],
        "normalizer" => nil,
        "pre_tokenizer" => @bytes,
        "decoder" => @bytes,
        "post_processor" => nil,
        "truncation" => nil,
        "padding" => nil,
        "model" => %{
          "type" => "BPE",
          "vocab" => tokens |> Enum.with_index() |> Map.new(),
          "merges" => [["Ġ", "Ġ"], ["a", "b"], ["Ġ", "a"], ["a", "Ġ"], ["Ġa", "Ġ"], ["Ã", "©"], ["Ġ", "ab"]]
        }
      },
      changes
    )
  end

  defp text, do: for(_piece <- 1..Enum.random(0..12)//1, into: "", do: Enum.random(@pieces))

  defp bert(type, more), do: Map.merge(%{"type" => type, "sep" => ["[S]", 264], "cls" => ["[C]", 263]}, more)
  defp trim(prefix), do: %{@bytes | "trim_offsets" => true, "add_prefix_space" => prefix}
  defp sequence(parts), do: %{"type" => "Sequence", "processors" => parts}

  defp post_processors do
    roberta = &bert("RobertaProcessing", %{"trim_offsets" => &1, "add_prefix_space" => &2})
    pieces = fn names -> for name <- names, do: %{"Sequence" => %{"id" => name, "type_id" => 0}} end

    template =
      Map.merge(
        %{
          "type" => "TemplateProcessing",
          "special_tokens" => %{"[C]" => %{"id" => "[C]", "ids" => [263], "tokens" => ["[C]"]}}
        },
        %{
          "single" => [%{"SpecialToken" => %{"id" => "[C]", "type_id" => 0}} | pieces.(["A"])],
          "pair" => pieces.(["B", "A", "B"])
        }
      )

    [
      nil,
      trim(true),
      trim(false),
      bert("BertProcessing", %{}),
      roberta.(true, true),
      roberta.(true, false),
      roberta.(false, true),
      sequence([bert("BertProcessing", %{}), trim(true)]),
      sequence([trim(true), bert("BertProcessing", %{})]),
      sequence([roberta.(true, false), trim(true)]),
      sequence([sequence([trim(true)]), trim(false)]),
      sequence([template, trim(true)]),
      sequence([trim(true), template])
    ]
  end

  # `byte_level` with a normalizer or another pre-tokenizer.
  defp variants do
    [
      %{},
      %{"pre_tokenizer" => %{@bytes | "use_regex" => false}},
      %{"pre_tokenizer" => %{@bytes | "add_prefix_space" => true}},
      %{"normalizer" => %{"type" => "Prepend", "prepend" => " "}},
      %{"normalizer" => %{"type" => "NFD"}},
      %{"normalizer" => %{"type" => "Replace", "pattern" => %{"String" => " "}, "content" => "  "}}
    ]
  end

  defp python(folder, cases) do
    cases = for {file, texts, add} <- cases, do: %{file: file, texts: Enum.map(texts, &json/1), add_special: add}
    File.write!(Path.join(folder, "cases.json"), JSON.encode!(cases))
    {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, folder])

    for encodings <- JSON.decode!(output) do
      for [ids, _types, _special, _mask, offsets] <- encodings, do: {ids, Enum.map(offsets, &List.to_tuple/1)}
    end
  end

  defp json(pair) when is_tuple(pair), do: Tuple.to_list(pair)
  defp json(text), do: text

  @tag :oracle
  test "white space is trimmed as by Python, in pairs and in what was cut", %{tmp_dir: folder} do
    :rand.seed(:exsss, {4, 2, 1})

    cases =
      for {post_processor, kind} <- Enum.with_index(post_processors()),
          {variant, number} <- Enum.with_index(variants()) do
        cut = %{
          "max_length" => 8,
          "strategy" => "LongestFirst",
          "stride" => 0,
          "direction" => Enum.random(~w(Left Right))
        }

        fill = %{
          "strategy" => "BatchLongest",
          "direction" => "Left",
          "pad_id" => 0,
          "pad_type_id" => 0,
          "pad_token" => "!"
        }

        changes = %{"post_processor" => post_processor, "truncation" => Enum.random([nil, cut]), "padding" => fill}
        definition = variant |> Map.merge(changes) |> byte_level() |> JSON.encode!()
        file = Path.join(folder, "#{kind}-#{number}.json")
        File.write!(file, definition)
        texts = for(_text <- 1..40, do: text()) ++ for _pair <- 1..20, do: {text(), text()}
        {file, definition, texts, Enum.random([true, true, false])}
      end

    expected = python(folder, for({file, _json, texts, add} <- cases, do: {file, texts, add}))

    for {{_file, json, texts, add}, expected} <- Enum.zip(cases, expected) do
      ours = json |> Tokenizer.from_json() |> Tokenizer.encodings(texts, add_special: add, offsets: true)

      for {text, ours, theirs} <- Enum.zip([texts, ours, expected]),
          do: assert({json, text, {ours.ids, ours.offsets}} == {json, text, theirs})
    end

    assert expected |> List.flatten() |> length() == 60 * length(cases)
  end

  test "a part of a text is what its token is written as" do
    :rand.seed(:exsss, {4, 2, 2})
    tokenizer = %{"added_tokens" => []} |> byte_level() |> JSON.encode!() |> Tokenizer.from_json()

    for _round <- 1..2_000 do
      text = text()
      encoding = Tokenizer.encoding(tokenizer, text, offsets: true)

      for {id, {from, to}} <- Enum.zip(encoding.ids, encoding.byte_offsets) do
        written = Tokenizer.bytes(tokenizer, id)
        part = binary_part(text, from, to - from)
        # A token may be a part of a character, or begin or end inside of one.
        assert {text, String.contains?(part, written)} == {text, true}
        if String.valid?(written), do: assert({text, part} == {text, written})
      end

      # The parts are the text, but for characters that are several tokens.
      assert encoding.byte_offsets
             |> Enum.uniq()
             |> Enum.map_join(fn {from, to} -> binary_part(text, from, to - from) end) == text
    end
  end

  test "bytes that are not UTF-8 count as characters" do
    tokenizer = %{} |> byte_level() |> JSON.encode!() |> Tokenizer.from_json()
    encoding = Tokenizer.encoding(tokenizer, <<"é", 0xFF, "a", 0xC3, "<m>b">>, offsets: true)

    assert encoding.byte_offsets == [{0, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 8}, {8, 9}]
    assert encoding.offsets == [{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 7}, {7, 8}]
    :rand.seed(:exsss, {4, 2, 3})

    for _round <- 1..500 do
      bytes =
        for _piece <- 1..Enum.random(1..10),
            into: "",
            do: Enum.random(["é", "a", <<0xFF>>, <<0xE4, 0xB8>>, <<0x10FFFF::utf8>>])

      encoding = Tokenizer.encoding(tokenizer, bytes, offsets: true)

      assert encoding.byte_offsets
             |> Enum.uniq()
             |> Enum.map_join(fn {from, to} -> binary_part(bytes, from, to - from) end) == bytes
    end
  end

  test "no text has no offsets, and what is around it stands for nothing" do
    tokenizer =
      %{"post_processor" => bert("BertProcessing", %{})} |> byte_level() |> JSON.encode!() |> Tokenizer.from_json()

    assert %{offsets: [{0, 0}, {0, 0}], byte_offsets: [{0, 0}, {0, 0}]} =
             Tokenizer.encoding(tokenizer, "", offsets: true)

    encoding = Tokenizer.encoding(tokenizer, "a", offsets: true, padding: [length: 5])
    assert encoding.offsets == [{0, 0}, {0, 1}, {0, 0}, {0, 0}, {0, 0}]
  end
end
