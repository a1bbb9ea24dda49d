defmodule Mlx.LM.Tokenizer.Unigram do
  @moduledoc false
  # The tokens whose scores have the largest sum. A character that is no token has a score below all of them; neighbours
  # of that kind are one unknown token.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.{ByteTokens, Fields, LoneBytes, Model, Table, Trie}

  @behaviour Model

  @penalty 10.0

  @enforce_keys [:ids, :trie, :scores, :unknown, :unknown_score, :bytes]
  defstruct @enforce_keys

  @typep table :: Table.t()

  @type t :: %__MODULE__{
          ids: table,
          trie: table,
          scores: binary,
          unknown: non_neg_integer | nil,
          unknown_score: float,
          bytes: tuple | nil
        }

  @spec vocabulary(map, String.t()) :: Model.vocabulary()
  def vocabulary(object, place) do
    object
    |> Fields.get("vocab", :list, place)
    |> Fields.each("#{place}.vocab", fn
      [token, score], _place when is_binary(token) and is_number(score) -> token
      _other, place -> Fields.fail(place, "has to be a token and its score")
    end)
    |> Enum.with_index()
    |> Map.new()
  end

  @doc "Reads the object of the type `Unigram`."
  @spec read(map, Model.vocabulary(), String.t(), boolean) :: t
  def read(object, vocabulary, place, _bytes) do
    unknown = Fields.get(object, "unk_id", :count, place, nil)
    scores = for [_token, score] <- object["vocab"], do: score / 1

    if unknown != nil and unknown >= length(scores),
      do: Fields.fail("#{place}.unk_id", "is #{unknown}, which is not in the vocabulary")

    new(vocabulary, scores, unknown, Fields.get(object, "byte_fallback", :boolean, place, false))
  end

  @doc "A model of a vocabulary, the score of each id, the unknown token, and whether bytes stand for unknown characters."
  @spec new(Model.vocabulary(), [float], non_neg_integer | nil, boolean) :: t
  def new(vocabulary, scores, unknown, byte_fallback) do
    %__MODULE__{
      ids: Table.new(vocabulary),
      trie: Trie.new(vocabulary),
      scores: for(score <- scores, into: <<>>, do: <<score::float>>),
      unknown: unknown,
      unknown_score: Enum.min(scores) - @penalty,
      bytes: if(byte_fallback, do: ByteTokens.new(vocabulary))
    }
  end

  @impl Model
  def encode(model, word, lone), do: word |> pieces(model) |> Enum.flat_map(&elem(ids(model, &1, lone), 0))

  @impl Model
  def places(model, word, lone) do
    {places, _at} =
      word
      |> pieces(model)
      |> Enum.flat_map_reduce(0, fn piece, at ->
        to = at + byte_size(piece)
        {ids, written} = ids(model, piece, lone)
        {for(id <- ids, do: {id, at, to, written}), to}
      end)

    places
  end

  defp pieces(word, model) do
    word |> forward(0, %{0 => {0.0, 0, nil}}, model, []) |> backward(byte_size(word), word, model.unknown, nil, [])
  end

  # The best way to each place where a character begins, the last first: the place, where its last token begins, and that
  # token. `ahead` has the ways to places that are still to come, which are no more than a token has characters.
  defp forward(text, at, ahead, model, ways) do
    {{score, from, id}, ahead} = Map.pop!(ahead, at)
    ways = [{at, from, id} | ways]

    case text do
      "" ->
        ways

      <<code::utf8, rest::binary>> ->
        single = at + size(code)
        {ahead, known} = tokens(text, 0, at, {at, score, single}, {ahead, false}, model)

        ahead =
          if known, do: ahead, else: better(ahead, single, score + model.unknown_score, at, unknown!(model, code))

        forward(rest, single, ahead, model, ways)
    end
  end

  # All tokens that the text begins with.
  defp tokens(<<code::utf8, rest::binary>>, node, at, {from, score, single} = start, {ahead, known}, model) do
    at = at + size(code)
    {next, id} = Trie.step(model.trie, node, code)

    found =
      if id,
        do: {better(ahead, at, score + score(model.scores, id), from, id), known or at == single},
        else: {ahead, known}

    if next, do: tokens(rest, next, at, start, found, model), else: found
  end

  defp tokens("", _node, _at, _start, found, _model), do: found

  defp score(scores, id) do
    before = 8 * id
    <<_before::binary-size(before), score::float, _rest::binary>> = scores
    score
  end

  defp better(ahead, at, score, from, id) do
    case ahead do
      %{^at => {other, _from, _id}} when other >= score -> ahead
      _worse -> Map.put(ahead, at, {score, from, id})
    end
  end

  # The pieces of the best way; `to` is the end of the run of unknown characters that was begun.
  defp backward(_ways, 0, _word, _unknown, nil, pieces), do: pieces
  defp backward(_ways, 0, word, _unknown, to, pieces), do: [binary_part(word, 0, to) | pieces]

  defp backward([{at, from, id} | ways], at, word, unknown, to, pieces) do
    if id == unknown and id != nil do
      backward(ways, from, word, unknown, to || at, pieces)
    else
      pieces = if to, do: [binary_part(word, at, to - at) | pieces], else: pieces
      backward(ways, from, word, unknown, nil, [binary_part(word, from, at - from) | pieces])
    end
  end

  defp backward([_between | ways], at, word, unknown, to, pieces), do: backward(ways, at, word, unknown, to, pieces)

  # The unknown token is written as what is unknown.
  defp ids(model, piece, lone) do
    case Table.get(model.ids, piece) do
      nil ->
        case ByteTokens.of(model.bytes, if(lone, do: LoneBytes.show(piece), else: piece)) do
          nil -> {[model.unknown], piece}
          ids -> {ids, nil}
        end

      id ->
        {[id], nil}
    end
  end

  defp unknown!(%{unknown: nil}, code) do
    raise Mlx.Error, message: "the character #{inspect(<<code::utf8>>)} is no token, and the model has no unknown token"
  end

  defp unknown!(%{unknown: id}, _code), do: id
end
