defmodule Mlx.LM.Tokenizer.Decoder do
  @moduledoc false
  # What makes text of tokens: the object `decoder` of a `tokenizer.json`, read as a list of stages.
  #
  # Tokens run through the stages one at a time. A stage gets events, `{:part, text}` and `:end` of a token, and gives
  # events; one that joins tokens gives parts of one token that ends with the last. What all stages gave for all tokens,
  # joined, is the text, so that a stream and a whole text are decoded by the same code.

  alias Mlx.LM.Tokenizer.{ByteAlphabet, ByteTokens, Fields, Growth, Pattern, PatternField, Sequence}
  alias Mlx.LM.Tokenizer.Decoder.Stage

  @opaque t :: [tuple]

  @typedoc "The stages with what each keeps, and how many tokens there were."
  @opaque state :: [{tuple, term}]

  @kinds ~w(Sequence ByteLevel Metaspace WordPiece BPEDecoder ByteFallback Fuse Strip Replace CTC)

  @doc "Reads the decoder; `nil` is one that puts a space between tokens."
  @spec read(term, String.t()) :: t
  def read(nil, _place), do: [{:between, " "}]
  def read(object, place), do: object |> Sequence.parts(place, @kinds, "decoders") |> Enum.flat_map(&part/1)

  defp part({type, object, place}) do
    case type do
      "ByteLevel" ->
        [{:byte_level}]

      "Metaspace" ->
        never =
          Fields.get(object, "prepend_scheme", {:one_of, ~w(first always never)}, place, "always") == "never" or
            not Fields.get(object, "add_prefix_space", :boolean, place, true)

        [{:metaspace, Fields.get(object, "replacement", :character, place), not never}]

      "WordPiece" ->
        [
          {:word_piece, Fields.get(object, "prefix", :string, place, "##"),
           Fields.get(object, "cleanup", :boolean, place, true)}
        ]

      "BPEDecoder" ->
        [{:suffix, Fields.get(object, "suffix", :string, place, "</w>")}]

      "ByteFallback" ->
        [{:byte_fallback}]

      "Fuse" ->
        [{:fuse}]

      "Strip" ->
        start = Fields.get(object, "start", :count, place)
        [{:strip, Fields.get(object, "content", :character, place), start, Fields.get(object, "stop", :count, place)}]

      "Replace" ->
        [{:replace, PatternField.read(object, place), Fields.get(object, "content", :string, place), single?(object)}]

      "CTC" ->
        delimiter = Fields.get(object, "word_delimiter_token", :string, place, "|")
        cleans = Fields.get(object, "cleanup", :boolean, place, true)
        [{:ctc, Fields.get(object, "pad_token", :string, place, "<pad>"), delimiter, cleans}]
    end
  end

  # Whether what is replaced is one character, which is never in two parts of a token.
  defp single?(%{"pattern" => %{"String" => <<_code::utf8>>}}), do: true
  defp single?(_object), do: false

  @doc "The stages of a byte-level vocabulary."
  @spec byte_level() :: t
  def byte_level, do: [{:byte_level}]

  @doc "The stages of SentencePiece's vocabularies: `▁` is a space, and one space in front is left out when asked for."
  @spec spaces(boolean) :: t
  def spaces(strips) do
    [{:replace, Pattern.string("▁"), " ", true}, {:byte_fallback}, {:fuse}] ++
      if strips, do: [{:strip, " ", 1, 0}], else: []
  end

  @doc "The stages of a vocabulary of word pieces."
  @spec word_piece(String.t()) :: t
  def word_piece(prefix), do: [{:word_piece, prefix, true}]

  @doc "The state before the first token."
  @spec start(t) :: state
  def start(stages), do: Enum.map(stages, &{&1, Stage.start(&1)})

  @doc "Takes the next token; gives the text that is now certain."
  @spec push(state, String.t()) :: {iodata, state}
  def push(state, token) do
    {events, state} = through(state, [{:part, token}, :end])
    {text(events), state}
  end

  defp through([], events), do: {events, []}

  defp through([{stage, kept} | rest], events) do
    {events, kept} = Stage.run(stage, events, kept)
    {events, rest} = through(rest, events)
    {events, [{stage, kept} | rest]}
  end

  @doc "The rest of the text, when no token follows."
  @spec flush(state) :: iodata
  def flush(state), do: state |> finish([]) |> text()

  defp finish([], events), do: events

  defp finish([{stage, kept} | rest], events) do
    {events, kept} = Stage.run(stage, events, kept)
    finish(rest, events ++ Stage.finish(stage, kept))
  end

  defp text(events), do: for({:part, text} <- events, do: text)

  @doc "The bytes that one token stands for inside of a text."
  @spec bytes(t, String.t()) :: binary
  def bytes(stages, token), do: Enum.reduce_while(stages, token, &part/2)

  defp part({:byte_level}, token) do
    case ByteAlphabet.bytes(token) do
      {:ok, bytes} -> {:halt, bytes}
      :error -> {:halt, token}
    end
  end

  defp part({:byte_fallback}, token) do
    case ByteTokens.byte(token) do
      nil -> {:cont, token}
      byte -> {:halt, <<byte>>}
    end
  end

  defp part({:replace, pattern, content, _single}, token),
    do: {:cont, pattern |> Pattern.replace(token, content) |> Growth.check_token(token)}

  defp part({:metaspace, replacement, _first}, token), do: {:cont, :binary.replace(token, replacement, " ", [:global])}
  defp part({:word_piece, prefix, _cleans}, token), do: {:cont, without_prefix(token, prefix)}
  defp part({:suffix, suffix}, token), do: {:cont, Stage.replaced(token, suffix, " ")}
  defp part(_stage, token), do: {:cont, token}

  defp without_prefix(token, prefix) do
    if String.starts_with?(token, prefix),
      do: binary_part(token, byte_size(prefix), byte_size(token) - byte_size(prefix)),
      else: token
  end
end
