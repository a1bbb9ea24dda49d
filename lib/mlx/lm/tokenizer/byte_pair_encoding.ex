defmodule Mlx.LM.Tokenizer.BytePairEncoding do
  @moduledoc false
  # Byte-pair encoding: a word is a sequence of bytes or characters, each a token, in which the pair of neighbours that was
  # learned first is merged into one token until no pair is left that was learned. Of equal pairs the leftmost goes first.
  #
  # This file says what tokens a word begins as. `ShortWord` merges them, and `LongWord` those of a long word: a text without
  # spaces can be one word.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer.{ByteAlphabet, ByteTokens, Fields, LoneBytes, Model, Table}
  alias Mlx.LM.Tokenizer.BytePairEncoding.{Beginning, ByteWord, LongWord, Merges, ShortWord}

  @behaviour Model

  @enforce_keys [:ids, :ascii, :merges, :bytes, :fallback, :unknown, :fuse, :prefix, :suffix, :whole_words]
  defstruct @enforce_keys

  @typep table :: Table.t()
  @typep merges :: Merges.t()

  @typedoc """
  The vocabulary, and its ids of the characters of ASCII; the merges by pair of tokens; the token of each byte where words are
  bytes; the tokens that stand for bytes; the unknown token, and whether neighbours of that kind are one; what is written in
  front of characters inside of a word and behind its last one; and whether a word that is itself a token is that token
  whatever the merges say.
  """
  @type t :: %__MODULE__{
          ids: table,
          ascii: tuple,
          merges: merges,
          bytes: tuple | nil,
          fallback: tuple | nil,
          unknown: String.t() | nil,
          fuse: boolean,
          prefix: String.t(),
          suffix: String.t(),
          whole_words: boolean
        }

  # The most bytes of a short word.
  @short 48

  @spec vocabulary(map, String.t()) :: Model.vocabulary()
  def vocabulary(object, place), do: Model.ids(object, place)

  @doc "Reads the object of the type `BPE`. Dropout, which is for training, is left out."
  @spec read(map, Model.vocabulary(), String.t(), boolean) :: t
  def read(object, vocabulary, place, bytes) do
    prefix = Fields.get(object, "continuing_subword_prefix", :string, place, "")
    merges = object |> Fields.get("merges", :list, place) |> pairs("#{place}.merges")

    new(vocabulary, merges,
      bytes: bytes,
      fallback: Fields.get(object, "byte_fallback", :boolean, place, false),
      unknown: Fields.get(object, "unk_token", :string, place, nil),
      fuse: Fields.get(object, "fuse_unk", :boolean, place, false),
      prefix: prefix,
      suffix: Fields.get(object, "end_of_word_suffix", :string, place, ""),
      whole_words: Fields.get(object, "ignore_merges", :boolean, place, false)
    )
  end

  defp pairs(merges, place) do
    Enum.map(merges, fn
      [left, right] when is_binary(left) and is_binary(right) ->
        {left, right}

      merge when is_binary(merge) ->
        case :binary.split(merge, " ") do
          [left, right] -> {left, right}
          [_one] -> Fields.fail(place, "has #{Given.text(merge)}, which is not two tokens with a space between")
        end

      other ->
        Fields.fail(place, "has #{Given.text(other)}, which is not two tokens")
    end)
  end

  @doc """
  Builds the encoding from a map of tokens to ids and from merges, best first, each two tokens; merges can have their rank
  with them, `{left, right, rank}`.

  Raises `Mlx.Error` when a merge does not name tokens of the vocabulary.
  """
  @spec new(Model.vocabulary(), [{binary, binary} | {binary, binary, non_neg_integer}], keyword) :: t
  def new(ids, merges, options \\ []) do
    prefix = Keyword.get(options, :prefix, "")

    %__MODULE__{
      ids: Table.new(ids),
      ascii: List.to_tuple(for(code <- 0..127, do: ids[<<code>>])),
      merges: Merges.new(merges, byte_size(prefix), ids),
      bytes: if(options[:bytes], do: List.to_tuple(for(byte <- 0..255, do: ids[ByteAlphabet.character(byte)]))),
      fallback: if(options[:fallback], do: ByteTokens.new(ids)),
      unknown: options[:unknown],
      fuse: options[:fuse] || false,
      prefix: prefix,
      suffix: Keyword.get(options, :suffix, ""),
      whole_words: options[:whole_words] || false
    }
  end

  @doc """
  Where words can be cut without a change to their tokens: a character, before which no token goes on but behind some
  characters, which are the keys of the second. Nil where that does not hold.

  With SentencePiece's vocabularies a whole text is one word, which `▁` cuts into small ones. A word that a character is left
  out of stays whole, because that moves the places of all tokens behind it; see `Beginning`.
  """
  @spec cuts(t, Model.vocabulary()) :: {String.t(), %{char => true}} | nil
  def cuts(%{bytes: nil, prefix: "", suffix: "", whole_words: false, unknown: unknown}, %{"▁" => _id} = vocabulary)
      when unknown != nil do
    {"▁", for({token, _id} <- vocabulary, code <- before(token), into: %{}, do: {code, true})}
  end

  def cuts(_model, _vocabulary), do: nil

  defp before(<<first::utf8, "▁", rest::binary>>), do: [first | before("▁" <> rest)]
  defp before(<<_first::utf8, rest::binary>>), do: before(rest)
  defp before(_end), do: []

  @doc "The tokens of a word. A byte or character that has no token is left out where no token is the unknown one."
  @impl Model
  def encode(model, word, lone) do
    case whole(model, word, lone) do
      nil -> for token <- merged(model, word, lone), do: Merges.id(token)
      id -> [id]
    end
  end

  @impl Model
  def places(model, word, lone) do
    case whole(model, word, lone) do
      nil -> model |> merged(word, lone) |> places(model, word, lone)
      id -> [{id, 0, byte_size(word), nil}]
    end
  end

  defp whole(%{whole_words: false}, _word, _lone), do: nil
  defp whole(%{bytes: nil, ids: ids}, word, _lone), do: Table.get(ids, word)

  defp whole(%{ids: ids}, word, lone),
    do: Table.get(ids, ByteAlphabet.text(if(lone, do: LoneBytes.show(word), else: word)))

  defp merged(%{merges: merges} = model, word, lone) when byte_size(word) <= @short do
    case Beginning.part(model, Beginning.word(model, word, lone), lone) do
      {[_, _ | _] = tokens, nil} ->
        {word, _rounds} = tokens |> ShortWord.first(length(tokens), merges) |> ShortWord.merged(merges)
        ShortWord.tokens(word)

      {one_or_none, nil} ->
        one_or_none
    end
  end

  defp merged(model, word, lone),
    do: model |> LongWord.merged(Beginning.word(model, word, lone), lone) |> Enum.reverse()

  defp places(tokens, %{bytes: bytes}, word, lone) do
    sizes = for token <- tokens, do: Merges.size(token)

    if bytes == nil or (not lone and Enum.sum(sizes) == byte_size(word)) do
      {places, _at} =
        Enum.map_reduce(tokens, 0, fn token, at ->
          to = at + Merges.size(token)
          {{Merges.id(token), at, to, nil}, to}
        end)

      places
    else
      ByteWord.places(tokens, bytes, word, lone)
    end
  end
end
