"""Models of mlx-lm's classes with random weights for bench/host: as many blocks as real ones have, and very narrow.

    host_kinds.py FOLDER    makes FOLDER/NAME with config.json and model.safetensors for each kind
"""

import importlib
import json
import pathlib
import sys

import mlx.core as mx

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "oracle"))

import families
from recurrent_families import DELTA, LFM2, MAMBA, MAMBA2, SHARED

EXPERTS = {"num_experts": 32, "num_experts_per_tok": 4, "moe_intermediate_size": 64}

# name: (module of mlx_lm.models, blocks, what is different from the BASE of families.py)
KINDS = {
    "llama": ("llama", 30, {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", 28, {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3_moe": (
        "qwen3_moe",
        28,
        {**EXPERTS, "head_dim": 16, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True},
    ),
    "gpt_oss": (
        "gpt_oss",
        24,
        {
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "intermediate_size": 64,
            "head_dim": 16,
            "sliding_window": 128,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
            "rope_scaling": families.YARN,
        },
    ),
    "gemma3_text": (
        "gemma3_text",
        26,
        {"head_dim": 16, "sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 16},
    ),
    "mamba": ("mamba", 24, MAMBA),
    "mamba2": ("mamba2", 24, {**MAMBA2, "max_position_embeddings": None}),
    "lfm2": ("lfm2", 24, {**LFM2, "layer_types": ["conv", "conv", "full_attention"] * 8}),
    "qwen3_next": (
        "qwen3_next",
        24,
        {**DELTA, **SHARED, "full_attention_interval": 4, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
}


def configuration(module, blocks, different):
    config = {"model_type": module, **families.BASE, **different, "num_hidden_layers": blocks}
    return {key: value for key, value in config.items() if value is not None}


def load(folder, name):
    """The model in FOLDER/NAME."""
    module, _, _ = KINDS[name]
    config = json.loads((folder / name / "config.json").read_text())
    classes = importlib.import_module(f"mlx_lm.models.{module}")
    model = classes.Model(classes.ModelArgs.from_dict(config))
    model.load_weights(str(folder / name / "model.safetensors"))
    model.eval()
    mx.eval(model.parameters())
    return model


def main():
    for index, (name, kind) in enumerate(KINDS.items()):
        mx.random.seed(index)
        config = configuration(*kind)
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        weights = dict(families.tree_flatten(families.build(kind[0], config).parameters()))
        mx.save_safetensors(str(folder / "model.safetensors"), weights)


if __name__ == "__main__":
    main()
