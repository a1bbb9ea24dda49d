defmodule Mlx.LM.Tokenizer.AddedTokens do
  @moduledoc false
  # Tokens that were added to a vocabulary, such as `<|im_end|>`. They are looked for in a text before it is cut: those that
  # are normalized in the normalized text, the others in the text as it is.

  alias Mlx.LM.Tokenizer.{CharacterCategory, Fields, Normalizer, Piece, Table}
  alias Mlx.LM.Tokenizer.Normalizer.Composition

  @enforce_keys [:patterns, :tokens]
  defstruct @enforce_keys

  @typedoc "An added token: what it is called in a file, and how it is looked for."
  @type token :: %{
          content: String.t(),
          id: non_neg_integer,
          special: boolean,
          normalized: boolean,
          left: boolean,
          right: boolean,
          word: boolean
        }

  @typep table :: Table.t()

  @typedoc """
  The patterns of tokens that are in the text as it is and of those in the normalized one, and the tokens by what is
  looked for.
  """
  @type t :: %__MODULE__{
          patterns: %{raw: :binary.cp() | nil, normalized: :binary.cp() | nil},
          tokens: %{raw: table, normalized: table}
        }

  @word Enum.reduce(~w(L M Nd Nl Pc), 0, &Bitwise.bor(CharacterCategory.mask(&1), &2))

  @doc "Reads the list `added_tokens`. The ids are those of the vocabulary, or follow it, as the reference has them."
  @spec read(term, String.t(), %{String.t() => non_neg_integer}) :: [token]
  def read(nil, _place, _vocabulary), do: []

  def read(list, place, vocabulary) do
    {tokens, _next} =
      list
      |> Fields.check(:list, place)
      |> Fields.each(place, &token/2)
      |> Enum.reject(&(&1.content == ""))
      |> numbered(vocabulary)

    tokens
  end

  defp token(object, place) do
    object = Fields.check(object, :object, place)
    flag = &Fields.get(object, &1, :boolean, place, &2)
    special = flag.("special", false)

    %{
      content: Fields.get(object, "content", :string, place),
      id: Fields.get(object, "id", :count, place),
      special: special,
      normalized: flag.("normalized", not special),
      left: flag.("lstrip", false),
      right: flag.("rstrip", false),
      word: flag.("single_word", false)
    }
  end

  defp numbered(tokens, vocabulary) do
    {tokens, {_ids, next}} =
      Enum.map_reduce(tokens, {%{}, map_size(vocabulary)}, fn %{content: content} = token, {ids, next} ->
        case ids[content] || vocabulary[content] do
          nil -> {%{token | id: next}, {Map.put(ids, content, next), next + 1}}
          id -> {%{token | id: id}, {Map.put(ids, content, id), next}}
        end
      end)

    {tokens, next}
  end

  @doc "A token that is looked for in the text as it is."
  @spec plain(String.t(), non_neg_integer, boolean) :: token
  def plain(content, id, special) do
    %{content: content, id: id, special: special, normalized: false, left: false, right: false, word: false}
  end

  @doc "What looks for tokens. Of two with the same text the last holds."
  @spec new([token], Normalizer.t()) :: t
  def new(tokens, normalizer) do
    {normalized, raw} = Enum.split_with(tokens, & &1.normalized)
    raw = Map.new(raw, &{&1.content, &1})

    normalized =
      for token <- normalized,
          content = Normalizer.apply(normalizer, token.content, false),
          content != "",
          into: %{},
          do: {content, token}

    %__MODULE__{
      patterns: %{raw: pattern(raw), normalized: pattern(normalized)},
      tokens: %{raw: Table.new(raw), normalized: Table.new(normalized)}
    }
  end

  defp pattern(tokens) when map_size(tokens) == 0, do: nil
  defp pattern(tokens), do: tokens |> Map.keys() |> :binary.compile_pattern()

  @doc """
  A text as texts and tokens in turn: a text with whether it is the beginning of all text, and a token as its id with the text
  that it stands for. With `special` false, special tokens are text.
  """
  @spec split(t, :raw | :normalized, Piece.t(), boolean, boolean) :: [
          {Piece.t(), boolean} | {non_neg_integer, Piece.t()}
        ]
  def split(added, kind, piece, first, special) do
    text = Piece.text(piece)

    case added.patterns[kind] do
      nil -> if text == "", do: [], else: [{piece, first}]
      pattern -> text |> :binary.matches(pattern) |> parts(added.tokens[kind], {piece, text}, 0, first, special, [])
    end
  end

  defp parts([], _tokens, {_piece, text} = whole, from, first, _special, parts) do
    Enum.reverse(text(whole, from, byte_size(text), first, parts))
  end

  defp parts([{at, size} | matches], tokens, {piece, text} = whole, from, first, special, parts) do
    token = Table.get(tokens, binary_part(text, at, size))

    if (token.special and not special) or (token.word and not alone?(text, at, at + size)) do
      parts(matches, tokens, whole, from, first, special, parts)
    else
      start = if token.left, do: max(before_spaces(text, at), from), else: at
      stop = if token.right, do: behind_spaces(text, at + size), else: at + size
      [written] = Piece.parts(piece, [{start, stop - start}])

      parts(matches, tokens, whole, stop, first, special, [{token.id, written} | text(whole, from, start, first, parts)])
    end
  end

  defp text(_whole, from, to, _first, parts) when from >= to, do: parts

  defp text({piece, _text}, from, to, first, parts) do
    [part] = Piece.parts(piece, [{from, to - from}])
    [{part, first and from == 0} | parts]
  end

  defp alone?(text, from, to), do: not word?(last(text, from)) and not word?(first(text, to))

  defp word?(nil), do: false
  defp word?(code) when code in 0x200C..0x200D or code in 0x24B6..0x24E9, do: true
  defp word?(code), do: CharacterCategory.in?(code, @word)

  defp before_spaces(text, at) do
    case last(text, at) do
      nil -> at
      code -> if Composition.white?(code), do: before_spaces(text, at - byte_size(<<code::utf8>>)), else: at
    end
  end

  defp behind_spaces(text, at) do
    case first(text, at) do
      nil -> at
      code -> if Composition.white?(code), do: behind_spaces(text, at + byte_size(<<code::utf8>>)), else: at
    end
  end

  defp first(text, at) do
    case text do
      <<_before::binary-size(at), code::utf8, _rest::binary>> -> code
      _end -> nil
    end
  end

  defp last(_text, 0), do: nil
  defp last(text, at), do: last(text, at, 1)

  defp last(text, at, size) do
    case binary_part(text, at - size, size) do
      <<code::utf8>> -> code
      _part -> last(text, at, size + 1)
    end
  end
end
