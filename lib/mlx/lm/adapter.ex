defmodule Mlx.LM.Adapter do
  @moduledoc false
  # An adapter of a folder put onto a decoder whose paths are the names in files. Checkpoint, FineTuning and Adapters call it.
  #
  #     folder -> Adapter.Own or Adapter.PEFT, what the files hold -> layers with changes, or changed layers
  #
  # Changes of low rank are layers of their own beside those that they change, or fused with them. DoRA, which scales the rows
  # of a changed matrix, is fused where a model is loaded: a quantized matrix is unpacked for it. With `beside: true` it is a
  # layer, too, and no matrix is copied.

  alias Mlx.Array
  alias Mlx.IO.FilePath
  alias Mlx.LM.Adapter.{Change, Own, PEFT, Places}
  alias Mlx.LM.{Decoder, JSONFile, Names}
  alias Mlx.LM.Decoder.PackedLinear
  alias Mlx.LM.Families.Fields
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  @typedoc """
  What the files of an adapter hold: the changes of layers, and arrays that take the place of others, by their names in the
  decoder.
  """
  @type content :: %{changes: %{String.t() => Change.t()}, replaced: %{String.t() => Array.t()}}

  @typedoc """
  How an adapter is put onto a decoder: `:type` of its arrays, or nil for that of the file; `:fuse`, whether it is fused;
  `:form` of quantized matrices that it is fused with; `:unpacked`, the type of those whose scales are no numbers of that
  type, when they are unpacked; and `:beside`, whether changes with magnitudes are layers, too.
  """
  @type options :: [
          type: Mlx.Type.t() | nil,
          fuse: boolean(),
          form: :dense | :quantized,
          unpacked: Mlx.Type.t() | nil,
          beside: boolean()
        ]

  @doc "The decoder with the adapter of a folder. Raises `Mlx.Error` where something does not fit."
  @spec onto(Decoder.t(), Path.t(), module(), Fields.t(), options()) :: Decoder.t()
  def onto(decoder, folder, family, text, options) do
    {content, _fields, file} = read(folder, family, text)
    put(decoder, content, file, options)
  end

  @doc "What the files of a folder hold, its settings, and the path of its arrays."
  @spec read(Path.t(), module(), Fields.t()) :: {content(), Fields.t(), Path.t()}
  def read(folder, family, text) do
    folder = FilePath.string!(folder, :"LM.Checkpoint.load")
    path = Path.join(folder, "adapter_config.json")
    fields = Fields.new(JSONFile.read!(path), path)
    kind = if Fields.has?(fields, "peft_type"), do: PEFT, else: Own
    file = Path.join(folder, kind.file())
    tensors = Mlx.IO.load(file, format: :safetensors)
    rename = &Names.ours(&1, family.names())
    %{changes: changes, replaced: replaced} = kind.content(tensors, fields, rename)
    {%{changes: Places.of_experts(changes, family, text), replaced: replaced}, fields, file}
  end

  @doc "The decoder with what the files of an adapter hold. Errors name the path of its arrays."
  @spec put(Decoder.t(), content(), Path.t(), options()) :: Decoder.t()
  def put(decoder, %{changes: changes, replaced: replaced}, file, options) do
    replaced = Map.new(replaced, fn {name, array} -> {name, in_type(array, options[:type])} end)
    decoder = with_output(decoder, replaced)
    parts = Map.take(decoder, [:model, :lm_head])
    Places.check!(parts, changes, replaced, file)

    parts =
      Mlx.NN.map_layers(parts, fn path, layer ->
        layer |> with_arrays(path, replaced) |> Change.applied(typed(changes[path], options[:type]), options)
      end)

    Map.merge(decoder, parts)
  end

  # A separate output matrix, for a model that multiplied by its embedding.
  defp with_output(%{lm_head: nil} = decoder, %{"lm_head.weight" => weight} = replaced) do
    %{decoder | lm_head: %Linear{weight: weight, bias: replaced["lm_head.bias"]}}
  end

  defp with_output(decoder, _replaced), do: decoder

  # Numbers take the place of a quantized matrix as such.
  defp with_arrays(%kind{bias: bias} = layer, path, replaced) when kind in [QuantizedLinear, PackedLinear] do
    case replaced["#{path}.weight"] do
      %Array{type: type} = weight when type != :u32 -> %Linear{weight: weight, bias: replaced["#{path}.bias"] || bias}
      _packed -> plainly(layer, path, replaced)
    end
  end

  defp with_arrays(%QuantizedEmbedding{} = layer, path, replaced) do
    case replaced["#{path}.weight"] do
      %Array{type: type} = weight when type != :u32 -> %Embedding{weight: weight}
      _packed -> plainly(layer, path, replaced)
    end
  end

  defp with_arrays(layer, path, replaced), do: plainly(layer, path, replaced)

  defp plainly(layer, path, replaced) do
    for {field, %Array{}} <- Map.from_struct(layer), array = replaced["#{path}.#{field}"], reduce: layer do
      layer -> Map.put(layer, field, array)
    end
  end

  defp typed(nil, _type), do: nil

  defp typed(change, type) do
    [a, b, magnitude] = for array <- [change.a, change.b, change.magnitude], do: array && in_type(array, type)
    %{change | a: a, b: b, magnitude: magnitude}
  end

  # Packed weights are words.
  defp in_type(%Array{type: own} = array, type) when type != nil and own in [:f32, :f16, :bf16, :f64] do
    Mlx.as_type(array, type)
  end

  defp in_type(array, _type), do: array
end
