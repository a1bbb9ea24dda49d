defmodule Mlx.LM.Tokenizer do
  @moduledoc """
  Turns text into tokens and tokens into text, as the files of a model say.

  `from_folder/1` reads Hugging Face's `tokenizer.json` and the files beside it, `from_json/2` one such file that is in
  memory, and `from_gguf/1` the metadata of a GGUF file.

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

  The tokens are those of the PyPI package `tokenizers` with the model's own `tokenizer.json`, for any text. What that file
  says of truncation and padding is for `encoding/3` and `encodings/3`, which take pairs of texts and batches, too; `encode/3`
  leaves it out, as Python's `transformers` does. Dropout, which is for training, is left out always.

  Text need not be UTF-8. Bytes that are not are encoded as they are where the vocabulary has tokens for bytes, and are
  unknown characters where it has none. A byte or a character that the vocabulary has neither a token nor an unknown token
  for is left out (as the reference does; SmolLM2 has none for a few control characters, such as `<<4>>`).

  Python: `tokenizers.Tokenizer`, `transformers.AutoTokenizer`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.IO.FilePath
  alias Mlx.LM.Tokenizer.{AddedTokens, Decoder, Decoding, Definition, Edges, Encodings, Folder, GGUF, Model}
  alias Mlx.LM.Tokenizer.{Normalizer, Padding, PostProcessor, PreTokenizer, StreamDecoder, Table, Tokens, Truncation}

  @typedoc "A token's number."
  @type id :: non_neg_integer

  @typep table :: Table.t()
  @typep normalizer :: Normalizer.t()
  @typep pre_tokenizer :: PreTokenizer.t()
  @typep model :: Model.t()
  @typep added :: AddedTokens.t()
  @typep decoder :: Decoder.t()
  @typep template :: PostProcessor.t()
  @typep truncation :: Truncation.t()
  @typep padding :: Padding.t()

  @typedoc """
  A text or a pair of texts as a model reads it, with lists of the same length:

    * `:ids` - the tokens
    * `:types` - 0 for tokens of the first text, 1 for those of the second, or what the file says
    * `:special` - 1 for tokens that were put around texts, and for padding
    * `:mask` - 0 for padding
    * `:offsets` - with the option of this name, the part of the text that each token stands for: where it begins and where
      it ends, in characters (code points). Tokens that were put around texts and padding have `{0, 0}`
    * `:byte_offsets` - with the same option, these parts in bytes
  """
  @type encoding :: %{
          required(:ids) => [id],
          required(:types) => [non_neg_integer],
          required(:special) => [0 | 1],
          required(:mask) => [0 | 1],
          optional(:offsets) => [offset],
          optional(:byte_offsets) => [offset]
        }

  @typedoc "Where the part of a text begins, and where what is behind it does."
  @type offset :: {non_neg_integer, non_neg_integer}

  @type t :: %__MODULE__{
          tokens: table,
          ids: table,
          normalizer: normalizer,
          pre_tokenizer: pre_tokenizer,
          model: model,
          added: added,
          decoder: decoder,
          decoded: table,
          special: table,
          named: keyword(String.t()),
          front: [id],
          back: [id],
          template: template | nil,
          truncation: truncation | nil,
          padding_settings: padding | nil,
          bos: id | nil,
          eos: id | nil,
          unknown: id | nil,
          padding: id | nil,
          end_ids: MapSet.t(id),
          add_bos: boolean,
          add_eos: boolean
        }

  @derive {Inspect, only: [:bos, :eos, :add_bos, :add_eos]}
  @enforce_keys [
    :tokens,
    :ids,
    :normalizer,
    :pre_tokenizer,
    :model,
    :added,
    :decoder,
    :decoded,
    :special,
    :named,
    :end_ids
  ]
  defstruct @enforce_keys ++
              [:bos, :eos, :unknown, :padding, :template, :truncation, :padding_settings] ++
              [front: [], back: [], add_bos: false, add_eos: false]

  @doc """
  Makes a tokenizer from a folder with a `tokenizer.json`, as models on Hugging Face have it.

  `tokenizer_config.json` and `special_tokens_map.json` name the tokens that begin and end a text, and
  `generation_config.json`, or else `config.json`, those that end an answer, where these files are there.

  Raises `Mlx.Error` where a file cannot be read, or has something that is missing, unknown or of the wrong type, with its
  place.
  """
  @spec from_folder(Path.t()) :: t
  def from_folder(path) do
    path = FilePath.string!(path, :"LM.Tokenizer.from_folder")
    CalledFunction.name("Mlx.LM.Tokenizer.from_folder", fn -> Folder.tokenizer(path) end)
  end

  @doc """
  Makes a tokenizer from the content of a `tokenizer.json`.

  Options:

    * `:config` - what `tokenizer_config.json` says, a map with strings as keys, default `%{}`
    * `:end_ids` - the tokens that end an answer beside the end token; by default those that are known to

  Raises `Mlx.Error` as `from_folder/1` does.

      iex> json = ~s({"model": {"type": "WordLevel", "vocab": {"hello": 0, "world": 1, "<unk>": 2}, "unk_token": "<unk>"},
      ...>   "pre_tokenizer": {"type": "Whitespace"}})
      iex> tokenizer = Mlx.LM.Tokenizer.from_json(json)
      iex> Mlx.LM.Tokenizer.encode(tokenizer, "hello, world")
      [0, 2, 1]
  """
  @spec from_json(binary, keyword) :: t
  def from_json(json, options \\ [])

  def from_json(json, options) when is_binary(json) do
    [config, end_ids] = Options.without_stream(options, :"LM.Tokenizer.from_json", config: %{}, end_ids: nil)

    if not is_map(config) do
      raise ArgumentError, "Mlx.LM.Tokenizer.from_json: expected :config to be a map, got: #{Given.text(config)}"
    end

    if end_ids != nil and not (is_list(end_ids) and Enum.all?(end_ids, &(is_integer(&1) and &1 >= 0))) do
      raise ArgumentError,
            "Mlx.LM.Tokenizer.from_json: expected :end_ids to be a list of tokens, got: #{Given.text(end_ids)}"
    end

    CalledFunction.name("Mlx.LM.Tokenizer.from_json", fn ->
      json |> Folder.decode("tokenizer.json") |> Definition.tokenizer(config, end_ids)
    end)
  end

  @doc """
  Makes a tokenizer from the metadata of a GGUF file.

  Needs `tokenizer.ggml.model` to be `"gpt2"` (byte-level byte-pair encoding) with a known `tokenizer.ggml.pre`, `"llama"`
  or `"gemma4"` (SentencePiece's byte-pair encoding), or `"t5"` (SentencePiece's unigram model). Raises `Mlx.Error` where
  something is missing, unknown or does not fit together.
  """
  @spec from_gguf(%{String.t() => Mlx.IO.GGUFMetadata.value()}) :: t
  def from_gguf(metadata) when is_map(metadata) do
    CalledFunction.name("Mlx.LM.Tokenizer.from_gguf", fn -> GGUF.tokenizer(metadata) end)
  end

  @doc """
  The tokens of `text`.

  Options:

    * `:special` - whether the text of a special token, such as `<|im_end|>`, is that token (default `true`). Pass `false`
      for text that is not trusted. Tokens that the model's makers added as plain text are always recognised.
    * `:bos`, `:eos` - whether to put what begins a text in front and what ends it behind: the tokens that the file puts
      there or, where it puts none, the token that begins or ends a text. The defaults are what the file says.
  """
  @spec encode(t, binary, keyword) :: [id]
  def encode(tokenizer, text, options \\ [])

  def encode(%__MODULE__{} = tokenizer, text, options) when is_binary(text) do
    defaults = [special: true, bos: tokenizer.add_bos, eos: tokenizer.add_eos]
    [special, bos, eos] = Options.without_stream(options, :"LM.Tokenizer.encode", defaults)
    ids = CalledFunction.name("Mlx.LM.Tokenizer.encode", fn -> Tokens.ids(tokenizer, text, special) end)
    {front, back} = Edges.of(tokenizer, bos, eos)
    front ++ ids ++ back
  end

  @doc """
  The tokens of a text or of a pair of texts, `{a, b}`, with their types, as the file says: `t:encoding/0`.

  Options:

    * `:special` - that of `encode/3`
    * `:add_special` - whether to put around texts what the file puts there, default true
    * `:truncation` - how to cut: `:file` (default) as the file says, nil for not at all, or a keyword list of `:max_length`,
      the tokens that are put around included, `:strategy` and `:direction`, the end that loses tokens (`:right`, default, or
      `:left`). `:longest_first` (default) cuts the longer text of a pair until both are alike and then both, and `:only_first`
      and `:only_second` cut one of them
    * `:padding` - how to fill up: `:file` (default), nil, or a keyword list of `:length` (a number of tokens, or `:longest`,
      default, of the batch), `:multiple_of`, `:id` (by default the padding token of the file), `:type` (default 0) and
      `:direction` (`:right`, default, or `:left`)
    * `:offsets` - whether to tell which part of the text each token stands for, default false. Offsets are those of the
      package `tokenizers`: of the text as it was given, before a normalizer changed it. A character that becomes several
      tokens is the part of each of them. White space at the ends of tokens is left out where the file says so
      (`trim_offsets`). In a text that is not UTF-8 each byte outside of a character counts as a character

  Raises `ArgumentError` where texts cannot be cut like that.

      iex> json = ~s({"model": {"type": "WordLevel", "vocab": {"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3}, "unk_token": "b"},
      ...>   "pre_tokenizer": {"type": "Whitespace"},
      ...>   "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 0], "sep": ["[SEP]", 1]}})
      iex> tokenizer = Mlx.LM.Tokenizer.from_json(json)
      iex> Mlx.LM.Tokenizer.encoding(tokenizer, {"a a", "b"})
      %{ids: [0, 2, 2, 1, 3, 1], types: [0, 0, 0, 0, 1, 1], special: [1, 0, 0, 1, 0, 1], mask: [1, 1, 1, 1, 1, 1]}
      iex> Mlx.LM.Tokenizer.encoding(tokenizer, "a b a", truncation: [max_length: 4], padding: [length: 5]).ids
      [0, 2, 3, 1, 0]
      iex> encoding = Mlx.LM.Tokenizer.encoding(tokenizer, "é a", offsets: true)
      iex> {encoding.offsets, encoding.byte_offsets}
      {[{0, 0}, {0, 1}, {2, 3}, {0, 0}], [{0, 0}, {0, 2}, {3, 4}, {0, 0}]}

  Python: `tokenizers.Tokenizer.encode`, and `offsets` of what it gives.
  """
  @spec encoding(t, binary | {binary, binary}, keyword) :: encoding
  def encoding(tokenizer, text, options \\ [])

  def encoding(%__MODULE__{} = tokenizer, text, options) when is_binary(text) or is_tuple(text) do
    [encoding] = Encodings.batch(tokenizer, [text], options, :encoding)
    encoding
  end

  @doc """
  As `encoding/3`, for a list of texts or pairs, which may be padded to one length.

  Python: `tokenizers.Tokenizer.encode_batch`.
  """
  @spec encodings(t, [binary | {binary, binary}], keyword) :: [encoding]
  def encodings(tokenizer, texts, options \\ [])

  def encodings(%__MODULE__{} = tokenizer, texts, options) when length(texts) >= 0,
    do: Encodings.batch(tokenizer, texts, options, :encodings)

  @doc """
  The text of a list of tokens. Bytes that are not UTF-8 become `U+FFFD`.

  With `special: false` special tokens are left out.

  Raises `ArgumentError` for an id that is not in the vocabulary.
  """
  @spec decode(t, [id], keyword) :: String.t()
  def decode(tokenizer, ids, options \\ [])

  def decode(%__MODULE__{} = tokenizer, ids, options) when length(ids) >= 0 do
    special = special!(options, :decode)
    CalledFunction.name("Mlx.LM.Tokenizer.decode", fn -> Decoding.text(tokenizer, ids, special) end)
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
  The bytes that one token stands for inside of a text. With `special: false` those of a special token are none.

  Raises `ArgumentError` for an id that is not in the vocabulary.
  """
  @spec bytes(t, id, keyword) :: binary
  def bytes(tokenizer, id, options \\ [])

  def bytes(%__MODULE__{} = tokenizer, id, options), do: Decoding.bytes(tokenizer, id, special!(options, :bytes))

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

  @doc """
  The tokens that have a name, as a chat template takes them: `bos_token`, `eos_token`, `unk_token`, `pad_token` and, in
  files of Hugging Face, `sep_token`, `cls_token` and `mask_token`, as far as the model has them.

      iex> json = ~s({"model": {"type": "WordLevel", "vocab": {"a": 0, "</s>": 1}, "unk_token": "a"}})
      iex> tokenizer = Mlx.LM.Tokenizer.from_json(json, config: %{"eos_token" => "</s>"})
      iex> Mlx.LM.Tokenizer.named_tokens(tokenizer)
      [eos_token: "</s>"]
  """
  @spec named_tokens(t) :: keyword(String.t())
  def named_tokens(%__MODULE__{named: named}), do: named

  @doc "The number of tokens in the vocabulary."
  @spec size(t) :: pos_integer
  def size(%__MODULE__{tokens: tokens}), do: tokens.size

  @doc "Whether a token ends the answer: the end token of the file, or one such as `<|im_end|>`."
  @spec end?(t, id) :: boolean
  def end?(%__MODULE__{end_ids: ids}, id) when is_integer(id), do: id in ids
end
