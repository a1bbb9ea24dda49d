defmodule Mlx.LM.Tokenizer.BytePairEncoding.ByteWord do
  @moduledoc false
  # Where tokens of bytes are in a word of which some bytes have no token, or are written as characters.
  #
  # The reference counts the bytes of the alphabet that words are written in, and does not count what has no token: tokens behind
  # such a byte seem to be further in front.

  alias Mlx.LM.Tokenizer.{ByteAlphabet, LoneBytes, Model}
  alias Mlx.LM.Tokenizer.BytePairEncoding.Merges

  @doc "The tokens with their places. `bytes` has the token of each byte, and `lone` says whether bytes are characters."
  @spec places([Merges.token()], tuple, String.t(), boolean) :: [Model.place()]
  def places(tokens, bytes, word, lone) do
    written = written(word, 0, lone)
    characters = for({byte, from, to} <- written, _byte <- 1..size(byte), do: {from, to}) |> List.to_tuple()
    sizes = for {byte, _from, _to} <- written, elem(bytes, byte) != nil, do: size(byte)

    {places, _rest} =
      Enum.map_reduce(tokens, {sizes, 0}, fn token, {sizes, at} ->
        {here, sizes} = Enum.split(sizes, Merges.size(token))
        next = at + Enum.sum(here)
        {from, _to} = elem(characters, at)
        {_from, to} = elem(characters, next - 1)
        {{Merges.id(token), from, to, nil}, {sizes, next}}
      end)

    places
  end

  # The bytes of a word, each with where its character begins and ends.
  defp written("", _at, _lone), do: []

  defp written(<<code::utf8, rest::binary>>, at, lone) do
    character = <<code::utf8>>
    to = at + byte_size(character)
    shown = if lone, do: LoneBytes.show(character), else: character
    for(<<byte <- shown>>, do: {byte, at, to}) ++ written(rest, to, lone)
  end

  defp size(byte), do: byte |> ByteAlphabet.character() |> byte_size()
end
