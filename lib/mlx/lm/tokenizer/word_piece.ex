defmodule Mlx.LM.Tokenizer.WordPiece do
  @moduledoc false
  # The longest token that a word begins with, and then the longest that what is left begins with, up to its end. A word
  # that cannot be made of tokens is the unknown token.

  alias Mlx.LM.Tokenizer.{Fields, Model, Table, Trie}

  @behaviour Model

  @enforce_keys [:ids, :trie, :inside, :unknown, :most]
  defstruct @enforce_keys

  @typep table :: Table.t()

  @type t :: %__MODULE__{
          ids: table,
          trie: table,
          inside: non_neg_integer | nil,
          unknown: String.t(),
          most: non_neg_integer
        }

  @spec vocabulary(map, String.t()) :: Model.vocabulary()
  def vocabulary(object, place), do: Model.ids(object, place)

  @doc "Reads the object of the type `WordPiece`."
  @spec read(map, Model.vocabulary(), String.t(), boolean) :: t
  def read(object, vocabulary, place, _bytes) do
    new(
      vocabulary,
      Fields.get(object, "unk_token", :string, place, "[UNK]"),
      Fields.get(object, "continuing_subword_prefix", :string, place, "##"),
      Fields.get(object, "max_input_chars_per_word", :count, place, 100)
    )
  end

  @doc "A model of a vocabulary, its unknown token, the prefix of tokens inside of a word, and the most characters of one."
  @spec new(Model.vocabulary(), String.t(), String.t(), non_neg_integer) :: t
  def new(vocabulary, unknown, prefix, most) do
    trie = Trie.new(vocabulary)
    inside = Trie.walk(trie, 0, prefix)
    %__MODULE__{ids: Table.new(vocabulary), trie: trie, inside: inside, unknown: unknown, most: most}
  end

  @impl Model
  def encode(model, word, lone), do: for({id, _from, _to, _written} <- places(model, word, lone), do: id)

  @impl Model
  def places(model, word, _lone) do
    with false <- longer?(word, model.most),
         places when places != nil <- whole(model, word) || pieces(model, word, 0, 0, []) do
      places
    else
      _unknown ->
        case Table.get(model.ids, model.unknown) do
          nil -> raise Mlx.Error, message: "the vocabulary has no unknown token #{inspect(model.unknown)}"
          id -> [{id, 0, byte_size(word), nil}]
        end
    end
  end

  defp longer?("", _most), do: false
  defp longer?(_word, 0), do: true
  defp longer?(<<_code::utf8, rest::binary>>, most), do: longer?(rest, most - 1)

  # Most words are a token.
  defp whole(model, word) do
    case Table.get(model.ids, word) do
      nil -> nil
      id -> [{id, 0, byte_size(word), nil}]
    end
  end

  defp pieces(_model, "", _node, _at, places), do: Enum.reverse(places)
  defp pieces(_model, _rest, nil, _at, _places), do: nil

  defp pieces(model, word, node, at, places) do
    case longest(word, node, model.trie, nil) do
      nil ->
        nil

      {id, rest} ->
        to = at + byte_size(word) - byte_size(rest)
        pieces(model, rest, model.inside, to, [{id, at, to, nil} | places])
    end
  end

  # The longest token that a text begins with, and what is behind it.
  defp longest(<<code::utf8, rest::binary>>, node, trie, found) do
    {next, id} = Trie.step(trie, node, code)
    found = if id, do: {id, rest}, else: found
    if next, do: longest(rest, next, trie, found), else: found
  end

  defp longest("", _node, _trie, found), do: found
end
