"""Models of mlx-lm with adapters of mlx-lm, and what they compute: what Mlx.LM.Adapter is compared with.

    adapters.py FOLDER

Makes for each case FOLDER/NAME/model with config.json and model.safetensors, the adapter in FOLDER/NAME/mlx_lm and the same in
FOLDER/NAME/peft as PEFT writes it, and FOLDER/NAME/expected.safetensors: a prompt, its logits, and the logits and tokens of some
greedy steps after it.
"""

import importlib
import importlib.util
import json
import pathlib
import sys

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from small_models import BASE, MOE, random_weight, stand_in


# The layers need nothing of what the packages themselves import.
where = list(importlib.util.find_spec("mlx_lm").submodule_search_locations)
stand_in("mlx_lm", where)
stand_in("mlx_lm.tuner", [f"{path}/tuner" for path in where])
stand_in("mlx_lm.utils", get_total_parameters=None)
stand_in("mlx_lm.cli_ui", rprint=print)
lora = importlib.import_module("mlx_lm.tuner.utils")
cache = importlib.import_module("mlx_lm.models.cache")

PROMPT, STEPS, RANK = 12, 6, 4

MIXTRAL = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 64}
ALL = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
GATED = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
EXPERTS = ["mlp.switch_mlp.gate_proj", "mlp.switch_mlp.up_proj", "mlp.switch_mlp.down_proj"]
SPARSE = ["block_sparse_moe.switch_mlp.gate_proj", "block_sparse_moe.switch_mlp.down_proj"]

# name: (module, what is different from BASE, type of the adapter, keys, how many layers, PEFT's settings, bits)
CASES = {
    "lora": ("llama", {}, "lora", ["self_attn.q_proj", "self_attn.v_proj"], 3, {}, None),
    "lora-4bit": ("llama", {"attention_bias": True}, "lora", ALL + GATED, 2, {"use_rslora": True}, 4),
    "lora-head": ("llama", {}, "lora", GATED + ["lm_head"], 1, {"alpha_pattern": True}, None),
    "lora-embedding": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}, "lora", ALL + ["model.embed_tokens"], 3, None, 4),
    "lora-experts": ("qwen3_moe", MOE, "lora", ALL + EXPERTS, 3, {}, None),
    "lora-experts-4bit": ("qwen3_moe", MOE, "lora", EXPERTS, 2, {}, 4),
    "lora-mixtral": ("mixtral", MIXTRAL, "lora", ALL + SPARSE, 3, {}, None),
    "dora": ("llama", {"mlp_bias": True}, "dora", ALL + GATED, 3, {"use_dora": True}, None),
    "dora-4bit": ("llama", {}, "dora", ALL, 2, {"use_dora": True}, 4),
    "full": ("llama", {}, "full", [], 3, None, None),
    "saved": ("llama", {}, "lora", ALL, 3, {"modules_to_save": ["lm_head"]}, 4),
}


def build(module, config):
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    model = classes.Model(classes.ModelArgs.from_dict(dict(config)))
    model.update(tree_map(random_weight, model.parameters()))
    return model


def quantize(model, config, bits):
    wanted = lambda _, layer: hasattr(layer, "to_quantized") and layer.weight.shape[-1] % 64 == 0
    nn.quantize(model, group_size=32, bits=bits, class_predicate=wanted)
    return {**config, "quantization": {"group_size": 32, "bits": bits}}


def change(name, value):
    """An array of a trained adapter."""
    last = name.rpartition(".")[2]
    if last in ["lora_a", "lora_b"]:
        return 0.2 * mx.random.normal(value.shape)
    return value * mx.random.uniform(0.7, 1.4, value.shape) if last == "m" else value


def expected(model, vocabulary):
    ids = mx.random.randint(0, vocabulary, (1, PROMPT))
    caches = [cache.KVCache() for _ in model.layers]
    prompt = model(ids, cache=caches)
    logits, tokens = [prompt[:, -1]], []
    for _ in range(STEPS):
        tokens.append(mx.argmax(logits[-1], axis=-1))
        logits.append(model(tokens[-1][None], cache=caches)[:, -1])
        mx.eval(logits[-1])
    return {"ids": ids, "prompt": prompt[0], "steps": mx.concatenate(logits[1:]), "tokens": mx.concatenate(tokens)}


NAMES = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def of_peft(module, weights):
    """The arrays of mlx-lm as PEFT has them."""
    tensors = {}
    for name, array in weights.items():
        path, _, last = name.rpartition(".")
        inner, _, matrix = path.partition(".switch_mlp.")
        part = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight", "m": "lora_magnitude_vector"}.get(last)
        if matrix:
            matrix = NAMES[matrix] if module == "mixtral" else matrix
            for expert in range(array.shape[0]):
                tensors[f"base_model.model.{inner}.experts.{expert}.{matrix}.{part}"] = array[expert]
        elif part:
            tensors[f"base_model.model.{path}.{part}"] = array if last == "m" else array.T
        else:
            tensors[f"base_model.model.{name}"] = array
    return {name: mx.contiguous(array) for name, array in tensors.items()}


def save_peft(folder, module, weights, scale, settings):
    folder.mkdir()
    root = RANK**0.5 if settings.get("use_rslora") else RANK
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": scale * root, "target_modules": "all-linear", **settings}
    if settings.get("alpha_pattern"):
        config.update({"lora_alpha": 1, "alpha_pattern": {"(gate|up|down)_proj": scale * root, "lm_head": scale * root}})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), of_peft(module, weights))


def make(folder, module, different, kind, keys, layers, peft, bits):
    mx.random.seed(3)
    config = {"model_type": module, **BASE, **different}
    model = build(module, config)
    if bits:
        config = quantize(model, config, bits)
    for name in ["model", "mlx_lm"]:
        (folder / name).mkdir(parents=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model" / "model.safetensors"), dict(tree_flatten(model.parameters())))
    settings = {"rank": RANK, "scale": 1.5, "dropout": 0.0, "keys": keys}
    saved = {}
    if kind == "full":
        weights = {f"model.layers.1.mlp.{part}.weight": 0.2 * mx.random.normal((128, 64)) for part in ["up_proj", "gate_proj"]}
        weights["model.norm.weight"] = 1 + 0.2 * mx.random.normal((64,))
        model.load_weights(list(weights.items()), strict=False)
    else:
        lora.linear_to_lora_layers(model, layers, settings, use_dora=kind == "dora")
        leaves = {"lora_a", "lora_b", "m"}
        weights = {k: v for k, v in tree_flatten(model.parameters()) if k.rpartition(".")[2] in leaves}
        weights = {k: change(k, v) for k, v in weights.items()}
        assert weights
        model.load_weights(list(weights.items()), strict=False)
    if peft is not None and "modules_to_save" in peft:
        head = nn.Linear(64, 128, bias=False)
        head.weight = 0.15 * mx.random.normal((128, 64))
        model.lm_head = head
        saved = {"lm_head.weight": head.weight}
    model.eval()
    adapter = {"fine_tune_type": kind, "num_layers": layers, "lora_parameters": settings}
    (folder / "mlx_lm" / "adapter_config.json").write_text(json.dumps(adapter))
    mx.save_safetensors(str(folder / "mlx_lm" / "adapters.safetensors"), weights)
    if peft is not None:
        save_peft(folder / "peft", module, {**weights, **saved}, settings["scale"], peft)
    mx.save_safetensors(str(folder / "expected.safetensors"), expected(model, config["vocab_size"]))


for name, case in CASES.items():
    make(pathlib.Path(sys.argv[1]) / name, *case)
