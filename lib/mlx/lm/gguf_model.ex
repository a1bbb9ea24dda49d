defmodule Mlx.LM.GGUFModel do
  @moduledoc false
  # The decoder of a GGUF file: its metadata as the fields of a config.json, and its tensors with the names of a decoder.
  #
  # What differs between architectures is a table, `Mlx.LM.GGUFArchitecture`. The family that it names makes the
  # configuration, as of a config.json. Then this module, as a family itself, changes what files have in another way:
  # normalisations, and biases that a file has without a word in its metadata.

  use Mlx.LM.Family

  alias Mlx.LM.{Checkpoint, Decoder, Families, GGUFArchitecture, Names}
  alias Mlx.LM.Families.Fields

  # Tables that are no parts of a decoder.
  @tables ~w(rope_freqs.weight rope_factors_long.weight rope_factors_short.weight)

  @doc "The architectures of files that can be loaded."
  @spec architectures() :: [String.t()]
  defdelegate architectures, to: GGUFArchitecture, as: :names

  @doc """
  The decoder of a file, ready to run. `options` are those of `Mlx.LM.load/2` for files.

  Tensors are read one after the other, in the form and the type that they are used in.
  """
  @spec load(Path.t(), map(), keyword()) :: Decoder.t()
  def load(path, metadata, options) do
    source = Path.basename(path)
    type = type(metadata, source, options)
    requantize = options[:requantize]
    form = options[:form] || if(requantize, do: :quantized)

    if requantize != nil and form == :dense do
      raise ArgumentError, "Mlx.LM.load: expected no :requantize with form: :dense, which quantizes nothing"
    end

    numbers = if type in [:f32, :f16, :bf16], do: type, else: :f32
    reading = [format: :gguf, quantization: true, form: form || :quantized, type: numbers, requantize: requantize]
    {tensors, quantization} = Mlx.IO.load(path, reading)
    new(tensors, metadata, source, form: form, type: type, quantization: quantization)
  end

  @doc """
  The decoder, ready to run, of tensors with the names of the file, and its metadata. Options: `:form`, `:type`, and
  `:quantization`, what `Mlx.IO.load/2` tells of quantized tensors.
  """
  @spec new(Mlx.LM.Family.tensors(), map(), String.t(), keyword()) :: Decoder.t()
  def new(tensors, metadata, source, options \\ []) do
    {tree, _fields} = tree(tensors, metadata, source, options)
    Decoder.for_inference(tree, form: options[:form])
  end

  @doc "As `new/4`, with the paths that Hugging Face's files have, and the fields of a `config.json`."
  @spec tree(Mlx.LM.Family.tensors(), map(), String.t(), keyword()) :: {Decoder.t(), Fields.t()}
  def tree(tensors, metadata, source, options) do
    row = row(metadata, source)
    type = options[:type] || type(metadata, source, options)
    {tables, tensors} = Map.split(tensors, @tables)
    tensors = for {name, array} <- tensors, into: %{}, do: tensor(Names.ours(name, row.names), array)
    fields = fields(row, metadata, source, tensors, tables)
    fields = quantized(fields, row, options[:quantization] || %{})

    reading = [type: type, source: source, families: %{"gguf" => __MODULE__}]

    {of(source, fn -> Checkpoint.from_tensors(tensors, fields, reading) end), fields}
  end

  # Parts of a decoder do not know which file they are of: they refuse arrays that are too large.
  defp of(source, fun) do
    fun.()
  rescue
    error in Mlx.Error ->
      if String.contains?(error.message, source),
        do: reraise(error, __STACKTRACE__),
        else: reraise(Mlx.Error, [message: "#{source}: #{error.message}"], __STACKTRACE__)
  end

  # A matrix of one row is written as that row.
  defp tensor(name, %Mlx.Array{shape: {_}} = array) do
    if String.ends_with?(name, "shared_expert_gate.weight"), do: {name, Mlx.new_axis(array, 0)}, else: {name, array}
  end

  defp tensor(name, array), do: {name, array}

  defp type(metadata, source, options) do
    row = row(metadata, source)
    options[:type] || if(Mlx.Device.default() == :cpu, do: :f32, else: row.type_of)
  end

  @doc "Checks that a file has an architecture that can be loaded, and is whole."
  @spec check!(map(), String.t()) :: :ok
  def check!(metadata, source) do
    fields = Fields.new(metadata, source)

    if Fields.count(fields, "split.count", 0) > 1 do
      Fields.refuse(fields, "split.count", "a file that holds the whole model; merge the files of a split one first")
    end

    _row = row(metadata, source)
    :ok
  end

  defp row(metadata, source) do
    fields = Fields.new(metadata, source)
    architecture = metadata["general.architecture"]
    experts? = is_binary(architecture) and Fields.count(fields, "#{architecture}.expert_count", 0) > 0

    GGUFArchitecture.find(architecture, experts?) ||
      Fields.refuse(fields, "general.architecture", "one of #{Enum.join(architectures(), ", ")}")
  end

  # The fields of a config.json. Those of this family are under "gguf".
  defp fields(row, metadata, source, tensors, tables) do
    architecture = metadata["general.architecture"]
    fields = Fields.new(metadata, source)

    read =
      for {key, field, kind} <- row.keys, into: row.fields, do: {field, value(fields, "#{architecture}.#{key}", kind)}

    %{"num_hidden_layers" => layers, "hidden_size" => width, "num_attention_heads" => heads} = read
    head_size = head_size(fields, architecture, width, heads)

    own = %{
      "type" => row.type,
      "norms" => row.norms,
      "biases" =>
        for layer <- 0..(layers - 1) do
          for part <- ["q_proj", "o_proj"], do: is_map_key(tensors, "model.layers.#{layer}.self_attn.#{part}.bias")
        end
    }

    read
    |> Map.merge(%{
      "model_type" => "gguf",
      "gguf" => own,
      "vocab_size" => vocabulary(fields, architecture, tensors),
      "head_dim" => head_size,
      "rope_traditional" => row.pairs == :neighbours,
      "partial_rotary_factor" => rotated(fields, architecture, row, head_size),
      "rope_scaling" => scaling(fields, architecture, tables, read["max_position_embeddings"]),
      "mlp_bias" => is_map_key(tensors, "model.layers.0.mlp.gate_proj.bias"),
      "query_pre_attn_scalar" => if(row.scaled == layers, do: width / heads, else: head_size),
      "layer_types" => row.windows && layer_types(fields, architecture, layers, row.windows)
    })
    |> Fields.new(source)
  end

  defp value(fields, key, {kind, default}), do: apply(Fields, kind, [fields, key, default])
  defp value(fields, key, kind), do: apply(Fields, kind, [fields, key])

  defp vocabulary(fields, architecture, tensors) do
    case tensors["model.embed_tokens.weight"] do
      %Mlx.Array{shape: {rows, _columns}} -> rows
      _other -> Fields.size(fields, "#{architecture}.vocab_size", 1)
    end
  end

  defp head_size(fields, architecture, width, heads) do
    size = Fields.size(fields, "#{architecture}.attention.key_length", max(div(width, heads), 1))

    if Fields.size(fields, "#{architecture}.attention.value_length", size) != size do
      Fields.refuse(fields, "#{architecture}.attention.value_length", "#{size}, the length of a key")
    end

    size
  end

  # The part of a head that rotates. The half is cut off again where this is multiplied by the size of a head.
  defp rotated(fields, architecture, row, head_size) do
    key = "#{architecture}.rope.dimension_count"

    case {Fields.size(fields, key, head_size), row.rotated} do
      {^head_size, _rotated} -> 1.0
      {count, :some} when count < head_size -> (count + 0.5) / head_size
      {_count, :some} -> Fields.refuse(fields, key, "at most #{head_size}, the features of a head")
      {_count, nil} -> Fields.refuse(fields, key, "#{head_size}: all features of a head are rotated")
    end
  end

  # A number n, or whether each layer has a window.
  defp layer_types(fields, architecture, layers, default) do
    key = "#{architecture}.attention.sliding_window_pattern"

    windowed =
      case Map.get(fields.map, key) do
        list when is_list(list) ->
          if length(list) == layers and Enum.all?(list, &is_boolean/1),
            do: list,
            else: Fields.refuse(fields, key, "a number, or a list of #{layers} booleans")

        _number ->
          every = Fields.size(fields, key, default)
          for layer <- 1..layers, do: rem(layer, every) != 0
      end

    for windowed? <- windowed, do: if(windowed?, do: "sliding_attention", else: "full_attention")
  end

  # Llama 3 and Phi 3 stretch each wavelength by its own factor. The factors are a tensor.
  defp scaling(fields, architecture, tables, context_length) do
    name = fn key -> "#{architecture}.rope.scaling.#{key}" end
    original = Fields.size(fields, name.("original_context_length"), nil)

    case {Fields.choice(fields, name.("type"), ["none", "linear", "yarn", "longrope"], "none"), tables} do
      {type, %{"rope_factors_long.weight" => factors}} when type != "linear" ->
        longrope(factors, original || context_length)

      {"none", %{"rope_freqs.weight" => factors}} ->
        longrope(factors, context_length)

      {"longrope", _none} ->
        raise Mlx.Error, "#{fields.source}: rope_factors_long.weight is missing, which the scaling longrope needs"

      {"linear", _tables} ->
        %{"type" => "linear", "factor" => Fields.positive(fields, name.("factor"))}

      {"yarn", _tables} ->
        %{
          "type" => "yarn",
          "factor" => Fields.positive(fields, name.("factor")),
          "original_max_position_embeddings" => original || context_length,
          "beta_fast" => Fields.positive(fields, name.("yarn_beta_fast"), 32.0),
          "beta_slow" => Fields.positive(fields, name.("yarn_beta_slow"), 1.0)
        }

      {"none", _tables} ->
        nil
    end
  end

  defp longrope(factors, original) do
    factors = factors |> Mlx.flatten() |> Mlx.as_type(:f32) |> Mlx.to_list()
    %{"type" => "longrope", "long_factor" => factors, "original_max_position_embeddings" => original}
  end

  defp quantized(fields, row, quantization) do
    settings =
      for {name, options} <- quantization, into: %{} do
        {name |> Names.ours(row.names) |> String.replace_suffix(".weight", ""),
         Map.new(options, fn {key, value} -> {to_string(key), if(key == :mode, do: to_string(value), else: value)} end)}
      end

    if settings == %{}, do: fields, else: Fields.put_new(fields, "quantization", settings)
  end

  @impl true
  def config(%Fields{map: %{"gguf" => own}} = fields) do
    {family, fields} = Families.find(%{fields | map: %{fields.map | "model_type" => own["type"]}})
    config = family.config(fields)
    config = if own["norms"] == :whole, do: whole(config), else: config
    %{config | blocks: Enum.zip_with(config.blocks, own["biases"], &with_biases/2)}
  end

  defp with_biases({order, parts}, [input, output]) do
    attention = fn {module, options} ->
      {module, options |> Keyword.update!(:bias, &(&1 or input)) |> Keyword.update!(:output_bias, &(&1 or output))}
    end

    {order, Keyword.update!(parts, :self_attn, attention)}
  end

  # The configuration with normalisations whose weights are as they are.
  defp whole(%_struct{} = struct), do: Map.merge(struct, struct |> Map.from_struct() |> whole())
  defp whole(%{} = map), do: Map.new(map, fn {key, value} -> {key, whole(value)} end)
  defp whole({:rms_plus_one, eps}), do: {:rms, eps}
  defp whole(list) when is_list(list), do: Enum.map(list, &whole/1)
  defp whole(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> whole() |> List.to_tuple()
  defp whole(other), do: other
end
