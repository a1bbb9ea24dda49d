defmodule Mlx.LM.Tokenizer do
  @moduledoc """
  Turns text into tokens and tokens into text, with the byte-level byte-pair vocabulary that a GGUF file holds.

      iex> letters = Enum.map(0..255, &Mlx.LM.Tokenizer.ByteAlphabet.character/1)
      iex> tokenizer =
      ...>   Mlx.LM.Tokenizer.from_gguf(%{
      ...>     "tokenizer.ggml.model" => "gpt2",
      ...>     "tokenizer.ggml.pre" => "smollm",
      ...>     "tokenizer.ggml.tokens" => letters ++ ["th", "the", "<|end|>"],
      ...>     "tokenizer.ggml.token_type" => List.duplicate(1, 258) ++ [3],
      ...>     "tokenizer.ggml.merges" => ["t h", "th e"],
      ...>     "tokenizer.ggml.eos_token_id" => 258
      ...>   })
      iex> Mlx.LM.Tokenizer.encode(tokenizer, "the é<|end|>")
      [257, 32, 195, 169, 258]
      iex> Mlx.LM.Tokenizer.encode(tokenizer, "the", eos: true)
      [257, 258]
      iex> Mlx.LM.Tokenizer.decode(tokenizer, [257, 32, 195, 169, 258], special: false)
      "the é"
      iex> tokenizer |> Mlx.LM.Tokenizer.decode_stream([257, 195, 169]) |> Enum.to_list()
      ["the", "é"]
      iex> {Mlx.LM.Tokenizer.token(tokenizer, 257), Mlx.LM.Tokenizer.id(tokenizer, "th"), Mlx.LM.Tokenizer.size(tokenizer)}
      {"the", 256, 259}
      iex> Mlx.LM.Tokenizer.end?(tokenizer, 258)
      true

  The metadata of a model is that of its file: `Mlx.IO.GGUFMetadata.read("model.gguf").metadata`.

  The tokens are those of the PyPI package `tokenizers` with the model's own `tokenizer.json`, for any text. Text need not
  be UTF-8: bytes that are not are encoded as they are. A byte that the vocabulary has no token for is left out (as the
  reference does; SmolLM2 has none for a few control characters, such as `<<4>>`).
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.Tokenizer.{ByteAlphabet, BytePairEncoding, PreTokenizer, StreamDecoder, Table}

  @typedoc "A token's number."
  @type id :: non_neg_integer

  @typep table :: Table.t()
  @typep encoding :: BytePairEncoding.t()
  @typep pre_tokenizer :: PreTokenizer.t()

  @type t :: %__MODULE__{
          tokens: table,
          pieces: table,
          ids: table,
          encoding: encoding,
          pre_tokenizer: pre_tokenizer,
          special: MapSet.t(id),
          patterns: %{all: :binary.cp() | nil, user: :binary.cp() | nil},
          bos: id | nil,
          eos: id | nil,
          unknown: id | nil,
          padding: id | nil,
          end_ids: MapSet.t(id),
          add_bos: boolean,
          add_eos: boolean
        }

  @derive {Inspect, only: [:bos, :eos, :add_bos, :add_eos]}
  @enforce_keys [:tokens, :pieces, :ids, :encoding, :pre_tokenizer, :special, :patterns, :end_ids]
  defstruct @enforce_keys ++ [:bos, :eos, :unknown, :padding, add_bos: false, add_eos: false]

  # Token types of a GGUF file.
  @control 3
  @user_defined 4

  # Control tokens that end an answer, whatever the file names as its end token.
  @end_tokens [
    "<|endoftext|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>"
  ]

  @doc """
  Makes a tokenizer from the metadata of a GGUF file.

  Needs `tokenizer.ggml.model` to be `"gpt2"` (byte-level byte-pair encoding) and `tokenizer.ggml.pre` to be a known
  pre-tokenizer. Raises `Mlx.Error` where something is missing, unknown or does not
  fit together.
  """
  @spec from_gguf(%{String.t() => Mlx.IO.GGUFMetadata.value()}) :: t
  def from_gguf(metadata) when is_map(metadata) do
    check_model(metadata)
    pre_tokenizer = pre_tokenizer(metadata)
    tokens = strings(metadata, "tokens")
    ids = tokens |> Enum.with_index() |> Map.new()
    types = types(metadata, length(tokens))
    special = for {type, id} <- Enum.with_index(types), type in [@control, @user_defined], into: MapSet.new(), do: id
    tuple = List.to_tuple(tokens)
    ending = for name <- ["eos", "eot", "eom"], id = special_id(metadata, name, tuple), do: id
    control = for {@control, id} <- Enum.with_index(types), do: id

    %__MODULE__{
      tokens: by_id(tokens),
      pieces: tokens |> Enum.zip_with(types, &piece/2) |> by_id(),
      ids: Table.new(ids),
      encoding: BytePairEncoding.new(ids, strings(metadata, "merges")),
      pre_tokenizer: pre_tokenizer,
      special: special,
      patterns: %{
        all: pattern(for {token, type} <- Enum.zip(tokens, types), type in [@control, @user_defined], do: token),
        user: pattern(for {token, @user_defined} <- Enum.zip(tokens, types), do: token)
      },
      bos: special_id(metadata, "bos", tuple),
      eos: special_id(metadata, "eos", tuple),
      unknown: special_id(metadata, "unknown", tuple),
      padding: special_id(metadata, "padding", tuple),
      end_ids: MapSet.new(ending ++ Enum.filter(control, &(elem(tuple, &1) in @end_tokens))),
      add_bos: Map.get(metadata, "tokenizer.ggml.add_bos_token", pre_tokenizer.bos),
      add_eos: Map.get(metadata, "tokenizer.ggml.add_eos_token", false)
    }
  end

  @doc """
  The tokens of `text`.

  Options:

    * `:special` - whether the text of a control token, such as `<|im_end|>`, is that token (default `true`). Pass `false`
      for text that is not trusted. Tokens that the model's makers added as plain text are always recognised.
    * `:bos`, `:eos` - whether to put the beginning-of-text token in front and the end token behind. The defaults are what
      the file says.
  """
  @spec encode(t, binary, keyword) :: [id]
  def encode(tokenizer, text, options \\ [])

  def encode(%__MODULE__{} = tokenizer, text, options) when is_binary(text) do
    defaults = [special: true, bos: tokenizer.add_bos, eos: tokenizer.add_eos]
    [special, bos, eos] = Options.without_stream(options, :"LM.Tokenizer.encode", defaults)
    pattern = if special, do: tokenizer.patterns.all, else: tokenizer.patterns.user
    ids = text |> segments(pattern) |> encode_segments(tokenizer)
    edge(bos, tokenizer.bos) ++ ids ++ edge(eos, tokenizer.eos)
  end

  @doc """
  The text of a list of tokens. Bytes that are not UTF-8 become `U+FFFD`.

  With `special: false` control tokens are left out.

  Raises `ArgumentError` for an id that is not in the vocabulary.
  """
  @spec decode(t, [id], keyword) :: String.t()
  def decode(tokenizer, ids, options \\ [])

  def decode(%__MODULE__{} = tokenizer, ids, options) when length(ids) >= 0 do
    special = special!(options, :decode)

    ids
    |> Enum.map(&bytes(tokenizer, &1, special, :decode))
    |> IO.iodata_to_binary()
    |> String.replace_invalid()
  end

  @doc """
  The text of a stream of tokens, as a stream of strings that are never a part of a character.

  Joined, they are what `decode/3` gives for all tokens, and it takes the same options. A token that ends inside a
  character gives what came before it, or nothing.
  """
  @spec decode_stream(t, Enumerable.t(), keyword) :: Enumerable.t()
  def decode_stream(tokenizer, ids, options \\ [])

  def decode_stream(%__MODULE__{} = tokenizer, ids, options) do
    special!(options, :decode_stream)

    ids
    |> Stream.transform(
      fn -> StreamDecoder.new(tokenizer, options) end,
      fn id, decoder ->
        {text, decoder} = StreamDecoder.push(decoder, id)
        {[text], decoder}
      end,
      fn decoder -> {[StreamDecoder.flush(decoder)], decoder} end,
      fn _decoder -> :ok end
    )
    |> Stream.reject(&(&1 == ""))
  end

  @doc """
  The bytes of one token. With `special: false` those of a control token are none.

  Raises `ArgumentError` for an id that is not in the vocabulary.
  """
  @spec bytes(t, id, keyword) :: binary
  def bytes(tokenizer, id, options \\ [])
  def bytes(%__MODULE__{} = tokenizer, id, options), do: bytes(tokenizer, id, special!(options, :bytes), :bytes)

  defp bytes(%__MODULE__{pieces: pieces} = tokenizer, id, special, function) do
    case Table.get(pieces, id) do
      nil ->
        raise ArgumentError,
              "Mlx.LM.Tokenizer.#{function}: token #{Given.text(id)} is not in the vocabulary of #{pieces.size} tokens"

      piece ->
        if special or id not in tokenizer.special, do: piece, else: ""
    end
  end

  defp special!(options, function) do
    [special] = Options.without_stream(options, :"LM.Tokenizer.#{function}", special: true)
    special
  end

  @doc "The id of a token as the vocabulary writes it, or `nil`."
  @spec id(t, binary) :: id | nil
  def id(%__MODULE__{ids: ids}, token) when is_binary(token), do: Table.get(ids, token)

  @doc "A token as the vocabulary writes it, such as `\"Ġworld\"` or `\"<|im_end|>\"`, or `nil`."
  @spec token(t, id) :: binary | nil
  def token(%__MODULE__{tokens: tokens}, id) when is_integer(id), do: Table.get(tokens, id)

  @doc "The number of tokens in the vocabulary."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{tokens: tokens}), do: tokens.size

  @doc "Whether a token ends the answer: the end token of the file, or one such as `<|im_end|>`."
  @spec end?(t, id) :: boolean
  def end?(%__MODULE__{end_ids: ids}, id) when is_integer(id), do: id in ids

  # Metadata

  defp check_model(metadata) do
    case metadata do
      %{"tokenizer.ggml.model" => "gpt2"} ->
        :ok

      %{"tokenizer.ggml.model" => model} ->
        fail("tokenizer.ggml.model is #{inspect(model)}; only \"gpt2\" is supported")

      _none ->
        fail("the metadata has no tokenizer.ggml.model")
    end
  end

  defp pre_tokenizer(metadata) do
    name = Map.get(metadata, "tokenizer.ggml.pre", "gpt-2")

    case PreTokenizer.fetch(name) do
      {:ok, pre_tokenizer} ->
        pre_tokenizer

      :error ->
        known = Enum.join(PreTokenizer.names(), ", ")
        fail("tokenizer.ggml.pre is #{inspect(name)}, which is not a known pre-tokenizer; known are #{known}")
    end
  end

  defp strings(metadata, name) do
    case metadata["tokenizer.ggml." <> name] do
      [first | _] = strings when is_binary(first) -> strings
      _other -> fail("the metadata has no list of strings tokenizer.ggml.#{name}")
    end
  end

  defp types(metadata, count) do
    case metadata["tokenizer.ggml.token_type"] do
      nil -> List.duplicate(1, count)
      types when length(types) == count -> types
      _other -> fail("tokenizer.ggml.token_type has not as many elements as tokenizer.ggml.tokens (#{count})")
    end
  end

  defp special_id(metadata, name, tokens) do
    case metadata["tokenizer.ggml.#{name}_token_id"] do
      nil -> nil
      id when is_integer(id) and id >= 0 and id < tuple_size(tokens) -> id
      id -> fail("tokenizer.ggml.#{name}_token_id is #{inspect(id)}, which is not in the vocabulary")
    end
  end

  defp by_id(list), do: list |> Enum.with_index() |> Map.new(fn {element, id} -> {id, element} end) |> Table.new()

  # Tokens that were added to a vocabulary are written as they read, all others in the byte alphabet.
  defp piece(token, type) when type in [@control, @user_defined], do: token

  defp piece(token, _type) do
    case ByteAlphabet.bytes(token) do
      {:ok, bytes} -> bytes
      :error -> token
    end
  end

  defp pattern(tokens) do
    case Enum.reject(tokens, &(&1 == "")) do
      [] -> nil
      tokens -> :binary.compile_pattern(tokens)
    end
  end

  # Encoding

  # Text and special tokens in turn, text first.
  defp segments(text, nil), do: [text]

  defp segments(text, pattern) do
    {segments, from} =
      text
      |> :binary.matches(pattern)
      |> Enum.flat_map_reduce(0, fn {at, size}, from ->
        {[binary_part(text, from, at - from), binary_part(text, at, size)], at + size}
      end)

    segments ++ [binary_part(text, from, byte_size(text) - from)]
  end

  defp encode_segments(segments, tokenizer), do: encode_segments(segments, tokenizer, %{}, [])

  defp encode_segments([text | rest], tokenizer, cache, encoded) do
    {encoded, cache} = text |> PreTokenizer.split(tokenizer.pre_tokenizer) |> encode_words(tokenizer, cache, encoded)

    case rest do
      [] -> encoded |> Enum.reverse() |> :lists.append()
      [token | rest] -> encode_segments(rest, tokenizer, cache, [[Table.get(tokenizer.ids, token)] | encoded])
    end
  end

  defp encode_words([], _tokenizer, cache, encoded), do: {encoded, cache}

  defp encode_words([word | words], tokenizer, cache, encoded) do
    case cache do
      %{^word => ids} ->
        encode_words(words, tokenizer, cache, [ids | encoded])

      _new ->
        ids = encode_word(word, tokenizer)
        encode_words(words, tokenizer, Map.put(cache, word, ids), [ids | encoded])
    end
  end

  defp encode_word(word, %{pre_tokenizer: %{whole_words: true}} = tokenizer) do
    case Table.get(tokenizer.ids, for(<<byte <- word>>, into: "", do: ByteAlphabet.character(byte))) do
      nil -> BytePairEncoding.encode(tokenizer.encoding, word)
      id -> [id]
    end
  end

  defp encode_word(word, tokenizer), do: BytePairEncoding.encode(tokenizer.encoding, word)

  defp edge(true, id) when id != nil, do: [id]
  defp edge(_add, _id), do: []

  @spec fail(String.t()) :: no_return
  defp fail(problem), do: raise(Mlx.Error, message: "Mlx.LM.Tokenizer.from_gguf: #{problem}")
end
