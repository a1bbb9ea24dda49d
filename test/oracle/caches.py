"""Generations of mlx-lm with quantized and rotating caches: what the option :cache of Mlx.LM.generate is compared with.

    caches.py FOLDER

Makes for each case FOLDER/NAME with config.json, model.safetensors and expected.safetensors: a prompt, the greedy tokens after it,
their log-probabilities, and the greatest logit; and case.json with the settings of the caches.
"""

import importlib
import importlib.util
import json
import pathlib
import sys

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from small_models import stand_in

stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)
cache = importlib.import_module("mlx_lm.models.cache")

STEPS = 24

BASE = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "rms_norm_eps": 1e-5,
    "vocab_size": 259,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}

# name: (module, length of the prompt, how many tokens are read at once, settings of the caches)
CASES = {
    "quantized-8": ("llama", 40, 16, {"bits": 8, "group_size": 64, "start": 0}),
    "quantized-8-whole": ("qwen3", 40, 2048, {"bits": 8, "group_size": 64, "start": 0}),
    "quantized-4": ("llama", 40, 8, {"bits": 4, "group_size": 32, "start": 20}),
    "quantized-later": ("llama", 40, 2048, {"bits": 8, "group_size": 64, "start": 50}),
    "quantized-grown": ("llama", 250, 100, {"bits": 8, "group_size": 64, "start": 0}),
    "rotating": ("llama", 20, 2048, {"max_size": 32, "keep": 4}),
    "rotating-parts": ("llama", 50, 7, {"max_size": 16, "keep": 4}),
    "rotating-part": ("qwen3", 50, 30, {"max_size": 16, "keep": 4}),
    "rotating-whole": ("llama", 50, 2048, {"max_size": 16, "keep": 4}),
    "rotating-grown": ("llama", 250, 100, {"max_size": 262, "keep": 4}),
    "rotating-keeping-many": ("llama", 50, 7, {"max_size": 16, "keep": 13}),
    "rotating-keeping-none": ("llama", 50, 7, {"max_size": 16, "keep": 0}),
}


def build(module, config):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    model = classes.Model(classes.ModelArgs.from_dict(dict(config)))
    model.update(tree_map(lambda w: (1 + 0.2 * mx.random.normal(w.shape)) if w.ndim == 1 else 0.15 * mx.random.normal(w.shape), model.parameters()))
    return model


def generate(model, ids, step, settings):
    """As mlx_lm.generate.generate_step does it."""
    if "max_size" in settings:
        caches = [cache.RotatingKVCache(max_size=settings["max_size"], keep=settings["keep"]) for _ in model.layers]
    else:
        caches = [cache.KVCache() for _ in model.layers]

    def quantized():
        if "bits" in settings:
            for index, one in enumerate(caches):
                if hasattr(one, "to_quantized") and one.offset >= settings["start"]:
                    caches[index] = one.to_quantized(group_size=settings["group_size"], bits=settings["bits"])

    rest = ids
    while len(rest) > 1:
        count = min(step, len(rest) - 1)
        model(mx.array([rest[:count]]), cache=caches)
        quantized()
        rest = rest[count:]
    tokens, logprobs, scale = [], [], 0
    token = mx.array(rest)
    for _ in range(STEPS):
        logits = model(token[None], cache=caches)[:, -1]
        quantized()
        scale = max(scale, mx.abs(logits).max().item())
        logprob = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        token = mx.argmax(logits, axis=-1)
        tokens.append(token.item())
        logprobs.append(logprob[0, token.item()].item())
    arrays = {"ids": ids, "tokens": tokens, "logprobs": logprobs, "scale": scale}
    return {name: mx.array(array) for name, array in arrays.items()}


for index, (name, (module, length, step, settings)) in enumerate(CASES.items()):
    mx.random.seed(index)
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir()
    config = {"model_type": module, **BASE}
    model = build(module, config)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "case.json").write_text(json.dumps({"prefill_step": step, "cache": settings}))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    ids = mx.random.randint(0, 259, (length,)).tolist()
    mx.save_safetensors(str(folder / "expected.safetensors"), generate(model, ids, step, settings))
