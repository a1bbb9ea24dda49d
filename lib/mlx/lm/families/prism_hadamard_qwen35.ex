defmodule Mlx.LM.Families.PrismHadamardQwen35 do
  @moduledoc false
  # Qwen35 with matrices of 2 bits in a rotated basis, which `modules` lists with the sizes of their blocks.

  use Mlx.LM.Family

  alias Mlx.LM.Decoder.{RotatedEmbedding, RotatedLinear}
  alias Mlx.LM.Families.{Fields, Qwen35}
  alias Mlx.NN.{QuantizedEmbedding, QuantizedLinear, QuantizedMatrix}

  @namespaces %{1 => "mlx-lm-text", 2 => "mlx-vlm-qwen3_5"}
  @packing %{"bits" => 2, "group_size" => 128, "mode" => "affine"}
  @blocks [0, 512, 1024, 2048, 4096, 8192]
  # More than any model has.
  @most 65_536

  @impl true
  def config(fields) do
    version = Fields.size(fields, "schema_version", 2)
    namespace = @namespaces[version] || Fields.refuse(fields, "schema_version", "1 or 2")
    if Fields.text(fields, "tensor_namespace") != namespace, do: Fields.refuse(fields, "tensor_namespace", namespace)
    Fields.choice(fields, "gdn_activation_layout", ["grouped"], "grouped")

    if fields.map["quantization"] != @packing,
      do: Fields.refuse(fields, "quantization", "affine weights of 2 bits in groups of 128")

    modules(fields)
    Qwen35.config(fields)
  end

  # The block of each path, and whether it is an embedding.
  defp modules(fields) do
    with [_ | _] = records when length(records) <= @most <- fields.map["modules"],
         pairs = Enum.map(records, &module/1),
         true <- Enum.all?(pairs) and length(Enum.uniq_by(pairs, &elem(&1, 0))) == length(pairs) do
      Map.new(pairs)
    else
      _other ->
        Fields.refuse(
          fields,
          "modules",
          ~s(a list of objects with a path each, whose embedding is true or false, whose block is one of ) <>
            ~s(#{Enum.join(@blocks, ", ")}, and whose dtype is "float16")
        )
    end
  end

  defp module(%{"path" => path, "block" => block, "embedding" => embedding?, "dtype" => "float16"})
       when is_binary(path) and block in @blocks and is_boolean(embedding?),
       do: {path, {block, embedding?}}

  defp module(_other), do: nil

  @impl true
  def tensors(tensors, fields) do
    wrong =
      for {name, array} <- tensors, String.ends_with?(name, ".signs"), do: Mlx.any(Mlx.not_equal(Mlx.abs(array), 1))

    if wrong != [] and Mlx.to_number(Mlx.any(Mlx.stack(wrong))),
      do: raise(Mlx.Error, message: "#{fields.source}: expected signs to be 1 and -1, and some are other numbers")

    Qwen35.tensors(tensors, fields)
  end

  @impl true
  def layers(parts, fields) do
    modules = modules(fields)
    there = for {path, %kind{}} <- Mlx.NN.layers(parts), kind in [QuantizedLinear, QuantizedEmbedding], do: path

    case Map.keys(modules) -- there do
      [] -> Mlx.NN.map_layers(parts, fn path, layer -> rotated(layer, modules[path], path, fields) end)
      [path | _more] -> Fields.refuse(fields, "modules", "paths of packed layers, and #{path} is none")
    end
  end

  defp rotated(layer, none, _path, _fields) when none in [nil, {0, false}, {0, true}], do: layer

  defp rotated(%kind{} = layer, {block, embedding?}, path, fields) do
    width = QuantizedMatrix.columns(layer)

    if rem(width, block) != 0 or embedding? != (kind == QuantizedEmbedding) or Map.get(layer, :bias) != nil do
      expected = "blocks of a divisor of #{width}, the inputs of #{path}, which is #{inspect(kind)} without a bias"
      Fields.refuse(fields, "modules", expected)
    end

    own = layer |> Map.from_struct() |> Map.delete(:bias) |> Map.merge(%{block: block, signs: Mlx.zeros({width})})
    struct!(if(embedding?, do: RotatedEmbedding, else: RotatedLinear), own)
  end
end
