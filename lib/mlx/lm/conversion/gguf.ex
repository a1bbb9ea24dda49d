defmodule Mlx.LM.Conversion.GGUF do
  @moduledoc false
  # The model of a GGUF file as one of Hugging Face's: its paths, its configuration, and files for its tokenizer.
  #
  # GGUF files of Llama have the rows of q and k in the order that pairs neighbouring features. They get the order back that
  # pairs the halves of a head. Those of Gemma have normalisations with weights that are one more, which is taken away.

  alias Mlx.Array
  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.Checkpoint.Folder
  alias Mlx.LM.Conversion.{GGUFConfig, TokenizerFiles}
  alias Mlx.LM.{Decoder, Families, GGUFArchitecture, GGUFModel}
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Quantization.Packing

  @short_factors "rope_factors_short.weight"

  @torch_types %{f32: "float32", f16: "float16", bf16: "bfloat16"}

  # Of the names in a message.
  @shown 5

  @doc "The decoder of a file, the fields of its configuration, and a function that writes the other files into a folder."
  @spec model(Path.t(), Mlx.Type.t()) :: {Decoder.t(), Fields.t(), (Path.t() -> term())}
  def model(path, type) do
    %{metadata: metadata} = GGUFMetadata.read(path)
    source = Path.basename(path)
    :ok = GGUFModel.check!(metadata, source)
    tokenizer = TokenizerFiles.of(metadata)

    {tensors, quantization} = Mlx.IO.load(path, format: :gguf, quantization: true, type: type)
    tensors = without_one(tensors, GGUFArchitecture.find(metadata["general.architecture"], false))
    {decoder, fields} = GGUFModel.tree(tensors, metadata, source, type: type, quantization: quantization)
    short = if factors = tensors[@short_factors], do: factors |> Mlx.as_type(:f32) |> Mlx.to_list()
    fields = fields.map |> GGUFConfig.of(decoder, short, path) |> Map.merge(tokens(tokenizer, type)) |> Fields.new(path)
    {decoder |> reordered(fields) |> same_paths!(fields, path), fields, &write(tokenizer, &1)}
  end

  defp write(tokenizer, folder) do
    for {name, content} <- tokenizer.files, do: Folder.write_json(folder, name, content)
  end

  defp tokens(tokenizer, type) do
    content = %{
      "torch_dtype" => @torch_types[type],
      "eos_token_id" => tokenizer.end_ids,
      "bos_token_id" => tokenizer.bos
    }

    Map.reject(content, fn {_key, value} -> value == nil end)
  end

  defp without_one(tensors, %{norms: :whole}) do
    Map.new(tensors, fn {name, array} ->
      if String.ends_with?(name, "norm.weight"), do: {name, Mlx.subtract(array, 1)}, else: {name, array}
    end)
  end

  defp without_one(tensors, _row), do: tensors

  defp reordered(%Decoder{model: model} = decoder, %Fields{map: %{"model_type" => type} = map})
       when type in ["llama", "mixtral"] do
    counts = [q_proj: map["num_attention_heads"], k_proj: map["num_key_value_heads"] || map["num_attention_heads"]]

    layers =
      for %{self_attn: attention} = block <- model.layers do
        parts =
          for {part, heads} <- counts, do: {part, attention |> Map.fetch!(part) |> Mlx.Tree.map(&halves(&1, heads))}

        %{block | self_attn: struct!(attention, parts)}
      end

    %{decoder | model: %{model | layers: layers}}
  end

  defp reordered(decoder, _fields), do: decoder

  # Rows of heads in the order of both halves.
  defp halves(%Array{shape: shape} = array, heads) do
    [rows | rest] = Tuple.to_list(shape)
    grouped = Mlx.reshape(array, List.to_tuple([heads, div(rows, 2 * heads), 2 | rest]))
    grouped |> Mlx.swap_axes(1, 2) |> Mlx.reshape(shape)
  end

  # What reads the folder makes the model of its configuration: it must have the same arrays.
  defp same_paths!(decoder, fields, path) do
    {family, own} = Families.find(fields)
    [expected, given] = for model <- [Decoder.new(family.config(own)), decoder], do: paths(model)

    case {given -- expected, expected -- given} do
      {[], []} ->
        decoder

      {unknown, missing} ->
        raise Mlx.Error,
              "#{path} has other tensors than models of the type #{fields.map["model_type"]} in folders: " <>
                "#{list("without a place there", unknown)}#{list("missing", missing)}"
    end
  end

  defp paths(decoder) do
    packed = Packing.packings(decoder)

    for {path, _array} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten(),
        [layer, part] = String.split(path, ~r/\.(?=[^.]*$)/),
        part not in ["scales", "biases"] or not is_map_key(packed, layer),
        do: path
  end

  defp list(_what, []), do: ""

  defp list(what, paths) do
    more = if length(paths) > @shown, do: " and #{length(paths) - @shown} more", else: ""
    "#{what} #{paths |> Enum.take(@shown) |> Enum.join(", ")}#{more}; "
  end
end
