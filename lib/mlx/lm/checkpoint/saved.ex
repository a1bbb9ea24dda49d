defmodule Mlx.LM.Checkpoint.Saved do
  @moduledoc false
  # What a decoder is in a folder that `mlx-lm` loads, too: tensors by the names that it has for them, and settings.

  alias Mlx.Array
  alias Mlx.LM.{Decoder, Families, Names}
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.Quantization.Packing

  # What belongs to a source, and to the parts for pictures.
  @left_out ["_name_or_path", "vision_config", "quantization", "quantization_config"]

  @enforce_keys [:family, :fields, :names, :prefix, :joints]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "How the models of a `config.json` are saved."
  @spec of(Fields.t(), %{String.t() => module()}) :: t()
  def of(fields, families) do
    {family, text} = Families.find(fields, families: families)

    %__MODULE__{
      family: family,
      fields: text,
      names: family.names(),
      prefix: Families.prefix(fields),
      joints: for({joint, [first | _] = parts, join} <- family.joints(), do: {joint, first, parts, join})
    }
  end

  @doc "The name of a path of the decoder in a file. A part of a joint has the name of that."
  @spec name(t(), String.t()) :: String.t()
  def name(%__MODULE__{} = saved, path) do
    path =
      Enum.reduce(saved.joints, path, fn {joint, _first, parts, _join}, path ->
        Enum.reduce(parts, path, &replace_part(&2, &1, joint))
      end)

    Names.theirs(path, saved.names, saved.prefix)
  end

  defp replace_part(path, part, joint), do: String.replace(path, ~r/\.#{Regex.escape(part)}(?=\.|$)/, "." <> joint)

  @doc "The tensors with their names, block after block."
  @spec tensors(t(), Decoder.t()) :: [{String.t(), Array.t()}]
  def tensors(%__MODULE__{} = saved, decoder) do
    flat = decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten()
    arrays = Map.new(flat)

    for {path, array} <- flat,
        array = whole(saved, path, array, arrays),
        {path, array} <- saved.family.saved(path, array, saved.fields),
        do: {name(saved, path), array}
  end

  # The first part of a joint becomes all of it, and the others nothing.
  defp whole(%__MODULE__{joints: joints, fields: fields}, path, array, arrays) do
    Enum.find_value(joints, array, fn {_joint, first, parts, join} ->
      case Enum.find(parts, &(replace_part(path, &1, "") != path)) do
        nil -> nil
        ^first -> join.(for(part <- parts, do: Map.fetch!(arrays, replace_part(path, first, part))), fields)
        _other -> :part
      end
    end)
    |> then(&if(&1 == :part, do: nil, else: &1))
  end

  @doc "The content of `config.json`, made of the one that the model came with."
  @spec config(t(), Fields.t(), Decoder.t(), Mlx.Type.t() | nil) :: map()
  def config(%__MODULE__{} = saved, %Fields{map: map}, decoder, type) do
    map
    |> Map.drop(@left_out)
    |> with_tie(decoder.lm_head == nil)
    |> with_type(type)
    |> Map.merge(Map.take(map, if(own_form?(saved, decoder), do: ["quantization_config"], else: [])))
    |> Map.merge(quantization(saved, decoder))
  end

  defp own_form?(%__MODULE__{family: family, fields: fields}, decoder) do
    Enum.any?(Packing.packings(decoder), fn {path, _packing} -> family.own_form?(path, fields) end)
  end

  # Other programs take a tie for granted that is not told, or none.
  defp with_tie(%{"text_config" => %{} = text} = map, tied?), do: %{map | "text_config" => with_tie(text, tied?)}
  defp with_tie(map, tied?), do: Map.put(map, "tie_word_embeddings", tied?)

  @types %{f32: "float32", f16: "float16", bf16: "bfloat16"}

  defp with_type(map, nil), do: map

  defp with_type(map, type) do
    keys = if Map.has_key?(map, "dtype"), do: ["dtype", "torch_dtype"], else: ["torch_dtype"]
    Enum.reduce(keys, map, &Map.put(&2, &1, Map.fetch!(@types, type)))
  end

  # What most layers have counts for all but those that are named.
  defp quantization(%__MODULE__{family: family, fields: fields} = saved, decoder) do
    packings = decoder |> Packing.packings() |> Map.reject(fn {path, _} -> family.own_form?(path, fields) end)

    if packings == %{} do
      %{}
    else
      {most, _count} = packings |> Map.values() |> Enum.frequencies() |> Enum.max_by(fn {_packing, count} -> count end)
      layers = Map.new(Mlx.NN.layers(Map.take(decoder, [:model, :lm_head])))

      single =
        for {path, packing} <- packings,
            packing != most,
            name <- layer_names(saved, path, layers[path]),
            into: %{},
            do: {name, settings(packing)}

      settings = Map.merge(single, settings(most))
      %{"quantization" => settings, "quantization_config" => settings}
    end
  end

  # One layer of the decoder may be several in a file.
  defp layer_names(saved, path, %{weight: weight}) do
    for {tensor, _array} <- saved.family.saved(path <> ".weight", weight, saved.fields),
        do: name(saved, String.replace_suffix(tensor, ".weight", ""))
  end

  defp settings(packing), do: Map.new(packing, fn {key, value} -> {Atom.to_string(key), value} end)

  @doc "How many numbers a decoder has, packed ones counted as they were."
  @spec parameters(Decoder.t()) :: non_neg_integer()
  def parameters(decoder) do
    packings = Packing.packings(decoder)

    decoder
    |> Map.take([:model, :lm_head])
    |> Mlx.Tree.flatten()
    |> Enum.sum_by(fn {path, array} -> numbers(path, Tuple.product(array.shape), packings) end)
  end

  defp numbers(path, size, packings) do
    [layer, part] = String.split(path, ~r/\.(?=[^.]*$)/)

    case {packings[layer], part} do
      {nil, _part} -> size
      {packing, "weight"} -> div(size * 32, packing[:bits])
      {_packing, "bias"} -> size
      {_packing, _scales} -> 0
    end
  end
end
