defmodule Mlx.LM.Tokenizer.Unigram do
  @moduledoc false
  # The tokens whose scores have the largest sum. A character that is no token has a score below all of them; neighbours
  # of that kind are one unknown token.

  alias Mlx.LM.Tokenizer.{ByteTokens, Fields, LoneBytes, Model, Table}

  @behaviour Model

  @penalty 10.0

  @enforce_keys [:ids, :prefixes, :unknown, :unknown_score, :bytes]
  defstruct @enforce_keys

  @typep table :: Table.t()

  @type t :: %__MODULE__{
          ids: table,
          prefixes: table,
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
    by_id = List.to_tuple(scores)

    %__MODULE__{
      ids: Table.new(vocabulary),
      prefixes: vocabulary |> prefixes(by_id) |> Table.new(),
      unknown: unknown,
      unknown_score: Enum.min(scores) - @penalty,
      bytes: if(byte_fallback, do: ByteTokens.new(vocabulary))
    }
  end

  # Every beginning of a token: its id and score where it is one itself, and whether a longer token begins with it.
  defp prefixes(vocabulary, scores) do
    Enum.reduce(vocabulary, %{}, fn {token, id}, prefixes ->
      prefixes =
        Map.update(prefixes, token, {id, elem(scores, id), false}, fn {_id, _score, more} ->
          {id, elem(scores, id), more}
        end)

      longer(prefixes, token, shorter(token))
    end)
  end

  defp longer(prefixes, _token, ""), do: prefixes

  defp longer(prefixes, token, prefix) do
    case prefixes do
      %{^prefix => {_id, _score, true}} ->
        prefixes

      %{^prefix => {id, score, false}} ->
        prefixes |> Map.put(prefix, {id, score, true}) |> longer(token, shorter(prefix))

      _new ->
        prefixes |> Map.put(prefix, {nil, nil, true}) |> longer(token, shorter(prefix))
    end
  end

  # Without the last character.
  defp shorter(""), do: ""

  defp shorter(text) do
    part = binary_part(text, 0, byte_size(text) - 1)
    if :binary.last(text) in 0x80..0xBF and part != "", do: shorter(part), else: part
  end

  @impl Model
  def encode(model, word, lone) do
    best = forward(model, word, word, 0, %{0 => {0.0, nil, nil}})
    word |> backward(byte_size(word), best, model.unknown, nil, []) |> Enum.flat_map(&ids(model, &1, lone))
  end

  defp forward(_model, _word, "", _at, best), do: best

  defp forward(model, word, rest, at, best) do
    {score, _from, _id} = Map.fetch!(best, at)
    <<code::utf8, behind::binary>> = rest
    single = byte_size(rest) - byte_size(behind)
    {best, known} = tokens(model, rest, single, single, at, score, {best, false})
    best = if known, do: best, else: better(best, at + single, score + model.unknown_score, at, unknown!(model, code))
    forward(model, word, behind, at + single, best)
  end

  defp tokens(model, rest, size, single, at, score, {best, known}) do
    case Table.get(model.prefixes, binary_part(rest, 0, size)) do
      nil ->
        {best, known}

      {id, token_score, more} ->
        best = if id, do: better(best, at + size, score + token_score, at, id), else: best
        known = known or (id != nil and size == single)

        case rest do
          <<_before::binary-size(size), code::utf8, _rest::binary>> when more ->
            tokens(model, rest, size + byte_size(<<code::utf8>>), single, at, score, {best, known})

          _end ->
            {best, known}
        end
    end
  end

  defp better(best, at, score, from, id) do
    case best do
      %{^at => {other, _from, _id}} when other >= score -> best
      _worse -> Map.put(best, at, {score, from, id})
    end
  end

  # The pieces of the best path; `unknown` is the end of the run of unknown characters that was begun.
  defp backward(_word, 0, _best, _id, nil, pieces), do: pieces
  defp backward(word, 0, _best, _id, to, pieces), do: [binary_part(word, 0, to) | pieces]

  defp backward(word, at, best, id, to, pieces) do
    case Map.fetch!(best, at) do
      {_score, from, ^id} when id != nil ->
        backward(word, from, best, id, to || at, pieces)

      {_score, from, _id} ->
        pieces = if to, do: [binary_part(word, at, to - at) | pieces], else: pieces
        backward(word, from, best, id, nil, [binary_part(word, from, at - from) | pieces])
    end
  end

  defp ids(model, piece, lone) do
    case Table.get(model.ids, piece) do
      nil -> ByteTokens.of(model.bytes, if(lone, do: LoneBytes.show(piece), else: piece)) || [model.unknown]
      id -> [id]
    end
  end

  defp unknown!(%{unknown: nil}, code) do
    raise Mlx.Error, message: "the character #{inspect(<<code::utf8>>)} is no token, and the model has no unknown token"
  end

  defp unknown!(%{unknown: id}, _code), do: id
end
