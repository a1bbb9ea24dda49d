defmodule Mlx.LM.Encoder.FromDecoder do
  @moduledoc false
  # A decoder as an encoder: the vectors that stand before its output matrix. A token sees those before it, or, where
  # `use_bidirectional_attention` says so, those on both sides.

  alias Mlx.{Array, NN, Type}
  alias Mlx.LM.{Checkpoint, Decoder, Families}
  alias Mlx.LM.Decoder.ForInference
  alias Mlx.LM.Encoder.{Config, OneSided, Pooling, Settings, TwoSided}
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Quantization.{Packing, Recipe}
  alias Mlx.NN.{Embedding, Linear, QuantizedMatrix}

  @types ["gemma3_text", "qwen3"]

  # Longer texts are read in parts of so many tokens, because the scores of attention grow with the square of the length.
  @part 512

  @enforce_keys [:decoder, :two_sided]
  defstruct [:decoder, :two_sided, :judge]

  @typedoc "`judge` is the vector by which texts are scored, at first the output matrix; `nil` for an embedder."
  @type t :: %__MODULE__{decoder: Decoder.t(), two_sided: boolean(), judge: Array.t() | struct() | nil}

  @doc "The types of models."
  @spec types() :: [String.t()]
  def types, do: @types

  @doc """
  The model of a folder, and its sizes. `judge?` is whether it scores texts.
  """
  @spec load(Path.t(), Settings.json(), boolean(), {:dense | :quantized, Recipe.t() | nil, Type.t()}) ::
          {t(), Config.t()}
  def load(folder, json, judge?, {form, recipe, type}) do
    two_sided = Settings.boolean!(json, "use_bidirectional_attention", false)
    Settings.refuse!([{judge? and two_sided, "the model reads on both sides, and does not answer"}])
    # An embedder has no output matrix, whatever the file says.
    json = if judge?, do: json, else: Map.put(json, "tie_word_embeddings", true)
    fields = Fields.new(json, Path.join(folder, "config.json"))
    tensors = for {name, array} <- Checkpoint.tensors(folder), into: %{}, do: {inside(name), array}
    tree = Checkpoint.from_tensors(tensors, fields, type: type, source: folder)
    output = if judge?, do: tree.lm_head || tree.model.embed_tokens
    decoder = ForInference.of(packed(%{tree | lm_head: nil}, recipe), form, true, false)
    {_family, text} = Families.find(fields)
    {%__MODULE__{decoder: decoder, two_sided: two_sided, judge: output}, config(decoder, text)}
  end

  # Files of embedders have no part around the decoder.
  defp inside("model." <> _rest = name), do: name
  defp inside("lm_head." <> _rest = name), do: name
  defp inside(name), do: "model." <> name

  defp config(%Decoder{config: config}, fields) do
    Config.new(
      vocab_size: config.vocabulary,
      hidden_size: config.width,
      intermediate_size: Fields.size(fields, "intermediate_size"),
      heads: Fields.size(fields, "num_attention_heads"),
      norm_eps: Fields.positive(fields, "rms_norm_eps", 1.0e-6),
      max_length: config.context_length,
      layers: []
    )
  end

  defp packed(decoder, nil), do: decoder

  defp packed(%Decoder{model: %{layers: layers}} = decoder, recipe) do
    if Packing.packings(decoder) != %{} do
      raise Mlx.Error, message: "the model is quantized already; leave out :quantize"
    end

    Packing.quantize(decoder, fn path, %kind{} = layer ->
      kind in [Linear, Embedding] and Recipe.packing(recipe, path, layer, true, length(layers))
    end)
  end

  @doc "How many tokens the model knows, and how long their vectors are."
  @spec sizes(t()) :: {pos_integer(), pos_integer()}
  def sizes(%__MODULE__{decoder: %Decoder{config: config}}), do: {config.vocabulary, config.width}

  @doc "The vectors `{batch, length, width}` of tokens, of which the first `lengths`, `{batch}`, belong to a text."
  @spec read(t(), Array.t(), Array.t()) :: Array.t()
  def read(%__MODULE__{two_sided: true, decoder: decoder}, ids, lengths) do
    caches = for cache <- Decoder.caches(decoder), do: TwoSided.in_place_of(cache, lengths)
    {x, _caches} = Decoder.hidden(decoder, ids, caches)
    NN.Layer.call(decoder.model.norm, x)
  end

  # What follows a token changes nothing, so that padding needs no mask.
  def read(%__MODULE__{decoder: decoder}, %Array{shape: {_batch, length}} = ids, _lengths) do
    caches = Enum.map(Decoder.caches(decoder), &OneSided.in_place_of/1)
    parts = if length > @part, do: Mlx.split(ids, Enum.to_list(@part..(length - 1)//@part), axis: 1), else: [ids]
    {parts, _caches} = Enum.map_reduce(parts, caches, &Decoder.hidden(decoder, &1, &2))
    NN.Layer.call(decoder.model.norm, Mlx.concatenate(parts, axis: 1))
  end

  @doc "The model that scores texts by how much more likely one token is than another behind them."
  @spec judging(t(), {non_neg_integer(), non_neg_integer()}) :: t()
  def judging(%__MODULE__{judge: output} = model, {yes, no}) do
    [yes, no] = for id <- [yes, no], do: row(output, Mlx.array([id], type: :s32))
    %{model | judge: Mlx.eval(Mlx.transpose(Mlx.subtract(yes, no)))}
  end

  defp row(%{scales: _scales} = layer, id), do: QuantizedMatrix.rows(layer, id)
  defp row(%{weight: weight}, id), do: Mlx.take(weight, id, axis: 0)

  @doc "The scores `{batch, 1}` of the vectors `{batch, length, width}` of texts."
  @spec scores(t(), Array.t(), Array.t()) :: Array.t()
  def scores(%__MODULE__{judge: judge}, x, lengths), do: x |> Pooling.call(lengths, [:last]) |> Mlx.matmul(judge)
end
