"""Models of mlx-lm's own classes with random weights, and what they compute: what Mlx.LM.Decoder is compared with.

    families.py FOLDER [CASE...]

Makes for each case FOLDER/NAME with config.json, model.safetensors and expected.safetensors, which holds a prompt, its
logits, and the logits and tokens of some greedy steps after it, which is longer where a name ends in "-long"; FOLDER/NAME-4bit is the same model quantized. Cases with
the names that Hugging Face's files have are FOLDER/NAME-hf.
"""

import functools
import importlib
import importlib.util
import json
import pathlib
import sys
import types

import mlx.core as mx
import mlx.nn as nn
import newest_families
import recurrent_families
from mlx.utils import tree_flatten, tree_map
from small_models import BASE, random_weight, stand_in

# The models need nothing of what the package itself imports, nor the package of OLMo's authors.
sys.modules["hf_olmo"] = types.ModuleType("hf_olmo")
stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)

PROMPT, STEPS, WINDOW = 40, 16, 16
# The lengths of the prompts of cases whose names end so.
LENGTHS = {"-long": 150, "-blocks": 128}

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SU = {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [1.0, 1.1, 1.3, 1.7, 2.5, 4.0]}
MINISTRAL = {**YARN, "rope_theta": 10000.0, "llama_4_scaling_beta": 0.3, "original_max_position_embeddings": 16}
WINDOWS = ["sliding_attention", "full_attention", "sliding_attention"]

GRANITE = {
    "logits_scaling": 4.0,
    "attention_multiplier": 0.3,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_bias": True,
    "mlp_bias": True,
    "tie_word_embeddings": True,
}
GLM_EXPERTS = {
    "moe_intermediate_size": 64,
    "norm_topk_prob": True,
    "head_dim": 16,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "routed_scaling_factor": 1.5,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "use_qk_norm": True,
    "attention_bias": True,
    "partial_rotary_factor": 0.5,
    "rope_scaling": None,
}
LATENT = {
    "kv_lora_rank": 64,
    "q_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 64,
    "v_head_dim": 32,
    "moe_intermediate_size": 64,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "routed_scaling_factor": 1.5,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
}
DEEPSEEK_YARN = {**YARN, "type": "yarn", "rope_type": None, "mscale": 0.7, "mscale_all_dim": 1.0}
MINICPM3 = {"dim_model_base": 32, "scale_depth": 1.4, "scale_emb": 12, "v_head_dim": None, "hidden_size": 128}
MINICPM_SU = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1, 1.1, 1.3, 1.7, 2, 2.5, 3, 4]}
GEMMA4 = {
    "num_hidden_layers": 6,
    "head_dim": 16,
    "global_head_dim": 32,
    "vocab_size_per_layer_input": 128,
    "hidden_size_per_layer_input": 64,
    "num_kv_shared_layers": 3,
    "sliding_window": WINDOW,
    "sliding_window_pattern": 3,
    "tie_word_embeddings": True,
    "rope_theta": None,
}
GEMMA4_EXPERTS = {
    **GEMMA4,
    "num_hidden_layers": 3,
    "hidden_size_per_layer_input": 0,
    "num_kv_shared_layers": 0,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
    "enable_moe_block": True,
    "num_experts": 8,
    "top_k_experts": 2,
    "moe_intermediate_size": 64,
}
GPT = {
    "n_embd": 64,
    "n_head": 4,
    "n_layer": 3,
    "n_positions": 128,
    "layer_norm_epsilon": 1e-5,
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "num_key_value_heads": None,
    "intermediate_size": None,
}
OPENELM = {
    "head_dim": 16,
    "num_transformer_layers": 3,
    "model_dim": 64,
    "ffn_dim_divisor": 64,
    "num_query_heads": [4, 4, 6],
    "num_kv_heads": [2, 1, 3],
    "ffn_multipliers": [0.5, 1.7, 4.0],
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "num_key_value_heads": None,
    "intermediate_size": None,
    "tie_word_embeddings": True,
}
DBRX = {
    "d_model": 64,
    "n_layers": 3,
    "n_heads": 4,
    "attn_config": {"kv_n_heads": 2, "clip_qkv": 0.5, "rope_theta": 5000.0},
    "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    "hidden_size": None,
    "num_hidden_layers": None,
    "num_attention_heads": None,
    "num_key_value_heads": None,
    "intermediate_size": None,
}
KINDS = {
    "full_attention": {**YARN, "rope_theta": 1000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
LAGUNA = {
    **EXPERTS,
    "head_dim": 16,
    "qkv_bias": True,
    "sliding_window": WINDOW,
    "layer_types": WINDOWS,
    "num_attention_heads_per_layer": [6, 4, 2],
    "shared_expert_intermediate_size": 64,
    "moe_routed_scaling_factor": 1.5,
    "rope_parameters": {**KINDS, "full_attention": {**KINDS["full_attention"], "partial_rotary_factor": 0.5}},
}
STEP3P5 = {
    "num_attention_groups": 2,
    "num_key_value_heads": None,
    "head_dim": 16,
    "sliding_window": WINDOW,
    "layer_types": WINDOWS,
    "rope_theta": [10000.0, 5000.0, 10000.0],
    "rope_scaling": LLAMA3,
    "yarn_only_types": ["full_attention"],
    "partial_rotary_factors": [1.0, 0.5, 1.0],
    "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 3},
    "moe_num_experts": 8,
    "moe_top_k": 2,
    "moe_intermediate_size": 64,
    "share_expert_dim": 64,
    "moe_layers_enum": "1,2",
    "swiglu_limits": [0.0, 0.0, 0.3],
    "swiglu_limits_shared": [0.4, 0.0, 0.2],
}
AFMOE = {
    **EXPERTS,
    "head_dim": 16,
    "sliding_window": WINDOW,
    "layer_types": WINDOWS,
    "num_dense_layers": 1,
    "n_group": 4,
    "topk_group": 2,
}
BAILING = {
    **EXPERTS,
    "num_shared_experts": 1,
    "norm_topk_prob": True,
    "first_k_dense_replace": 1,
    "use_qkv_bias": True,
    "routed_scaling_factor": 1.5,
}
# With few heads many positions are of no worth, and any of them may be chosen.
INDEX = {"index_head_dim": 32, "index_n_heads": 16, "index_topk": 8}
MIMO_V2 = {
    "hybrid_layer_pattern": [0, 1, 0],
    "moe_layer_freq": [0, 1, 1],
    "add_swa_attention_sink_bias": True,
    "add_full_attention_sink_bias": False,
    "sliding_window_size": WINDOW,
    "moe_intermediate_size": 64,
    "n_shared_experts": None,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": None,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "n_group": 4,
    "topk_group": 2,
    "layernorm_epsilon": 1e-5,
    "swa_rope_theta": 5000.0,
    "swa_num_attention_heads": 6,
    "swa_num_key_value_heads": 3,
    "head_dim": 32,
    "v_head_dim": 16,
    "swa_head_dim": 16,
    "swa_v_head_dim": 32,
    "partial_rotary_factor": 0.5,
    "attention_value_scale": 0.7,
}
GEMMA3N = {
    "model_type": "gemma3n_text",
    "num_hidden_layers": 6,
    "head_dim": 16,
    "num_kv_shared_layers": 2,
    "vocab_size_per_layer_input": 96,
    "hidden_size_per_layer_input": 64,
    "sliding_window": WINDOW,
    "rope_local_base_freq": 5000.0,
    "final_logit_softcapping": 30.0,
    "layer_types": WINDOWS + WINDOWS,
    "activation_sparsity_pattern": [0.9, 0.6, 0.0, 0.0, 0.0, 0.0],
    "intermediate_size": [128, 192, 128, 128, 64, 128],
    "altup_num_inputs": 4,
    "altup_coef_clip": 0.2,
    "altup_correct_scale": True,
    "altup_active_idx": 0,
    "laurel_rank": 32,
}
LLAMA4 = {
    "model_type": "llama4_text",
    "num_hidden_layers": 4,
    "attention_bias": True,
    "attention_chunk_size": WINDOW,
    "head_dim": 16,
    "interleave_moe_layer_step": 2,
    "intermediate_size": 64,
    "intermediate_size_mlp": 192,
    "num_experts_per_tok": 1,
    "num_local_experts": 4,
    "rope_scaling": LLAMA3,
    "use_qk_norm": True,
    "floor_scale": 8,
}
LONGCAT = {
    **LATENT,
    "attention_method": "MLA",
    "zero_expert_type": "identity",
    "ffn_hidden_size": 128,
    "moe_topk": 3,
    "expert_ffn_hidden_size": 64,
    "zero_expert_num": 4,
    "num_layers": 2,
    "num_hidden_layers": None,
    "intermediate_size": None,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
    "attention_bias": False,
    "hidden_size": 128,
}
NAS = {
    "num_key_value_heads": None,
    "intermediate_size": None,
    "hidden_act": "gelu_new",
    "mlp_bias": True,
    "rope_scaling": LLAMA3,
    "num_hidden_layers": 4,
    "block_configs": [
        {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 2.5}},
        {"attention": {"no_op": True}, "ffn": {"ffn_mult": 7.0}},
        {"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}},
        {"attention": {"n_heads_in_group": 4}, "ffn": {"replace_with_linear": True}},
    ],
}
TERNARY = {"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"}}
LILLE = {"hidden_size": None, "intermediate_size": None, "tie_word_embeddings": True}
HUNYUAN = {
    "attention_bias": True,
    "moe_topk": 2,
    "num_experts": 8,
    "num_shared_expert": 1,
    "use_mixed_mlp_moe": True,
    "use_qk_norm": True,
    "use_cla": True,
    "cla_share_factor": 2,
    "moe_intermediate_size": 64,
    "rope_scaling": {"type": "dynamic", "alpha": 50.0, "factor": 1.0},
    "tie_word_embeddings": True,
}
MINIMAX_M3 = {
    **{key: value for key, value in BASE.items() if key != "intermediate_size"},
    "model_type": "minimax_m3",
    "intermediate_size": 64,
    "dense_intermediate_size": 128,
    "shared_intermediate_size": 64,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "head_dim": 16,
    "routed_scaling_factor": 1.5,
    "swiglu_limit": 2.0,
    "moe_layer_freq": [0, 1, 1],
    "sparse_attention_config": {
        "sparse_num_index_heads": 2,
        "sparse_index_dim": 8,
        "sparse_block_size": 8,
        "sparse_topk_blocks": 3,
        "sparse_attention_freq": [0, 1, 1],
    },
}
PHI3SMALL = {
    "dense_attention_every_n_layers": 2,
    "ff_intermediate_size": 128,
    "gegelu_limit": 1.5,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 100352,
    "blocksparse_block_size": 32,
    "blocksparse_num_local_blocks": 2,
    "blocksparse_vert_stride": 3,
    "tie_word_embeddings": True,
}
PLAMO = {"n_shared_head": 2, "num_key_value_heads": None}
PHIXTRAL = {
    "num_vocab": 128,
    "model_dim": 64,
    "num_heads": 4,
    "num_layers": 3,
    "rotary_dim": 8,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
    **{key: None for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]},
}
OLMO = {
    "d_model": 64,
    "n_layers": 3,
    "n_heads": 4,
    "mlp_hidden_size": 256,
    "embedding_size": 128,
    "rope_theta": 5000.0,
    **{key: None for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]},
    "intermediate_size": None,
}
PLAMO3 = {"head_dim": 16, "window_size": WINDOW, "sliding_window_pattern": 2, "tie_word_embeddings": True}
AFM7 = {
    "hidden_dim": 64,
    "num_layers": 4,
    "num_kv_reuse_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    **{key: None for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]},
    "intermediate_size": None,
    "tie_word_embeddings": True,
}
GLIMMER = {"head_dim": 16, "sliding_window": WINDOW, "num_hidden_layers": 4}
NO_GROUPS = {"num_key_value_heads": None}
NEOX = {"num_key_value_heads": None, "intermediate_size": None}

# name: (module of mlx_lm.models, what is different from BASE; None removes a key)
CASES = {
    "llama": ("llama", {}),
    "llama-rope": ("llama", {"rope_scaling": LLAMA3, "attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    "llama-dynamic": ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 32}),
    "llama-linear": ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}, "tie_word_embeddings": True}),
    "mistral": ("llama", {"layer_types": WINDOWS, "sliding_window": WINDOW}),
    "ministral3": ("ministral3", {"rope_parameters": MINISTRAL, "layer_types": WINDOWS, "sliding_window": WINDOW}),
    "mistral3": ("mistral3", {"text_config": {**BASE, "model_type": "mistral", "rope_traditional": False}}),
    "pixtral": ("pixtral", {"text_config": {**BASE, "model_type": "mistral", "rope_traditional": False}}),
    "qwen2_vl": ("qwen2_vl", {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}),
    "qwen3_vl": ("qwen3_vl", {"text_config": {**BASE, "head_dim": 16, "model_type": "qwen3_vl_text"}}),
    "qwen3_vl_moe": (
        "qwen3_vl_moe",
        {
            "text_config": {
                **BASE,
                **EXPERTS,
                "model_type": "qwen3_vl_moe_text",
                "head_dim": 16,
                "decoder_sparse_step": 1,
                "mlp_only_layers": [],
                "norm_topk_prob": True,
            }
        },
    ),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3-parameters": (
        "qwen3",
        {"head_dim": 16, "rope_theta": None, "rope_parameters": {**YARN, "rope_theta": 1000.0}},
    ),
    "gemma": ("gemma", {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", {"head_dim": 32, "query_pre_attn_scalar": 24.0, "tie_word_embeddings": True}),
    "gemma3_text": (
        "gemma3_text",
        {"head_dim": 32, "sliding_window": WINDOW, "sliding_window_pattern": 2, "query_pre_attn_scalar": 24},
    ),
    "gemma3": (
        "gemma3",
        {"text_config": {**BASE, "head_dim": 32, "sliding_window": WINDOW, "sliding_window_pattern": 2, "model_type": "gemma3_text"}},
    ),
    "phi3": (
        "phi3",
        {"partial_rotary_factor": 0.75, "rope_scaling": SU, "original_max_position_embeddings": 64},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {**EXPERTS, "head_dim": 16, "decoder_sparse_step": 1, "mlp_only_layers": [1], "norm_topk_prob": True},
    ),
    "qwen2_moe": ("qwen2_moe", {**EXPERTS, "shared_expert_intermediate_size": 128}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 64}),
    "gpt_oss": (
        "gpt_oss",
        {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "intermediate_size": 64,
            "head_dim": 32,
            "sliding_window": WINDOW,
            "layer_types": WINDOWS,
            "rope_scaling": YARN,
        },
    ),
    "granite": ("granite", GRANITE),
    "smollm3": ("smollm3", {"no_rope_layers": [1, 0, 1], "tie_word_embeddings": True}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": WINDOW, "layer_types": WINDOWS, "rope_scaling": YARN}),
    "cohere": ("cohere", {"use_qk_norm": True, "tie_word_embeddings": True, "attention_bias": True}),
    "cohere-bias": ("cohere", {"layer_norm_bias": True, "tie_word_embeddings": True}),
    "cohere2": (
        "cohere2",
        {"head_dim": 16, "sliding_window": WINDOW, "sliding_window_pattern": 2, "tie_word_embeddings": True},
    ),
    "starcoder2": ("starcoder2", {"norm_epsilon": 1e-5, "tie_word_embeddings": True}),
    "glm4": ("glm4", {"attention_bias": True, "head_dim": 32, "partial_rotary_factor": 0.5}),
    "stablelm": ("stablelm", {"use_qkv_bias": True, "partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5}),
    "stablelm-parallel": (
        "stablelm",
        {
            "use_qkv_bias": False,
            "partial_rotary_factor": 0.5,
            "layer_norm_eps": 1e-5,
            "use_parallel_residual": True,
            "qk_layernorm": True,
        },
    ),
    "internlm2": ("internlm2", {"bias": False}),
    "internlm3": ("internlm3", {"qkv_bias": True, "bias": True}),
    "exaone4": (
        "exaone4",
        {"head_dim": 16, "rope_scaling": LLAMA3, "sliding_window": WINDOW, "sliding_window_pattern": "LG"},
    ),
    "exaone4-global": (
        "exaone4",
        {"head_dim": 16, "rope_scaling": LLAMA3, "sliding_window": None, "sliding_window_pattern": None},
    ),
    "seed_oss": ("seed_oss", {"head_dim": 32, "attention_bias": True}),
    "ernie4_5": ("ernie4_5", {"head_dim": 16, "use_bias": True, "tie_word_embeddings": True}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"rope_scaling": {"type": "dynamic", "alpha": 50.0, "factor": 1.0}}),
    "helium": ("helium", {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "mimo": ("mimo", {}),
    "exaone": ("exaone", {"num_layers": 3, "num_hidden_layers": None, "layer_norm_epsilon": 1e-5}),
    "glm": ("glm", {"head_dim": 32, "attention_bias": True}),
    "olmoe": ("olmoe", {**EXPERTS, "intermediate_size": 64}),
    "granitemoe": ("granitemoe", {**GRANITE, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "glm4_moe": ("glm4_moe", {**GLM_EXPERTS, "n_group": 4, "topk_group": 2}),
    "glm4_moe-one-group": ("glm4_moe", {**GLM_EXPERTS, "n_group": 1, "topk_group": 1, "use_qk_norm": False}),
    "phi": ("phi", {"partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5}),
    "gpt_neox": ("gpt_neox", {"layer_norm_eps": 1e-5, "rotary_emb_base": 10000, "rotary_pct": 0.25, **NEOX}),
    "gpt_neox-serial": (
        "gpt_neox",
        {"layer_norm_eps": 1e-5, "rotary_emb_base": 5000, "rotary_pct": 0.5, "use_parallel_residual": False, **NEOX},
    ),
    "dots1": ("dots1", {**GLM_EXPERTS, "n_group": 1, "topk_group": 1, "attention_bias": False, "mlp_bias": False}),
    "minicpm": ("minicpm", {"dim_model_base": 32, "scale_depth": 1.4, "scale_emb": 12}),
    "nemotron": ("nemotron", {"hidden_act": "relu2", "norm_eps": 1e-5}),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        {
            "use_bias": True,
            "moe_num_experts": 8,
            "moe_k": 2,
            "moe_layer_start_index": 1,
            "moe_intermediate_size": 64,
            "moe_num_shared_experts": 2,
        },
    ),
    "gpt2": (
        "gpt2",
        {"n_ctx": 64, "n_embd": 64, "n_head": 4, "n_layer": 3, "n_positions": 64, "layer_norm_epsilon": 1e-5, **NEOX},
    ),
    "qwen": ("qwen", {"kv_channels": 16, "layer_norm_epsilon": 1e-6, "intermediate_size": 256, **NO_GROUPS}),
    "lille-130m": (
        "lille-130m",
        {"n_embd": 64, "n_head": 4, "n_kv_heads": 2, "n_layer": 3, "block_size": 128, "layer_norm_eps": 1e-5, **LILLE},
    ),
    "solar_open": ("solar_open", {**GLM_EXPERTS, "n_group": 1, "topk_group": 1}),
    "telechat3": ("telechat3", {"rope_scaling": {**YARN, "rope_type": "telechat3-yarn"}, "attention_bias": True}),
    "deepseek_v3": ("deepseek_v3", {**LATENT, "rope_scaling": DEEPSEEK_YARN, "attention_bias": True}),
    "deepseek_v3-plain": ("deepseek_v3", {**LATENT, "q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    "kimi_k2": ("deepseek_v3", {**LATENT, "n_group": 1, "topk_group": 1, "rope_scaling": DEEPSEEK_YARN}),
    "kimi_k25": ("kimi_k25", {"text_config": {**BASE, **LATENT, "model_type": "kimi_k2"}}),
    "deepseek_v2": (
        "deepseek_v2",
        {**LATENT, "topk_method": "group_limited_greedy", "rope_scaling": DEEPSEEK_YARN},
    ),
    "deepseek_v2-greedy": (
        "deepseek_v2",
        {**LATENT, "topk_method": "greedy", "q_lora_rank": None, "rope_scaling": DEEPSEEK_YARN},
    ),
    "glm4_moe_lite": ("glm4_moe_lite", {**LATENT, "n_group": 1, "topk_group": 1}),
    "minicpm3": (
        "minicpm3",
        {**LATENT, **MINICPM3, "rope_scaling": {**MINICPM_SU, "original_max_position_embeddings": 64}},
    ),
    "gemma4_text": ("gemma4_text", GEMMA4),
    "gemma4_text-experts": ("gemma4_text", GEMMA4_EXPERTS),
    "gemma4": ("gemma4", {"text_config": {**BASE, **GEMMA4, "model_type": "gemma4_text"}}),
    "minimax": (
        "minimax",
        {
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "intermediate_size": 64,
            "shared_intermediate_size": 0,
            "rotary_dim": 8,
        },
    ),
    "phimoe": (
        "phimoe",
        {
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "intermediate_size": 64,
            "original_max_position_embeddings": 64,
            "rope_scaling": {**MINICPM_SU, "short_mscale": 1.1, "long_mscale": 1.2},
        },
    ),
    "phimoe-plain": ("phimoe", {"num_local_experts": 4, "intermediate_size": 64, "router_jitter_noise": 0.3}),
    "gpt_bigcode": ("gpt_bigcode", {**GPT, "n_inner": 192, "tie_word_embeddings": True}),
    "gptj": ("gptj", {**GPT, "rotary_dim": 8}),
    "openelm": ("openelm", OPENELM),
    "nanochat": ("nanochat", {}),
    "dbrx": ("dbrx", DBRX),
    "deepseek": ("deepseek", {**GLM_EXPERTS, "head_dim": None}),
    "laguna": ("laguna", LAGUNA),
    "laguna-softplus": (
        "laguna",
        {**LAGUNA, "moe_router_score_func": "sqrtsoftplus", "moe_router_logit_softcapping": 2.0, "gating": False},
    ),
    "step3p5": ("step3p5", STEP3P5),
    "afmoe": ("afmoe", AFMOE),
    "afmoe-softmax": ("afmoe", {**AFMOE, "score_func": "softmax", "n_group": 1, "mup_enabled": False}),
    "bailing_moe": ("bailing_moe", BAILING),
    "bailing_moe-sigmoid": (
        "bailing_moe",
        {
            **BAILING,
            "score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
            "n_group": 4,
            "topk_group": 2,
            "use_qk_norm": True,
            "partial_rotary_factor": 0.5,
            "use_bias": True,
        },
    ),
    "Klear": (
        "Klear",
        {
            **EXPERTS,
            "attention_bias": True,
            "mlp_only_layers": [0],
            "decoder_sparse_step": 1,
            "n_shared_experts": 1,
            "norm_topk_prob": True,
        },
    ),
    "youtu_llm": ("youtu_llm", {**LATENT, "tie_word_embeddings": True, "mlp_bias": True}),
    "mellum": (
        "mellum",
        {
            **EXPERTS,
            "head_dim": 16,
            "norm_topk_prob": True,
            "sliding_window": WINDOW,
            "layer_types": WINDOWS,
            "rope_parameters": KINDS,
        },
    ),
    "deepseek_v32": ("deepseek_v32", {**LATENT, **INDEX, "rope_scaling": DEEPSEEK_YARN}),
    "glm_moe_dsa": (
        "glm_moe_dsa",
        {
            **LATENT,
            **INDEX,
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "norm_topk_prob": True,
            "moe_layer_freq": 1,
            "attention_bias": False,
            "rope_theta": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        },
    ),
    "mistral4": ("mistral4", {**LATENT, "norm_topk_prob": True, "rope_parameters": MINISTRAL}),
    "exaone_moe": (
        "exaone_moe",
        {
            **EXPERTS,
            "head_dim": 16,
            "num_shared_experts": 1,
            "sliding_window": WINDOW,
            "layer_types": WINDOWS,
            "is_moe_layer": [False, True, True],
            "n_group": 4,
            "topk_group": 2,
        },
    ),
    "llama4_text": (
        "llama4_text",
        {"intermediate_size_mlp": 192, "head_dim": 16, "no_rope_layers": [1, 0, 1], "use_qk_norm": True},
    ),
    "spark2_5": (
        "spark2_5",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "layer_types": WINDOWS,
            "mlp_bias": True,
            "rope_parameters": {
                "full_attention": {"rope_theta": 1000.0, "partial_rotary_factor": 0.5},
                "sliding_attention": {"rope_theta": 10000.0},
            },
        },
    ),
    "mimo_v2_flash": ("mimo_v2_flash", MIMO_V2),
    "gemma3n": ("gemma3n", {"text_config": {**BASE, **GEMMA3N}}),
    "llama4": ("llama4", {"text_config": {**BASE, **LLAMA4}}),
    "longcat_flash": ("longcat_flash", LONGCAT),
    "nemotron-nas": ("nemotron-nas", NAS),
    "bitnet": ("bitnet", {**TERNARY, "tie_word_embeddings": True}),
    "apertus": ("apertus", {"mlp_bias": False, "attention_bias": False, "post_norm": False, "qk_norm": True}),
    "hunyuan": ("hunyuan", HUNYUAN),
    "hunyuan-lists": (
        "hunyuan",
        {**HUNYUAN, "moe_topk": [1, 2, 3], "num_shared_expert": [1, 2, 1], "moe_intermediate_size": [64, 128, 64], "use_cla": False},
    ),
    "hunyuan-dense": ("hunyuan", {**HUNYUAN, "num_experts": 1, "use_qk_norm": False, "attention_bias": False}),
    "phi3small-blocks": ("phi3small", PHI3SMALL),
    "minimax_m3_vl": ("minimax_m3_vl", {"text_config": MINIMAX_M3}),
    "minimax_m3_vl-plain": (
        "minimax_m3_vl",
        {"text_config": {**MINIMAX_M3, "use_gemma_norm": False, "sparse_attention_config": None, "rotary_dim": 12}},
    ),
    "iquestloopcoder": ("iquestloopcoder", {"head_dim": 16, "attention_bias": True, "loop_window_size": WINDOW}),
    "phixtral": ("phixtral", PHIXTRAL),
    "plamo": ("plamo", PLAMO),
    "olmo": ("olmo", OLMO),
    "plamo3": ("plamo3", PLAMO3),
    "nanbeige": ("nanbeige", {"num_loops": 2, "attention_bias": True, "mlp_bias": True}),
    "nanbeige-weights": (
        "nanbeige",
        {"loop_loss_weights": [0.5, 0.5], "skip_loop_final_norm": True, "tie_word_embeddings": True, "rope_scaling": LLAMA3},
    ),
    "muse_glimmer": ("muse_glimmer", GLIMMER),
    "muse_glimmer-text": ("muse_glimmer", {"text_config": {**BASE, **GLIMMER, "tie_word_embeddings": True}}),
    "afm7": ("afm7", AFM7),
    "talkie": ("talkie", {"head_dim": 16, "num_key_value_heads": None}),
    **recurrent_families.cases(BASE),
    **newest_families.cases(BASE, LONGCAT),
}

# What has a meaning, or must be there, when it is null.
NULLS = ("sliding", "rope_scaling", "q_lora", "n_shared_experts", "routed_scaling")

# The types of models that a class of another name has.
OTHER_TYPES = ["mistral", "kimi_k2"]


def configuration(name, module, different):
    config = {"model_type": name if name in OTHER_TYPES else module, **BASE, **different}
    return {key: value for key, value in config.items() if value is not None or key.startswith(NULLS)}


def build(module, config):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    # The classes change what they are given.
    model = classes.Model(classes.ModelArgs.from_dict(json.loads(json.dumps(config))))
    if getattr(model, "tie_word_embeddings", None) is False and config["tie_word_embeddings"]:
        model.tie_word_embeddings = True
        model.pop("lm_head")
    model.update(tree_map(random_weight, model.parameters()))
    # Three values of the size 1 are larger than weights are.
    scales = [(name, 0.15 * scale) for name, scale in tree_flatten(model.parameters()) if name.endswith("weight_scale")]
    model.load_weights(scales, strict=False)
    if module == "afm7":
        steps = [(name, 0.05 * step) for name, step in tree_flatten(model.parameters()) if name.endswith("_scale")]
        model.load_weights(steps, strict=False)
    newest_families.prepare(module, model)
    if module == "baichuan_m1":
        # Its output matrix is changed when it is loaded.
        model.load_weights(list(model.sanitize(dict(tree_flatten(model.parameters()))).items()))
    mx.eval(model.parameters())
    return model


def plain_product(layer, x, packed):
    """What the kernel for Metal computes."""
    values = mx.concatenate([(packed >> shift) & 3 for shift in (0, 2, 4, 6)]).astype(mx.float32) - 1
    return (x @ values.T) * layer.weight_scale


importlib.import_module("mlx_lm.models.bitlinear_layers").BitLinear.execute_matmul_kernel = plain_product


newest_families.replace_kernels()


def added_mask(x, cache, return_array=True):
    """What some classes add to their scores, and do not get."""
    length, start = x.shape[1], cache.offset if cache else 0
    return nn.MultiHeadAttention.create_additive_causal_mask(start + length)[start:] if length > 1 else None


for name in ["olmo", "phi3small"]:
    importlib.import_module(f"mlx_lm.models.{name}").create_attention_mask = added_mask


def fused_quantized(layer, group_size=64, bits=4, mode="affine", quantize=None):
    """A matrix of afm7, which does not take the mode that it is given."""
    return quantize(layer, group_size, bits)


fused = importlib.import_module("mlx_lm.models.afm7").FusedLinear
fused.to_quantized = functools.partialmethod(fused_quantized, quantize=fused.to_quantized)


def caches(model):
    if model.model_type == "plamo3":
        # A position sees the window and itself, also when it comes alone.
        model.config.window_size += 1
        made = model.make_cache()
        model.config.window_size -= 1
        return made
    if hasattr(model, "make_cache"):
        return model.make_cache()
    cache = importlib.import_module("mlx_lm.models.cache")
    layers = model.layers() if callable(model.layers) else model.layers
    return [cache.KVCache() for _ in layers]


def expected(model, vocabulary, length):
    ids = mx.random.randint(0, vocabulary, (1, length))
    cache = caches(model)
    prompt = model(ids, cache=cache)
    logits, tokens = [prompt[:, -1]], []
    for _ in range(STEPS):
        tokens.append(mx.argmax(logits[-1], axis=-1))
        logits.append(model(tokens[-1][None], cache=cache)[:, -1])
        mx.eval(logits[-1])
    return {"ids": ids, "prompt": prompt[0], "steps": mx.concatenate(logits[1:]), "tokens": mx.concatenate(tokens)}


def quantize(model, config):
    config = {**config, "quantization": {"group_size": 32, "bits": 4, "mode": "affine"}}
    own = getattr(model, "quant_predicate", None)
    # Some models have a property, and some a method that gives it.
    own = own() if own is not None and own.__code__.co_argcount <= 1 else own

    def wanted(path, layer):
        if not hasattr(layer, "to_quantized") or layer.weight.shape[-1] % 64:
            return False
        settings = own(path, layer) if own else True
        if isinstance(settings, dict):
            config["quantization"][path] = settings
        return settings

    nn.quantize(model, group_size=32, bits=4, class_predicate=wanted)
    return config


def save(folder, model, config, rename=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    weights = dict(tree_flatten(model.parameters()))
    for key in ["ids", "prompt"]:
        assert key not in weights
    text = config.get("text_config", config)
    mx.save_safetensors(str(folder / "model.safetensors"), rename(weights) if rename else weights)
    length = next((length for end, length in LENGTHS.items() if end in folder.name), PROMPT)
    mx.save_safetensors(str(folder / "expected.safetensors"), expected(model, text["vocab_size"], length))


def split_experts(names):
    def rename(weights):
        renamed = {}
        for key, value in weights.items():
            path, _, rest = key.partition(".switch_mlp.")
            if rest:
                matrix, part = rest.split(".")
                for expert in range(value.shape[0]):
                    renamed[f"{path}.experts.{expert}.{names.get(matrix, matrix)}.{part}"] = value[expert]
            else:
                renamed[key] = value
        return renamed

    return rename


def join_gates(weights):
    """The names and shapes of OpenAI's files, whose matrices of experts are not packed."""
    renamed = {}
    for key, value in weights.items():
        path, _, rest = key.partition(".experts.")
        if rest.startswith("gate_proj"):
            up = weights[key.replace("gate_proj", "up_proj")]
            value = mx.stack([value, up], axis=2).flatten(1, 2)
        name, _, part = rest.partition(".")
        if rest and not name == "up_proj":
            name = name.replace("gate_proj", "gate_up_proj") + ("_bias" if part == "bias" else "")
            renamed[f"{path}.experts.{name}"] = value if part == "bias" else value.swapaxes(-1, -2)
        elif not rest:
            renamed[key] = value
    return renamed


def join_stacks(weights):
    """The names and shapes of files of Qwen 3 VL."""
    renamed = {}
    for key, value in weights.items():
        key = key.replace("language_model.model.", "model.language_model.").replace("language_model.lm_head", "lm_head")
        path, _, rest = key.partition(".switch_mlp.")
        if rest.startswith("gate_proj"):
            up = weights[f"language_model.model.{path.removeprefix('model.language_model.')}.switch_mlp.up_proj.weight"]
            renamed[f"{path}.experts.gate_up_proj"] = mx.concatenate([value, up], axis=1).swapaxes(-1, -2)
        elif rest.startswith("down_proj"):
            renamed[f"{path}.experts.down_proj"] = value.swapaxes(-1, -2)
        elif not rest:
            renamed[key] = value
    return renamed


def packed(weights):
    """The names of OpenAI's files, whose experts are packed in blocks of 16 bytes."""
    renamed = {}
    for key, value in weights.items():
        path, _, rest = key.partition(".experts.")
        if not rest:
            renamed[key] = value
        elif not rest.startswith("up_proj"):
            name, part = rest.split(".")
            if name == "gate_proj":
                name, up = "gate_up_proj", weights[key.replace("gate_proj", "up_proj")]
                value = mx.stack([value, up], axis=2).flatten(1, 2)
            if part == "weight":
                part, value = "blocks", value.view(mx.uint8).reshape(*value.shape[:2], -1, 16)
            renamed[f"{path}.experts.{name}_{part}"] = value
    return renamed


def pack_experts(folder, model, config):
    """Saves the model as OpenAI does."""
    experts = lambda path, _: ".experts." in path and path.endswith("_proj")
    nn.quantize(model, group_size=32, bits=4, mode="mxfp4", class_predicate=experts)
    mx.eval(model.parameters())
    save(folder, model, {**config, "quantization_config": {"quant_method": "mxfp4"}}, packed)


def transposed(weights):
    """The names of OpenAI's GPT-2, whose matrices are transposed."""
    renamed = {}
    for key, value in weights.items():
        matrix = ".h." in key and value.ndim == 2
        renamed[key.removeprefix("model.")] = value.T if matrix else value
    return renamed


def join_latent(weights):
    """The names and shapes of DeepSeek's files: one matrix for the keys and values of all heads."""
    renamed = {}
    for key, value in split_experts({})(weights).items():
        if ".embed_q." in key:
            values = weights[key.replace("embed_q", "unembed_out")]
            both = mx.concatenate([value.swapaxes(-1, -2), values], axis=1)
            renamed[key.replace("embed_q", "kv_b_proj")] = both.flatten(0, 1)
        elif ".unembed_out." not in key:
            renamed[key] = value
    return renamed


def stacked(inside, outside, transpose=False):
    """Stacks of experts, in which the gate and the other factor are one."""

    def rename(weights):
        renamed = {}
        for key, value in weights.items():
            path, _, rest = key.partition(f".{inside}.")
            turned = value.swapaxes(-1, -2) if transpose and value.ndim == 3 else value
            if rest == "gate_proj.weight":
                up = weights[f"{path}.{inside}.up_proj.weight"]
                both = mx.concatenate([value, up], axis=-2)
                renamed[f"{path}.{outside}.gate_up_proj"] = both.swapaxes(-1, -2) if transpose else both
            elif rest == "down_proj.weight":
                renamed[f"{path}.{outside}.down_proj"] = turned
            elif not rest:
                renamed[key] = value
        return renamed

    return rename


def with_parts_that_nobody_reads(weights):
    """Files of Gemma 4 have matrices in layers that share keys, and bounds of activations."""
    renamed = {key.replace("language_model.model.", "model.language_model."): value for key, value in weights.items()}
    for key, value in list(renamed.items()):
        if ".layers.0.self_attn." in key:
            renamed[key.replace(".layers.0.", ".layers.5.")] = renamed.get(key.replace(".layers.0.", ".layers.5."), value)
    renamed["model.language_model.layers.0.mlp.input_max"] = mx.array(1.0)
    renamed["model.vision_tower.patch.weight"] = mx.zeros((2, 2))
    return renamed


def original_step(weights):
    """Files of Step 3.5, whose normalisations have weights that are one less."""
    renamed = {}
    for key, value in weights.items():
        for theirs, ours in [
            (".moe.", ".mlp.switch_mlp."),
            (".moe.gate.", ".mlp.gate.gate."),
            (".moe.router_bias", ".mlp.gate.router_bias"),
            (".share_expert.", ".mlp.share_expert."),
        ]:
            key = key.replace(ours, theirs)
        renamed[key] = value - 1 if key.endswith("norm.weight") else value
    renamed["model.layers.3.eh_proj.weight"] = mx.zeros((2, 2))
    return renamed


def joined_experts(weights):
    """Files of DBRX: the rows of all experts are one matrix."""
    renamed = {}
    for key, value in weights.items():
        path, _, rest = key.partition(".experts.")
        if rest.startswith("0."):
            matrix = rest.split(".")[1]
            parts = [weights[f"{path}.experts.{expert}.{matrix}.weight"] for expert in range(4)]
            parts = [part.T for part in parts] if matrix == "w2" else parts
            renamed[f"{path}.experts.mlp.{matrix}"] = mx.concatenate(parts)
        elif not rest:
            renamed[key] = value
    return renamed


def laguna_names(weights):
    renamed = {}
    for key, value in split_experts({})(weights).items():
        key = key.replace(".gate.proj.", ".gate.")
        renamed[key.replace(".gate.e_score_correction_bias", ".experts.e_score_correction_bias")] = value
    return renamed


def joined_hunyuan(weights):
    """The names and shapes of Tencent's files: for each head of keys its queries, the key and the value; up before gate."""
    renamed = {}
    for key, value in split_experts({})(weights).items():
        if ".q_proj.weight" in key:
            parts = [value] + [weights[key.replace("q_proj", part)] for part in ["k_proj", "v_proj"]]
            joined = mx.concatenate([part.reshape(2, -1, 16, part.shape[-1]) for part in parts], axis=1)
            renamed[key.replace("q_proj", "qkv_proj")] = joined.flatten(0, 2)
        elif ".q_proj.bias" in key:
            parts = [value] + [weights[key.replace("q_proj", part)] for part in ["k_proj", "v_proj"]]
            joined = mx.concatenate([part.reshape(2, -1, 16) for part in parts], axis=1)
            renamed[key.replace("q_proj", "qkv_proj")] = joined.flatten(0, 2)
        elif ".mlp." in key and ".gate_proj." in key:
            path = key.replace("gate_proj", "up_proj")
            up = split_experts({})(weights)[path]
            renamed[key.replace("gate_proj", "gate_and_up_proj")] = mx.concatenate([up, value])
        elif not any(part in key for part in [".k_proj.", ".v_proj.", ".up_proj."]):
            renamed[key] = value
    return renamed


HF = {
    "hunyuan-lists": joined_hunyuan,
    "phixtral": lambda weights: {
        key.replace(".moe.experts.", ".moe.mlp."): value for key, value in split_experts({})(weights).items()
    },
    "deepseek_v3": join_latent,
    "longcat_flash": join_latent,
    "mistral4": lambda weights: join_latent(stacked("switch_mlp", "experts")(weights)),
    "llama4": stacked("experts", "experts", transpose=True),
    "gemma4_text-experts": stacked("experts.switch_glu", "experts"),
    "gemma4": with_parts_that_nobody_reads,
    "step3p5": original_step,
    "dbrx": joined_experts,
    "laguna": laguna_names,
    "minimax": split_experts({"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}),
    "deepseek_v2": split_experts({}),
    "gpt2": transposed,
    "qwen3_vl_moe": join_stacks,
    "mixtral": split_experts({"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}),
    "qwen3_moe": split_experts({}),
    "gpt_oss": join_gates,
    **recurrent_families.HF,
    **newest_families.HF(join_latent, stacked("experts", "experts")),
}


def main():
    folder, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:]
    for index, (name, (module, different)) in enumerate(CASES.items()):
        if wanted and name not in wanted:
            continue
        mx.random.seed(index)
        config = configuration(name, module, different)
        model = build(module, config)
        save(folder / name, model, config)
        if name in HF:
            save(folder / f"{name}-hf", model, config, HF[name])
        if name == "gpt_oss":
            pack_experts(folder / f"{name}-mxfp4", build(module, config), config)
        # What is quantized already is not again.
        if "quantization_config" in config or "quantization" in config:
            continue
        config = quantize(model, config)
        mx.eval(model.parameters())
        save(folder / f"{name}-4bit", model, config)
        print(name, flush=True)


if __name__ == "__main__":
    main()
