"""Writes a GGUF file beside each model of a folder, with the package gguf.

A model is a folder with config.json, model.safetensors (the names of Hugging Face, experts stacked) and case.json: the
architecture, the type of its matrices, and the kind of its tokenizer. Where that loses numbers, the tensors of model.safetensors are replaced by
those that are left.
"""

import json
import pathlib
import sys
import types

import mlx.core as mx
import numpy as np

# What the package imports to fetch models, and to show progress, and does not need here.
for name in ["requests", "tqdm", "yaml"]:
    sys.modules.setdefault(name, types.ModuleType(name))

import gguf  # noqa: E402

ARCHITECTURES = {name: architecture for architecture, name in gguf.MODEL_ARCH_NAMES.items()}
MIXTRAL = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def permuted(weight, heads):
    """The rows of each head in the order in which features i and i + size / 2 are neighbours."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def original(name, architecture):
    """The name that a stack of experts, or its sinks, have on the way to a GGUF file."""
    if architecture == "llama" and "block_sparse_moe" in name:
        for ours, theirs in MIXTRAL.items():
            name = name.replace(f"switch_mlp.{ours}", f"experts.{theirs}")
    return name.replace("switch_mlp", "experts") + (".weight" if name.endswith("sinks") else "")


def changed(name, array, architecture, config):
    heads = config["num_attention_heads"]
    if architecture == "llama" and "q_proj" in name:
        return permuted(array, heads)
    if architecture == "llama" and "k_proj" in name:
        return permuted(array, config.get("num_key_value_heads", heads))
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return array + 1
    if name.endswith("shared_expert_gate.weight"):
        return array[0]
    return array


def metadata(writer, config, case):
    architecture, head_size = case["architecture"], config.get("head_dim")
    size = head_size or config["hidden_size"] // config["num_attention_heads"]
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if head_size:
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    if architecture not in ("gemma", "gemma2", "gemma3"):
        writer.add_rope_dimension_count(int(size * config.get("partial_rotary_factor", 1)))
    if architecture != "qwen3moe" and architecture != "gpt-oss":
        writer.add_feed_forward_length(config["intermediate_size"])
    if "sliding_window" in config:
        writer.add_sliding_window(config["sliding_window"])
    if "layer_types" in config and case.get("pattern"):
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    if "num_experts_per_tok" in config:
        writer.add_expert_count(config.get("num_experts") or config["num_local_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if architecture in ("qwen2moe", "qwen3moe"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if architecture == "qwen2moe":
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if architecture == "gpt-oss":
        writer.add_expert_feed_forward_length(config["intermediate_size"])
    if "attn_logit_softcapping" in config:
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if "final_logit_softcapping" in config:
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    scaling(writer, config, size)


def tokenizer(writer, config, case):
    """A vocabulary of characters, with as many tokens as the model has."""
    characters = [chr(code) for code in range(33, 127)]
    sentence_piece = case.get("tokenizer") == "llama"
    tokens = ["<unk>", "<s>", "</s>", "\u2581", "\u2581a"] if sentence_piece else ["<s>", "</s>", "ab"]
    kinds = [2, 3, 3, 1, 1] if sentence_piece else [3, 3, 1]
    tokens = (tokens + characters)[: config["vocab_size"]]
    writer.add_tokenizer_model("llama" if sentence_piece else "gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds + [1] * (len(tokens) - len(kinds)))
    if sentence_piece:
        writer.add_token_scores([float(-index) for index in range(len(tokens))])
        writer.add_unk_token_id(0)
    else:
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(["a b"])
    writer.add_bos_token_id(tokens.index("<s>"))
    writer.add_eos_token_id(tokens.index("</s>"))


def scaling(writer, config, size):
    settings = config.get("rope_scaling") or {}
    kind = settings.get("rope_type", settings.get("type"))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(settings["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(settings["factor"])
        writer.add_rope_scaling_orig_ctx_len(settings["original_max_position_embeddings"])
    if kind == "longrope":
        writer.add_rope_scaling_orig_ctx_len(config["original_max_position_embeddings"])
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(settings[f"{length}_factor"], np.float32))
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3(settings, config["rope_theta"], size))


def llama3(settings, base, size):
    """How much longer each wavelength becomes."""
    factor, original = settings["factor"], settings["original_max_position_embeddings"]
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    factors = []
    for pair in range(size // 2):
        length = 2 * np.pi * base ** (2 * pair / size)
        smooth = np.clip((original / length - low) / (high - low), 0, 1)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


# Where formats that the package does not write have their scales, and scales for numbers of a useful size.
SCALES = {"Q4_K": {0: 3e-4, 2: 2e-3}, "Q6_K": {208: 1e-4}}


def packed(array, kind):
    if kind.name not in SCALES:
        return gguf.quants.quantize(np.ascontiguousarray(array), kind)
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    shape = (*array.shape[:-1], array.shape[-1] // numbers, size)
    blocks = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    for offset, scale in SCALES[kind.name].items():
        blocks[..., offset : offset + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(*array.shape[:-1], -1)


def write(folder):
    config = json.loads((folder / "config.json").read_text())
    case = json.loads((folder / "case.json").read_text())
    architecture = case["architecture"]
    kind = gguf.GGMLQuantizationType[case["type"]]
    names = gguf.get_tensor_name_map(ARCHITECTURES[architecture], config["num_hidden_layers"])
    writer = gguf.GGUFWriter(folder / "model.gguf", architecture)
    metadata(writer, config, case)
    tokenizer(writer, config, case)
    tensors = mx.load(str(folder / "model.safetensors"))

    for name, array in list(tensors.items()):
        array = np.array(array)
        theirs = names.get_name(original(name, architecture), try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise ValueError(f"{architecture} has no name for {name}")
        part = changed(name, array, architecture, config)
        if part.ndim > 1 and kind != gguf.GGMLQuantizationType.F32 and (not case.get("experts") or part.ndim == 3):
            blocks = packed(part, kind)
            left = gguf.quants.dequantize(blocks, kind)
            heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
            for matrix, count in heads.items():
                if architecture == "llama" and matrix in name:
                    count = config[count]
                    left = left.reshape(count, -1, 2, *left.shape[1:]).swapaxes(1, 2).reshape(left.shape)
            tensors[name] = mx.array(left)
            writer.add_tensor(theirs, blocks, raw_dtype=kind)
        else:
            writer.add_tensor(theirs, np.ascontiguousarray(part))

    mx.save_safetensors(str(folder / "model.safetensors"), tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    write(folder)
