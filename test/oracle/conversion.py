"""What mlx-lm makes of models when it converts them, and what it reads in folders: what Mlx.LM.convert is compared with.

    conversion.py make FOLDER    a model of each case of families.py in FOLDER/cases/NAME; a larger Llama in FOLDER/llama, and
                                 what mlx-lm's own conversion makes of it for each recipe, in FOLDER/recipes/NAME
    conversion.py read FOLDER    loads each folder in FOLDER, and writes the logits of some tokens into logits.safetensors
    conversion.py greedy FOLDER COUNT IDS...    COUNT tokens after each list of tokens, IDS, one list a line
"""

import json
import pathlib
import sys
import types

import mlx.core as mx
from mlx.utils import tree_flatten

import families

# What mlx-lm's loading of models imports for tokenizers and downloads, of which it needs nothing here.
for name, parts in {"huggingface_hub": ["snapshot_download"], "mlx_lm.tokenizer_utils": ["TokenizerWrapper", "load"]}.items():
    module = types.ModuleType(name)
    for part in parts:
        setattr(module, part, None)
    sys.modules[name] = module

from mlx_lm.convert import QUANT_RECIPES, mixed_quant_predicate_builder  # noqa: E402
from mlx_lm.utils import dequantize_model, load_model, quantize_model, save_config, save_model  # noqa: E402

IDS = [[5, 9, 1, 77, 30, 2, 64, 11]]

LLAMA = {**families.BASE, "model_type": "llama", "hidden_size": 128, "num_hidden_layers": 16, "torch_dtype": "float32"}

PACKINGS = {
    "affine-4": (64, 4, "affine"),
    "affine-3": (32, 3, "affine"),
    "mxfp4": (None, None, "mxfp4"),
    "mxfp8": (None, None, "mxfp8"),
    "nvfp4": (None, None, "nvfp4"),
}


def save(folder, model, config):
    save_model(folder, model)
    save_config(dict(config), folder / "config.json")


def make(folder):
    for index, (name, (module, different)) in enumerate(families.CASES.items()):
        mx.random.seed(index)
        config = families.configuration(name, module, different)
        save(folder / "cases" / name, families.build(module, config), config)
    mx.random.seed(1)
    save(folder / "llama", families.build("llama", LLAMA), LLAMA)
    for name in [*PACKINGS, *QUANT_RECIPES]:
        model, config = load_model(folder / "llama")
        group_size, bits, mode = PACKINGS.get(name, (None, None, "affine"))
        predicate = mixed_quant_predicate_builder(name, model) if name in QUANT_RECIPES else None
        model, config = quantize_model(model, config, group_size, bits, mode, quant_predicate=predicate)
        save(folder / "recipes" / name, model, config)
    model, config = load_model(folder / "recipes" / "affine-4")
    config.pop("quantization"), config.pop("quantization_config")
    save(folder / "dequantized", dequantize_model(model), config)


def read(folder):
    for path in sorted(folder.iterdir()):
        model, config = load_model(path, strict=True)
        model.eval()
        logits = model(mx.array(IDS), cache=families.caches(model))[0].astype(mx.float32)
        mx.save_safetensors(str(path / "logits.safetensors"), {"logits": logits})


def greedy(folder, count, *prompts):
    model, _ = load_model(folder)
    for prompt in prompts:
        cache = families.caches(model)
        ids, tokens = [int(token) for token in prompt.split()], []
        while len(tokens) < int(count):
            tokens.append(mx.argmax(model(mx.array([ids]), cache=cache)[0, -1]).item())
            ids = tokens[-1:]
        print(*tokens, flush=True)


actions = {"make": make, "read": read, "greedy": greedy}
actions[sys.argv[1]](pathlib.Path(sys.argv[2]), *sys.argv[3:])
