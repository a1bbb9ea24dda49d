defmodule Mlx.LM.FieldsTest do
  use ExUnit.Case, async: true

  alias Mlx.LM.{Decoder, Families}
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
    "activation_sparsity_pattern" => [0.9, 0.0, 0.0]
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
  defp base(_type), do: @config

  # Their layers are of other kinds, with fields of their own. `families_test` tries wrong values of those.
  @other_fields ~w(bailing_moe_linear falcon_h1 falcon_mamba granitemoehybrid lfm2 lfm2-vl lfm2_moe lfm2_vl mamba mamba2
                   nemotron_h olmo_hybrid qwen3_5 qwen3_5_moe qwen3_next recurrent_gemma rwkv7)

  defp types, do: Families.types() -- @other_fields

  test "each family reads a configuration of all fields" do
    for type <- types(), do: assert(%Decoder{} = made(type, base(type)))
    for type <- @other_fields, do: assert_raise(Mlx.Error, ~r/config\.json/, fn -> made(type, base(type)) end)
  end

  test "a wrong value of any field gives a decoder or an error that says what is wrong" do
    :rand.seed(:exsss, 4)
    cases = for type <- types(), key <- Map.keys(@config), value <- @values, do: {type, key, value}

    wrong =
      for {type, key, value} <- Enum.take_random(cases, 120_000), problem = problem(type, key, value), do: problem

    assert Enum.take(Enum.uniq_by(wrong, &Exception.message(elem(&1, 3))), 20) == []
  end

  defp problem(type, key, value) do
    made(type, Map.put(base(type), key, value))
    nil
  rescue
    error in Mlx.Error ->
      if error.message =~ ~r/config\.json|array limit|the configuration/, do: nil, else: {type, key, value, error}

    error ->
      {type, key, value, error}
  end
end
