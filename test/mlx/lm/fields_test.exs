defmodule Mlx.LM.FieldsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Checkpoint, Decoder, Families}
  alias Mlx.LM.Families.Fields

  # What all families together read.
  @config %{
    "hidden_size" => 64,
    "num_hidden_layers" => 3,
    "intermediate_size" => 128,
    "num_attention_heads" => 4,
    "num_key_value_heads" => 2,
    "head_dim" => 16,
    "rms_norm_eps" => 1.0e-5,
    "vocab_size" => 96,
    "max_position_embeddings" => 128,
    "original_max_position_embeddings" => 64,
    "tie_word_embeddings" => false,
    "rope_theta" => 10_000,
    "rope_traditional" => false,
    "rope_scaling" => %{"type" => "linear", "factor" => 2.0, "alpha" => 3.0},
    "rope_parameters" => %{
      "llama_4_scaling_beta" => 0.1,
      "original_max_position_embeddings" => 16,
      "rope_theta" => 1.0e4,
      "full_attention" => %{"rope_theta" => 1.0e4, "partial_rotary_factor" => 0.5},
      "sliding_attention" => %{"rope_theta" => 1.0e4}
    },
    "partial_rotary_factor" => 0.5,
    "layer_types" => ["full_attention", "sliding_attention", "full_attention"],
    "sliding_window" => 8,
    "sliding_window_pattern" => 2,
    "attention_bias" => true,
    "attention_out_bias" => true,
    "mlp_bias" => true,
    "use_bias" => true,
    "qkv_bias" => true,
    "bias" => true,
    "no_rope_layers" => [1, 0, 1],
    "no_rope_layer_interval" => 2,
    "num_experts" => 4,
    "num_local_experts" => 4,
    "n_routed_experts" => 4,
    "n_shared_experts" => 1,
    "moe_num_experts" => 4,
    "moe_k" => 2,
    "moe_layer_interval" => 1,
    "moe_num_shared_experts" => 1,
    "num_experts_per_tok" => 2,
    "moe_intermediate_size" => 32,
    "shared_expert_intermediate_size" => 32,
    "decoder_sparse_step" => 1,
    "mlp_only_layers" => [0],
    "norm_topk_prob" => true,
    "routed_scaling_factor" => 1.5,
    "n_group" => 2,
    "topk_group" => 1,
    "first_k_dense_replace" => 1,
    "query_pre_attn_scalar" => 16,
    "attn_logit_softcapping" => 50.0,
    "final_logit_softcapping" => 30.0,
    "rope_local_base_freq" => 1.0e4,
    "logits_scaling" => 2.0,
    "attention_multiplier" => 0.5,
    "embedding_multiplier" => 2.0,
    "residual_multiplier" => 0.5,
    "layer_norm_eps" => 1.0e-5,
    "layer_norm_epsilon" => 1.0e-5,
    "norm_eps" => 1.0e-5,
    "norm_epsilon" => 1.0e-5,
    "logit_scale" => 0.1,
    "layer_norm_bias" => true,
    "use_qk_norm" => true,
    "qk_layernorm" => true,
    "use_qkv_bias" => true,
    "use_parallel_residual" => true,
    "rotary_pct" => 0.5,
    "rotary_emb_base" => 10_000,
    "n_embd" => 64,
    "n_head" => 4,
    "n_kv_heads" => 2,
    "n_layer" => 3,
    "n_positions" => 32,
    "block_size" => 32,
    "num_layers" => 3,
    "kv_channels" => 16,
    "no_bias" => true,
    "scale_emb" => 2,
    "scale_depth" => 1.4,
    "dim_model_base" => 32,
    "kv_lora_rank" => 32,
    "q_lora_rank" => 32,
    "qk_rope_head_dim" => 8,
    "qk_nope_head_dim" => 16,
    "v_head_dim" => 16,
    "index_head_dim" => 16,
    "index_n_heads" => 2,
    "index_topk" => 4,
    "topk_method" => "group_limited_greedy",
    "rotary_dim" => 8,
    "router_jitter_noise" => 0.1,
    "n_inner" => 128,
    "num_transformer_layers" => 3,
    "model_dim" => 64,
    "ffn_dim_divisor" => 32,
    "num_query_heads" => [4, 4, 6],
    "num_kv_heads" => [2, 1, 3],
    "ffn_multipliers" => [0.5, 1.5, 2],
    "d_model" => 64,
    "n_layers" => 3,
    "n_heads" => 4,
    "attn_config" => %{"kv_n_heads" => 2, "clip_qkv" => 8, "rope_theta" => 1.0e4},
    "ffn_config" => %{"ffn_hidden_size" => 32, "moe_num_experts" => 4, "moe_top_k" => 2},
    "num_attention_heads_per_layer" => [4, 2, 2],
    "mlp_layer_types" => ["dense", "sparse", "sparse"],
    "moe_router_score_func" => "sigmoid",
    "moe_router_logit_softcapping" => 1.0,
    "num_attention_groups" => 2,
    "attention_other_setting" => %{"num_attention_heads" => 6, "num_attention_groups" => 3},
    "partial_rotary_factors" => [1.0, 0.5, 1.0],
    "yarn_only_types" => ["full_attention"],
    "moe_layers_enum" => "1,2",
    "moe_top_k" => 2,
    "share_expert_dim" => 32,
    "swiglu_limits" => [0, 1, 2],
    "swiglu_limits_shared" => [1, 0, 2],
    "num_dense_layers" => 1,
    "num_shared_experts" => 1,
    "score_func" => "softmax",
    "score_function" => "sigmoid",
    "is_moe_layer" => [false, true, true],
    "intermediate_size_mlp" => 64,
    "attention_chunk_size" => 8,
    "interleave_moe_layer_step" => 2,
    "attn_temperature_tuning" => true,
    "floor_scale" => 8,
    "attn_scale" => 0.1,
    "ffn_hidden_size" => 64,
    "moe_topk" => 2,
    "expert_ffn_hidden_size" => 32,
    "zero_expert_num" => 2,
    "mla_scale_q_lora" => true,
    "mla_scale_kv_lora" => true,
    "block_configs" => [
      %{"attention" => %{"n_heads_in_group" => 2}, "ffn" => %{"ffn_mult" => 1.0}},
      %{"attention" => %{"no_op" => true}, "ffn" => %{"replace_with_linear" => true}},
      %{"attention" => %{"replace_with_linear" => true}, "ffn" => %{"no_op" => true}}
    ],
    "hybrid_layer_pattern" => [0, 1, 0],
    "sliding_window_size" => 8,
    "layernorm_epsilon" => 1.0e-5,
    "attention_value_scale" => 0.5,
    "add_swa_attention_sink_bias" => true,
    "swa_rope_theta" => 1.0e4,
    "swa_num_attention_heads" => 6,
    "swa_num_key_value_heads" => 3,
    "swa_head_dim" => 16,
    "swa_v_head_dim" => 8,
    "global_head_dim" => 32,
    "num_kv_shared_layers" => 1,
    "hidden_size_per_layer_input" => 16,
    "vocab_size_per_layer_input" => 64,
    "attention_k_eq_v" => true,
    "enable_moe_block" => true,
    "top_k_experts" => 2,
    "altup_num_inputs" => 3,
    "altup_active_idx" => 1,
    "laurel_rank" => 8,
    "activation_sparsity_pattern" => [0.9, 0.0, 0.0],
    "num_swa_attention_heads" => 4,
    "num_swa_key_value_heads" => 2,
    "sliding_window_layers" => [0, 2],
    "conv_window" => 2,
    "conv_L_cache" => 3,
    "num_loops" => 2,
    "skip_loop_final_norm" => true,
    "post_norm_eps" => 1.0e-8,
    "qk_scale_factor" => 3.87,
    "layer_rope_theta" => [0, 1.0e4, 0],
    "output_multiplier" => 0.2,
    "loop_num" => 2,
    "loop_window_size" => 8,
    "mlp_hidden_size" => 256,
    "embedding_size" => 96,
    "clip_qkv" => 8.0,
    "model_max_length" => 128,
    "num_vocab" => 96,
    "hidden_dim" => 64,
    "num_kv_reuse_layers" => 1,
    "num_heads" => 8,
    "num_experts_per_token" => 2,
    "num_expert_group" => 2,
    "linear_attn_config" => %{"kda_layers" => [1, 3], "num_heads" => 4, "head_dim" => 8, "short_conv_kernel_size" => 4},
    "layer_group_size" => 2,
    "group_norm_size" => 2,
    "use_cla" => true,
    "cla_share_factor" => 2,
    "use_mixed_mlp_moe" => true,
    "num_shared_expert" => [1, 2, 1],
    "n_shared_head" => 2,
    "window_size" => 8,
    "rope_local_theta" => 1.0e4,
    "dense_attention_every_n_layers" => 2,
    "ff_intermediate_size" => 128,
    "gegelu_limit" => 20.0,
    "dummy_token_indices" => [90, 91],
    "blocksparse_block_size" => 8,
    "blocksparse_num_local_blocks" => 2,
    "blocksparse_vert_stride" => 2,
    "dense_intermediate_size" => 128,
    "shared_intermediate_size" => 32,
    "sparse_attention_config" => %{
      "sparse_num_index_heads" => 2,
      "sparse_index_dim" => 8,
      "sparse_block_size" => 8,
      "sparse_topk_blocks" => 3,
      "sparse_attention_freq" => [0, 1, 1]
    },
    # Those of recurrent mixers.
    "block_dim" => 64,
    "block_multiple_of" => 32,
    "block_ffn_dim_multiplier" => 1.0,
    "block_auto_adjust_ff_dim" => true,
    "block_ff_dim" => 192,
    "use_expert_bias" => true,
    "linear_num_value_heads" => 4,
    "linear_num_key_heads" => 2,
    "linear_key_head_dim" => 16,
    "linear_value_head_dim" => 32,
    "linear_conv_kernel_dim" => 4,
    "full_attention_interval" => 2,
    "linear_allow_neg_eigval" => true,
    "state_size" => 16,
    "conv_kernel" => 4,
    "n_groups" => 2,
    "use_conv_bias" => true,
    "time_step_limit" => [0.0, 2.0],
    "time_step_rank" => 4,
    "mamba_num_heads" => 8,
    "mamba_head_dim" => 16,
    "ssm_state_size" => 32,
    "hybrid_override_pattern" => "M*E",
    "moe_shared_expert_intermediate_size" => 64,
    "mamba_n_heads" => 8,
    "mamba_d_head" => 16,
    "mamba_d_ssm" => 128,
    "mamba_d_state" => 32,
    "mamba_d_conv" => 4,
    "mamba_n_groups" => 1,
    "mamba_conv_bias" => true,
    "mamba_expand" => 2,
    "lm_head_multiplier" => 0.25,
    "mlp_multipliers" => [0.5, 2.0],
    "ssm_multipliers" => [0.5, 0.25, 2.0, 4.0, 0.125],
    "key_multiplier" => 0.5,
    "attn_layer_offset" => 1,
    "attn_layer_period" => 2,
    "expert_layer_offset" => 1,
    "expert_layer_period" => 2,
    "conv1d_width" => 4,
    "logits_soft_cap" => 30.0,
    "attention_window_size" => 32,
    "block_types" => ["recurrent", "attention"],
    "hidden_size_per_head" => 16,
    "mamba_step" => 2,
    "a_low_rank_dim" => 16,
    "v_low_rank_dim" => 64,
    "gate_low_rank_dim" => 32,
    "decay_low_rank_dim" => 64
  }

  @values [
            nil,
            0,
            -1,
            1,
            3,
            7,
            1.5,
            -0.5,
            1.0e308,
            1.0e-300,
            2_147_483_647,
            99_999_999_999,
            "x",
            "",
            [],
            [1, 2, 3],
            ["L"],
            %{}
          ] ++
            [
              true,
              %{"type" => "yarn"},
              %{"type" => "longrope", "long_factor" => [1.0]},
              %{"type" => "dynamic", "factor" => 0.001}
            ]

  defp made(type, config) do
    {family, fields} = Families.find(Fields.new(Map.put(config, "model_type", type)))
    Decoder.new(family.config(fields))
  end

  defp base("exaone4"), do: %{@config | "sliding_window_pattern" => "LG"}
  defp base("mimo_v2_flash"), do: Map.put(@config, "moe_layer_freq", [0, 1, 1])
  defp base("llama4"), do: %{@config | "num_experts_per_tok" => 1}

  defp base("afm7"), do: Map.merge(@config, %{"num_heads" => 4, "num_kv_heads" => 2})

  defp base("deepseek_v4") do
    @config
    |> Map.drop(["layer_types", "mlp_layer_types"])
    |> Map.merge(%{
      "compress_ratios" => [0, 4, 8, 0],
      "compress_rate_csa" => 4,
      "compress_rate_hca" => 8,
      "hc_mult" => 2
    })
    |> Map.merge(%{"o_groups" => 2, "compress_rates" => %{"compressed_sparse_attention" => 4}, "num_hash_layers" => 1})
  end

  defp base("deepseek_v41") do
    Map.merge(@config, %{
      "compress_ratios" => [0, 4, 4],
      "kv_source_layer_ids" => [1],
      "index_source_layer_ids" => [1, 2],
      "candidate_source_layer_id" => 1,
      "hc_mult" => 2,
      "o_groups" => 2,
      "qk_rope_head_dim" => 8
    })
  end

  defp base("kimi_k3"), do: Map.merge(@config, %{"hidden_act" => "situ", "attn_res_block_size" => 2})

  defp base("muse_spark") do
    own = %{"output_multiplier" => 0.5, "final_logit_softcapping" => 20.0, "post_norm_eps" => 1.0e-3}
    sizes = %{"moe_hidden_size" => 32, "layer_rope_theta" => [1.0e4, 0, 1.0e4], "num_shared_experts" => 0}
    @config |> Map.merge(own) |> Map.merge(sizes) |> Map.delete("mlp_layer_types")
  end

  defp base("prism_hadamard_qwen35") do
    Map.merge(%{@config | "layer_types" => ["linear_attention", "full_attention", "linear_attention"]}, %{
      "tensor_namespace" => "mlx-vlm-qwen3_5",
      "quantization" => %{"bits" => 2, "group_size" => 128, "mode" => "affine"},
      "modules" => [%{"path" => "lm_head", "embedding" => false, "dtype" => "float16", "block" => 0}]
    })
  end

  defp base("longcat_flash_ngram"), do: Map.merge(@config, %{"ngram_vocab_size_ratio" => 3, "emb_split_num" => 2})

  defp base("granitemoehybrid"), do: %{@config | "layer_types" => ["mamba", "attention", "mamba"]}

  defp base(type) when type in ["lfm2", "lfm2-vl", "lfm2_vl", "lfm2_moe"] do
    %{@config | "layer_types" => ["conv", "full_attention", "conv"]}
  end

  defp base(type) when type in ["olmo_hybrid", "qwen3_5", "qwen3_5_moe", "qwen3_next"] do
    %{@config | "layer_types" => ["linear_attention", "full_attention", "linear_attention"]}
  end

  defp base(_type), do: @config

  defp types, do: Families.types()

  test "each family reads a configuration of all fields" do
    for type <- types(), do: assert(%Decoder{} = made(type, base(type)))
  end

  # Without the configuration no layer has a size, and none may be guessed to be large.
  test "a configuration without fields gives a decoder of a known model, or an error that says what is missing" do
    for type <- types(), config <- [%{}, %{"text_config" => %{}}, %{"text_config" => []}] do
      assert problem(type, config) == nil
    end
  end

  test "a wrong value of any field gives a decoder or an error that says what is wrong" do
    :rand.seed(:exsss, 4)
    cases = for type <- types(), path <- paths(base(type)), value <- [:none | @values], do: {type, path, value}
    wrong = for case <- Enum.take_random(cases, 40_000), problem = problem(case), do: {problem, case}
    assert Enum.take(Enum.uniq_by(wrong, fn {error, _case} -> Exception.message(error) end), 20) == []
  end

  test "three wrong values at once, too" do
    :rand.seed(:exsss, 5)

    wrong =
      for _case <- 1..10_000,
          type = Enum.random(types()),
          config = Enum.reduce(1..3, base(type), fn _field, config -> changed(config) end),
          problem = problem(type, config),
          do: {problem, type, config}

    assert Enum.take(Enum.uniq_by(wrong, fn {error, _, _} -> Exception.message(error) end), 5) == []
  end

  test "settings of quantized layers that are wrong are refused by name" do
    tensors = %{"model.layers.0.mlp.up_proj.scales" => Mlx.zeros({128, 1})}

    for key <- ["quantization", "quantization_config"],
        part <- ["group_size", "bits", "mode", "quant_method"],
        value <- @values do
      settings = Map.put(%{"group_size" => 64, "bits" => 4}, part, value)
      fields = Fields.new(Map.merge(@config, %{"model_type" => "llama", key => settings}))
      error = assert_raise(Mlx.Error, fn -> Checkpoint.from_tensors(tensors, fields) end)
      assert error.message =~ ~r/config\.json|does not fit its configuration/
    end
  end

  # Each field, and each field of objects in it.
  defp paths(config) do
    for {key, value} <- config, path <- [[key] | for({inner, _} <- inner(value), do: [key, inner])], do: path
  end

  defp inner(value), do: if(is_map(value), do: value, else: %{})

  defp changed(config), do: put(config, Enum.random(paths(config)), Enum.random([:none | @values]))

  defp put(config, path, :none), do: config |> pop_in(path) |> elem(1)
  defp put(config, path, value), do: put_in(config, path, value)

  defp problem({type, path, value}), do: problem(type, put(base(type), path, value))

  # The error that says nothing of the configuration.
  defp problem(type, config) do
    made(type, config)
    nil
  rescue
    error in Mlx.Error -> if error.message =~ ~r/config\.json|array limit|the configuration/, do: nil, else: error
    error -> error
  end
end
