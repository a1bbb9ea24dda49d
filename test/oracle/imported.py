"""Checkpoints as other quantizers write them, with the numbers that their formats mean, computed by NumPy.

    imported.py FOLDER

Makes for each format FOLDER/NAME with config.json, model.safetensors and numbers.safetensors, which holds the numbers of each
quantized matrix in float32. FOLDER/awq/mlx_lm.safetensors holds what mlx-lm makes of that checkpoint.
"""

import ast
import importlib.util
import json
import pathlib
import sys
import typing

import mlx.core as mx
import numpy as np

random = np.random.default_rng(7)

CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}

LINEAR = {
    "self_attn.q_proj": (128, 128),
    "self_attn.k_proj": (64, 128),
    "self_attn.v_proj": (64, 128),
    "self_attn.o_proj": (128, 128),
    "mlp.gate_proj": (256, 128),
    "mlp.up_proj": (256, 128),
    "mlp.down_proj": (128, 256),
}

FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


def e4m3(code):
    """The number of a byte: 1 bit of sign, 4 of the exponent, 3 of the fraction."""
    sign, exponent, fraction = code >> 7, (code >> 3) & 15, code & 7
    number = (1 + fraction / 8) * 2.0 ** (exponent - 7) if exponent else fraction / 8 * 2.0**-6
    return -number if sign else number


FP8 = np.array([np.nan if code & 127 == 127 else e4m3(code) for code in range(256)], np.float32)


def packed(codes, bits):
    """Codes {rows, columns} in words along the columns, the first in the lowest bits."""
    count = 32 // bits
    codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % count)))
    codes = codes.astype(np.uint32).reshape(codes.shape[0], -1, count)
    return np.bitwise_or.reduce(codes << (np.arange(count, dtype=np.uint32) * bits), axis=2).view(np.int32)


def scales(rows, groups, kind=np.float16):
    return (random.uniform(0.01, 0.05, (rows, groups)) / 4).astype(kind)


def meant(codes, zeros, scale, group_of):
    """The numbers of codes {outputs, inputs}, in float32."""
    return (codes.astype(np.float32) - zeros[:, group_of]) * scale.astype(np.float32)[:, group_of]


def awq(outputs, inputs, group):
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    groups = inputs // group
    codes = random.integers(0, 16, (inputs, outputs))
    zeros = random.integers(0, 16, (groups, outputs))
    scale = scales(groups, outputs)

    def words(array):
        array = array.reshape(array.shape[0], -1, 8)[:, :, order]
        return packed(array.reshape(array.shape[0], -1), 4)

    tensors = {"qweight": words(codes), "qzeros": words(zeros), "scales": scale}
    return tensors, meant(codes.T, zeros.T.astype(np.float32), scale.T, np.arange(inputs) // group)


def gptq(outputs, inputs, group, bits=4, symmetric=False, version=1, act_order=False, no_index=False):
    group = inputs if group == -1 else group
    groups = inputs // group
    codes = random.integers(0, 2**bits, (inputs, outputs))
    zeros = random.integers(1, 2**bits, (groups, outputs))
    zeros = np.full_like(zeros, 2 ** (bits - 1)) if symmetric else zeros
    scale = scales(groups, outputs)
    group_of = np.arange(inputs) // group
    group_of = random.permutation(group_of) if act_order else group_of
    tensors = {
        "qweight": np.ascontiguousarray(packed(codes.T, bits).T),
        "qzeros": packed(zeros - (1 if version == 1 else 0), bits),
        "scales": scale,
        "g_idx": group_of.astype(np.int32),
    }
    if no_index:
        tensors.pop("g_idx")
    return tensors, meant(codes.T, zeros.T.astype(np.float32), scale.T, group_of)


def pack_quantized(outputs, inputs, group, bits=4, symmetric=True, shape=True, act_order=False):
    group = inputs if group == -1 else group
    groups = inputs // group
    codes = random.integers(0, 2**bits, (outputs, inputs))
    half = 2 ** (bits - 1)
    zeros = np.full((outputs, groups), half) if symmetric else random.integers(0, 2**bits, (outputs, groups))
    scale = scales(outputs, groups)
    group_of = np.arange(inputs) // group
    tensors = {"weight_packed": packed(codes, bits), "weight_scale": scale}
    if shape:
        tensors["weight_shape"] = np.array([outputs, inputs], np.int64)
    if not symmetric:
        tensors["weight_zero_point"] = np.ascontiguousarray(packed(zeros.T, bits).T)
    if act_order:
        group_of = random.permutation(group_of)
        tensors["weight_g_idx"] = group_of.astype(np.int32)
    return tensors, meant(codes, zeros.astype(np.float32), scale, group_of)


def int_quantized(outputs, inputs):
    codes = random.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    scale = scales(outputs, 1, np.float32) / 8
    return {"weight": codes, "weight_scale": scale}, codes.astype(np.float32) * scale


def float4_bytes(outputs, inputs):
    codes = random.integers(0, 16, (outputs, inputs)).astype(np.uint8)
    return codes[:, ::2] | codes[:, 1::2] << 4, FP4[codes]


def nvfp4(outputs, inputs, whole=1.0, names=("weight_packed", "weight_global_scale"), divide=True):
    weight, numbers = float4_bytes(outputs, inputs)
    scale = random.integers(16, 64, (outputs, inputs // 16)).astype(np.uint8)
    numbers = numbers * np.repeat(FP8[scale], 16, axis=1)
    factor = np.float32(1 / whole) if divide else np.float32(whole)
    tensors = {names[0]: weight, "weight_scale": scale, names[1]: np.array([whole], np.float32)}
    return tensors, (numbers * factor).astype(np.float32)


def mxfp4(outputs, inputs):
    weight, numbers = float4_bytes(outputs, inputs)
    scale = random.integers(119, 124, (outputs, inputs // 32)).astype(np.uint8)
    numbers = numbers * np.repeat(2.0 ** (scale.astype(np.float32) - 127), 32, axis=1)
    return {"weight_packed": weight, "weight_scale": scale}, numbers.astype(np.float32)


def fp8(outputs, inputs, kind, name="weight_scale", block=(128, 128)):
    codes = random.integers(0, 256, (outputs, inputs)).astype(np.uint8)
    codes[codes & 127 == 127] = 0
    high, wide = block
    shape = {"tensor": (1,), "row": (outputs, 1), "block": (-(-outputs // high), -(-inputs // wide))}[kind]
    scale = random.uniform(1e-4, 1e-3, shape).astype(np.float32)
    each = scale
    if kind == "block":
        each = np.repeat(np.repeat(scale, high, axis=0), wide, axis=1)[:outputs, :inputs]
    return {"weight": codes, name: scale}, FP8[codes] * each


def mxfp8(outputs, inputs, rows, name="weight_scale"):
    codes = random.integers(0, 256, (outputs, inputs)).astype(np.uint8)
    codes[codes & 127 == 127] = 0
    scale = random.integers(113, 119, (outputs // rows, inputs // 32)).astype(np.uint8)
    each = np.repeat(np.repeat(2.0 ** (scale.astype(np.float32) - 127), rows, axis=0), 32, axis=1)
    return {"weight": codes, name: scale}, (FP8[codes] * each).astype(np.float32)


def compressed(form, **weights):
    group = {"targets": ["Linear"], "weights": {"type": "int", **weights}}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


GPTQ = {"quant_method": "gptq", "group_size": 64, "sym": False, "desc_act": False}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [64, 32]}
SECOND = ("weight", "weight_scale_2")

# name: (quantization_config, a function of outputs and inputs)
CASES = {
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}, lambda *n: awq(*n, 64)),
    "gptq-4": ({**GPTQ, "bits": 4}, lambda *n: gptq(*n, 64)),
    "gptq-8": ({**GPTQ, "bits": 8}, lambda *n: gptq(*n, 32, bits=8)),
    "gptq-2": ({**GPTQ, "bits": 2}, lambda *n: gptq(*n, 32, bits=2)),
    "gptq-symmetric": ({**GPTQ, "bits": 4, "sym": True}, lambda *n: gptq(*n, 128, symmetric=True, no_index=True)),
    "gptq-channels": ({**GPTQ, "bits": 4, "group_size": -1}, lambda *n: gptq(*n, -1)),
    "gptq-v2": ({**GPTQ, "bits": 4, "checkpoint_format": "gptq_v2"}, lambda *n: gptq(*n, 64, version=2)),
    "gptq-order": ({**GPTQ, "bits": 4, "desc_act": True}, lambda *n: gptq(*n, 32, act_order=True)),
    "gptq-small": ({**GPTQ, "bits": 4, "group_size": 16}, lambda *n: gptq(*n, 16)),
    "ct-4": (compressed("pack-quantized", num_bits=4), lambda *n: pack_quantized(*n, 64)),
    "ct-4-zeros": (compressed("pack-quantized", num_bits=4), lambda *n: pack_quantized(*n, 32, symmetric=False)),
    "ct-4-order": (compressed("pack-quantized", num_bits=4), lambda *n: pack_quantized(*n, 32, act_order=True)),
    "ct-8-channels": (
        compressed("pack-quantized", num_bits=8),
        lambda *n: pack_quantized(*n, -1, bits=8, symmetric=False, shape=False),
    ),
    "ct-int8": (compressed("int-quantized", num_bits=8), int_quantized),
    "ct-nvfp4": (compressed("nvfp4-pack-quantized", num_bits=4), nvfp4),
    "ct-nvfp4-scaled": (compressed("nvfp4-pack-quantized", num_bits=4), lambda *n: nvfp4(*n, whole=12.7)),
    "ct-mxfp4": (compressed("mxfp4-pack-quantized", num_bits=4), mxfp4),
    "ct-fp8-row": (compressed("float-quantized", num_bits=8), lambda *n: fp8(*n, "row")),
    "ct-fp8-tensor": (compressed("float-quantized", num_bits=8), lambda *n: fp8(*n, "tensor")),
    "ct-fp8-block": (
        compressed("float-quantized", num_bits=8, block_structure=[128, 128]),
        lambda *n: fp8(*n, "block"),
    ),
    "fp8-block": (BLOCKS, lambda *n: fp8(*n, "block", "weight_scale_inv", (64, 32))),
    "ct-mxfp8": (compressed("mxfp8-quantized", num_bits=8), lambda *n: mxfp8(*n, 1)),
    "fp8-mxfp8": (
        {"quant_method": "fp8", "scale_fmt": "ue8m0", "weight_block_size": [32, 32]},
        lambda *n: mxfp8(*n, 32, "weight_scale_inv"),
    ),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, lambda *n: fp8(*n, "row")),
    "modelopt-nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        lambda *n: nvfp4(*n, whole=0.013, names=SECOND, divide=False),
    ),
}


def plain(rows, columns):
    return (random.normal(size=(rows, columns)) * 0.1).astype(np.float16)


def checkpoint(make):
    tensors = {"model.embed_tokens.weight": plain(96, 128), "lm_head.weight": plain(96, 128)}
    tensors["model.norm.weight"] = np.ones(128, np.float16)
    numbers = {}
    for layer in range(CONFIG["num_hidden_layers"]):
        path = f"model.layers.{layer}"
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            tensors[f"{path}.{norm}.weight"] = np.ones(128, np.float16)
        for name, shape in LINEAR.items():
            parts, numbers[f"{path}.{name}.weight"] = make(*shape)
            tensors.update({f"{path}.{name}.{part}": array for part, array in parts.items()})
    return tensors, numbers


def save(path, tensors):
    mx.save_safetensors(str(path), {name: mx.array(np.ascontiguousarray(array)) for name, array in tensors.items()})


def mlx_lm_functions():
    """The two functions of mlx-lm that read AWQ. Their module imports packages that they do not need."""
    folder = pathlib.Path(importlib.util.find_spec("mlx_lm").submodule_search_locations[0])
    tree = ast.parse((folder / "utils.py").read_text())
    names = ["_unpack_awq_weights", "_transform_awq_weights"]
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    scope = {"mx": mx, "Dict": typing.Dict, "Any": typing.Any, "Tuple": typing.Tuple}
    exec(compile(tree, "utils.py", "exec"), scope)
    return scope["_transform_awq_weights"]


def main(folder):
    for name, (settings, make) in CASES.items():
        path = folder / name
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": settings}))
        tensors, numbers = checkpoint(make)
        save(path / "model.safetensors", tensors)
        save(path / "numbers.safetensors", numbers)
    awq = folder / "awq"
    weights, _ = mlx_lm_functions()(mx.load(str(awq / "model.safetensors")), CASES["awq"][0])
    mx.save_safetensors(str(awq / "mlx_lm.safetensors"), weights)


main(pathlib.Path(sys.argv[1]))
