defmodule Mlx.LM.Tokenizer.BytePairEncoding.Beginning do
  @moduledoc false
  # The tokens that a word begins as, of its bytes or characters, in parts: those of a long word are never all there.

  import Mlx.LM.Tokenizer.CharacterSize

  alias Mlx.LM.Tokenizer.{BytePairEncoding, ByteTokens, LoneBytes, Table}
  alias Mlx.LM.Tokenizer.BytePairEncoding.Merges

  # The most bytes or characters of a part.
  @part 1024

  @typedoc """
  What is left of a word: the text, what is written in front of its first character, and an unknown token that waits for
  the next character. Nil is the end.
  """
  @type rest :: {binary, String.t(), Merges.token() | nil} | nil

  @doc "A whole word. `lone` says whether bytes are written as characters."
  @spec word(BytePairEncoding.t(), String.t(), boolean) :: rest
  def word(%{bytes: bytes}, word, true) when bytes != nil, do: {LoneBytes.show(word), "", nil}
  def word(_model, word, _lone), do: {word, "", nil}

  @doc "The tokens of the next part, and what is left then."
  @spec part(BytePairEncoding.t(), rest, boolean) :: {[Merges.token()], rest}
  def part(%{bytes: nil} = model, {text, prefix, unknown}, lone),
    do: characters(text, prefix, model, lone, unknown, @part, [])

  def part(%{bytes: bytes}, {text, _prefix, _unknown}, _lone) when byte_size(text) <= @part,
    do: {bytes(text, bytes), nil}

  def part(%{bytes: bytes}, {text, prefix, unknown}, _lone) do
    <<part::binary-size(@part), rest::binary>> = text
    {bytes(part, bytes), {rest, prefix, unknown}}
  end

  # A byte that has no token is left out.
  defp bytes(text, bytes), do: for(<<byte <- text>>, id = elem(bytes, byte), do: Merges.token(id, 1))

  # An unknown token waits for the next character that is known: it may become one with its neighbours, and the tokens of bytes
  # go before it, as in the reference.
  defp characters("", _prefix, _model, _lone, nil, _left, tokens), do: {Enum.reverse(tokens), nil}
  defp characters("", _prefix, _model, _lone, unknown, _left, tokens), do: {Enum.reverse([unknown | tokens]), nil}

  defp characters(text, prefix, _model, _lone, unknown, 0, tokens),
    do: {Enum.reverse(tokens), {text, prefix, unknown}}

  defp characters(<<code::utf8, rest::binary>>, prefix, model, lone, unknown, left, tokens) do
    size = size(code)
    suffix = if rest == "", do: model.suffix, else: ""
    left = left - 1

    case id(model, code, prefix, suffix) do
      nil ->
        character = prefix <> <<code::utf8>> <> suffix

        case ByteTokens.of(model.fallback, if(lone, do: LoneBytes.show(character), else: character)) do
          nil ->
            {unknown, tokens} = unknown(unknown_id(model), size, unknown, model.fuse, tokens)
            characters(rest, model.prefix, model, lone, unknown, left, tokens)

          bytes ->
            tokens = Enum.reduce(bytes, tokens, &[Merges.token(&1, 1) | &2])
            characters(rest, model.prefix, model, lone, unknown, left, tokens)
        end

      id ->
        tokens = [Merges.token(id, size) | if(unknown, do: [unknown | tokens], else: tokens)]
        characters(rest, model.prefix, model, lone, nil, left, tokens)
    end
  end

  defp id(%{ascii: ascii}, code, "", "") when code < 128, do: elem(ascii, code)
  defp id(%{ids: ids}, code, "", ""), do: Table.get(ids, <<code::utf8>>)
  defp id(%{ids: ids}, code, prefix, suffix), do: Table.get(ids, prefix <> <<code::utf8>> <> suffix)

  # The unknown token that waits behind one more unknown character, and the tokens.
  defp unknown(nil, _size, waiting, _fuse, tokens), do: {waiting, tokens}
  defp unknown(id, size, nil, _fuse, tokens), do: {Merges.token(id, size), tokens}
  defp unknown(id, size, waiting, true, tokens), do: {Merges.token(id, size + Merges.size(waiting)), tokens}
  defp unknown(id, size, waiting, false, tokens), do: {Merges.token(id, size), [waiting | tokens]}

  defp unknown_id(%{unknown: nil}), do: nil

  defp unknown_id(%{unknown: unknown} = model) do
    Table.get(model.ids, unknown) ||
      raise Mlx.Error, message: "the vocabulary has no unknown token #{inspect(unknown)}, which the text needs"
  end
end
