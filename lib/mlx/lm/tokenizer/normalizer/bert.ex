defmodule Mlx.LM.Tokenizer.Normalizer.Bert do
  @moduledoc false
  # The normalizer of BERT: cleans text, puts spaces around Chinese characters, and takes accents and capitals away.

  alias Mlx.LM.Tokenizer.{Fields, OlderCategories, Piece}
  alias Mlx.LM.Tokenizer.Normalizer.Composition

  @enforce_keys [:clean, :chinese, :accents, :lowercase]
  defstruct @enforce_keys

  @type t :: %__MODULE__{clean: boolean, chinese: boolean, accents: boolean, lowercase: boolean}

  @doc "Reads the object of the kind `BertNormalizer`."
  @spec read(map, String.t()) :: t
  def read(object, place) do
    lowercase = Fields.get(object, "lowercase", :boolean, place)

    %__MODULE__{
      clean: Fields.get(object, "clean_text", :boolean, place),
      chinese: Fields.get(object, "handle_chinese_chars", :boolean, place),
      accents: Fields.get(object, "strip_accents", :boolean, place, lowercase),
      lowercase: lowercase
    }
  end

  @doc "The normalizer of a model whose text is lower case without accents."
  @spec uncased() :: t
  def uncased, do: %__MODULE__{clean: true, chinese: true, accents: true, lowercase: true}

  @doc "The normalized text."
  @spec apply(t, piece) :: piece when piece: Piece.t()
  def apply(bert, piece) do
    piece = if bert.clean or bert.chinese, do: Piece.written(piece, &clean_text(&1, bert)), else: piece
    piece = if bert.accents, do: piece |> Composition.apply(:nfd) |> Piece.written(&strip_accents/1), else: piece
    if bert.lowercase, do: Piece.written(piece, &String.downcase/1), else: piece
  end

  defp clean_text(text, bert), do: for(<<code::utf8 <- text>>, into: "", do: clean(code, bert))

  defp clean(code, bert) do
    cond do
      bert.clean and code in ~c"\t\n\r" -> " "
      bert.clean and (code == 0xFFFD or OlderCategories.other?(code)) -> ""
      bert.clean and Composition.white?(code) -> " "
      bert.chinese and chinese?(code) -> <<?\s, code::utf8, ?\s>>
      true -> <<code::utf8>>
    end
  end

  defp strip_accents(text),
    do: for(<<code::utf8 <- text>>, not OlderCategories.nonspacing?(code), into: "", do: <<code::utf8>>)

  for range <-
        [0x4E00..0x9FFF, 0x3400..0x4DBF, 0x20000..0x2A6DF, 0x2A700..0x2B73F, 0x2B740..0x2B81F] ++
          [0x2B920..0x2CEAF, 0xF900..0xFAFF, 0x2F800..0x2FA1F] do
    defp chinese?(code) when code in unquote(Macro.escape(range)), do: true
  end

  defp chinese?(_code), do: false
end
