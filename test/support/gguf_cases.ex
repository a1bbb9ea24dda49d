defmodule Mlx.GGUFCases do
  @moduledoc """
  Small models with random weights, in folders and in GGUF files of all architectures that can be loaded. Python's package
  `gguf` writes the files.
  """

  alias Mlx.LM.{Decoder, Families, Names}
  alias Mlx.LM.Families.Fields

  @script Path.expand("../oracle/gguf_files.py", __DIR__)

  @common %{
    "hidden_size" => 64,
    "num_hidden_layers" => 3,
    "intermediate_size" => 96,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 96,
    "max_position_embeddings" => 256,
    "rope_theta" => 20_000.0,
    "tie_word_embeddings" => false
  }

  @llama3 %{
    "rope_type" => "llama3",
    "factor" => 8.0,
    "low_freq_factor" => 1.0,
    "high_freq_factor" => 4.0,
    "original_max_position_embeddings" => 64
  }

  @longrope %{
    "type" => "longrope",
    "long_factor" => [1.0, 1.1, 1.5, 2.0, 3.0, 4.5],
    "short_factor" => [1.0, 1.0, 1.0, 1.1, 1.2, 1.3]
  }

  @gemma %{"head_dim" => 32, "tie_word_embeddings" => true, "num_hidden_layers" => 6}
  @gemma2 Map.merge(@gemma, %{
            "query_pre_attn_scalar" => 32,
            "attn_logit_softcapping" => 40.0,
            "final_logit_softcapping" => 25.0,
            "sliding_window" => 6
          })
  @gemma3 Map.merge(@gemma, %{"query_pre_attn_scalar" => 32, "sliding_window" => 6})

  @mixtral %{"num_local_experts" => 4, "num_experts_per_tok" => 2}
  @qwen_experts %{
    "num_experts" => 4,
    "num_experts_per_tok" => 2,
    "moe_intermediate_size" => 32,
    "decoder_sparse_step" => 1,
    "mlp_only_layers" => []
  }

  @gpt_oss %{
    "head_dim" => 32,
    "intermediate_size" => 64,
    "num_local_experts" => 4,
    "num_experts_per_tok" => 2,
    "sliding_window" => 6,
    "rope_scaling" => %{"rope_type" => "yarn", "factor" => 8.0, "original_max_position_embeddings" => 32}
  }

  # Rows of whole blocks of 256 numbers.
  @wide %{"hidden_size" => 256, "intermediate_size" => 512, "num_hidden_layers" => 2}

  @cases [
    {"llama", "llama", "llama", %{}, %{}},
    {"llama-tied", "llama", "llama", %{"tie_word_embeddings" => true, "head_dim" => 24}, %{}},
    {"llama-3", "llama", "llama", %{"rope_scaling" => @llama3}, %{}},
    {"llama-biases", "llama", "llama", %{"attention_bias" => true, "mlp_bias" => true}, %{}},
    {"llama-q8", "llama", "llama", %{}, %{"type" => "Q8_0"}},
    {"llama-q4k", "llama", "llama", @wide, %{"type" => "Q4_K"}},
    {"qwen3-q6k", "qwen3", "qwen3", Map.put(@wide, "head_dim", 64), %{"type" => "Q6_K"}},
    {"mistral", "llama", "mistral", %{"rope_theta" => 1.0e6}, %{}},
    {"mixtral", "llama", "mixtral", @mixtral, %{}},
    {"mixtral-q4", "llama", "mixtral", @mixtral, %{"type" => "Q4_0"}},
    {"qwen2", "qwen2", "qwen2", %{}, %{}},
    {"qwen2-tied", "qwen2", "qwen2", %{"tie_word_embeddings" => true}, %{"type" => "Q5_1"}},
    {"qwen2-yarn", "qwen2", "qwen2", %{"rope_scaling" => @gpt_oss["rope_scaling"]}, %{}},
    {"qwen2-moe", "qwen2moe", "qwen2_moe", Map.put(@qwen_experts, "shared_expert_intermediate_size", 64), %{}},
    {"qwen3", "qwen3", "qwen3", %{"head_dim" => 32}, %{}},
    {"qwen3-moe", "qwen3moe", "qwen3_moe", Map.merge(@qwen_experts, %{"head_dim" => 32, "norm_topk_prob" => true}),
     %{}},
    {"gemma", "gemma", "gemma", @gemma, %{}},
    {"gemma2", "gemma2", "gemma2", @gemma2, %{}},
    {"gemma3", "gemma3", "gemma3_text", @gemma3, %{}},
    {"gemma3-linear", "gemma3", "gemma3_text", Map.put(@gemma3, "rope_scaling", %{"type" => "linear", "factor" => 8.0}),
     %{"type" => "Q5_0"}},
    {"gemma3-pattern", "gemma3", "gemma3_text",
     Map.put(@gemma3, "layer_types", List.duplicate("sliding_attention", 5) ++ ["full_attention"]),
     %{"pattern" => true}},
    {"phi3", "phi3", "phi3", %{"original_max_position_embeddings" => 256}, %{}},
    {"phi3-long", "phi3", "phi3",
     %{"original_max_position_embeddings" => 64, "partial_rotary_factor" => 0.75, "rope_scaling" => @longrope}, %{}},
    {"gpt-oss", "gpt-oss", "gpt_oss", @gpt_oss, %{}},
    {"gpt-oss-mxfp4", "gpt-oss", "gpt_oss", @gpt_oss, %{"type" => "MXFP4", "experts" => true}},
    {"glm4", "glm4", "glm4", %{"attention_bias" => true, "head_dim" => 32, "partial_rotary_factor" => 0.5}, %{}}
  ]

  @doc """
  The cases: `{name, architecture, type of the model, what is different in its config.json, and in the file}`.
  """
  def all, do: @cases

  @doc """
  Writes the folder `name` of each case into a folder: `config.json`, `model.safetensors` with the same numbers as those of
  `model.gguf`. Returns what Python said where it failed, or nil.
  """
  def write(folder, cases) do
    for one <- cases, do: save(folder, one)
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@script, folder], stderr_to_stdout: true)
    if status != 0, do: output
  end

  # The names of the decoder, as the family's files have them.
  defp tensors(config) do
    {family, fields} = Families.find(Fields.new(config))
    %Decoder{} = decoder = Decoder.new(family.config(fields))
    theirs = for {theirs, ours} <- family.names(), do: {ours, theirs}
    names = if config["model_type"] == "gpt_oss", do: [{"mlp.gate", "mlp.router"}], else: theirs

    for {{name, array}, seed} <- decoder |> Map.take([:model, :lm_head]) |> Mlx.Tree.flatten() |> Enum.with_index(),
        into: %{} do
      {Names.ours(name, names), Mlx.Random.normal(array.shape, scale: 0.2, key: Mlx.Random.key(seed))}
    end
  end

  defp save(folder, {name, architecture, type, different, case}) do
    folder = Path.join(folder, name)
    File.mkdir!(folder)
    config = @common |> Map.merge(different) |> Map.put("model_type", type)
    File.write!(Path.join(folder, "config.json"), JSON.encode!(config))
    case = Map.merge(%{"architecture" => architecture, "type" => "F32"}, case)
    File.write!(Path.join(folder, "case.json"), JSON.encode!(case))
    Mlx.IO.save(Path.join(folder, "model.safetensors"), tensors(config))
  end
end
