defmodule Mlx.LM.Tokenizer.Model do
  @moduledoc false
  # What makes tokens of a word: the object `model` of a `tokenizer.json`, read as a struct of one of four modules.

  alias Mlx.LM.Tokenizer.{BytePairEncoding, Fields, Unigram, WordLevel, WordPiece}

  @type t :: BytePairEncoding.t() | Unigram.t() | WordLevel.t() | WordPiece.t()

  @typedoc "What reads a model: its struct, and its vocabulary."
  @type vocabulary :: %{String.t() => non_neg_integer}

  @doc "The tokens of a word that is not empty. `lone` says whether bytes are written as characters."
  @callback encode(t, String.t(), boolean) :: [non_neg_integer]

  @typedoc """
  A token of a word: its id, where it begins and ends in the word, in bytes, and how it is written where that is not how the
  vocabulary writes it.
  """
  @type place :: {non_neg_integer, non_neg_integer, non_neg_integer, String.t() | nil}

  @doc "The same tokens, with their places."
  @callback places(t, String.t(), boolean) :: [place]

  @modules %{"BPE" => BytePairEncoding, "Unigram" => Unigram, "WordLevel" => WordLevel, "WordPiece" => WordPiece}

  # Packed with its rank, a token has 24 bits.
  @most_tokens 16_777_216

  @doc "Reads the model and its vocabulary. `bytes` says whether words come as bytes, which BPE writes in its alphabet."
  @spec read(term, String.t(), boolean) :: {t, vocabulary}
  def read(object, place, bytes) do
    object = Fields.check(object, :object, place)
    module = @modules[Fields.get(object, "type", {:one_of, Map.keys(@modules)}, place, guess(object))]
    vocabulary = module.vocabulary(object, place)
    if map_size(vocabulary) == 0, do: Fields.fail("#{place}.vocab", "is empty")
    {module.read(object, vocabulary, place, bytes), vocabulary}
  end

  @doc "Whether the words of the model may come as bytes that it writes in its alphabet."
  @spec takes_bytes?(term) :: boolean
  def takes_bytes?(object) do
    case object do
      %{"type" => "BPE"} -> plain?(object)
      %{"merges" => _merges} = object -> not is_map_key(object, "type") and plain?(object)
      _other -> false
    end
  end

  defp plain?(object) do
    object["byte_fallback"] in [nil, false] and object["continuing_subword_prefix"] in [nil, ""] and
      object["end_of_word_suffix"] in [nil, ""] and object["unk_token"] == nil
  end

  # Old files do not name the type.
  defp guess(object) do
    cond do
      is_map_key(object, "merges") -> "BPE"
      is_list(object["vocab"]) -> "Unigram"
      is_map_key(object, "max_input_chars_per_word") -> "WordPiece"
      is_map_key(object, "unk_token") and is_map_key(object, "vocab") -> "WordLevel"
      true -> :required
    end
  end

  @doc "The vocabulary of an object of tokens and ids."
  @spec ids(map, String.t()) :: vocabulary
  def ids(object, place) do
    ids = Fields.get(object, "vocab", :object, place)

    case Enum.find(ids, fn {_token, id} -> not (is_integer(id) and id >= 0 and id < @most_tokens) end) do
      nil ->
        ids

      {token, id} ->
        Fields.fail("#{place}.vocab", "has the id #{inspect(id, limit: 5, printable_limit: 50)} for #{inspect(token)}")
    end
  end

  @doc "Makes tokens of words, each of which is encoded once. Gives the tokens in reverse, a list a word, and the cache."
  @spec encode(t, [String.t()], boolean, map, [[non_neg_integer]]) :: {[[non_neg_integer]], map}
  def encode(%module{} = model, words, lone, cache, encoded), do: words(words, module, model, lone, cache, encoded)

  defp words([], _module, _model, _lone, cache, encoded), do: {encoded, cache}
  defp words(["" | words], module, model, lone, cache, encoded), do: words(words, module, model, lone, cache, encoded)

  defp words([word | words], module, model, lone, cache, encoded) do
    case cache do
      %{^word => ids} ->
        words(words, module, model, lone, cache, [ids | encoded])

      _new ->
        ids = module.encode(model, word, lone)
        words(words, module, model, lone, Map.put(cache, word, ids), [ids | encoded])
    end
  end

  @doc "The tokens of a word with their places, and the cache with them."
  @spec places(t, String.t(), boolean, map) :: {[place], map}
  def places(_model, "", _lone, cache), do: {[], cache}

  def places(%module{} = model, word, lone, cache) do
    case cache do
      %{^word => places} ->
        {places, cache}

      _new ->
        places = module.places(model, word, lone)
        {places, Map.put(cache, word, places)}
    end
  end
end
