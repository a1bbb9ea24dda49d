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


def cases(base):
    """As CASES of families.py, for its BASE."""
    return {
        "lfm2": ("lfm2", LFM2),
        "lfm2-bias": ("lfm2", {**LFM2, "conv_bias": True, "block_auto_adjust_ff_dim": False, "full_attn_idxs": [0, 2]}),
        "lfm2_moe": (
            "lfm2_moe",
            {**LFM2, **EXPERTS, "norm_topk_prob": True, "use_expert_bias": True, "num_dense_layers": 1},
        ),
        "qwen3_next": ("qwen3_next", {**DELTA, **SHARED, "decoder_sparse_step": 1, "mlp_only_layers": [1]}),
        "qwen3_5": ("qwen3_5", QWEN3_5),
        "qwen3_5_moe": ("qwen3_5_moe", {"text_config": {**base, **QWEN3_5, **SHARED}}),
    }


def kernels(weights):
    """The shapes of Hugging Face's convolutions."""
    return {
        key: value.swapaxes(1, 2) if key.endswith(("conv1d.weight", ".conv.weight")) else value
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


# The names and shapes that Hugging Face's files have, by the names of cases.
HF = {"lfm2": kernels, "qwen3_5": less_one, "qwen3_5_moe": qwen3_5_moe}
