"""The perplexity of tokens by mlx-lm's own Gemma 3, of a GGUF file that the package gguf dequantizes.

    gemma3.py MODEL.gguf WINDOW "ID ID ..."
"""

import importlib.util
import math
import sys
import types

import mlx.core as mx
import mlx.nn as nn
from small_models import stand_in

# What the package gguf imports to fetch models, and to show progress, and does not need here.
for name in ["requests", "tqdm", "yaml"]:
    sys.modules.setdefault(name, types.ModuleType(name))

# The model needs nothing of what the package itself imports.
stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)

import gguf  # noqa: E402
from mlx_lm.models import gemma3_text  # noqa: E402

KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "query_pre_attn_scalar": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "sliding_window": "attention.sliding_window",
    "max_position_embeddings": "context_length",
}


def load(path):
    reader = gguf.GGUFReader(path)
    sizes = {name: reader.fields[f"gemma3.{key}"].contents() for name, key in KEYS.items()}
    model = gemma3_text.Model(gemma3_text.ModelArgs(model_type="gemma3_text", **sizes))
    theirs = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, sizes["num_hidden_layers"])
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    weights = {}
    for name, _ in nn.utils.tree_flatten(model.parameters()):
        tensor = tensors.get(theirs.get_name(name, try_suffixes=(".weight",)))
        if tensor is not None:
            array = mx.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
            # The file has 1 added to what these weights are in mlx-lm.
            weights[name] = array - 1 if name.endswith("norm.weight") else array
    weights = model.sanitize(weights)
    model.load_weights(list(weights.items()))
    return model


def main():
    model, window, ids = load(sys.argv[1]), int(sys.argv[2]), [int(id) for id in sys.argv[3].split()]
    losses = []
    for row in mx.array(ids[: len(ids) // window * window]).reshape(-1, window):
        logits = model(row[None, :-1]).astype(mx.float32)
        losses.append(nn.losses.cross_entropy(logits, row[None, 1:], reduction="none").flatten())
    print(math.exp(mx.concatenate(losses).mean().item()))


main()
