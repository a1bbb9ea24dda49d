defmodule Mlx.LM.Tokenizer.Decoding do
  @moduledoc false
  # The text of tokens. `function` is the one of `Mlx.LM.Tokenizer` that errors name.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{Decoder, Table}

  @doc "The text of a list of tokens; `special` says whether special tokens are written."
  @spec text(Tokenizer.t(), [Tokenizer.id()], boolean) :: String.t()
  def text(tokenizer, ids, special) do
    {texts, state} =
      Enum.flat_map_reduce(ids, Decoder.start(tokenizer.decoder), fn id, state ->
        case written(tokenizer, id, special, :decode) do
          nil -> {[], state}
          token -> state |> Decoder.push(token) |> then(fn {text, state} -> {[text], state} end)
        end
      end)

    IO.iodata_to_binary([texts, Decoder.flush(state)])
  end

  @doc "The bytes that one token stands for inside of a text."
  @spec bytes(Tokenizer.t(), Tokenizer.id(), boolean) :: binary
  def bytes(tokenizer, id, special) do
    case written(tokenizer, id, special, :bytes) do
      nil -> ""
      token -> Decoder.bytes(tokenizer.decoder, token)
    end
  end

  @doc "A token as the decoder takes it, or nil for a special one that is left out."
  @spec written(Tokenizer.t(), Tokenizer.id(), boolean, atom) :: String.t() | nil
  def written(tokenizer, id, special, function) do
    case found(tokenizer.decoded, id) || Table.get(tokenizer.tokens, id) do
      nil ->
        raise ArgumentError,
              "Mlx.LM.Tokenizer.#{function}: token #{Given.text(id)} is not in the vocabulary of #{tokenizer.tokens.size} tokens"

      token ->
        if special or Table.get(tokenizer.special, id) == nil, do: token
    end
  end

  defp found(%{size: 0}, _id), do: nil
  defp found(table, id), do: Table.get(table, id)
end
