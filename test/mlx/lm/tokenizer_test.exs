defmodule Mlx.LM.TokenizerTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{BytePairEncoding, ByteAlphabet, ByteTokens, CharacterClass, Incomplete, LoneBytes, Pattern}
  alias Mlx.LM.Tokenizer.{Scripts, StreamDecoder, WordScanner}

  doctest Tokenizer
  doctest ByteAlphabet
  doctest CharacterClass
  doctest ByteTokens
  doctest Incomplete
  doctest LoneBytes
  doctest Pattern
  doctest Scripts
  doctest WordScanner

  @script Path.expand("../../oracle/tokenizer.py", __DIR__)

  # Characters that pre-tokenizers, byte-pair encoding and UTF-8 treat differently.
  @alphabet [
    ~w(a b c x Z é ß ñ ﬁ ſ İ ı Я ж ω Ω أ ב 中 文 字 の カ 한 글 อ ำ क ् ष),
    ~w(0 1 9 ٣ ५ ² ½ Ⅷ 〇 ㊿),
    ["!", "?", "'", "’", "\"", "-", "_", ".", ",", "(", ")", "{", "}", "<", ">", "|", "#", "$", "€", "=>", "::"],
    [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00A0", "\u3000", "\u2003", "\u200B", "\u0085", "\u2028", "\v", "\f"],
    ["😀", "👩‍👩‍👧", "🇫🇷", "👍🏽", "\u0301", "\u0308", "\u200D", "\uFEFF", "\uFFFD", "𝒜", "𐍈", "\u{1F9FF}"],
    ["'s", "'S", "'re", "'LL", "'ſ", "the", " the", "ing", "def ", "return", "<|im_end|>", "<|im_start|>", "<|im", "|>"]
  ]

  @texts [
    "",
    " ",
    "Hello, world!",
    "What is the capital of France?",
    "it's they're I've we'll he'd I'm don't IT'S THEY'RE o'clock 'twas ''' 's",
    "0123456789 3.14159 1,000,000 2024-11-22 0xFF 1e-9 a1b2c3 ²³½ Ⅷ ٣٤٥ ५६ 12 3 4  5",
    "  leading",
    "trailing  ",
    "   ",
    "\t",
    "\n",
    "\n\n\n",
    " \n \n x",
    "a  b   c    d",
    "a \n",
    "a\t\tb \t c",
    "\r\n\r\n",
    "line one\r\nline two\r\n\r\nline three\n",
    "a\u00A0b\u3000c\u2003d\u0085e",
    "x \u00A0 y",
    "a\u200Bb",
    "\uFEFFbom",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] >> 3; }\n\t// done",
    "<html><body class=\"x\">&nbsp;</body></html>",
    "SELECT * FROM t WHERE a='b' AND c<>1;--",
    "{\"k\": [1, 2.5, null]}",
    "$x = $y->{'z'} // @{[ 1 ]};",
    "fn main() -> Result<(), Box<dyn Error>> {}",
    "\\frac{1}{2} \\alpha_{i}^{2}",
    "https://example.org/a/b?c=d&e=%20#f",
    "user@example.org",
    "/usr/local/bin",
    "C:\\Windows\\System32",
    "--flag=-1",
    "Ünïcödé naïve café résumé Ærøskøbing Straße ŁÓDŹ",
    "cafe\u0301 n\u0303 a\u0308\u0323 Z\u0351\u036B\u0343",
    "Привет, мир! Как дела?",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "Xin chào thế giới",
    "你好，世界！这是一个测试。",
    "こんにちは世界。カタカナとひらがな",
    "안녕하세요 세계",
    "ᏣᎳᎩ ꮳꮃꭹ",
    "ⰀⰁⰂ 𐌰𐌱𐌲 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "አማርኛ ქართული հայերեն",
    "😀",
    "😀😃😄 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇩🇪 1️⃣ ❤️",
    "a😀b 😀 c",
    "(╯°□°)╯︵ ┻━┻",
    "→ ← ↑ ↓ ∑ ∫ √ ≠ ≤ ∞",
    "«quoted» “double” ‘single’ … — –",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|>",
    "a<|endoftext|>b",
    "<|im_start",
    "<|IM_END|>",
    " <|im_end|> ",
    "<<|im_end|>>",
    "<|im_<|im_end|>end|>",
    "<repo_name>x<file_sep>y<filename>",
    "1<|im_end|>2",
    "  <|im_end|>  ",
    "!!!!!!!!!!!!",
    "----------",
    "================",
    "......",
    "a.b.c",
    "?!?!",
    "#####",
    "_____x_____",
    "(((((",
    "***bold***",
    "\0",
    "\x01\x02\x03\x04\x05\x06\x07\b",
    "a\x04b",
    "\x7F",
    "\e[31mred\e[0m",
    "\uFFFD\uFFFE\uFFFF",
    "\u{10FFFF}",
    "\u{E000}",
    "ABCdef GHI jkl MNOpqr",
    "camelCaseAndPascalCase snake_case kebab-case",
    "supercalifragilisticexpialidocious",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "Ω≈ç√∫˜µ≤≥÷",
    "åß∂ƒ©˙∆˚¬…æ",
    "ĊĠ Ġ Ċ ġ",
    "ﬀﬁﬂ ﷺ ㎏ ㍿",
    "\u0600\u0601 \u06DD",
    "ₐₑₒ ᵃᵇᶜ ⁰¹² ₀₁₂ ①② ⓐ",
    "〇一二三 ㆒ 〡〢",
    "ௐ ௧௨ ௰"
  ]

  @scanners %{
    "gpt-2" => WordScanner.gpt2(),
    "smollm" => %{WordScanner.gpt2() | numbers: 1},
    "llama-bpe" => WordScanner.llama3(3),
    "qwen2" => WordScanner.llama3(1),
    "gpt-4o" => WordScanner.o200k(),
    "tekken" => WordScanner.tekken(),
    "qwen35" => WordScanner.qwen35()
  }

  setup_all do
    case System.get_env("MLX_TEST_MODEL") do
      nil -> :ok
      path -> [path: path, tokenizer: Tokenizer.from_gguf(GGUFMetadata.read(path).metadata)]
    end
  end

  # A vocabulary of the 256 bytes, some words of them and some added tokens.
  defp metadata(changes \\ %{}) do
    bytes = Enum.map(0..255, &ByteAlphabet.character/1)
    words = ["th", "the", "Ġthe", "in", "ing", "aa", "aaa", "aaaa", "Ã©"]
    merges = ["t h", "th e", "Ġ the", "i n", "in g", "a a", "aa aa", "aa a", "Ã ©"]
    added = ["<|start|>", "<|im_end|>", "<|im_end|>x", "[TOOL]", "<｜no▁bytes｜>"]

    Map.merge(
      %{
        "tokenizer.ggml.model" => "gpt2",
        "tokenizer.ggml.pre" => "gpt-2",
        "tokenizer.ggml.tokens" => bytes ++ words ++ added,
        "tokenizer.ggml.merges" => merges,
        "tokenizer.ggml.token_type" => List.duplicate(1, 265) ++ [3, 3, 3, 4, 3],
        "tokenizer.ggml.bos_token_id" => 265,
        "tokenizer.ggml.eos_token_id" => 265,
        "tokenizer.ggml.add_bos_token" => false
      },
      changes
    )
  end

  defp small(changes \\ %{}), do: Tokenizer.from_gguf(metadata(changes))

  defp random_text(size), do: Enum.map_join(1..size//1, fn _index -> @alphabet |> Enum.random() |> Enum.random() end)

  defp random_character do
    case :rand.uniform(4) do
      1 -> <<:rand.uniform(0x80) - 1>>
      2 -> <<:rand.uniform(0x800) - 1::utf8>>
      3 -> <<Enum.random(Enum.random([0x800..0xD7FF, 0xE000..0xFFFF]))::utf8>>
      4 -> <<Enum.random(Enum.random([0x10000..0x10FFFF, 0x1F000..0x1FAFF, 0x10000..0x1FFFF]))::utf8>>
    end
  end

  defp varied_texts do
    :rand.seed(:exsss, {4, 5, 6})

    @texts ++
      for(length <- 1..40, character <- ["a", " ", "=", "\n"], do: String.duplicate(character, length)) ++
      [String.duplicate("ab", 500), String.duplicate("你好", 300), String.duplicate(" \n", 200)] ++
      [for(_index <- 1..3000, into: "", do: <<Enum.random(?a..?h)>>)] ++
      for(size <- 1..150, do: random_text(div(size, 4) + 1))
  end

  defp oracle(command, source, lines) do
    input = Path.join(System.tmp_dir!(), "mlx-tokenizer-#{System.unique_integer([:positive])}.txt")
    File.write!(input, Enum.join(lines, "\n"))

    try do
      {output, 0} = System.cmd(System.fetch_env!("MLX_ORACLE_PYTHON"), [@script, command, source, input])
      output |> String.split("\n") |> Enum.take(length(lines))
    after
      File.rm(input)
    end
  end

  defp numbers(line), do: line |> String.split() |> Enum.map(&String.to_integer/1)

  describe "with a small vocabulary" do
    test "merges by rank, leftmost first" do
      tokenizer = small()
      words = fn text -> tokenizer |> Tokenizer.encode(text) |> Enum.map(&Tokenizer.token(tokenizer, &1)) end
      assert words.("the thing") == ["the", "Ġ", "th", "ing"]
      assert words.("in the") == ["in", "Ġthe"]
      assert words.("aaaaa") == ["aaaa", "a"]
      assert words.("aaa") == ["aaa"]
      assert words.("aaaaaaa") == ["aaaa", "aaa"]
      assert words.("é") == ["Ã©"]
      assert words.("") == []
    end

    test "text is what it was" do
      tokenizer = small()
      :rand.seed(:exsss, {1, 1, 1})

      for _round <- 1..500 do
        text = random_text(:rand.uniform(30))
        assert tokenizer |> Tokenizer.encode(text) |> then(&Tokenizer.decode(tokenizer, &1)) == text
        bytes = :rand.bytes(:rand.uniform(40))
        ids = Tokenizer.encode(tokenizer, bytes)
        assert Enum.map_join(ids, &Tokenizer.bytes(tokenizer, &1)) == bytes
        assert Tokenizer.decode(tokenizer, ids) == String.replace_invalid(bytes)
      end
    end

    test "long words give the tokens that short ones do" do
      encoding = small().model
      :rand.seed(:exsss, {2, 2, 2})

      for _round <- 1..200 do
        word = for _index <- 1..:rand.uniform(300), into: "", do: <<Enum.random(~c"aathing ")>>
        assert BytePairEncoding.encode(encoding, word, false) == by_definition(word)
      end
    end

    # The definition of byte-pair encoding, on tokens as strings and with no care for speed.
    defp by_definition(word) do
      merges = metadata()["tokenizer.ggml.merges"] |> Enum.map(&String.split/1)
      tokenizer = small()
      tokens = word |> :binary.bin_to_list() |> Enum.map(&ByteAlphabet.character/1) |> merge(merges)
      Enum.map(tokens, &Tokenizer.id(tokenizer, &1))
    end

    defp merge(tokens, merges) do
      pairs = Enum.zip(tokens, tl(tokens)) |> Enum.map(fn {left, right} -> [left, right] end)

      case Enum.find(merges, &(&1 in pairs)) do
        nil ->
          tokens

        [left, right] ->
          at = Enum.find_index(pairs, &(&1 == [left, right]))
          {before, [_left, _right | rest]} = Enum.split(tokens, at)
          merge(before ++ [left <> right | rest], merges)
      end
    end

    test "a merge that is better than the one under way goes first" do
      # "a b" comes last, and makes what the two others need.
      tokens = Enum.map(0..255, &ByteAlphabet.character/1) ++ ["ab", "abb", "abbab"]
      ids = tokens |> Enum.with_index() |> Map.new()
      encoding = BytePairEncoding.new(ids, [{"ab", "b"}, {"abb", "ab"}, {"a", "b"}], bytes: true)
      word = String.duplicate("abb", 100)
      assert BytePairEncoding.encode(encoding, "abbab", false) == [ids["abbab"]]
      assert BytePairEncoding.encode(encoding, "abbabb", false) == [ids["abb"], ids["abb"]]
      assert BytePairEncoding.encode(encoding, word, false) == List.duplicate(ids["abb"], 100)
    end

    test "special tokens in text" do
      tokenizer = small()
      assert Tokenizer.encode(tokenizer, "a<|im_end|>b") == [?a, 266, ?b]
      assert Tokenizer.encode(tokenizer, "<|im_end|>x") == [267]
      assert Tokenizer.encode(tokenizer, "[TOOL]<|start|>") == [268, 265]
      assert length(Tokenizer.encode(tokenizer, "<|im_end|>", special: false)) == 10
      assert Tokenizer.encode(tokenizer, "[TOOL]", special: false) == [268]
      assert Tokenizer.decode(tokenizer, [?a, 266, 268, 269]) == "a<|im_end|>[TOOL]<｜no▁bytes｜>"
      assert Tokenizer.decode(tokenizer, [?a, 266, ?b], special: false) == "ab"
    end

    test "beginning and end" do
      assert Tokenizer.encode(small(), "a") == [?a]
      assert Tokenizer.encode(small(), "a", bos: true, eos: true) == [265, ?a, 265]
      added = small(%{"tokenizer.ggml.add_bos_token" => true})
      assert Tokenizer.encode(added, "a") == [265, ?a]
      assert Tokenizer.encode(added, "a", bos: false) == [?a]
      assert Tokenizer.end?(added, 265)
      assert Tokenizer.end?(added, 266)
      refute Tokenizer.end?(added, ?a)
      llama = metadata(%{"tokenizer.ggml.pre" => "llama-bpe"}) |> Map.delete("tokenizer.ggml.add_bos_token")
      assert Tokenizer.encode(Tokenizer.from_gguf(llama), "a") == [265, ?a]
    end

    test "a word that is a token is not merged where the model says so" do
      # No merge makes "the" here.
      changes = %{"tokenizer.ggml.merges" => ["t h"], "tokenizer.ggml.pre" => "llama-bpe"}

      assert Tokenizer.encode(small(changes), "the thx", bos: false) |> Enum.map(&Tokenizer.token(small(), &1)) == [
               "the",
               "Ġ",
               "th",
               "x"
             ]

      assert Tokenizer.encode(small(%{changes | "tokenizer.ggml.pre" => "gpt-2"}), "the") |> length() == 2
    end

    test "a byte that has no token is left out" do
      tokens = List.replace_at(metadata()["tokenizer.ggml.tokens"], ?b, "<none>")
      tokenizer = small(%{"tokenizer.ggml.tokens" => tokens})
      assert Tokenizer.encode(tokenizer, "abc") == [?a, ?c]
      assert Tokenizer.encode(tokenizer, "tbh") == [256]
    end

    test "what does not fit raises and says why" do
      for {changes, message} <- [
            {%{"tokenizer.ggml.model" => "bert"}, "supported are gpt2, llama"},
            {%{"tokenizer.ggml.model" => nil}, "model"},
            {%{"tokenizer.ggml.pre" => "nope"}, "known are chatglm-bpe, dbrx"},
            {%{"tokenizer.ggml.tokens" => nil}, "tokenizer.ggml.tokens"},
            {%{"tokenizer.ggml.merges" => [1]}, "tokenizer.ggml.merges"},
            {%{"tokenizer.ggml.merges" => ["x y"]}, ~s{merge 0 ("x" and "y")}},
            {%{"tokenizer.ggml.merges" => ["xy"]}, "merge 0"},
            {%{"tokenizer.ggml.token_type" => [1]}, "token_type"},
            {%{"tokenizer.ggml.bos_token_id" => 9999}, "bos_token_id is 9999"}
          ] do
        error = assert_raise Mlx.Error, fn -> small(changes) end
        assert error.message =~ message
      end

      assert_raise ArgumentError, ~r/token 270 is not in the vocabulary of 270/, fn ->
        Tokenizer.decode(small(), [270])
      end

      assert_raise ArgumentError, fn -> Tokenizer.decode(small(), [-1]) end
      assert_raise ArgumentError, fn -> Tokenizer.encode(small(), "a", nope: 1) end
    end

    test "looks tokens up" do
      assert Tokenizer.id(small(), "<|start|>") == 265
      assert Tokenizer.id(small(), "none") == nil
      assert Tokenizer.token(small(), 258) == "Ġthe"
      assert Tokenizer.token(small(), 270) == nil
      assert Tokenizer.size(small()) == 270
    end
  end

  describe "a stream" do
    test "never splits a character and gives the text of a decode" do
      tokenizer = small()
      :rand.seed(:exsss, {3, 3, 3})

      for round <- 1..500 do
        bytes =
          if rem(round, 2) == 0,
            do: random_text(:rand.uniform(20)),
            else:
              for(
                _index <- 1..:rand.uniform(30),
                into: "",
                do: Enum.random([<<:rand.uniform(256) - 1>>, "é", "😀", "中"])
              )

        ids = :binary.bin_to_list(bytes)
        pieces = tokenizer |> Tokenizer.decode_stream(ids) |> Enum.to_list()
        assert Enum.all?(pieces, &(String.valid?(&1) and &1 != ""))
        assert Enum.join(pieces) == Tokenizer.decode(tokenizer, ids)
      end
    end

    test "gives each character when its last byte comes" do
      [first, second, third] = :binary.bin_to_list("中")
      decoder = StreamDecoder.new(small())
      assert {"", decoder} = StreamDecoder.push(decoder, first)
      assert {"", decoder} = StreamDecoder.push(decoder, second)
      assert StreamDecoder.flush(decoder) == "\uFFFD"
      assert {"中", decoder} = StreamDecoder.push(decoder, third)
      assert StreamDecoder.flush(decoder) == ""
      assert {"", decoder} = StreamDecoder.push(decoder, first)
      assert {"\uFFFDa", _decoder} = StreamDecoder.push(decoder, ?a)
    end

    test "can leave special tokens out, and is lazy" do
      ids = Stream.concat([?a, 266, ?b], Stream.repeatedly(fn -> ?c end))
      assert small() |> Tokenizer.decode_stream(ids, special: false) |> Enum.take(3) == ["a", "b", "c"]
    end
  end

  describe "pre-tokenizers" do
    test "words are the text, whatever its bytes" do
      :rand.seed(:exsss, {7, 7, 7})

      for kind <- Map.values(@scanners), _round <- 1..100 do
        text = random_text(10) <> :rand.bytes(:rand.uniform(10)) <> random_text(3)
        words = WordScanner.split(text, kind)
        assert Enum.join(words) == text
        assert "" not in words
      end
    end

    @tag :oracle
    test "cut as the regular expressions of the reference do" do
      :rand.seed(:exsss, {8, 8, 8})
      texts = varied_texts() ++ for _index <- 1..300, do: random_text(:rand.uniform(30))
      lines = Enum.map(texts, &Base.encode64/1)

      for {name, kind} <- @scanners do
        for {text, line} <- Enum.zip(texts, oracle("split", name, lines)) do
          text = if name == "qwen2", do: String.normalize(text, :nfc), else: text

          assert {name, text, WordScanner.split(text, kind)} ==
                   {name, text, line |> String.split() |> Enum.map(&Base.decode64!/1)}
        end
      end
    end
  end

  describe "with SmolLM2's vocabulary" do
    @describetag :model

    test "takes hardly any room on the heap of a process", %{tokenizer: tokenizer} do
      assert :erts_debug.flat_size(tokenizer) < 2000
    end

    @tag :oracle
    test "gives the ids of the tokenizers package", %{path: path, tokenizer: tokenizer} do
      texts = varied_texts()
      assert length(texts) >= 200

      for {text, line} <- Enum.zip(texts, oracle("encode", path, Enum.map(texts, &Base.encode64/1))) do
        assert {text, Tokenizer.encode(tokenizer, text)} == {text, numbers(line)}
      end
    end

    @tag :oracle
    test "gives the ids of the tokenizers package on random characters", %{path: path, tokenizer: tokenizer} do
      :rand.seed(:exsss, {9, 9, 9})
      texts = for _index <- 1..500, do: Enum.map_join(1..:rand.uniform(60), fn _character -> random_character() end)

      for {text, line} <- Enum.zip(texts, oracle("encode", path, Enum.map(texts, &Base.encode64/1))) do
        assert {text, Tokenizer.encode(tokenizer, text)} == {text, numbers(line)}
      end
    end

    @tag :oracle
    test "decodes random tokens as the tokenizers package does", %{path: path, tokenizer: tokenizer} do
      :rand.seed(:exsss, {10, 10, 10})
      # Tokens that are parts of characters are rare, and are what can go wrong.
      partial = for id <- 0..(Tokenizer.size(tokenizer) - 1), not String.valid?(Tokenizer.bytes(tokenizer, id)), do: id

      lists =
        for index <- 1..300,
            do:
              for(
                _token <- 1..20,
                do: if(rem(index, 2) == 0, do: Enum.random(partial), else: :rand.uniform(49_152) - 1)
              )

      for {ids, line} <- Enum.zip(lists, oracle("decode", path, Enum.map(lists, &Enum.join(&1, " ")))) do
        assert Tokenizer.decode(tokenizer, ids) == Base.decode64!(line)
        assert tokenizer |> Tokenizer.decode_stream(ids) |> Enum.join() == Base.decode64!(line)
      end
    end

    test "knows its special tokens", %{tokenizer: tokenizer} do
      assert Tokenizer.token(tokenizer, tokenizer.bos) == "<|im_start|>"
      assert Tokenizer.token(tokenizer, tokenizer.eos) == "<|im_end|>"
      assert Tokenizer.end?(tokenizer, tokenizer.eos)
      assert Tokenizer.end?(tokenizer, Tokenizer.id(tokenizer, "<|endoftext|>"))
      refute tokenizer.add_bos
      assert inspect(tokenizer) == "#Mlx.LM.Tokenizer<bos: 1, eos: 2, add_bos: false, add_eos: false, ...>"
    end

    test "work is linear in one long word", %{tokenizer: tokenizer} do
      work = fn text ->
        {:reductions, before} = Process.info(self(), :reductions)
        Tokenizer.encode(tokenizer, text)
        {:reductions, now} = Process.info(self(), :reductions)
        now - before
      end

      for text <- ["a", "ab", " ", "="] do
        long = work.(String.duplicate(text, 40_000))
        assert long < 20 * work.(String.duplicate(text, 4_000))
      end
    end
  end
end
