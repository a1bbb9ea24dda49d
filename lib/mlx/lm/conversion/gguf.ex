defmodule Mlx.LM.Conversion.GGUF do
  @moduledoc false
  # The model of a GGUF file as one of Hugging Face's: its paths, its configuration, and files for its tokenizer.
  #
  # GGUF files of Llama have the rows of q and k in the order that pairs neighbouring features. They get the order back that
  # pairs the halves of a head.

  alias Mlx.Array
  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.Checkpoint.Folder
  alias Mlx.LM.Conversion.TokenizerFiles
  alias Mlx.LM.Decoder
  alias Mlx.LM.Families.Fields
  alias Mlx.LM.GGUFModel

  # How Llama 3 stretches its wavelengths; files have the factors and not these numbers.
  @llama3 for factor <- [8.0, 32.0],
              do: %{
                "rope_type" => "llama3",
                "factor" => factor,
                "low_freq_factor" => 1.0,
                "high_freq_factor" => 4.0,
                "original_max_position_embeddings" => 8192
              }

  @kept ~w(vocab_size hidden_size num_hidden_layers intermediate_size num_attention_heads num_key_value_heads head_dim
           max_position_embeddings rms_norm_eps rope_theta)

  @torch_types %{f32: "float32", f16: "float16", bf16: "bfloat16"}

  @doc "The decoder of a file, the fields of its configuration, and a function that writes the other files into a folder."
  @spec model(Path.t(), Mlx.Type.t()) :: {Decoder.t(), Fields.t(), (Path.t() -> term())}
  def model(path, type) do
    %{metadata: metadata} = GGUFMetadata.read(path)
    architecture!(metadata, path)
    tokenizer = TokenizerFiles.of(metadata)

    {tensors, quantization} = Mlx.IO.load(path, format: :gguf, quantization: true)
    {decoder, fields} = GGUFModel.tree(tensors, metadata, Path.basename(path), type: type, quantization: quantization)
    config = config(fields.map, decoder, tokenizer, type)
    {reordered(decoder, fields.map), Fields.new(config, path), &write(tokenizer, &1)}
  end

  # Other architectures have other names and orders.
  defp architecture!(metadata, path) do
    case metadata["general.architecture"] do
      "llama" ->
        :ok

      other ->
        raise Mlx.Error, "#{path} has the architecture #{inspect(other)}; GGUF files of \"llama\" can be converted"
    end
  end

  defp write(tokenizer, folder) do
    for {name, content} <- tokenizer.files, do: Folder.write_json(folder, name, content)
  end

  defp config(map, decoder, tokenizer, type) do
    if map["gguf"]["type"] != "llama", do: raise(Mlx.Error, "the file has experts; expected a model without them")

    biases = Enum.concat(map["gguf"]["biases"])

    if Enum.uniq(biases) not in [[true], [false]],
      do: raise(Mlx.Error, "the file has biases for a part of its attention layers' matrices; expected all, or none")

    map
    |> Map.take(@kept)
    |> Map.merge(%{
      "model_type" => "llama",
      "architectures" => ["LlamaForCausalLM"],
      "hidden_act" => "silu",
      "attention_bias" => hd(biases),
      "mlp_bias" => false,
      "tie_word_embeddings" => decoder.lm_head == nil,
      "torch_dtype" => @torch_types[type],
      "eos_token_id" => tokenizer.end_ids,
      "bos_token_id" => tokenizer.bos,
      "rope_scaling" => rope_scaling(map["rope_scaling"], map)
    })
    |> Map.reject(fn {_key, value} -> value == nil end)
  end

  defp rope_scaling(nil, _map), do: nil
  defp rope_scaling(%{"type" => "linear", "factor" => factor}, _map), do: %{"rope_type" => "linear", "factor" => factor}

  # Factors that are not those of Llama 3 stay a table.
  defp rope_scaling(%{"type" => "longrope", "long_factor" => factors} = table, map) do
    Enum.find(@llama3, Map.put(table, "short_factor", factors), fn settings ->
      settings |> llama3_factors(map) |> Enum.zip(factors) |> Enum.all?(fn {a, b} -> abs(a - b) <= 1.0e-4 * abs(a) end)
    end)
  end

  defp llama3_factors(settings, %{"head_dim" => size, "rope_theta" => theta}) do
    context = settings["original_max_position_embeddings"]
    %{"factor" => factor, "low_freq_factor" => low, "high_freq_factor" => high} = settings

    for pair <- 0..(div(size, 2) - 1) do
      wavelength = 2 * :math.pi() * :math.pow(theta, 2 * pair / size)

      cond do
        wavelength < context / high -> 1.0
        wavelength > context / low -> factor
        true -> 1 / ((1 - smooth(context, wavelength, low, high)) / factor + smooth(context, wavelength, low, high))
      end
    end
  end

  defp smooth(context, wavelength, low, high), do: (context / wavelength - low) / (high - low)

  defp reordered(%Decoder{model: model} = decoder, map) do
    counts = [q_proj: map["num_attention_heads"], k_proj: map["num_key_value_heads"] || map["num_attention_heads"]]

    layers =
      for %{self_attn: attention} = block <- model.layers do
        parts =
          for {part, heads} <- counts, do: {part, attention |> Map.fetch!(part) |> Mlx.Tree.map(&halves(&1, heads))}

        %{block | self_attn: struct!(attention, parts)}
      end

    %{decoder | model: %{model | layers: layers}}
  end

  # Rows of heads in the order of both halves.
  defp halves(%Array{shape: shape} = array, heads) do
    [rows | rest] = Tuple.to_list(shape)
    grouped = Mlx.reshape(array, List.to_tuple([heads, div(rows, 2 * heads), 2 | rest]))
    grouped |> Mlx.swap_axes(1, 2) |> Mlx.reshape(shape)
  end
end
