defmodule Mlx.LM.Tokenizer.WordScanner do
  @moduledoc false
  # Cuts text into the words that byte-pair encoding never merges across.
  #
  # The reference pre-tokenizers are regular expressions. The families of them that are known here are scanners, which
  # are linear in the text, take no offence at bytes that are not UTF-8 (each counts as one `:other` character), and don't
  # depend on the Unicode version of a regular expression library:
  #
  #   * `:words`, of GPT-2:
  #
  #         's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  #
  #     With `numbers: 1` every digit is first cut out on its own, so that what is around it ends there.
  #
  #   * `:lines`, of Llama 3, with `numbers` the most digits of a word:
  #
  #         (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  #         \s*[\r\n]+|\s+(?!\S)|\s+
  #
  #   * `:cases`, of o200k, which is that of GPT-4o:
  #
  #         [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
  #         [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
  #         \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
  #
  #     Tekken, of Mistral, has no `contractions` in it and words of one digit.
  #
  #   * `:marks`, of Qwen 3.5, which is that of Llama 3 with marks among the letters.

  alias Mlx.LM.Tokenizer.WordScanner.{KindWord, PlainWord}

  @typedoc "How text is cut: the family, the most digits of a word, and whether a word takes the contraction behind it."
  @type t ::
          %{family: :words | :lines | :marks, numbers: pos_integer | :any}
          | %{family: :cases, numbers: pos_integer, contractions: boolean}

  @gpt2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
  @llama3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" <>
            "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
  @o200k "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" <>
           "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" <>
           "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
  @tekken @o200k |> String.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "") |> String.replace("{1,3}", "")
  @qwen35 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" <>
            "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

  @known %{
    @gpt2 => %{family: :words, numbers: :any},
    @llama3 => %{family: :lines, numbers: 3},
    String.replace(@llama3, "{1,3}", "") => %{family: :lines, numbers: 1},
    @o200k => %{family: :cases, numbers: 3, contractions: true},
    @tekken => %{family: :cases, numbers: 1, contractions: false},
    @qwen35 => %{family: :marks, numbers: 1}
  }

  @doc "The kind that cuts as the regular expression of GPT-2 does."
  @spec gpt2() :: t
  def gpt2, do: @known[@gpt2]

  @doc "The kind that cuts as the regular expression of Llama 3 does, with the most digits of a word."
  @spec llama3(pos_integer) :: t
  def llama3(numbers), do: %{@known[@llama3] | numbers: numbers}

  @doc "The kind that cuts as the regular expression of GPT-4o does."
  @spec o200k() :: t
  def o200k, do: @known[@o200k]

  @doc "The kind that cuts as the regular expression of Tekken does."
  @spec tekken() :: t
  def tekken, do: @known[@tekken]

  @doc "The kind that cuts as the regular expression of Qwen 3.5 does."
  @spec qwen35() :: t
  def qwen35, do: @known[@qwen35]

  @doc "The regular expressions that are known, with the kinds that cut as they do."
  @spec known() :: %{String.t() => t}
  def known, do: @known

  @doc "The kind that cuts as a regular expression does, or nil."
  @spec known(String.t()) :: t | nil
  def known(regex), do: @known[regex]

  @doc "The regular expression that cuts as a kind does; one of those in `known/0`."
  @spec regex(t) :: String.t()
  def regex(kind) do
    {regex, ^kind} = Enum.find(@known, fn {_regex, known} -> known == kind end)
    regex
  end

  @doc """
  Cuts `text` into words, which make the text when they are joined.

      iex> smollm = %{Mlx.LM.Tokenizer.WordScanner.gpt2() | numbers: 1}
      iex> Mlx.LM.Tokenizer.WordScanner.split("it's  12 o'clock!\\n", smollm)
      ["it", "'s", "  ", "1", "2", " o", "'", "clock", "!", "\\n"]
      iex> Mlx.LM.Tokenizer.WordScanner.split("it's GPTforALL 1234", Mlx.LM.Tokenizer.WordScanner.o200k())
      ["it's", " GPTfor", "ALL", " ", "123", "4"]
  """
  @spec split(binary, t) :: [binary]
  def split(text, %{family: family} = kind) when family in [:words, :lines], do: PlainWord.split(text, kind)
  def split(text, kind), do: KindWord.split(text, kind)
end
