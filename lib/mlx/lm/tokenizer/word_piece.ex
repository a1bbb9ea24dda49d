defmodule Mlx.LM.Tokenizer.WordPiece do
  @moduledoc false
  # The longest token that a word begins with, and then the longest that what is left begins with, up to its end. A word
  # that cannot be made of tokens is the unknown token.

  alias Mlx.LM.Tokenizer.{Fields, Model, Table}

  @behaviour Model

  @enforce_keys [:ids, :unknown, :prefix, :most, :longest]
  defstruct @enforce_keys

  @typep table :: Table.t()

  @type t :: %__MODULE__{
          ids: table,
          unknown: String.t(),
          prefix: String.t(),
          most: non_neg_integer,
          longest: non_neg_integer
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
    longest = vocabulary |> Map.keys() |> Enum.map(&byte_size/1) |> Enum.max()
    %__MODULE__{ids: Table.new(vocabulary), unknown: unknown, prefix: prefix, most: most, longest: longest}
  end

  @impl Model
  def encode(model, word, _lone) do
    with false <- longer?(word, model.most), ids when ids != nil <- pieces(model, word, "", []) do
      ids
    else
      _unknown ->
        case Table.get(model.ids, model.unknown) do
          nil -> raise Mlx.Error, message: "the vocabulary has no unknown token #{inspect(model.unknown)}"
          id -> [id]
        end
    end
  end

  defp longer?("", _most), do: false
  defp longer?(_word, 0), do: true
  defp longer?(<<_code::utf8, rest::binary>>, most), do: longer?(rest, most - 1)

  defp pieces(_model, "", _prefix, ids), do: Enum.reverse(ids)

  defp pieces(model, rest, prefix, ids) do
    case longest(model, rest, prefix, boundary(rest, min(byte_size(rest), model.longest))) do
      nil -> nil
      {id, size} -> pieces(model, binary_part(rest, size, byte_size(rest) - size), model.prefix, [id | ids])
    end
  end

  defp longest(_model, _rest, _prefix, 0), do: nil

  defp longest(model, rest, prefix, size) do
    case Table.get(model.ids, prefix <> binary_part(rest, 0, size)) do
      nil -> longest(model, rest, prefix, boundary(rest, size - 1))
      id -> {id, size}
    end
  end

  # The last place up to `size` where a character ends.
  defp boundary(text, size) when size == byte_size(text), do: size

  defp boundary(text, size),
    do: if(size > 0 and :binary.at(text, size) in 0x80..0xBF, do: boundary(text, size - 1), else: size)
end
