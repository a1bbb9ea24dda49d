defmodule Mlx.LM.Tokenizer.Tokens do
  @moduledoc false
  # The tokens of a text: it is looked through for added tokens, normalized, cut into words, and each word made tokens of.

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{AddedTokens, Aligned, Heap, LoneBytes, Model, Normalizer, Piece, Positions, PreTokenizer}

  @typedoc """
  A token with its place in a text: its id, how it is written where that is not how the vocabulary writes it, and what it stands
  for, in bytes and in characters.
  """
  @type placed :: {Tokenizer.id(), String.t() | nil, Positions.range(), Positions.range()}

  # The most bytes of a short text between added tokens.
  @short 64

  @doc "The ids. `special` says whether the text of a special token is that token."
  @spec ids(Tokenizer.t(), binary, boolean) :: [Tokenizer.id()]
  def ids(tokenizer, text, special) do
    Heap.roomy(byte_size(text), fn ->
      {text, lone} = LoneBytes.hide(text)

      {encoded, _known, _cache} =
        tokenizer.added
        |> AddedTokens.split(:raw, text, true, special)
        |> Enum.reduce({[], %{}, %{}}, fn
          {id, _text}, {encoded, known, cache} when is_integer(id) -> {[[id] | encoded], known, cache}
          part, state -> part(part, state, tokenizer, special, lone)
        end)

      encoded |> Enum.reverse() |> :lists.append()
    end)
  end

  # A text between added tokens. A short one is often there again, as white space between line breaks is.
  defp part({text, false}, {encoded, known, cache}, tokenizer, special, lone) when byte_size(text) <= @short do
    case known do
      %{^text => ids} ->
        {[ids | encoded], known, cache}

      _new ->
        {reversed, cache} = words({text, false}, {[], cache}, tokenizer, special, lone)
        ids = reversed |> Enum.reverse() |> :lists.append()
        {[ids | encoded], Map.put(known, text, ids), cache}
    end
  end

  defp part(part, {encoded, known, cache}, tokenizer, special, lone) do
    {encoded, cache} = words(part, {encoded, cache}, tokenizer, special, lone)
    {encoded, known, cache}
  end

  defp words(part, state, tokenizer, special, lone) do
    part
    |> normalized(tokenizer, special, lone)
    |> Enum.reduce(state, fn
      {id, _text}, {encoded, cache} when is_integer(id) ->
        {[[id] | encoded], cache}

      {text, first}, {encoded, cache} ->
        words = PreTokenizer.split(tokenizer.pre_tokenizer, text, first, lone)
        Model.encode(tokenizer.model, words, lone, cache, encoded)
    end)
  end

  @doc "The tokens with their places."
  @spec placed(Tokenizer.t(), binary, boolean) :: [placed]
  def placed(tokenizer, text, special) do
    Heap.roomy(byte_size(text), fn ->
      positions = Positions.new(text)
      {text, lone} = LoneBytes.hide(text)

      {placed, _cache} =
        tokenizer
        |> parts(Aligned.new(text), special, lone)
        |> Enum.reduce({[], %{}}, fn
          {id, %{text: written} = piece}, {placed, cache} when is_integer(id) ->
            {[in_text({id, 0, byte_size(written), written}, piece, positions) | placed], cache}

          {piece, first}, state ->
            tokenizer.pre_tokenizer
            |> PreTokenizer.split(piece, first, lone)
            |> Enum.reduce(state, &word(&1, &2, tokenizer, lone, positions))
        end)

      Enum.reverse(placed)
    end)
  end

  defp word(piece, {placed, cache}, tokenizer, lone, positions) do
    {places, cache} = Model.places(tokenizer.model, piece.text, lone, cache)
    {Enum.reduce(places, placed, &[in_text(&1, piece, positions) | &2]), cache}
  end

  defp in_text({id, from, to, written}, piece, positions) do
    {bytes, characters} = Positions.of(positions, Aligned.span(piece, from, to))
    {id, written, bytes, characters}
  end

  # The normalized text and the added tokens in turn.
  @spec parts(Tokenizer.t(), Piece.t(), boolean, boolean) :: [{Piece.t(), boolean} | {Tokenizer.id(), Piece.t()}]
  defp parts(tokenizer, piece, special, lone) do
    tokenizer.added
    |> AddedTokens.split(:raw, piece, true, special)
    |> Enum.flat_map(fn
      {id, _piece} = token when is_integer(id) -> [token]
      part -> normalized(part, tokenizer, special, lone)
    end)
  end

  defp normalized({piece, first}, %{added: added, normalizer: normalizer}, special, lone) do
    first = first and Normalizer.keeps_start?(normalizer, Piece.text(piece))
    AddedTokens.split(added, :normalized, Normalizer.apply(normalizer, piece, lone), first, special)
  end
end
