defmodule Mlx.LM.Decoder.ForInference do
  @moduledoc false
  # A loaded decoder as it runs fastest: with joined matrices, normalisations that have their sums, matrices in the wanted
  # form or the one that the device multiplies fastest, dense ones in the order of memory that it reads fastest, and one array
  # for equal frequencies of all blocks, so that a compiled function computes their angles once. Its paths are no longer the
  # names in files.
  #
  # One block after the other is computed, and what it was made of is given up.

  alias Mlx.Array
  alias Mlx.LM.Decoder

  alias Mlx.LM.Decoder.{
    ColumnEmbedding,
    DenseLinear,
    PackedLinear,
    QuantizedSwitchLinear,
    RoPE,
    RotatedEmbedding,
    RotatedLinear,
    Rotation,
    ShiftedLayerNorm,
    ShiftedRMSNorm,
    SwitchLinear
  }

  alias Mlx.NN.{Embedding, Linear, QuantizedEmbedding, QuantizedLinear, QuantizedMatrix}

  @type form :: :dense | :quantized | nil

  @doc """
  The decoder, whose former arrays are given up. All arrays are computed. `join` says whether matrices are joined, and `output`
  whether logits are wanted.
  """
  @spec of(Decoder.t(), form(), boolean(), boolean()) :: Decoder.t()
  def of(%Decoder{model: model} = decoder, form, join \\ true, output \\ true) do
    # The largest matrix comes first: while it is made, there is no other beside it.
    lm_head = if output, do: output(decoder.lm_head, model.embed_tokens, form)
    embedding = embedding(model.embed_tokens, if(join and decoder.lm_head == nil, do: lm_head))

    {layers, _arrays} =
      Enum.map_reduce(model.layers, %{}, fn block, arrays -> block |> block(form, join) |> rotated(arrays) end)

    norms = for {name, %{} = norm} <- Map.take(model, [:norm, :embedding_norm]), into: %{}, do: {name, shaped(norm)}
    inputs = for {name, part} <- Map.take(model, [:layer_inputs, :streams]), into: %{}, do: {name, laid_out(part, form)}
    parts = norms |> Map.merge(inputs) |> Map.merge(%{embed_tokens: embedding, layers: layers})
    Mlx.eval(%{decoder | lm_head: lm_head, model: Map.merge(model, parts)})
  end

  # A dense matrix of the output stands beside a quantized embedding, of which only the rows of tokens are unpacked.
  defp output(nil, %kind{} = embedding, form) when kind in [QuantizedEmbedding, RotatedEmbedding] do
    cond do
      unpacked?(embedding, form) -> shaped(%Linear{weight: unpacked(embedding), bias: nil})
      packed?(embedding) -> PackedLinear.of(embedding)
      true -> nil
    end
  end

  defp output(nil, %Embedding{weight: weight}, _form) do
    if on_cpu?(), do: DenseLinear.of(%Linear{weight: weight, bias: nil}, kept: true)
  end

  defp output(nil, _embedding, _form), do: nil

  defp output(layer, _embedding, form) do
    layer |> Mlx.NN.map_layers(fn _path, layer -> layer |> formed(form) |> shaped() end) |> Mlx.eval()
  end

  # Whoever wants layers where they are in files gets no matrix that is both.
  defp embedding(%Embedding{weight: weight}, %DenseLinear{} = output) do
    Mlx.deallocate(weight)
    ColumnEmbedding.of(output)
  end

  defp embedding(embedding, _output), do: Mlx.eval(embedding)

  defp block(block, form, join) do
    block
    |> Mlx.NN.map_layers(fn _path, layer -> formed(layer, form) end)
    |> Map.new(fn
      {:branches, branches} ->
        {:branches, branches}

      {name, %module{} = part} ->
        {name, if(join and function_exported?(module, :join, 1), do: module.join(part), else: part)}
    end)
    |> Mlx.NN.map_layers(fn _path, layer -> shaped(layer) end)
    |> Mlx.eval()
  end

  # The parts with arrays of frequencies in place of lists, and these arrays by their lists.
  defp rotated(%RoPE{frequencies: [_ | _] = list} = rope, arrays) do
    arrays = Map.put_new_lazy(arrays, list, fn -> Mlx.array(list, type: :f32) end)
    {%{rope | frequencies: arrays[list]}, arrays}
  end

  defp rotated(%Array{} = array, arrays), do: {array, arrays}

  defp rotated(%{} = part, arrays) do
    Enum.reduce(Map.keys(part), {part, arrays}, fn name, {part, arrays} ->
      {value, arrays} = rotated(Map.fetch!(part, name), arrays)
      {Map.put(part, name, value), arrays}
    end)
  end

  defp rotated(value, arrays), do: {value, arrays}

  defp laid_out(part, form) do
    Mlx.NN.map_layers(part, fn _path, layer -> layer |> formed(form) |> shaped() end)
  end

  defp formed(%kind{} = layer, form) when kind in [QuantizedLinear, QuantizedSwitchLinear, RotatedLinear] do
    if unpacked?(layer, form), do: dense(layer), else: layer
  end

  defp formed(layer, _form), do: layer

  defp unpacked?(_layer, :dense), do: true
  defp unpacked?(_layer, :quantized), do: false
  # On a CPU, MLX's products of packed matrices are loops on one core.
  defp unpacked?(layer, nil), do: on_cpu?() and not packed?(layer)

  defp packed?(%kind{} = layer) when kind in [QuantizedLinear, QuantizedEmbedding] do
    on_cpu?() and PackedLinear.of?(layer)
  end

  defp packed?(_layer), do: false

  defp dense(%QuantizedSwitchLinear{bias: bias} = layer), do: %SwitchLinear{weight: unpacked(layer), bias: bias}
  defp dense(%{bias: bias} = layer), do: %Linear{weight: unpacked(layer), bias: bias}
  defp dense(layer), do: %Linear{weight: unpacked(layer), bias: nil}

  defp unpacked(%kind{} = layer) when kind in [RotatedLinear, RotatedEmbedding], do: Rotation.dense(layer)

  defp unpacked(%{weight: weight, scales: scales, biases: biases} = layer) do
    Mlx.dequantize(weight, scales, biases, QuantizedMatrix.packing(layer))
  end

  defp shaped(%kind{} = norm) when kind in [ShiftedRMSNorm, ShiftedLayerNorm], do: kind.summed(norm)
  defp shaped(%Linear{} = layer), do: if(on_cpu?(), do: DenseLinear.of(layer), else: layer)
  defp shaped(%QuantizedLinear{} = layer), do: if(packed?(layer), do: PackedLinear.of(layer), else: layer)
  defp shaped(layer), do: layer

  defp on_cpu?, do: Mlx.Device.default() == :cpu
end
