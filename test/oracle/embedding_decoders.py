"""Decoders of mlx-lm's own classes as embedders: what Mlx.LM.Embedder and Mlx.LM.Ranker are compared with.

    embedding_decoders.py FOLDER    makes FOLDER/NAME with a model of random weights, the files of sentence-transformers, and
                                    expected.safetensors: the vectors of tokens (x0, x1, ...) and the embeddings of sequences

Each sequence is computed alone, so there is no padding. The attention of "gemma3" sees both sides, by masks that are made
here: all of a sequence, or half a window on either side.
"""

import importlib
import importlib.util
import json
import pathlib
import sys

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map
from small_models import random_weight, stand_in

# The models need nothing of what the package itself imports.
stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)

BASE = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "vocab_size": 128,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
GEMMA3 = {
    **BASE,
    "use_bidirectional_attention": True,
    "sliding_window": 8,
    "sliding_window_pattern": 2,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 24,
}
CASES = {"qwen3": ("qwen3", BASE), "gemma3": ("gemma3_text", GEMMA3), "judge": ("qwen3", {**BASE, "tie_word_embeddings": False})}
LENGTHS = [5, 23, 1, 700]


def both_sides(x, cache=None, window_size=None, **_options):
    places = mx.arange(x.shape[1])
    half = x.shape[1] if window_size is None else window_size // 2
    return mx.abs(places[:, None] - places) <= half


def module(folder, name, config, tensors=None):
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    if tensors:
        mx.save_safetensors(str(place / "model.safetensors"), tensors)


def dense(folder, name, inputs, outputs):
    weight = 0.1 * mx.random.normal((outputs, inputs))
    config = {"in_features": inputs, "out_features": outputs, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    module(folder, name, config, {"linear.weight": weight})
    return np.array(weight, np.float64)


def head(folder, name):
    """What stands behind the vectors, as a function of those of a sequence."""
    kinds = ["Transformer", "Pooling"] + (["Dense", "Dense"] if name == "gemma3" else []) + ["Normalize"]
    places = [f"{place}_{kind}" if place else "" for place, kind in enumerate(kinds)]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": place} for kind, place in zip(kinds, places)]
    (folder / "modules.json").write_text(json.dumps(modules))
    module(folder, "1_Pooling", {"pooling_mode_mean_tokens": name == "gemma3", "pooling_mode_lasttoken": name != "gemma3"})
    matrices = [dense(folder, "2_Dense", 64, 96), dense(folder, "3_Dense", 96, 64)] if name == "gemma3" else []

    def embed(x):
        x = x.mean(axis=0) if name == "gemma3" else x[-1]
        for matrix in matrices:
            x = matrix @ x
        return x / np.linalg.norm(x)

    return embed


def main():
    for seed, (name, (kind, different)) in enumerate(CASES.items()):
        mx.random.seed(seed)
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True)
        classes = importlib.import_module(f"mlx_lm.models.{kind}")
        if name == "gemma3":
            classes.create_attention_mask = both_sides
        config = {"model_type": kind, **different}
        model = classes.Model(classes.ModelArgs.from_dict(dict(config)))
        if name == "gemma3":
            model.pop("lm_head", None)
        model.update(tree_map(random_weight, model.parameters()))
        (folder / "config.json").write_text(json.dumps(config))
        weights = dict(tree_flatten(model.parameters()))
        # Files of embedders have no part around the decoder.
        plain = weights if name == "judge" else {key.removeprefix("model."): value for key, value in weights.items()}
        mx.save_safetensors(str(folder / "model.safetensors"), plain)
        embed = head(folder, name)
        expected = {}
        for number, length in enumerate(LENGTHS):
            ids = mx.random.randint(0, 128, (1, length))
            x = model.model(ids)[0]
            expected[f"ids{number}"], expected[f"x{number}"] = ids[0], x
            expected[f"embedding{number}"] = mx.array(embed(np.array(x, np.float64)).astype(np.float32))
            if name == "judge":
                logits = model(ids)[0, -1]
                expected[f"score{number}"] = logits[7] - logits[9]
        mx.save_safetensors(str(folder / "expected.safetensors"), expected)


if __name__ == "__main__":
    main()
