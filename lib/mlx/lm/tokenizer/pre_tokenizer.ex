defmodule Mlx.LM.Tokenizer.PreTokenizer do
  @moduledoc false
  # How a text is cut into words, which the model then makes tokens of: the object `pre_tokenizer` of a `tokenizer.json`.
  #
  # It is read as a list of steps. Steps that are known to cut as `WordScanner` does are replaced by it, and the model may
  # take the last step, the alphabet of bytes, upon itself.

  alias Mlx.LM.Tokenizer.{ByteAlphabet, Fields, LoneBytes, Pattern, PatternField, Scripts, Sequence, Split}
  alias Mlx.LM.Tokenizer.{Growth, WordScanner}
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

  @doc "The steps that cut by a scanner or a regular expression, and make bytes characters."
  @spec bytes_by(WordScanner.t() | String.t()) :: t
  def bytes_by(%{} = kind), do: [{:scan, kind}, :bytes]
  def bytes_by(regex), do: bytes_by_all([regex])

  @doc "The same for several regular expressions, one after the other."
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
  @spec with_cut(t, {String.t(), MapSet.t(char)}) :: t
  def with_cut(steps, {character, behind}), do: steps ++ [{:cut, character, behind}]

  @doc """
  The words of a text. `first` says whether the text is the beginning of all text, `lone` whether bytes are written as
  characters.
  """
  @spec split(t, String.t(), boolean, boolean) :: [String.t()]
  def split(steps, text, first, lone) do
    {texts, _first} = Enum.reduce(steps, {[text], first}, &step(&1, &2, lone))
    texts
  end

  defp step({:scan, kind}, {texts, first}, _lone), do: {each(texts, &WordScanner.split(&1, kind)), first}
  defp step(:bytes, {texts, first}, false), do: {Enum.map(texts, &ByteAlphabet.text/1), first}
  defp step(:bytes, {texts, first}, true), do: {Enum.map(texts, &ByteAlphabet.text(LoneBytes.show(&1))), first}
  defp step({:prefix, prefix}, {texts, first}, _lone), do: {Enum.map(texts, &prefixed(&1, prefix)), first}

  defp step({:split, _source, pattern, behaviour, inverted}, texts, _lone) do
    by_tiles(texts, behaviour, fn text ->
      tiles = Pattern.tiles(pattern, text)
      if inverted, do: Enum.map(tiles, fn {part, match} -> {part, not match} end), else: tiles
    end)
  end

  defp step({:characters, set, behaviour}, texts, _lone), do: by_tiles(texts, behaviour, &Split.characters(&1, set))

  defp step(:words_and_others, texts, _lone) do
    white = CharacterSet.new(CharacterSet.space())
    word = CharacterSet.new(@word)
    texts |> by_tiles(:removed, &Split.characters(&1, white)) |> by_tiles(:isolated, &Split.runs(&1, word))
  end

  defp step({:metaspace, replacement, scheme, cuts}, {texts, first}, _lone) do
    texts =
      texts
      |> Enum.with_index()
      |> Enum.map(fn {text, index} ->
        text = :binary.replace(text, " ", replacement, [:global])
        if scheme == :always or (scheme == :first and first and index == 0), do: prefixed(text, replacement), else: text
      end)

    if cuts do
      by_tiles({texts, first}, :merged_with_next, &Pattern.tiles(Pattern.string(replacement), &1))
    else
      {texts, first}
    end
  end

  defp step(:scripts, {texts, first}, _lone), do: {each(texts, &Scripts.split/1), first}
  defp step({:fixed, length}, {texts, first}, _lone), do: {each(texts, &fixed(&1, length)), first}
  defp step({:cut, character, behind}, {texts, first}, _lone), do: {each(texts, &cut(&1, character, behind)), first}

  defp each(texts, split), do: Enum.flat_map(texts, split)

  defp by_tiles({[text], first}, behaviour, tiles) do
    {parts, starts} = text |> tiles.() |> Split.parts(behaviour)
    {parts, first and starts}
  end

  defp by_tiles({texts, first}, behaviour, tiles) do
    {parts, starts} = texts |> Enum.map(&Split.parts(tiles.(&1), behaviour)) |> Enum.unzip()
    {Enum.concat(parts), first and starts != [] and hd(starts)}
  end

  defp prefixed(text, prefix) do
    if String.starts_with?(text, prefix), do: text, else: Growth.check(prefix <> text, text)
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
    {parts, from} =
      text
      |> :binary.matches(character)
      |> Enum.flat_map_reduce(0, fn {at, _size}, from ->
        if at > from and last(text, at) not in behind, do: {[binary_part(text, from, at - from)], at}, else: {[], from}
      end)

    parts ++ [binary_part(text, from, byte_size(text) - from)]
  end

  defp last(text, at), do: last(text, at, 1)

  defp last(text, at, size) do
    case binary_part(text, at - size, size) do
      <<code::utf8>> -> code
      _part -> last(text, at, size + 1)
    end
  end
end
