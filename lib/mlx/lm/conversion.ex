defmodule Mlx.LM.Conversion do
  @moduledoc false
  # `Mlx.LM.convert/3`: a model of a folder or of a GGUF file, in another form, becomes a folder.
  #
  # `prepared/3` leaves nothing of the model but a table of tensors that are not computed yet.

  alias Mlx.Array
  alias Mlx.Arguments.Given
  alias Mlx.Hub
  alias Mlx.LM.{Checkpoint, Decoder}
  alias Mlx.LM.Checkpoint.{Folder, Saved, Saving}
  alias Mlx.LM.Conversion.GGUF
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Quantization.{Packing, Recipe}

  @options [
    quantize: nil,
    dequantize: false,
    type: nil,
    families: %{},
    shard_size: nil,
    progress: nil
  ]

  @types [:f32, :f16, :bf16]
  @torch_types %{"float32" => :f32, "float16" => :f16, "bfloat16" => :bf16}

  # What counts for the choice of experts is never rounded.
  @exact "e_score_correction_bias"

  @doc "The options with their defaults."
  @spec options() :: keyword()
  def options, do: @options

  @typedoc "Quantizes a decoder, by the settings of each layer (false for none) and the path of the source."
  @type quantizer :: (Decoder.t(), (String.t(), struct() -> keyword() | false), String.t() -> Decoder.t())

  @doc """
  Converts a model. Errors name no function. The quantizer says how numbers are rounded, by default each to the nearest.
  """
  @spec run(String.t(), String.t(), keyword(), quantizer()) :: %{
          parameters: non_neg_integer(),
          bytes: non_neg_integer(),
          bits_per_weight: float()
        }
  def run(source, folder, options, quantizer \\ &rounded/3) do
    recipe = check!(options)
    Folder.check_free!(folder)
    {content, {_table, kinds} = tensors, files} = source |> Hub.resolve() |> prepared({recipe, quantizer}, options)
    :ok = Saving.write(folder, content, tensors, Keyword.put(options, :files, files))
    {_config, parameters} = content
    bytes = Enum.sum_by(kinds, fn {_name, kind} -> Tuple.product(kind.shape) * Mlx.Type.bytes(kind.type) end)
    %{parameters: parameters, bytes: bytes, bits_per_weight: bytes * 8 / max(parameters, 1)}
  end

  defp rounded(decoder, choose, _path), do: Packing.quantize(decoder, choose)

  # The recipe, or nil.
  defp check!(options) do
    if options[:type] not in [nil | @types], do: wrong!(options, :type, "one of #{inspect(@types)}, or nil")
    if not is_boolean(options[:dequantize]), do: wrong!(options, :dequantize, "true or false")

    if not (options[:progress] == nil or is_function(options[:progress], 1)),
      do: wrong!(options, :progress, "a function")

    if not (options[:shard_size] == nil or (is_integer(options[:shard_size]) and options[:shard_size] > 0)),
      do: wrong!(options, :shard_size, "a positive integer, or nil")

    case options[:quantize] do
      none when none in [nil, false] -> nil
      true -> Recipe.new([], :"LM.convert")
      settings when is_list(settings) -> Recipe.new(settings, :"LM.convert")
      _other -> wrong!(options, :quantize, "true, false or a keyword list")
    end
  end

  defp wrong!(options, name, expected) do
    raise ArgumentError, "expected #{inspect(name)} to be #{expected}, got: #{Given.text(options[name])}"
  end

  # The content of config.json with the number of parameters, the tensors, and what writes the other files.
  defp prepared(path, how, options) do
    {decoder, fields, files} = model(path, options)
    saved = Saved.of(fields, options[:families])
    decoder = decoder |> dequantized(options) |> quantized(saved, how, path)
    content = {Saved.config(saved, fields, decoder, options[:type]), Saved.parameters(decoder)}
    {content, saved |> Saved.tensors(decoder) |> Folder.table(), files}
  end

  defp model(path, options) do
    case gguf(path) do
      nil ->
        fields = Checkpoint.config(path)
        type = options[:type] || torch_type(fields)
        {path |> Checkpoint.tree(families: options[:families]) |> cast(type), fields, &Saving.copy(path, &1)}

      file ->
        GGUF.model(file, options[:type] || :f16)
    end
  end

  # A download of a repository may hold nothing but one GGUF file.
  defp gguf(path) do
    case {File.dir?(path), Path.wildcard(Path.join(path, "*.gguf"))} do
      {false, _none} -> path
      {true, [file]} -> if not File.exists?(Path.join(path, "config.json")), do: file
      _folder -> nil
    end
  end

  defp torch_type(%Fields{map: map}) do
    text = if is_map(map["text_config"]), do: map["text_config"]["dtype"]
    Map.get(@torch_types, map["torch_dtype"] || text)
  end

  defp cast(decoder, nil), do: decoder

  defp cast(decoder, type) do
    parts = Map.take(decoder, [:model, :lm_head])

    Map.merge(
      decoder,
      Mlx.Tree.map_with_path(parts, fn path, %Array{type: own} = array ->
        if own in [:f64 | @types] and not String.ends_with?(path, @exact), do: Mlx.as_type(array, type), else: array
      end)
    )
  end

  defp dequantized(decoder, options) do
    if options[:dequantize], do: Packing.unpack(decoder, options[:type]), else: decoder
  end

  defp quantized(decoder, _saved, {nil, _quantizer}, _path), do: decoder

  defp quantized(decoder, saved, {recipe, quantizer}, path) do
    if Packing.packings(decoder) != %{} do
      raise Mlx.Error, "#{path} is quantized already; give dequantize: true to quantize it anew"
    end

    blocks = length(decoder.model.layers)
    names = for {path, _layer} <- Mlx.NN.layers(Map.take(decoder, [:model, :lm_head])), do: Saved.name(saved, path)

    if recipe.bits != nil and not Enum.any?(names, &String.contains?(&1, "down_proj")) do
      raise Mlx.Error, "a :recipe needs layers of the name down_proj, and #{path} has none; give :bits, or :where"
    end

    choose = fn path, layer ->
      Recipe.packing(recipe, Saved.name(saved, path), layer, saved.family.packing(path), blocks)
    end

    quantizer.(decoder, choose, path)
  end
end
