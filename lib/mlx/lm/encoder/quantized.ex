defmodule Mlx.LM.Encoder.Quantized do
  @moduledoc false
  # The quantized layers of an encoder: those whose weight has scales in the file, and those that are quantized when a model
  # is loaded.

  alias Mlx.{Array, NN, Type}
  alias Mlx.LM.Encoder
  alias Mlx.LM.Encoder.{Checkpoint, Embeddings, Settings, TensorNames}
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Quantization
  alias Mlx.LM.Quantization.{Packing, Recipe}
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  @packed [QuantizedLinear, QuantizedEmbedding]

  # Tables of which rows are read one after the other.
  @tables ["embeddings.position", "embeddings.token_type"]

  @doc """
  The model with quantized layers, with zeros for arrays, where these tensors have scales. `found` are the tensors by the
  names that the family has for them.
  """
  @spec of(Encoder.t(), %{String.t() => {String.t(), Array.t()}}, Settings.json(), module()) :: Encoder.t()
  def of(model, found, json, family) do
    fields = Fields.new(json, "config.json")

    case Fields.under(fields, "quantization") || of_group(Fields.under(fields, "quantization_config")) do
      nil -> model
      settings -> NN.map_layers(model, &layer(&1, &2, found, settings, family))
    end
  end

  defp of_group(nil), do: nil
  defp of_group(settings), do: if(Fields.has?(settings, "group_size"), do: settings)

  defp layer(path, %kind{} = layer, found, settings, family) when kind in [Linear, Embedding] do
    names =
      for name <- TensorNames.of(path <> ".weight", family.names()), do: String.replace_suffix(name, ".weight", "")

    case for(name <- names, {original, scales} <- [found[name <> ".scales"]], do: {original, scales}) do
      [] ->
        layer

      scales when length(scales) == length(names) ->
        {_original, first} = hd(scales)
        Quantization.quantized(layer, packing!(scales, settings), first)

      [{original, _scales} | _] ->
        Checkpoint.fail!("the file has #{original} and no scales of the other parts of the layer #{path}")
    end
  end

  defp layer(_path, other, _found, _settings, _family), do: other

  # The layers that are one here are packed alike.
  defp packing!(scales, settings) do
    names = for {original, _scales} <- scales, do: String.replace_suffix(original, ".scales", "")

    case Enum.uniq(for name <- names, do: Quantization.packing(Fields.under(settings, name) || settings)) do
      [packing] -> packing
      _several -> Checkpoint.fail!("config.json quantizes #{Enum.join(names, ", ")} in several ways, expected one")
    end
  end

  @doc """
  The model in a form: `:dense` unpacks all layers, and `:quantized` leaves them, but for tables whose rows are read one after
  the other.
  """
  @spec in_form(Encoder.t(), :quantized | :dense, Type.t()) :: Encoder.t()
  def in_form(model, form, type) do
    NN.map_layers(model, fn
      path, %kind{} = layer when kind in @packed ->
        if form == :dense or path in @tables,
          do: Mlx.Tree.map(Packing.whole(layer, type), &in_type(&1, type)),
          else: layer

      _path, layer ->
        layer
    end)
  end

  defp in_type(array, type), do: Mlx.eval(Mlx.as_type(array, type))

  @doc "The recipe of the option `:quantize`, or nil."
  @spec recipe!(term(), atom()) :: Recipe.t() | nil
  def recipe!(none, _function) when none in [nil, false], do: nil
  def recipe!(true, function), do: recipe!([], function)

  def recipe!(options, function) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "expected :quantize to be true, false or a keyword list, got: #{inspect(options)}"
    end

    recipe = Recipe.new(options, function)
    if recipe.bits != nil, do: raise(ArgumentError, "a :recipe is for decoders; give :bits, or :where, for an encoder")
    recipe
  end

  @doc "The model with the matrices of its layers and the vectors of its tokens quantized by a recipe."
  @spec pack(Encoder.t(), Recipe.t() | nil) :: Encoder.t()
  def pack(model, nil), do: model

  def pack(model, recipe) do
    if Enum.any?(NN.layers(model), fn {_path, %kind{}} -> kind in @packed end) do
      raise Mlx.Error, message: "the model is quantized already; leave out :quantize"
    end

    NN.map_layers(model, fn
      path, %kind{} = layer when kind in [Linear, Embedding] ->
        own = String.starts_with?(path, "layers.") or path == "embeddings.word"

        case Recipe.packing(recipe, path, layer, own, length(model.layers)) do
          false -> layer
          settings -> layer |> Packing.packed(settings) |> Mlx.Tree.map(&Mlx.eval/1)
        end

      _path, layer ->
        layer
    end)
  end

  @doc "How many tokens the model knows, and how long their vectors are."
  @spec sizes(Embeddings.t()) :: {pos_integer(), pos_integer()}
  def sizes(%Embeddings{word: %QuantizedEmbedding{} = word}),
    do: {elem(word.weight.shape, 0), NN.QuantizedMatrix.columns(word)}

  def sizes(%Embeddings{word: %Embedding{weight: %Array{shape: shape}}}), do: shape
end
