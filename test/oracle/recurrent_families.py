"""The cases of families.py with mixers that keep a state: short convolutions, the gated delta rule, Mamba."""

import mlx.core as mx

EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}

LFM2 = {
    "norm_eps": 1e-5,
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 64,
    "block_multiple_of": 32,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": True,
    "block_ff_dim": 192,
    "layer_types": ["conv", "full_attention", "conv"],
}
DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 2,
    "head_dim": 32,
    "partial_rotary_factor": 0.5,
}
SHARED = {**EXPERTS, "shared_expert_intermediate_size": 64, "norm_topk_prob": True}
QWEN3_5 = {**DELTA, "rope_parameters": {"type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.25}}
MAMBA2 = {
    "num_heads": 8,
    "head_dim": 16,
    "state_size": 32,
    "n_groups": 2,
    "conv_kernel": 4,
    "use_bias": True,
    "use_conv_bias": True,
    "layer_norm_epsilon": 1e-5,
    "time_step_limit": [0.0, 2.0],
    "time_step_rank": "auto",
}
NEMOTRON_H = {
    "attention_bias": False,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "mamba_proj_bias": False,
    "ssm_state_size": 32,
    "conv_kernel": 4,
    "n_groups": 2,
    "mlp_bias": False,
    "layer_norm_epsilon": 1e-5,
    "use_bias": False,
    "use_conv_bias": True,
    "hybrid_override_pattern": "M*-ME",
    "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 128,
    "n_group": 2,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.5,
}
GRANITE = {
    "logits_scaling": 4.0,
    "attention_multiplier": 0.3,
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.4,
    "attention_bias": True,
    "layer_types": ["mamba", "attention", "mamba"],
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_proj_bias": False,
    "mamba_d_state": 32,
    "mamba_d_conv": 4,
    "mamba_n_groups": 1,
    "mamba_conv_bias": True,
    "tie_word_embeddings": True,
}
FALCON_H1 = {
    "head_dim": 16,
    "mamba_d_ssm": 128,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 32,
    "mamba_n_groups": 2,
    "embedding_multiplier": 5.0,
    "lm_head_multiplier": 0.25,
    "attention_in_multiplier": 0.5,
    "attention_out_multiplier": 2.0,
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.5,
    "mlp_multipliers": [0.5, 2.0],
    "ssm_multipliers": [0.5, 0.25, 2.0, 4.0, 0.125],
    "key_multiplier": 0.5,
    "tie_word_embeddings": True,
}
MAMBA = {
    "state_size": 16,
    "conv_kernel": 4,
    "use_bias": True,
    "use_conv_bias": True,
    "time_step_rank": 4,
}
JAMBA = {
    "attn_layer_offset": 1,
    "attn_layer_period": 2,
    "expert_layer_offset": 1,
    "expert_layer_period": 2,
    "mamba_d_conv": 4,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
RECURRENT_GEMMA = {
    "attention_bias": False,
    "conv1d_width": 4,
    "logits_soft_cap": 30.0,
    "attention_window_size": 32,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5,
    "block_types": ["recurrent", "attention"],
}
OLMO_HYBRID = {
    **DELTA,
    "linear_allow_neg_eigval": True,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "attention_bias": False,
    "head_dim": None,
}
BAILING = {
    **EXPERTS,
    "num_shared_experts": 1,
    "norm_topk_prob": True,
    "first_k_dense_replace": 1,
    "layer_group_size": 2,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "group_norm_size": 2,
    "use_qk_norm": True,
    "score_function": "sigmoid",
    "moe_router_enable_expert_bias": True,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 1.5,
    "partial_rotary_factor": 0.5,
}
KIMI_LINEAR = {
    "head_dim": 32,
    "linear_attn_config": {"kda_layers": [1, 3], "num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4},
    "model_max_length": 512,
    "num_experts": 8,
    "moe_intermediate_size": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 16,
    "num_experts_per_token": 2,
    "num_shared_experts": 1,
    "routed_scaling_factor": 1.5,
    "first_k_dense_replace": 1,
    "num_expert_group": 4,
    "topk_group": 2,
}
GEAR = {
    "head_dim": 16,
    "layer_types": ["conv_mixer", "full_attention", "sliding_attention", "conv_mixer"],
    "num_hidden_layers": 4,
    "sliding_window": 16,
    "query_pre_attn_scalar": 24,
    "rope_local_base_freq": 5000.0,
    "attention_bias": True,
    "attn_logit_softcapping": 20.0,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
}
BAICHUAN = {
    "sliding_window": 16,
    "sliding_window_layers": [0, 2],
    "conv_window": 2,
    "num_swa_attention_heads": 2,
    "num_swa_key_value_heads": 1,
}
BAILING_LATENT = {
    "kv_lora_rank": 64,
    "q_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 64,
    "v_head_dim": 32,
    "head_dim": 32,
    "moe_shared_expert_intermediate_size": 64,
}
BAILING_HYBRID = {**BAILING, **BAILING_LATENT, "use_bias": True, "use_qkv_bias": True}
BAILING_V3 = {**BAILING, **BAILING_LATENT, "kda_lower_bound": -4.0}
PLAMO2 = {
    "hidden_size_per_head": 16,
    "mamba_d_state": 16,
    "mamba_num_heads": 8,
    "intermediate_size": 128,
    "tie_word_embeddings": True,
}
RWKV7 = {
    "norm_eps": 1e-5,
    "head_dim": 16,
    "a_low_rank_dim": 16,
    "v_low_rank_dim": 64,
    "gate_low_rank_dim": 32,
    "decay_low_rank_dim": 64,
}


def cases(base):
    """As CASES of families.py, for its BASE."""
    return {
        "lfm2": ("lfm2", LFM2),
        "lfm2-bias": ("lfm2", {**LFM2, "conv_bias": True, "block_auto_adjust_ff_dim": False, "full_attn_idxs": [0, 2]}),
        "lfm2_moe": (
            "lfm2_moe",
            {**LFM2, **EXPERTS, "norm_topk_prob": True, "use_expert_bias": True, "num_dense_layers": 1},
        ),
        "qwen3_5-long": ("qwen3_5", QWEN3_5),
        "lfm2-vl": ("lfm2-vl", {"text_config": {**base, **LFM2, "model_type": "lfm2"}}),
        "lfm2-long": ("lfm2", LFM2),
        "qwen3_next": ("qwen3_next", {**DELTA, **SHARED, "decoder_sparse_step": 1, "mlp_only_layers": [1]}),
        "mamba2": ("mamba2", {**MAMBA2, "max_position_embeddings": None}),
        "mamba2-long": ("mamba2", {**MAMBA2, "n_groups": 8, "time_step_limit": [0.01, float("inf")], "use_bias": False}),
        "nemotron_h": ("nemotron_h", NEMOTRON_H),
        "nemotron_h-latent": ("nemotron_h", {**NEMOTRON_H, "moe_latent_size": 64, "mlp_bias": True, "n_group": 1}),
        "granitemoehybrid": ("granitemoehybrid", {**GRANITE, "position_embedding_type": "nope"}),
        "granitemoehybrid-experts": (
            "granitemoehybrid",
            {**GRANITE, "num_local_experts": 4, "num_experts_per_tok": 2, "shared_intermediate_size": 64},
        ),
        "falcon_h1": ("falcon_h1", FALCON_H1),
        "falcon_h1-norm": (
            "falcon_h1",
            {**FALCON_H1, "mamba_rms_norm": True, "mamba_n_groups": 1, "tie_word_embeddings": False},
        ),
        "mamba": ("mamba", MAMBA),
        "mamba-long": ("mamba", {**MAMBA, "use_bias": False, "model_type": "falcon_mamba", "time_step_rank": "auto"}),
        "jamba": ("jamba", JAMBA),
        "jamba-long": ("jamba", {**JAMBA, "num_experts": 1, "layers_block_type": ["mamba", "mamba", "attention"]}),
        "recurrent_gemma": ("recurrent_gemma", RECURRENT_GEMMA),
        "recurrent_gemma-long": ("recurrent_gemma", RECURRENT_GEMMA),
        "olmo_hybrid": ("olmo_hybrid", OLMO_HYBRID),
        "bailing_moe_linear": ("bailing_moe_linear", BAILING),
        "bailing_moe_linear-long": (
            "bailing_moe_linear",
            {**BAILING, "hidden_size": 96, "num_attention_heads": 6, "use_qk_norm": False, "use_qkv_bias": True, "n_group": 1},
        ),
        "bailing_hybrid": ("bailing_hybrid", BAILING_HYBRID),
        "bailing_hybrid-long": (
            "bailing_hybrid",
            {**BAILING_HYBRID, "num_attention_heads": 6, "q_lora_rank": None, "rope_interleave": False, "use_bias": False},
        ),
        "bailing_moe_v3": ("bailing_moe_v3", BAILING_V3),
        "bailing_moe_v3-long": ("bailing_moe_v3", {**BAILING_V3, "q_lora_rank": None, "tie_word_embeddings": True}),
        "kimi_linear": ("kimi_linear", KIMI_LINEAR),
        "kimi_linear-long": (
            "kimi_linear",
            {**KIMI_LINEAR, "v_head_dim": 16, "tie_word_embeddings": True, "moe_renormalize": False, "num_expert_group": 1, "topk_group": 1},
        ),
        "gear": ("gear", GEAR),
        "gear-plain": ("gear", {**GEAR, "attn_logit_softcapping": None, "final_logit_softcapping": None, "conv_L_cache": 1}),
        "baichuan_m1": ("baichuan_m1", BAICHUAN),
        "baichuan_m1-long": ("baichuan_m1", {**BAICHUAN, "num_swa_attention_heads": None}),
        "plamo2": ("plamo2", PLAMO2),
        "plamo2-long": ("plamo2", {**PLAMO2, "mamba_step": 4}),
        "rwkv7": ("rwkv7", RWKV7),
        "rwkv7-long": ("rwkv7", {**RWKV7, "tie_word_embeddings": True}),
        "qwen3_5": ("qwen3_5", QWEN3_5),
        "qwen3_5_moe": ("qwen3_5_moe", {"text_config": {**base, **QWEN3_5, **SHARED}}),
    }


def kernels(weights):
    """The shapes of Hugging Face's convolutions."""
    return {
        key: value.swapaxes(1, 2) if key.endswith(("conv1d.weight", "conv_1d.weight", ".conv.weight")) else value
        for key, value in weights.items()
    }


def less_one(weights):
    """The weights of normalisations of Qwen 3 Next's and 3.5's files."""
    ends = ("layernorm.weight", "model.norm.weight", "q_norm.weight", "k_norm.weight")
    return {key: value - 1 if key.endswith(ends) else value for key, value in kernels(weights).items()}


def qwen3_5_moe(weights):
    """The names of files of Qwen 3.5, whose experts are stacks."""
    renamed = {}
    for key, value in less_one(weights).items():
        path, _, rest = key.partition(".switch_mlp.")
        path = path.replace("language_model.model.", "model.language_model.")
        path = path.replace("language_model.lm_head", "lm_head")
        if rest.startswith("down_proj"):
            renamed[f"{path}.experts.down_proj"] = value
        elif rest.startswith("gate_proj"):
            up = weights[key.replace("gate_proj", "up_proj")]
            renamed[f"{path}.experts.gate_up_proj"] = mx.concatenate([value, up], axis=1)
        elif not rest:
            renamed[path] = value
    return renamed


def split_plain_experts(weights):
    """The names of files of Nemotron-H, whose experts are not gated."""
    renamed = {}
    for key, value in kernels(weights).items():
        path, _, rest = key.partition(".switch_mlp.")
        if rest:
            name = {"fc1.weight": "up_proj.weight", "fc2.weight": "down_proj.weight"}[rest]
            renamed.update({f"{path}.experts.{expert}.{name}": value[expert] for expert in range(value.shape[0])})
        else:
            renamed[key] = value
    return renamed


def join_shared(weights):
    """The names of files of Granite 4 without experts."""
    renamed = {}
    for key, value in kernels(weights).items():
        if ".mlp.gate_proj" in key:
            value = mx.concatenate([value, weights[key.replace("gate_proj", "up_proj")]])
        if ".mlp.up_proj" not in key:
            key = key.replace(".mlp.gate_proj", ".shared_mlp.input_linear")
            renamed[key.replace(".mlp.down_proj", ".shared_mlp.output_linear")] = value
    return renamed


def without_factors(weights):
    """The matrices of files of Falcon-H1, beside which the factors stand."""
    parts = zip(FALCON_H1["ssm_multipliers"], [128, 128, 64, 64, 8])
    factors = {
        "embed_tokens": FALCON_H1["embedding_multiplier"],
        "q_proj": FALCON_H1["attention_in_multiplier"],
        "k_proj": FALCON_H1["attention_in_multiplier"] * FALCON_H1["key_multiplier"],
        "v_proj": FALCON_H1["attention_in_multiplier"],
        "o_proj": FALCON_H1["attention_out_multiplier"],
        "out_proj": FALCON_H1["ssm_out_multiplier"],
        "in_proj": FALCON_H1["ssm_in_multiplier"] * mx.concatenate([mx.full((size, 1), part) for part, size in parts]),
        "gate_proj": FALCON_H1["mlp_multipliers"][0],
        "down_proj": FALCON_H1["mlp_multipliers"][1],
    }
    return {key: value / factors.get(key.split(".")[-2], 1.0) for key, value in kernels(weights).items()}


def kimi_names(weights):
    """The names and shapes of files of Kimi Linear."""
    renamed = {}
    for key, value in weights.items():
        layer, _, rest = key.partition(".mlp.")
        if rest and "model.layers.0." not in key:
            key = f"{layer}.block_sparse_moe.{rest}".replace("moe.e_score", "moe.gate.e_score")
            names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
            path, _, matrix = key.partition(".switch_mlp.")
            if matrix:
                matrix = names[matrix.removesuffix(".weight")]
                renamed.update({f"{path}.experts.{expert}.{matrix}.weight": part for expert, part in enumerate(value)})
                continue
        if ".embed_q." in key:
            both = mx.concatenate([value.swapaxes(-1, -2), weights[key.replace("embed_q", "unembed_out")]], axis=1)
            renamed[key.replace("embed_q", "kv_b_proj")] = both.flatten(0, 1)
        elif "_conv.conv." in key:
            renamed[key.replace("_conv.conv.", "_conv1d.")] = value.swapaxes(1, 2)
        elif ".unembed_out." not in key:
            renamed[key] = value
    return renamed


def gear_kernels(weights):
    """The shapes of files of Gear."""
    return {key: value.swapaxes(1, 2) if "_conv.weight" in key else value for key, value in weights.items()}


def flat(weights):
    """The shapes of files of RWKV 7."""
    ends = (".k_k", ".k_a", "g_norm.weight", "g_norm.bias")
    return {key: value.flatten() if key.endswith(ends) else value for key, value in weights.items()}


# The names and shapes that Hugging Face's files have, by the names of cases.
HF = {
    "lfm2": kernels,
    "qwen3_5": less_one,
    "qwen3_5_moe": qwen3_5_moe,
    "mamba": kernels,
    "kimi_linear": kimi_names,
    "bailing_moe_v3": kernels,
    "gear": gear_kernels,
    "rwkv7": flat,
    "plamo2": kernels,
    "olmo_hybrid": kernels,
    "mamba2": kernels,
    "recurrent_gemma": kernels,
    "nemotron_h": split_plain_experts,
    "granitemoehybrid": join_shared,
    "falcon_h1": without_factors,
}
