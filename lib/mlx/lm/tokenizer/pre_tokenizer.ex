defmodule Mlx.LM.Tokenizer.PreTokenizer do
  @moduledoc false
  # How a text is cut into words, which the model then makes tokens of: the object `pre_tokenizer` of a `tokenizer.json`.
  #
  # It is read as a list of steps. Steps that are known to cut as `WordScanner` does are replaced by it, and the model may
  # take the last step, the alphabet of bytes, upon itself.

  alias Mlx.LM.Tokenizer.{ByteAlphabet, Fields, LoneBytes, Pattern, PatternField, Scripts, Sequence, Split}
  alias Mlx.LM.Tokenizer.{Piece, WordScanner}
  alias Mlx.LM.Tokenizer.Pattern.CharacterSet

  @opaque t :: [term]

  @kinds ~w(Sequence ByteLevel Split Whitespace WhitespaceSplit Metaspace BertPreTokenizer Punctuation Digits) ++
           ~w(CharDelimiterSplit UnicodeScripts FixedLength)
  @schemes %{"first" => :first, "always" => :always, "never" => :never}

  # Characters of words as Rust's `\w` has them.
  @word {:any, [CharacterSet.word(:in_brackets), {:range, 0x200C, 0x200D}]}
  @symbols_of_ascii for code <- ~c"$+<=>^`|~", do: {:range, code, code}

  @doc "Reads the pre-tokenizer; `nil` is one that cuts nothing."
  @spec read(term, String.t()) :: t
  def read(object, place),
    do: object |> Sequence.parts(place, @kinds, "pretokenizers") |> Enum.flat_map(&part/1) |> known()

  defp part({type, object, place}) do
    case type do
      "ByteLevel" ->
        byte_level(
          Fields.get(object, "add_prefix_space", :boolean, place),
          Fields.get(object, "use_regex", :boolean, place, true)
        )

      "Split" ->
        inverted = Fields.get(object, "invert", :boolean, place, false)

        [
          {:split, PatternField.source(object, place), PatternField.read(object, place), behaviour(object, place),
           inverted}
        ]

      "Whitespace" ->
        [:words_and_others]

      "WhitespaceSplit" ->
        [white()]

      "Metaspace" ->
        metaspace(object, place)

      "BertPreTokenizer" ->
        bert()

      "Punctuation" ->
        [{:characters, punctuation(), behaviour(object, place)}]

      "Digits" ->
        numbers = CharacterSet.new(CharacterSet.categories("N"))
        single = Fields.get(object, "individual_digits", :boolean, place)
        [{:characters, numbers, if(single, do: :isolated, else: :contiguous)}]

      "CharDelimiterSplit" ->
        <<code::utf8>> = Fields.get(object, "delimiter", :character, place)
        [{:characters, CharacterSet.new({:range, code, code}), :removed}]

      "UnicodeScripts" ->
        [:scripts]

      "FixedLength" ->
        case Fields.get(object, "length", :count, place, 5) do
          0 -> Fields.fail("#{place}.length", "has to be at least 1, and is 0")
          length -> [{:fixed, length}]
        end
    end
  end

  defp behaviour(object, place) do
    behaviours = Split.behaviours()
    behaviours[Fields.get(object, "behavior", {:one_of, Map.keys(behaviours)}, place, "Isolated")]
  end

  defp metaspace(object, place) do
    replacement = Fields.get(object, "replacement", :character, place)
    scheme = @schemes[Fields.get(object, "prepend_scheme", {:one_of, Map.keys(@schemes)}, place, "always")]
    scheme = if Fields.get(object, "add_prefix_space", :boolean, place, true), do: scheme, else: :never
    [{:metaspace, replacement, scheme, Fields.get(object, "split", :boolean, place, true)}]
  end

  @doc "The steps of `ByteLevel`."
  @spec byte_level(boolean, boolean) :: t
  def byte_level(prefix, regex) do
    if(prefix, do: [{:prefix, " "}], else: []) ++ if(regex, do: [{:scan, WordScanner.gpt2()}], else: []) ++ [:bytes]
  end

  @doc "The steps that cut by a scanner, and make bytes characters."
  @spec bytes_by(WordScanner.t()) :: t
  def bytes_by(kind), do: [{:scan, kind}, :bytes]

  @doc "The same by several regular expressions, one after the other."
  @spec bytes_by_all([String.t()]) :: t
  def bytes_by_all(regexes) do
    splits =
      for regex <- regexes do
        {:ok, pattern} = Pattern.regex(regex)
        {:split, {:regex, regex}, pattern, :isolated, false}
      end

    known(splits ++ [:bytes])
  end

  @doc "The steps of `Metaspace` that always puts the character `▁` in front and cuts at it."
  @spec metaspace() :: t
  def metaspace, do: [{:metaspace, "▁", :always, true}]

  @doc "The steps of `BertPreTokenizer`."
  @spec bert() :: t
  def bert, do: [white(), {:characters, punctuation(), :isolated}]

  defp white, do: {:characters, CharacterSet.new(CharacterSet.space()), :removed}
  defp punctuation, do: CharacterSet.new({:any, [:older_punctuation | @symbols_of_ascii]})

  # Steps that cut as a scanner does.
  defp known([{:characters, numbers, :isolated}, {:scan, %{family: :words, numbers: :any} = kind} | rest]) do
    if numbers == CharacterSet.new(CharacterSet.categories("N")) do
      [{:scan, %{kind | numbers: 1}} | known(rest)]
    else
      [{:characters, numbers, :isolated}, {:scan, kind} | known(rest)]
    end
  end

  defp known([{:split, {:regex, regex}, _pattern, :isolated, false} = step | rest]) do
    case WordScanner.known(regex) do
      nil -> [step | known(rest)]
      kind -> known([{:scan, kind} | rest])
    end
  end

  defp known([step | rest]) do
    case {step, known(rest)} do
      {{:characters, _set, :isolated}, [{:scan, %{numbers: :any}} | _] = rest} -> known([step | rest])
      {step, rest} -> [step | rest]
    end
  end

  defp known([]), do: []

  @doc "The steps without a last one that makes bytes characters, and whether there was one."
  @spec without_bytes(t) :: {t, boolean}
  def without_bytes(steps) do
    case Enum.reverse(steps) do
      [:bytes | rest] -> {Enum.reverse(rest), true}
      _other -> {steps, false}
    end
  end

  @doc """
  The steps with one more, which cuts before each of a character that stands behind none of these others; see
  `BytePairEncoding.cuts/1`.
  """
  @spec with_cut(t, {String.t(), %{char => true}}) :: t
  def with_cut(steps, {character, behind}), do: steps ++ [{:cut, character, behind}]

  @doc """
  The words of a text. `first` says whether the text is the beginning of all text, `lone` whether bytes are written as
  characters.
  """
  @spec split(t, Piece.t(), boolean, boolean) :: [Piece.t()]
  def split(steps, piece, first, lone) do
    {pieces, _first} = Enum.reduce(steps, {[piece], first}, &step(&1, &2, lone))
    pieces
  end

  defp step({:scan, kind}, {pieces, first}, _lone), do: {each(pieces, &WordScanner.split(&1, kind)), first}

  defp step(:bytes, {pieces, first}, lone) do
    write = if lone, do: &ByteAlphabet.text(LoneBytes.show(&1)), else: &ByteAlphabet.text/1
    {Enum.map(pieces, &Piece.written(&1, write)), first}
  end

  defp step({:prefix, prefix}, {pieces, first}, _lone), do: {Enum.map(pieces, &Piece.prefixed(&1, prefix)), first}

  defp step({:split, _source, pattern, behaviour, inverted}, pieces, _lone) do
    by_tiles(pieces, behaviour, fn text ->
      tiles = Pattern.tiles(pattern, text)
      if inverted, do: Enum.map(tiles, fn {at, size, match} -> {at, size, not match} end), else: tiles
    end)
  end

  defp step({:characters, set, behaviour}, pieces, _lone), do: by_tiles(pieces, behaviour, &Split.characters(&1, set))

  defp step(:words_and_others, pieces, _lone) do
    white = CharacterSet.new(CharacterSet.space())
    word = CharacterSet.new(@word)
    pieces |> by_tiles(:removed, &Split.characters(&1, white)) |> by_tiles(:isolated, &Split.runs(&1, word))
  end

  defp step({:metaspace, replacement, scheme, cuts}, {pieces, first}, _lone) do
    pieces =
      pieces
      |> Enum.with_index()
      |> Enum.map(fn {piece, index} ->
        piece = Piece.replaced(piece, " ", replacement)
        prefixed = scheme == :always or (scheme == :first and first and index == 0)
        if prefixed, do: Piece.prefixed(piece, replacement), else: piece
      end)

    if cuts do
      by_tiles({pieces, first}, :merged_with_next, &Pattern.tiles(Pattern.string(replacement), &1))
    else
      {pieces, first}
    end
  end

  defp step(:scripts, {pieces, first}, _lone), do: {each(pieces, &Scripts.split/1), first}
  defp step({:fixed, length}, {pieces, first}, _lone), do: {each(pieces, &fixed(&1, length)), first}
  defp step({:cut, character, behind}, {pieces, first}, _lone), do: {each(pieces, &cut(&1, character, behind)), first}

  defp each(pieces, split), do: Enum.flat_map(pieces, &Piece.cut(&1, split))

  defp by_tiles({[piece], first}, behaviour, tiles) do
    {parts, starts} = parts(piece, behaviour, tiles)
    {parts, first and starts}
  end

  defp by_tiles({pieces, first}, behaviour, tiles) do
    {parts, starts} = pieces |> Enum.map(&parts(&1, behaviour, tiles)) |> Enum.unzip()
    {Enum.concat(parts), first and starts != [] and hd(starts)}
  end

  defp parts(piece, behaviour, tiles) do
    {parts, starts} = piece |> Piece.text() |> tiles.() |> Split.parts(behaviour)
    {Piece.parts(piece, parts), starts}
  end

  defp fixed(text, length) do
    case characters(text, 0, length) do
      size when size == byte_size(text) -> if text == "", do: [], else: [text]
      size -> [binary_part(text, 0, size) | text |> binary_part(size, byte_size(text) - size) |> fixed(length)]
    end
  end

  defp characters(_text, size, 0), do: size

  defp characters(text, size, left) do
    case text do
      <<_before::binary-size(size), code::utf8, _rest::binary>> ->
        characters(text, size + byte_size(<<code::utf8>>), left - 1)

      _end ->
        size
    end
  end

  # Cuts

  defp cut(text, character, behind) do
    <<code::utf8>> = character
    text |> :binary.matches(character) |> cut(text, {behind, is_map_key(behind, code)}, 0, 0, [])
  end

  # `to` is where the last of the characters ended. Most often none is cut from another one.
  defp cut([{at, size} | matches], text, {_others, true} = behind, from, at, parts) when at > 0,
    do: cut(matches, text, behind, from, at + size, parts)

  defp cut([{at, size} | matches], text, {behind, _own} = all, from, _to, parts) do
    if at > from and not is_map_key(behind, last(text, at)),
      do: cut(matches, text, all, at, at + size, [binary_part(text, from, at - from) | parts]),
      else: cut(matches, text, all, from, at + size, parts)
  end

  defp cut([], text, _behind, from, _to, parts),
    do: Enum.reverse(parts, [binary_part(text, from, byte_size(text) - from)])

  defp last(text, at), do: last(text, at, 1)

  defp last(text, at, size) do
    case binary_part(text, at - size, size) do
      <<code::utf8>> -> code
      _part -> last(text, at, size + 1)
    end
  end
end
