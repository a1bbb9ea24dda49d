defmodule Mlx.LM.Conversion.GGUFConfig do
  @moduledoc false
  # The `config.json` of a GGUF file's model, as Hugging Face has it for the model's type.
  #
  # `Mlx.LM.GGUFModel` reads the metadata into fields of that name already. This table says which of them a type has beside
  # the common ones, and what else stands in its file.

  alias Mlx.LM.Decoder

  @common ~w(vocab_size hidden_size num_hidden_layers intermediate_size num_attention_heads num_key_value_heads head_dim
             max_position_embeddings rms_norm_eps rope_theta)

  @moe ~w(num_experts num_experts_per_tok moe_intermediate_size)
  @gemma2 ~w(query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping sliding_window layer_types)
  @gemma3 ~w(query_pre_attn_scalar final_logit_softcapping sliding_window rope_local_base_freq)
  @gpt_oss ~w(num_local_experts num_experts_per_tok sliding_window layer_types attention_bias)

  @silu %{"hidden_act" => "silu"}
  @gelu %{"hidden_activation" => "gelu_pytorch_tanh", "hidden_act" => "gelu_pytorch_tanh"}
  @sparse %{"decoder_sparse_step" => 1, "mlp_only_layers" => []}

  # The class in Python, the fields beside the common ones, and fields that each file of the type has.
  @types %{
    "llama" => {"LlamaForCausalLM", ~w(attention_bias mlp_bias), @silu},
    "mixtral" => {"MixtralForCausalLM", ~w(num_local_experts num_experts_per_tok), @silu},
    "qwen2" => {"Qwen2ForCausalLM", [], @silu},
    "qwen2_moe" =>
      {"Qwen2MoeForCausalLM", @moe ++ ["shared_expert_intermediate_size"],
       Map.merge(@silu, Map.put(@sparse, "norm_topk_prob", false))},
    "qwen3" => {"Qwen3ForCausalLM", ["attention_bias"], @silu},
    "qwen3_moe" => {"Qwen3MoeForCausalLM", @moe ++ ~w(norm_topk_prob attention_bias), Map.merge(@silu, @sparse)},
    "gemma" => {"GemmaForCausalLM", [], @gelu},
    "gemma2" => {"Gemma2ForCausalLM", @gemma2, @gelu},
    "gemma3_text" => {"Gemma3ForCausalLM", @gemma3, @gelu},
    "phi3" => {"Phi3ForCausalLM", ["partial_rotary_factor"], @silu},
    "gpt_oss" => {"GptOssForCausalLM", @gpt_oss, @silu},
    "glm4" => {"Glm4ForCausalLM", ~w(partial_rotary_factor attention_bias), @silu}
  }

  # How Llama 3 stretches its wavelengths; files have the factors and not these numbers.
  @llama3 for factor <- [8.0, 32.0],
              do: %{
                "rope_type" => "llama3",
                "factor" => factor,
                "low_freq_factor" => 1.0,
                "high_freq_factor" => 4.0,
                "original_max_position_embeddings" => 8192
              }

  @doc """
  The content of the file, but for tokens and the type of numbers. `map` are the fields of the model in a GGUF file, and
  `short` the factors of positions in short texts, where the file has them.
  """
  @spec of(map(), Decoder.t(), [number()] | nil, Path.t()) :: map()
  def of(%{"gguf" => %{"type" => type} = own} = map, decoder, short, path) do
    {class, keys, fixed} = Map.fetch!(@types, type)
    scaling = scaling(map["rope_scaling"], map, short)

    # A file that lists no width of the plain feed-forward layers has none of these.
    map
    |> Map.put("attention_bias", Enum.any?(Enum.concat(own["biases"])))
    |> Map.put_new("intermediate_size", map["moe_intermediate_size"])
    |> Map.update!("partial_rotary_factor", &factor(&1, map["head_dim"]))
    |> Map.take(@common ++ keys)
    |> Map.merge(fixed)
    |> Map.merge(positions(type, scaling))
    |> Map.merge(windows(type, map, path))
    |> Map.merge(%{
      "model_type" => type,
      "architectures" => [class],
      "tie_word_embeddings" => decoder.lm_head == nil
    })
    |> Map.reject(fn {_key, value} -> value == nil end)
  end

  # The features that rotate, as a part of all, so that the product with all is not less than them.
  defp factor(value, size) do
    count = trunc(size * value)
    if trunc(size * (count / size)) == count, do: count / size, else: value
  end

  # Python reads the length of short texts beside the scaling.
  defp positions("phi3", %{"original_max_position_embeddings" => original} = scaling),
    do: %{"rope_scaling" => scaling, "original_max_position_embeddings" => original}

  # The bounds between the wavelengths are not rounded.
  defp positions("gpt_oss", %{"rope_type" => "yarn"} = scaling),
    do: %{"rope_scaling" => Map.put(scaling, "truncate", false)}

  defp positions(_type, scaling), do: %{"rope_scaling" => scaling}

  # Every nth layer sees everything.
  defp windows("gemma3_text", %{"layer_types" => types}, path) do
    count = length(types)
    kind = fn layer, pattern -> if rem(layer, pattern) == 0, do: "full_attention", else: "sliding_attention" end

    case Enum.find(1..(count + 1), fn pattern -> types == for(layer <- 1..count, do: kind.(layer, pattern)) end) do
      nil ->
        raise Mlx.Error,
              "#{path} has layers with windows in another order than those of Gemma 3, where each nth layer has none; " <>
                "a config.json has no place for that"

      pattern ->
        %{"sliding_window_pattern" => pattern, "layer_types" => types}
    end
  end

  defp windows(_type, _map, _path), do: %{}

  # "type" is the older name of "rope_type", which some of Python's models read.
  defp scaling(nil, _map, _short), do: nil

  defp scaling(%{"type" => "longrope", "long_factor" => factors} = table, %{"gguf" => own} = map, short) do
    settings = if own["type"] != "phi3", do: Enum.find(@llama3, &same?(llama3_factors(&1, map), factors))
    settings || Map.merge(table, %{"rope_type" => "longrope", "short_factor" => short || factors})
  end

  defp scaling(%{"type" => type} = table, _map, _short), do: Map.put(table, "rope_type", type)

  defp same?(own, factors) do
    length(own) == length(factors) and
      Enum.all?(Enum.zip(own, factors), fn {a, b} -> abs(a - b) <= 1.0e-4 * abs(a) end)
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
end
