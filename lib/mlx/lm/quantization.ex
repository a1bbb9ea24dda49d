defmodule Mlx.LM.Quantization do
  @moduledoc false
  # The layers of a decoder that are quantized in a file: those whose weight has scales there.
  #
  # How they are packed stands in `quantization` of config.json, for all of them and, under their names, for single ones. Of
  # layers that Mlx.LM.Imported made, the shapes say it.

  alias Mlx.Array
  alias Mlx.LM.{Decoder, Imported, Names}
  alias Mlx.LM.Decoder.{QuantizedSwitchLinear, SwitchLinear}
  alias Mlx.LM.Families.Fields
  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear}

  # mode, group size and bits that it has by default
  @modes %{"affine" => {64, 4}, "mxfp4" => {32, 4}, "mxfp8" => {32, 8}, "nvfp4" => {16, 4}}
  @bits [2, 3, 4, 5, 6, 8]

  # How quantizers call what is one of these modes. A family makes two bits of the three values of BitNet.
  @methods %{
    "bitnet" => %{"mode" => "affine", "bits" => 2, "group_size" => 64},
    "mxfp4" => %{"mode" => "mxfp4"},
    "mxfp8" => %{"mode" => "mxfp8"}
  }

  @doc "The decoder with quantized layers where the tensors have scales. Its arrays are zeros of the right shapes."
  @spec of(Decoder.t(), %{String.t() => Array.t()}, Fields.t(), [{String.t(), String.t()}]) :: Decoder.t()
  def of(decoder, tensors, fields, names) do
    case settings(fields) do
      nil ->
        decoder

      :by_shapes ->
        replaced(decoder, &by_shapes(&1, &2, tensors))

      settings ->
        single = single(settings, names)
        replaced(decoder, &layer(&1, &2, tensors, single, settings))
    end
  end

  defp replaced(decoder, fun), do: Map.merge(decoder, Mlx.NN.map_layers(Map.take(decoder, [:model, :lm_head]), fun))

  defp settings(fields) do
    cond do
      own = Fields.under(fields, "quantization") -> own
      Imported.settings(fields) -> :by_shapes
      true -> of_method(fields)
    end
  end

  defp of_method(fields) do
    with %Fields{} = settings <- Fields.under(fields, "quantization_config") do
      if Fields.has?(settings, "group_size") and not Fields.has?(settings, "quant_method"),
        do: settings,
        else: %{settings | map: Map.get(@methods, method(settings), %{})}
    end
  end

  defp method(settings) do
    Fields.choice(settings, "quant_method", Map.keys(@methods) ++ Imported.methods(), nil) ||
      Fields.refuse(settings, "quant_method", "a string")
  end

  # The settings of single layers by the paths that they have in the decoder.
  defp single(settings, names) do
    for {name, value} <- settings.map, is_map(value) or is_boolean(value), into: %{} do
      {Names.ours(name, names) || name, if(is_map(value), do: Fields.under(settings, name), else: value)}
    end
  end

  defp layer(path, %kind{} = layer, tensors, single, settings) when kind in [Linear, Embedding, SwitchLinear] do
    if is_map_key(tensors, "#{path}.scales") do
      own = with true <- Map.get(single, path, true), do: settings
      if own == false, do: layer, else: quantized(layer, packing(own), tensors["#{path}.scales"])
    else
      layer
    end
  end

  defp layer(_path, other, _tensors, _single, _settings), do: other

  # Modes of which the scales are bytes.
  @by_shape %{{16, 4} => :nvfp4, {32, 4} => :mxfp4, {32, 8} => :mxfp8}

  defp by_shapes(path, %kind{weight: %Array{shape: shape}} = layer, tensors)
       when kind in [Linear, Embedding, SwitchLinear] do
    case {tensors["#{path}.weight"], tensors["#{path}.scales"]} do
      {%Array{shape: words}, %Array{shape: groups} = scales} ->
        [columns, words, groups] = for shape <- [shape, words, groups], do: elem(shape, tuple_size(shape) - 1)
        quantized(layer, packing_of(path, columns, words, groups, scales.type), scales)

      _dense ->
        layer
    end
  end

  defp by_shapes(_path, other, _tensors), do: other

  defp packing_of(path, columns, words, groups, type) do
    {group_size, bits} = {div(columns, max(groups, 1)), div(words * 32, columns)}
    mode = if type == :u8, do: @by_shape[{group_size, bits}], else: :affine

    if mode == nil or bits not in @bits or group_size * groups != columns or bits * columns != words * 32 do
      raise Mlx.Error,
        message: "#{path} has #{words} words and #{groups} scales a row, which do not fit its #{columns} columns"
    end

    [group_size: group_size, bits: bits, mode: mode]
  end

  @doc "How layers with these settings are packed."
  @spec packing(Fields.t()) :: keyword()
  def packing(own) do
    # The settings of a single layer are complete: without a mode, it is affine.
    mode = Fields.choice(own, "mode", Map.keys(@modes), "affine")
    {group_size, bits} = @modes[mode]
    bits = Fields.size(own, "bits", bits)
    if bits not in @bits, do: Fields.refuse(own, "bits", "one of #{Enum.join(@bits, ", ")}")
    [group_size: Fields.size(own, "group_size", group_size), bits: bits, mode: String.to_existing_atom(mode)]
  end

  @doc "A layer that is packed like that, with zeros for arrays. The scales are those of its tensors."
  @spec quantized(struct(), keyword(), Array.t()) :: struct()
  def quantized(layer, packing, scales)

  def quantized(%Linear{weight: weight, bias: bias}, packing, scales) do
    struct!(QuantizedLinear, [bias: bias] ++ arrays(weight, packing, scales) ++ packing)
  end

  def quantized(%Embedding{weight: weight}, packing, scales) do
    struct!(QuantizedEmbedding, arrays(weight, packing, scales) ++ packing)
  end

  def quantized(%SwitchLinear{weight: weight, bias: bias}, packing, scales) do
    struct!(QuantizedSwitchLinear, [bias: bias] ++ arrays(weight, packing, scales) ++ packing)
  end

  defp arrays(%Array{shape: shape}, packing, scales) do
    rows = Tuple.delete_at(shape, tuple_size(shape) - 1)
    columns = elem(shape, tuple_size(shape) - 1)
    groups = Mlx.zeros(Tuple.insert_at(rows, tuple_size(rows), div(columns, packing[:group_size])), type: scales.type)

    [
      weight: Mlx.zeros(Tuple.insert_at(rows, tuple_size(rows), div(columns * packing[:bits], 32)), type: :u32),
      scales: groups,
      biases: if(packing[:mode] == :affine, do: groups)
    ]
  end
end
