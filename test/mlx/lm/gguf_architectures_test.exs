defmodule Mlx.LM.GGUFArchitecturesTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.GGUFMetadata
  alias Mlx.LM.{Checkpoint, Decoder, Families, GGUFModel, Names}
  alias Mlx.LM.Decoder.DenseLinear
  alias Mlx.LM.Families.Fields
  alias Mlx.NN.{Linear, QuantizedLinear}

  @moduletag :oracle
  @moduletag :tmp_dir

  @script Path.expand("../../oracle/gguf_files.py", __DIR__)
  @tolerance 1.0e-5

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

  # name, architecture, type of the model, what is different in its config.json, and in the file
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

  # More than a window long.
  @ids for index <- 0..19, do: rem(index * 37 + 11, 96)

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

  defp logits(model) do
    {logits, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
    Mlx.eval(Mlx.as_type(logits, :f32))
  end

  defp gguf(path, options) do
    %{metadata: metadata} = GGUFMetadata.read(path)
    :ok = GGUFModel.check!(metadata, path)
    GGUFModel.load(path, metadata, options)
  end

  defp distance(a, b) do
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  defp problems(folder) do
    expected = logits(Checkpoint.load(folder, type: :f32))
    path = Path.join(folder, "model.gguf")

    for form <- [:dense, :quantized],
        distance = distance(logits(gguf(path, form: form, type: :f32)), expected),
        not (distance <= @tolerance),
        do: {form, distance}
  end

  defp written(folder, cases) do
    for one <- cases, do: save(folder, one)
    python = System.fetch_env!("MLX_ORACLE_PYTHON")
    {output, status} = System.cmd(python, [@script, folder], stderr_to_stdout: true)
    assert status == 0, output
  end

  test "files give what the same models give with a config.json", %{tmp_dir: folder} do
    written(folder, @cases)

    wrong =
      for {name, _, _, _, _} <- @cases, problems = problems(Path.join(folder, name)), problems != [] do
        {name, problems}
      end

    assert wrong == []
    assert Enum.sort(Enum.uniq(for {_, architecture, _, _, _} <- @cases, do: architecture)) == GGUFModel.architectures()
  end

  test "quantized matrices are multiplied in the types of a GPU", %{tmp_dir: folder} do
    names = ["llama-q4k", "gemma3-linear", "gpt-oss-mxfp4"]
    written(folder, for({name, _, _, _, _} = one <- @cases, name in names, do: one))

    for name <- names, {type, tolerance} <- [f16: 0.02, bf16: 0.1] do
      path = Path.join([folder, name, "model.gguf"])
      model = gguf(path, form: :quantized, type: type)
      {logits, _caches} = Decoder.logits(model, Mlx.array([@ids]), Decoder.caches(model))
      assert logits.type == type
      assert distance(Mlx.as_type(logits, :f32), logits(gguf(path, form: :dense, type: :f32))) < tolerance
    end
  end

  test "matrices of formats without an exact form are dense, or requantized", %{tmp_dir: folder} do
    written(folder, for({"qwen3-q6k", _, _, _, _} = one <- @cases, do: one))
    path = Path.join(folder, "qwen3-q6k/model.gguf")
    dense = gguf(path, form: :quantized, type: :f32)
    assert %{o_proj: %kind{}} = hd(dense.model.layers).self_attn
    assert kind in [DenseLinear, Linear]
    expected = logits(dense)

    for {options, bits} <- [{[group_size: 64, bits: 8], 8}, {[group_size: 32, bits: 6], 6}] do
      requantized = gguf(path, requantize: options, type: :f32)
      assert %QuantizedLinear{bits: ^bits} = hd(requantized.model.layers).self_attn.o_proj
      assert distance(logits(requantized), expected) < 0.2
    end
  end
end
