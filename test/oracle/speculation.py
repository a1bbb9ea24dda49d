"""Greedy tokens of mlx-lm with a draft model: what the option :draft of Mlx.LM.generate is compared with.

    speculation.py FOLDER

Makes for each case FOLDER/NAME with the folders model and draft, and case.json: the prompt, how many tokens are drafted at
most, the tokens after it, and which of them the draft model gave.
"""

import importlib
import importlib.util
import json
import pathlib
import sys
from unittest import mock

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from small_models import stand_in

stand_in("mlx_lm", importlib.util.find_spec("mlx_lm").submodule_search_locations)

# The function needs no tokenizer, and nothing from a hub.
for name in ["transformers", "mlx_lm.tokenizer_utils", "mlx_lm.utils", "mlx_lm.processors"]:
    sys.modules[name] = mock.MagicMock()

speculative_generate_step = importlib.import_module("mlx_lm.generate").speculative_generate_step

TOKENS = 48

CONFIG = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5,
    "vocab_size": 12,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}

# name: (module, how far the draft model is from the model, the most drafts, length of the prompt)
CASES = {
    "near": ("llama", 0.1, 4, 10),
    "far": ("llama", 0.5, 3, 10),
    "one": ("qwen3", 0.2, 1, 5),
    "many": ("qwen3", 0.1, 7, 33),
    "same": ("llama", 0.0, 5, 8),
}


def build(module, change):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    model = classes.Model(classes.ModelArgs.from_dict({"model_type": module, "head_dim": 16, **CONFIG}))
    model.update(tree_map(change, model.parameters()))
    return model


def save(model, module, folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": module, "head_dim": 16, **CONFIG}))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))


for index, (name, (module, distance, count, length)) in enumerate(CASES.items()):
    mx.random.seed(index)
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir()
    model = build(module, lambda w: 0.4 * mx.random.normal(w.shape))
    draft = build(module, lambda w: w)
    draft.update(tree_map(lambda w: w * (1 + distance * mx.random.normal(w.shape)), model.parameters()))
    save(model, module, folder / "model")
    save(draft, module, folder / "draft")
    ids = mx.random.randint(0, 12, (length,)).tolist()
    steps = speculative_generate_step(mx.array(ids), model, draft, num_draft_tokens=count, max_tokens=TOKENS)
    tokens, drafted = zip(*[(int(token), bool(from_draft)) for token, _logprobs, from_draft in steps])
    (folder / "case.json").write_text(json.dumps({"ids": ids, "draft_tokens": count, "tokens": tokens, "drafted": drafted}))
