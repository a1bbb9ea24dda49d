defmodule Mlx.LM.Tokenizer.WordLevel do
  @moduledoc false
  # A vocabulary of whole words.

  alias Mlx.LM.Tokenizer.{Fields, Model, Table}

  @behaviour Model

  @enforce_keys [:ids, :unknown]
  defstruct @enforce_keys

  @typep table :: Table.t()
  @type t :: %__MODULE__{ids: table, unknown: String.t()}

  @spec vocabulary(map, String.t()) :: Model.vocabulary()
  def vocabulary(object, place), do: Model.ids(object, place)

  @doc "Reads the object of the type `WordLevel`."
  @spec read(map, Model.vocabulary(), String.t(), boolean) :: t
  def read(object, vocabulary, place, _bytes) do
    %__MODULE__{ids: Table.new(vocabulary), unknown: Fields.get(object, "unk_token", :string, place)}
  end

  @impl Model
  def encode(%{ids: ids, unknown: unknown}, word, _lone) do
    case Table.get(ids, word) || Table.get(ids, unknown) do
      nil ->
        raise Mlx.Error,
          message: "the vocabulary has neither a word of the text nor the unknown token #{inspect(unknown)}"

      id ->
        [id]
    end
  end

  @impl Model
  def places(model, word, lone), do: for(id <- encode(model, word, lone), do: {id, 0, byte_size(word), nil})
end
