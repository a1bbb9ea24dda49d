"""What the scripts that make small random models share: the settings of a model, its weights, and how mlx-lm's modules are
imported without what the packages themselves import.
"""

import sys
import types

import mlx.core as mx

BASE = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 128,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "head_dim": 16,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}


def stand_in(name, path=None, **names):
    module = types.ModuleType(name)
    module.__dict__.update(names)
    if path is not None:
        module.__path__ = path
    sys.modules[name] = module


def random_weight(weight):
    if weight.ndim == 0:
        return weight
    if weight.dtype == mx.uint8:
        return sum(mx.random.randint(0, 3, weight.shape).astype(mx.uint8) << shift for shift in (0, 2, 4, 6))
    noise = mx.random.normal(weight.shape)
    return 1 + 0.2 * noise if weight.ndim == 1 else 0.15 * noise
