defmodule Mlx.LM.Ranker do
  @moduledoc """
  Scores of pairs of texts by a model that reads both at once, such as how well a document answers a question.

      ranker = Mlx.LM.Ranker.load("ms-marco-MiniLM-L6-v2")
      documents = ["Berlin has 3.7 million inhabitants.", "Pasta is made of wheat."]
      Mlx.LM.Ranker.rank(ranker, "How many people live in Berlin?", documents)
      #=> [%{index: 0, score: 8.6, document: "Berlin has ..."}, %{index: 1, score: -11.2, document: "Pasta ..."}]

  Such a model is slower and better than `Mlx.LM.Embedder`, which reads each text alone: a search takes what the embedder
  finds, and ranks it. `load/2` reads a folder with the model of a `...ForSequenceClassification`, or with a decoder of the type
  `qwen3` (Qwen 3 Reranker), which is asked about a pair, and whose score is how much more likely yes is than no: with
  `activation: :sigmoid`, its default, the probability of yes among the two.

  Pairs are read in batches, as texts are by `Mlx.LM.Embedder`. A ranker belongs to no process.

  Python: `CrossEncoder` of `sentence_transformers`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Type}
  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.{Encoder, Tokenizer}
  alias Mlx.LM.Encoder.{Batches, Classifier, Folder, FromDecoder, Judgement, Sequences, Settings, Text}

  @enforce_keys [:name, :encoder, :text, :labels, :activation, :max_length, :longest, :heads, :type, :compiled]
  @derive {Inspect, only: [:name, :labels, :activation, :max_length, :type]}
  defstruct @enforce_keys

  @typep model :: Encoder.t() | FromDecoder.t()
  @typep text :: Text.t()

  @type t :: %__MODULE__{
          name: String.t(),
          encoder: model(),
          text: text() | nil,
          labels: pos_integer(),
          activation: :none | :sigmoid,
          max_length: pos_integer(),
          longest: pos_integer(),
          heads: pos_integer(),
          type: Type.t(),
          compiled: function()
        }

  @typedoc "A document with its place among those that were given, and its score."
  @type ranked :: %{index: non_neg_integer(), score: float(), document: String.t()}

  @batch_size 32
  @activations [:none, :sigmoid]

  # The last parts of the names of PyTorch's classes.
  @named %{"Identity" => :none, "Sigmoid" => :sigmoid}

  @doc """
  Loads a ranker from a folder with `config.json`, safetensors and `tokenizer.json`, or from the one of a name on the Hugging
  Face Hub (`Mlx.Hub.resolve/2`).

  Options:

    * `:type` - the floating-point type of the model, `:f32` (default), `:f16` or `:bf16`. The scores are `:f32`.
    * `:tokenizer` - a `Mlx.LM.Tokenizer`, or a function of a text that returns its tokens with the special ones; by
      default the one of the folder
    * `:form` - the form of matrices that are quantized in the file, `:quantized` or `:dense`; by default `:dense` on a CPU
      and `:quantized` on a GPU
    * `:quantize` - quantizes the matrices of the layers and the vectors of tokens when they are loaded: true, or a keyword
      list of `:bits`, `:group_size`, `:mode` and `:where` as `Mlx.LM.convert/3` has them

  Raises `Mlx.Error` as `Mlx.LM.Embedder.load/2` does, and for a model without a classifier.

  Python: `CrossEncoder(path)`.
  """
  @spec load(Path.t(), keyword()) :: t()
  def load(path, options \\ []) do
    options = Options.complete(options, :"LM.Ranker.load", Folder.options())

    CalledFunction.name("Mlx.LM.Ranker.load", fn ->
      path |> Folder.path!(:"LM.Ranker.load") |> loaded(options)
    end)
  end

  defp loaded(folder, options) do
    encoder = Folder.load(folder, true, options, :"LM.Ranker.load")
    labels = encoder.config.classifier.labels

    %__MODULE__{
      name: Path.basename(folder),
      encoder: encoder.model,
      text: encoder.text,
      labels: labels,
      activation: activation(encoder.json, labels),
      max_length: encoder.max_length,
      longest: encoder.config.max_length,
      heads: encoder.config.heads,
      type: encoder.type,
      compiled: compile(encoder.model)
    }
  end

  defp activation(json, labels) do
    name =
      case json do
        %{"sentence_transformers" => %{"activation_fn" => name}} -> name
        other -> other["sbert_ce_default_activation_function"]
      end

    class = if is_binary(name), do: name |> String.split(".") |> List.last()

    cond do
      name == nil and labels == 1 -> :sigmoid
      name == nil -> :none
      is_map_key(@named, class) -> @named[class]
      true -> Settings.fail!("the activation of the scores is #{inspect(name)}, expected Identity or Sigmoid")
    end
  end

  defp compile(encoder) do
    Mlx.compile(fn ids, lengths, types, activation ->
      x = Encoder.read(encoder, ids, lengths, types)
      scores = Mlx.as_type(scores_of(encoder, x, lengths), :f32)
      if activation == :sigmoid, do: Mlx.sigmoid(scores), else: scores
    end)
  end

  defp scores_of(%FromDecoder{} = model, x, lengths), do: FromDecoder.scores(model, x, lengths)
  defp scores_of(%Encoder{classifier: classifier}, x, lengths), do: Classifier.call(classifier, x, lengths)

  @doc """
  The scores `{n, labels}`, of the type `:f32`, of a list of `n` pairs of texts.

  Options:

    * `:activation` - what is applied to the scores, `:sigmoid` or `:none`; by default what the files name, or else
      `:sigmoid` for a model with one label and `:none` for others
    * `:instruction` - what makes a document a good one, for a ranker that is asked; by default that it answers a query of a
      search
    * `:max_length` - the most tokens of a pair, special ones included; of what is too long, the longer text is cut first.
      By default the ranker's
    * `:batch_size` - the most pairs that are read at once, default #{@batch_size}

  Python: `CrossEncoder.predict`.
  """
  @spec scores(t(), [{String.t(), String.t()}], keyword()) :: Array.t()
  def scores(ranker, pairs, options \\ [])

  def scores(%__MODULE__{} = ranker, pairs, options) when length(pairs) >= 0 do
    settings = settings(ranker, options, :scores, [])

    case Enum.find(pairs, &(not match?({a, b} when is_binary(a) and is_binary(b), &1))) do
      nil -> scored(ranker, pairs, settings, :"LM.Ranker.scores")
      other -> raise ArgumentError, "Mlx.LM.Ranker.scores: expected pairs of strings, got: #{Given.text(other)}"
    end
  end

  @doc """
  The scores `{n, labels}` of a list of `n` pairs that are tokens: `{ids, types}`, with the special ones, where the types
  are 0 and 1 for the tokens of the first and the second text, or nil for a model that makes no difference. Takes the
  options of `scores/3`.
  """
  @spec score_ids(t(), [{[Tokenizer.id()], [0 | 1] | nil}], keyword()) :: Array.t()
  def score_ids(ranker, sequences, options \\ [])

  def score_ids(%__MODULE__{} = ranker, sequences, options) when length(sequences) >= 0 do
    settings = settings(ranker, options, :score_ids, [])

    for {sequence, place} <- Enum.with_index(sequences), not sequence?(sequence) do
      raise ArgumentError,
            "Mlx.LM.Ranker.score_ids: expected tokens with a type of 0 or 1 for each, {ids, types}, or {ids, nil}, " <>
              "got: #{Given.text(sequence)} at #{place}"
    end

    read(ranker, sequences, settings, :"LM.Ranker.score_ids")
  end

  defp sequence?({ids, nil}), do: is_list(ids)

  defp sequence?({ids, types}) when length(ids) == length(types), do: Enum.all?(types, &(&1 in [0, 1]))
  defp sequence?(_other), do: false

  @doc """
  Documents with their scores for a query, the best first.

  Options: those of `scores/3`, and

    * `:top` - how many of the best, by default all
    * `:label` - which of the scores of a model with several labels, from 0

  Python: `CrossEncoder.rank`.
  """
  @spec rank(t(), String.t(), [String.t()], keyword()) :: [ranked()]
  def rank(ranker, query, documents, options \\ [])

  def rank(%__MODULE__{} = ranker, query, documents, options) when is_binary(query) and length(documents) >= 0 do
    settings = settings(ranker, options, :rank, top: nil, label: nil)
    label = label!(ranker, settings.label)
    top = top!(settings.top)

    case Enum.find(documents, &(not is_binary(&1))) do
      nil -> :ok
      other -> raise ArgumentError, "Mlx.LM.Ranker.rank: expected documents to be strings, got: #{Given.text(other)}"
    end

    scores = scored(ranker, for(document <- documents, do: {query, document}), settings, :"LM.Ranker.rank")

    [Mlx.to_list(scores), documents]
    |> Enum.zip()
    |> Enum.with_index(fn {row, document}, index -> %{index: index, score: Enum.at(row, label), document: document} end)
    |> Enum.sort_by(& &1.score, :desc)
    |> Enum.take(top || length(documents))
  end

  defp label!(%__MODULE__{labels: 1}, nil), do: 0
  defp label!(%__MODULE__{labels: labels}, label) when is_integer(label) and label in 0..(labels - 1)//1, do: label

  defp label!(%__MODULE__{labels: labels}, label) do
    raise ArgumentError,
          "Mlx.LM.Ranker.rank: expected :label to be an integer from 0 to #{labels - 1}, got: #{Given.text(label)}"
  end

  defp top!(top) when top == nil or (is_integer(top) and top > 0), do: top

  defp top!(top) do
    raise ArgumentError, "Mlx.LM.Ranker.rank: expected :top to be a positive integer, got: #{Given.text(top)}"
  end

  defp scored(ranker, pairs, settings, function) do
    special = if ranker.text, do: special(ranker), else: 0
    Sequences.check_tokenizer!(ranker.text, settings.length, function, special)
    sequences = for pair <- pairs, do: sequence(ranker, pair, settings)
    read(ranker, sequences, settings, function)
  end

  defp special(%__MODULE__{encoder: %FromDecoder{}, text: text}), do: Judgement.special(text)
  defp special(%__MODULE__{text: text}), do: Text.special_of_pair(text)

  defp sequence(%__MODULE__{encoder: %FromDecoder{}, text: text}, pair, settings) do
    Judgement.sequence(text, pair, settings.instruction || Judgement.instruction(), settings.length)
  end

  defp sequence(%__MODULE__{text: text}, pair, settings), do: Text.pair(text, pair, settings.length)

  defp read(ranker, [], _settings, _function), do: Mlx.zeros({0, ranker.labels})

  defp read(ranker, sequences, settings, function) do
    Sequences.check!(sequences, ranker.encoder, settings.length, function)

    # Types are an input of the model for all or for none, and without any of the model they are left out.
    sequences = for {ids, types} <- sequences, do: {ids, typed(ranker, ids, types)}
    Batches.run(sequences, settings, &ranker.compiled.(&1, &2, &3, settings.activation))
  end

  defp typed(%__MODULE__{encoder: %FromDecoder{}}, _ids, _types), do: nil
  defp typed(%__MODULE__{encoder: %{embeddings: %{token_type: nil}}}, _ids, _types), do: nil
  defp typed(_ranker, ids, nil), do: List.duplicate(0, length(ids))
  defp typed(_ranker, _ids, types), do: types

  defp settings(ranker, options, function, more) do
    called = "Mlx.LM.Ranker.#{function}"
    defaults = [activation: nil, instruction: nil, max_length: nil, batch_size: @batch_size] ++ more
    options = Options.complete(options, :"LM.Ranker.#{function}", defaults)
    activation = if options[:activation] == nil, do: ranker.activation, else: options[:activation]

    if activation not in @activations do
      raise ArgumentError, "#{called}: expected :activation to be :none or :sigmoid, got: #{Given.text(activation)}"
    end

    if not (options[:instruction] == nil or
              (is_binary(options[:instruction]) and is_struct(ranker.encoder, FromDecoder))) do
      raise ArgumentError,
            "#{called}: expected :instruction to be a string for a ranker that is asked, and nil for others, " <>
              "got: #{Given.text(options[:instruction])}"
    end

    options
    |> Sequences.limits!(ranker.max_length, ranker.longest, ranker.heads, called)
    |> Map.merge(Map.new(more, fn {name, _default} -> {name, options[name]} end))
    |> Map.merge(%{activation: activation, instruction: options[:instruction]})
  end
end
