defmodule Mlx.LM.Embedder do
  @moduledoc """
  Embeddings: a vector for each of some texts, so that texts of like meaning have vectors of like direction.

      embedder = Mlx.LM.Embedder.load("all-MiniLM-L6-v2")
      vectors = Mlx.LM.Embedder.embed(embedder, ["The cat sits outside", "A cat is in the garden", "I like pasta"])
      Mlx.shape(vectors)
      #=> {3, 384}
      Mlx.LM.Embedder.similarity(embedder, vectors[0], vectors) |> Mlx.to_list()

  `load/2` reads a folder with `config.json`, safetensors and `tokenizer.json`. The files that sentence-transformers keeps
  there say how the vectors of a text's tokens become one, whether it has the length 1, how long a text may be, and what
  is put in front of it. `Mlx.LM.Encoder` lists the models. Decoders that were trained for it are embedders, too: those of the
  types `qwen3` (Qwen 3 Embedding) and `gemma3_text` (EmbeddingGemma).

  Texts are read in batches of about the same length, which are padded to one of a few lengths. The function that reads
  them is compiled at the first batch of each size. Padding, order and the other texts of a batch don't change a vector
  but for the last digits.

  An embedder belongs to no process. It can be used by several at once, which then take turns on the device.

  Python: `SentenceTransformer` of `sentence_transformers`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}
  alias Mlx.LM.Embedder.{Dense, Modules, Similarity}
  alias Mlx.LM.{Encoder, Tokenizer}
  alias Mlx.LM.Encoder.{Batches, Folder, FromDecoder, Pooling, Sequences, Text}

  @enforce_keys [
    :name,
    :encoder,
    :text,
    :pooling,
    :normalize,
    :dense,
    :prompts,
    :default_prompt,
    :include_prompt,
    :similarity,
    :max_length,
    :longest,
    :heads,
    :type,
    :compiled
  ]
  @derive {Inspect, only: [:name, :pooling, :normalize, :max_length, :type, :prompts]}
  defstruct @enforce_keys

  @typep model :: Encoder.t() | FromDecoder.t()
  @typep text :: Text.t()
  @typep dense :: Dense.t()

  @typedoc """
  How the vectors of a text's tokens become one:

    * `:cls`, `:last` - that of the first token, or of the last
    * `:mean`, `:max` - their mean, or the greatest of their numbers
    * `:mean_sqrt_len` - their sum, divided by the square root of their number
    * `:weighted_mean` - their mean with the weights 1, 2, 3, ...

  Of a list, the results are one vector, one after the other.
  """
  @type pooling ::
          :cls
          | :last
          | :mean
          | :max
          | :mean_sqrt_len
          | :weighted_mean
          | [:cls | :last | :mean | :max | :mean_sqrt_len | :weighted_mean, ...]

  @type t :: %__MODULE__{
          name: String.t(),
          encoder: model(),
          text: text() | nil,
          pooling: pooling(),
          normalize: boolean(),
          dense: [dense()],
          prompts: %{String.t() => String.t()},
          default_prompt: String.t() | nil,
          include_prompt: boolean(),
          similarity: :cosine | :dot | :euclidean | :manhattan,
          max_length: pos_integer(),
          longest: pos_integer(),
          heads: pos_integer(),
          type: Type.t(),
          compiled: function()
        }

  @batch_size 32

  @doc """
  Loads an embedder from a folder, or from the one of a name on the Hugging Face Hub (`Mlx.Hub.resolve/2`).

  Options:

    * `:type` - the floating-point type of the model, `:f32` (default), `:f16` or `:bf16`. The vectors are `:f32`.
    * `:tokenizer` - a `Mlx.LM.Tokenizer`, or a function of a text that returns its tokens with the special ones; by
      default the one of the folder
    * `:form` - the form of matrices that are quantized in the file, `:quantized` or `:dense`; by default `:dense` on a CPU
      and `:quantized` on a GPU
    * `:quantize` - quantizes the matrices of the layers and the vectors of tokens when they are loaded: true, or a keyword
      list of `:bits`, `:group_size`, `:mode` and `:where` as `Mlx.LM.convert/3` has them

  Raises `Mlx.Error` when a file is missing or damaged, the model is of a type that is not known, the configuration has
  values that are wrong or not supported, or tensors are missing, unknown or of another shape.

  Python: `SentenceTransformer(path)`.
  """
  @spec load(Path.t(), keyword()) :: t()
  def load(path, options \\ []) do
    options = Options.complete(options, :"LM.Embedder.load", Folder.options())

    CalledFunction.name("Mlx.LM.Embedder.load", fn ->
      path |> Folder.path!(:"LM.Embedder.load") |> loaded(options)
    end)
  end

  defp loaded(folder, options) do
    modules = Modules.list(folder)
    place = Modules.encoder(modules)
    encoder = Folder.load(place, false, options, :"LM.Embedder.load")
    {pooling, include_prompt, dense, normalize} = Modules.heads(modules, encoder.type)
    {prompts, default_prompt, similarity} = Modules.settings(folder)

    %__MODULE__{
      name: Path.basename(folder),
      encoder: encoder.model,
      text: encoder.text,
      pooling: pooling,
      normalize: normalize,
      dense: check_dense!(dense, length(pooling) * encoder.config.hidden_size),
      prompts: prompts,
      default_prompt: default_prompt,
      include_prompt: include_prompt,
      similarity: similarity,
      max_length: min(Modules.max_length(place) || encoder.max_length, encoder.config.max_length),
      longest: encoder.config.max_length,
      heads: encoder.config.heads,
      type: encoder.type,
      compiled: compile(encoder.model, dense)
    }
  end

  defp check_dense!(layers, width) do
    Enum.reduce(layers, width, fn layer, width ->
      case Dense.sizes(layer) do
        {^width, outputs} -> outputs
        {inputs, _outputs} -> raise Mlx.Error, "a Dense module takes vectors of #{inputs} numbers, and gets #{width}"
      end
    end)

    layers
  end

  defp compile(encoder, dense) do
    Mlx.compile(fn ids, lengths, types, {pooling, skipped, normalize} ->
      x = Encoder.read(encoder, ids, lengths, types)
      x = x |> Mlx.as_type(:f32) |> Pooling.call(lengths, pooling, skipped)
      x = dense |> Enum.reduce(x, &Dense.call/2) |> Mlx.as_type(:f32)
      if normalize, do: Similarity.normalize(x), else: x
    end)
  end

  @doc """
  The vectors `{n, dims}`, of the type `:f32`, of a list of `n` texts, or of one text: then `n` is 1.

  Options:

    * `:prompt` - what is put in front of each text: a string, an atom that names one of the embedder's prompts, such as
      `:query`, or `nil` for nothing; by default the prompt that the files name, if any
    * `:pooling` - a `t:pooling/0`, by default the embedder's
    * `:normalize` - whether vectors have the length 1, by default the embedder's choice
    * `:max_length` - the most tokens of a text, special ones included; the rest of a text is left out. By default the
      embedder's, and no more than what the model can read
    * `:batch_size` - the most texts that are read at once, default #{@batch_size}

  The vectors of no texts are an array `{0, dims}`.

  Python: `SentenceTransformer.encode`.
  """
  @spec embed(t(), String.t() | [String.t()], keyword()) :: Array.t()
  def embed(embedder, texts, options \\ [])

  def embed(%__MODULE__{} = embedder, text, options) when is_binary(text), do: embed(embedder, [text], options)

  def embed(%__MODULE__{} = embedder, texts, options) when length(texts) >= 0 do
    defaults = [prompt: :default, pooling: nil, normalize: nil, max_length: nil, batch_size: @batch_size]

    {[prompt: prompt], options} =
      options |> Options.complete(:"LM.Embedder.embed", defaults) |> Keyword.split([:prompt])

    settings = settings(embedder, options, :embed)
    Sequences.check_texts!(texts, embedder.text, settings.length, :"LM.Embedder.embed")
    prompt = prompt(embedder, prompt)
    skipped = if embedder.include_prompt, do: 0, else: skipped(embedder.text, prompt)
    sequences = for text <- texts, do: Text.single(embedder.text, prompt <> text, settings.length)
    Sequences.check!(sequences, embedder.encoder, settings.length, :"LM.Embedder.embed")
    vectors(embedder, sequences, settings, skipped)
  end

  @doc """
  The vectors `{n, dims}` of a list of lists of tokens, with the special ones. Takes the options of `embed/3` but for
  `:prompt`; a list that is longer than `:max_length` raises.
  """
  @spec embed_ids(t(), [[Tokenizer.id()]], keyword()) :: Array.t()
  def embed_ids(embedder, ids, options \\ [])

  def embed_ids(%__MODULE__{} = embedder, ids, options) when length(ids) >= 0 do
    defaults = [pooling: nil, normalize: nil, max_length: nil, batch_size: @batch_size]
    options = Options.complete(options, :"LM.Embedder.embed_ids", defaults)
    settings = settings(embedder, options, :embed_ids)
    sequences = for list <- ids, do: {list, nil}
    Sequences.check!(sequences, embedder.encoder, settings.length, :"LM.Embedder.embed_ids")
    vectors(embedder, sequences, settings, 0)
  end

  @doc """
  How alike vectors are: the array `{n, m}` for `{n, dims}` and `{m, dims}`. A vector `{dims}` is one row.

  It is what the files of the embedder name, or else the cosine of the angle, from -1 to 1. A distance is negative, so that
  the greatest number always is that of the most alike.

  Python: `SentenceTransformer.similarity`.
  """
  @spec similarity(t(), Array.t(), Array.t()) :: Array.t()
  def similarity(embedder, a, b)

  def similarity(%__MODULE__{similarity: kind}, %Array{} = a, %Array{} = b) do
    Similarity.call(kind, matrix!(a), matrix!(b))
  end

  defp matrix!(%Array{shape: {_dims}} = vector), do: Mlx.new_axis(vector, 0)
  defp matrix!(%Array{shape: {_n, _dims}} = vectors), do: vectors

  defp matrix!(other) do
    raise ArgumentError,
          "Mlx.LM.Embedder.similarity: expected vectors of the shape {n, dims} or {dims}, got: #{Given.text(other)}"
  end

  @doc "How many numbers a vector has with the embedder's own pooling."
  @spec dims(t()) :: pos_integer()
  def dims(%__MODULE__{} = embedder), do: dims(embedder, embedder.pooling)

  defp dims(%__MODULE__{dense: []} = embedder, pooling), do: width(embedder, pooling)
  defp dims(%__MODULE__{dense: dense}, _pooling), do: dense |> List.last() |> Dense.sizes() |> elem(1)

  defp width(embedder, pooling), do: length(pooling) * elem(Encoder.sizes(embedder.encoder), 1)

  defp vectors(embedder, [], settings, _skipped), do: Mlx.zeros({0, dims(embedder, settings.pooling)})

  defp vectors(embedder, sequences, settings, skipped) do
    choice = {settings.pooling, skipped, settings.normalize}
    Batches.run(sequences, settings, &embedder.compiled.(&1, &2, &3, choice))
  end

  defp settings(embedder, options, function) do
    called = "Mlx.LM.Embedder.#{function}"
    {limits, choice} = Keyword.split(options, [:max_length, :batch_size])
    pooling = List.wrap(if choice[:pooling] == nil, do: embedder.pooling, else: choice[:pooling])
    normalize = if choice[:normalize] == nil, do: embedder.normalize, else: choice[:normalize]

    if not (pooling != [] and ArgumentType.list?(pooling) and Enum.all?(pooling, &(&1 in Pooling.modes()))) do
      raise ArgumentError,
            "#{called}: expected :pooling to be one of #{Enum.map_join(Pooling.modes(), ", ", &inspect/1)}, or a list of " <>
              "these, got: #{Given.text(choice[:pooling])}"
    end

    if not is_boolean(normalize) do
      raise ArgumentError, "#{called}: expected :normalize to be true or false, got: #{Given.text(normalize)}"
    end

    check_width!(embedder, pooling, called)

    Map.merge(Sequences.limits!(limits, embedder.max_length, embedder.longest, embedder.heads, called), %{
      pooling: pooling,
      normalize: normalize
    })
  end

  defp check_width!(%__MODULE__{dense: []}, _pooling, _called), do: :ok

  defp check_width!(%__MODULE__{dense: [first | _]} = embedder, pooling, called) do
    {inputs, _outputs} = Dense.sizes(first)

    if width(embedder, pooling) != inputs do
      raise ArgumentError,
            "#{called}: expected a :pooling that gives #{inputs} numbers, which the dense layer behind it takes, " <>
              "got: #{inspect(pooling)} with #{width(embedder, pooling)}"
    end
  end

  defp prompt(%__MODULE__{default_prompt: nil}, :default), do: ""
  defp prompt(%__MODULE__{default_prompt: name, prompts: prompts}, :default), do: Map.fetch!(prompts, name)
  defp prompt(_embedder, nil), do: ""
  defp prompt(_embedder, text) when is_binary(text), do: text

  defp prompt(%__MODULE__{prompts: prompts}, name) do
    case is_atom(name) and Map.fetch(prompts, Atom.to_string(name)) do
      {:ok, text} -> text
      _none -> refuse_prompt(prompts, name)
    end
  end

  @spec refuse_prompt(%{String.t() => String.t()}, term()) :: no_return()
  defp refuse_prompt(prompts, other) do
    names = Enum.map_join(prompts, ", ", fn {name, _text} -> inspect(name) end)

    raise ArgumentError,
          "Mlx.LM.Embedder.embed: expected :prompt to be a string, nil, or an atom with the name of one of the embedder's " <>
            "prompts (#{if names == "", do: "it has none", else: names}), got: #{Given.text(other)}"
  end

  # The special tokens in front are skipped with the prompt, those behind it are not.
  defp skipped(_text, ""), do: 0
  defp skipped(text, prompt), do: length(elem(Text.single(text, prompt, 1_000_000), 0)) - length(text.back)
end
