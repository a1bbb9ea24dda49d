defmodule Mlx.TokenizerTexts do
  @moduledoc """
  Random texts of characters and words that tokenizers treat differently, and what Python's `tokenizers` makes of them.
  """

  @script Path.expand("../oracle/tokenizer_files.py", __DIR__)

  @pieces [
    ~w(a b c x Z é ß ñ ﬁ ſ İ ı Я ж ω Ω أ ב 中 文 字 の カ 한 글 อ ำ क ् ष),
    ~w(0 1 9 ٣ ५ ² ½ Ⅷ 〇 ㊿ 1234567 3.14),
    [
      "!",
      "?",
      "'",
      "’",
      "\"",
      "-",
      "_",
      ".",
      ",",
      "(",
      ")",
      "{",
      "}",
      "<",
      ">",
      "|",
      "#",
      "$",
      "€",
      "=",
      ":",
      "/",
      "\\"
    ],
    [
      " ",
      "  ",
      "   ",
      "\t",
      "\n",
      "\n\n",
      "\r\n",
      "\r",
      "\u00A0",
      "\u3000",
      "\u2003",
      "\u200B",
      "\u0085",
      "\u180E",
      "\v"
    ],
    ["😀", "👩‍👩‍👧", "🇫🇷", "👍🏽", "\u0301", "\u0308", "\u200D", "\uFEFF", "\uFFFD", "𝒜", "𐍈", "▁", "▁▁", " ▁", "Ġ", "Ċ"],
    ["ᄀ", "ᅡ", "ᆨ", "각", "e\u0301", "\u0323\u0307", "q\u0307\u0323", "ﷺ", "①②", "ΑΣ"],
    [
      "'s",
      "'S",
      "'re",
      "'LL",
      "'ſ",
      "the",
      " the",
      "ing",
      "def ",
      "return ",
      "<|im_end|>",
      "<|im_start|>",
      "<|im",
      "|>"
    ],
    ["<s>", "</s>", "<unk>", "<bos>", "[MASK]", "[CLS]", "<0x0A>", "<|eot_id|>", "<think>", "</think>", "<tool_call>"],
    ["<|begin_of_text|>", "<|return|>", "<|channel|>", "<start_of_turn>", "<end_of_turn>\n", "<h1>", "</table>"],
    ["hello world", "HTTPServer", "camelCase", "don't", "naïve café", "Straße", "Привет мир", "こんにちは世界", "안녕하세요"],
    ["สวัสดี", "नमस्ते दुनिया", "مرحبا", "שלום", "for i in range(10):\n    print(i)", "{\"a\": [1, null]}", "a?b=c&d"]
  ]

  @doc "Texts; the seed makes them the same each time."
  @spec random(pos_integer, term) :: [String.t()]
  def random(count, seed) do
    :rand.seed(:exsss, seed)
    for _index <- 1..count, do: text(:rand.uniform(100))
  end

  defp text(kind) when kind <= 2 do
    String.duplicate(Enum.random(["a", " ", "=", "\n", "ab", "你好", "▁", "e\u0301", "<", "0"]), :rand.uniform(400))
  end

  defp text(kind) when kind <= 4,
    do: for(_index <- 1..(50 + :rand.uniform(1000)), into: "", do: <<Enum.random(?a..?h)>>)

  defp text(kind) when kind <= 92, do: pieces(:rand.uniform(40) - 1)
  defp text(_kind), do: pieces(40 + :rand.uniform(200))

  defp pieces(count), do: for(_index <- 1..count//1, into: "", do: piece(:rand.uniform(30)))

  defp piece(1), do: <<character(0x10FFFF)::utf8>>
  defp piece(2), do: <<character(Enum.random([0xFF, 0x2FFF, 0xFFFF, 0x1FAFF]))::utf8>>
  defp piece(_kind), do: @pieces |> Enum.random() |> Enum.random()

  defp character(last) do
    case :rand.uniform(last) do
      surrogate when surrogate in 0xD800..0xDFFF -> character(last)
      code -> code
    end
  end

  @doc """
  What becomes of each text with a `tokenizer.json`: its ids, the decoded text, the one without special tokens, and the offsets.
  """
  @spec encode(Path.t(), [String.t()]) :: [
          %{
            ids: [non_neg_integer],
            decoded: String.t(),
            without_special: String.t(),
            offsets: [{non_neg_integer, non_neg_integer}]
          }
        ]
  def encode(file, texts) do
    for line <- run_with("encode", file, Enum.map_join(texts, "\n", &Base.encode64/1)) do
      [ids, decoded, without_special, places] = String.split(line, "|")

      %{
        ids: numbers(ids),
        decoded: Base.decode64!(decoded),
        without_special: Base.decode64!(without_special),
        offsets: for([from, to] <- places |> numbers() |> Enum.chunk_every(2), do: {from, to})
      }
    end
  end

  defp numbers(line), do: line |> String.split() |> Enum.map(&String.to_integer/1)

  @doc "What lists of tokens are decoded to with a `tokenizer.json`, and what without special tokens."
  @spec decode(Path.t(), [[non_neg_integer]]) :: [{String.t(), String.t()}]
  def decode(file, lists) do
    for line <- run_with("decode", file, Enum.map_join(lists, "\n", &Enum.join(&1, " "))) do
      [decoded, without_special] = String.split(line, "|")
      {Base.decode64!(decoded), Base.decode64!(without_special)}
    end
  end

  defp run_with(action, file, content) do
    input = Path.join(System.tmp_dir!(), "mlx-tokenizer-#{System.unique_integer([:positive])}.txt")
    File.write!(input, content)

    try do
      run([action, file, input])
    after
      File.rm(input)
    end
  end

  @doc "Random small tokenizers with cases, as maps."
  @spec tokenizers(integer, pos_integer) :: [map]
  def tokenizers(seed, count), do: ["random", "#{seed}", "#{count}"] |> run() |> Enum.map(&JSON.decode!/1)

  # What the package says of a panic goes to standard error.
  defp run(arguments) do
    command = ~s(exec "$0" "$@" 2>/dev/null)
    {output, 0} = System.cmd("sh", ["-c", command, System.fetch_env!("MLX_ORACLE_PYTHON"), @script | arguments])
    String.split(output, "\n", trim: true)
  end
end
