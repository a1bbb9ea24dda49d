defmodule Mlx.LM.Tokenizer.Normalizer do
  @moduledoc false
  # What is done to a text before it is cut: the object `normalizer` of a `tokenizer.json`.

  alias Mlx.LM.Tokenizer.{Aligned, ByteAlphabet, Fields, Growth, LoneBytes, OlderCategories, Pattern}
  alias Mlx.LM.Tokenizer.{PatternField, Piece, Sequence}
  alias Mlx.LM.Tokenizer.Normalizer.{Bert, CharacterMap, Composition}

  @opaque t :: [term]

  @kinds ~w(Sequence NFC NFD NFKC NFKD Lowercase Strip StripAccents Replace Prepend BertNormalizer Nmt Precompiled) ++
           ~w(ByteLevel)
  @forms %{"NFC" => :nfc, "NFD" => :nfd, "NFKC" => :nfkc, "NFKD" => :nfkd}

  @removed_by_nmt [0x01..0x08, 0x0B..0x0B, 0x0E..0x1F, 0x7F..0x7F, 0x8F..0x8F, 0x9F..0x9F]
  @spaces_of_nmt [0x09..0x0A, 0x0C..0x0D, 0x1680..0x1680, 0x200B..0x200F, 0x2028..0x2029, 0x2581..0x2581] ++
                   [0xFEFF..0xFEFF, 0xFFFD..0xFFFD]

  @doc "Reads the normalizer; `nil` is one that does nothing."
  @spec read(term, String.t()) :: t
  def read(object, place), do: object |> Sequence.parts(place, @kinds, "normalizers") |> Enum.flat_map(&part/1)

  defp part({type, object, place}) do
    case type do
      "Strip" ->
        [
          {:strip, Fields.get(object, "strip_left", :boolean, place),
           Fields.get(object, "strip_right", :boolean, place)}
        ]

      "Replace" ->
        [{:replace, PatternField.read(object, place), Fields.get(object, "content", :string, place)}]

      "Prepend" ->
        [{:prepend, Fields.get(object, "prepend", :string, place)}]

      "BertNormalizer" ->
        [Bert.read(object, place)]

      "Precompiled" ->
        object |> Fields.get("precompiled_charsmap", :string, place) |> character_map(place)

      "Lowercase" ->
        [:lowercase]

      "StripAccents" ->
        [:strip_accents]

      "Nmt" ->
        [:nmt]

      "ByteLevel" ->
        [:bytes]

      form ->
        [@forms[form]]
    end
  end

  defp character_map(base64, place) do
    with {:ok, bytes} <- Base.decode64(base64), {:ok, map} <- CharacterMap.new(bytes) do
      [{:map, map}]
    else
      _error -> Fields.fail("#{place}.precompiled_charsmap", "is not the map of characters of SentencePiece in base64")
    end
  end

  @doc "The map of characters of SentencePiece, from its bytes."
  @spec mapped(binary) :: {:ok, t} | :error
  def mapped(bytes), do: with({:ok, map} <- CharacterMap.new(bytes), do: {:ok, [{:map, map}]})

  @doc "A normalizer that puts text in front, if it is not empty, and replaces a string by another."
  @spec spaces(String.t(), String.t(), String.t()) :: t
  def spaces(prefix, string, content) do
    if(prefix == "", do: [], else: [{:prepend, prefix}]) ++ [{:replace, Pattern.string(string), content}]
  end

  @doc "A normalizer that composes characters."
  @spec composed() :: t
  def composed, do: [:nfc]

  @doc "The text that is cut. `lone` says whether bytes are written as characters."
  @spec apply(t, piece, boolean) :: piece when piece: Piece.t()
  def apply([], piece, _lone), do: piece

  def apply(steps, piece, lone) do
    text = Piece.text(piece)

    Enum.reduce(steps, piece, fn step, current ->
      current = step(step, current, lone)
      current |> Piece.text() |> Growth.check(text)
      current
    end)
  end

  @doc "Whether the text that is cut still begins with the character that the text began with."
  @spec keeps_start?(t, String.t()) :: boolean
  def keeps_start?(steps, <<first::utf8, _rest::binary>>) do
    not Enum.any?(steps, fn
      {:strip, true, _right} -> Composition.white?(first)
      _step -> false
    end)
  end

  def keeps_start?(_steps, _text), do: true

  defp step(form, piece, _lone) when form in [:nfc, :nfd, :nfkc, :nfkd], do: Composition.apply(piece, form)
  defp step(:lowercase, piece, _lone), do: Piece.written(piece, &String.downcase/1)
  defp step({:strip, left, right}, piece, _lone), do: stripped(piece, left, right)
  defp step(:strip_accents, piece, _lone), do: Piece.written(piece, &strip_accents/1)

  defp step({:replace, pattern, content}, text, _lone) when is_binary(text), do: Pattern.replace(pattern, text, content)

  defp step({:replace, pattern, content}, %Aligned{text: text} = aligned, _lone) do
    Aligned.replace(aligned, for({at, size, true} <- Pattern.tiles(pattern, text), do: {at, size}), content)
  end

  defp step({:prepend, _prefix}, "", _lone), do: ""
  defp step({:prepend, prefix}, text, _lone) when is_binary(text), do: prefix <> text
  defp step({:prepend, prefix}, aligned, _lone), do: Aligned.prepend(aligned, prefix)
  defp step({:map, map}, text, _lone) when is_binary(text), do: CharacterMap.apply(map, text)
  defp step({:map, map}, aligned, _lone), do: Aligned.changed(aligned, CharacterMap.changes(map, aligned.text))
  defp step(:nmt, piece, _lone), do: Piece.written(piece, &nmt_text/1)
  defp step(:bytes, piece, false), do: Piece.written(piece, &ByteAlphabet.text/1)
  defp step(:bytes, piece, true), do: Piece.written(piece, &ByteAlphabet.text(LoneBytes.show(&1)))
  defp step(%Bert{} = bert, piece, _lone), do: Bert.apply(bert, piece)

  defp strip_accents(text),
    do: for(<<code::utf8 <- text>>, not OlderCategories.mark?(code), into: "", do: <<code::utf8>>)

  defp nmt_text(text), do: for(<<code::utf8 <- text>>, into: "", do: nmt(code))

  for range <- @removed_by_nmt, do: defp(nmt(code) when code in unquote(Macro.escape(range)), do: "")
  for range <- @spaces_of_nmt, do: defp(nmt(code) when code in unquote(Macro.escape(range)), do: " ")
  defp nmt(code), do: <<code::utf8>>

  defp stripped(piece, left, right) do
    text = Piece.text(piece)
    rest = strip_left(text, left)
    without = strip_right(rest, right)

    if is_binary(piece),
      do: without,
      else: Aligned.keep(piece, byte_size(text) - byte_size(rest), byte_size(without))
  end

  defp strip_left(<<code::utf8, rest::binary>> = text, true),
    do: if(Composition.white?(code), do: strip_left(rest, true), else: text)

  defp strip_left(text, _no), do: text

  defp strip_right(text, true), do: trimmed(text, byte_size(text))
  defp strip_right(text, _no), do: text

  defp trimmed(_text, 0), do: ""

  defp trimmed(text, size) do
    from = character_start(text, size - 1)
    <<code::utf8>> = binary_part(text, from, size - from)
    if Composition.white?(code), do: trimmed(text, from), else: binary_part(text, 0, size)
  end

  defp character_start(text, at),
    do: if(:binary.at(text, at) in 0x80..0xBF, do: character_start(text, at - 1), else: at)
end
