"""The Python side of bench/quantization: quantizes a model by one method of mlx-lm.

    quantization.py METHOD MODEL FOLDER TOKENS BITS HIGH_BITS BITS_PER_WEIGHT LEARNING_RATE BATCH_SIZE

TOKENS is a safetensors file with the windows of the calibration text.
"""

import os
import sys

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers
import numpy as np
from mlx_lm.quant import awq, dwq, dynamic_quant, gptq
from mlx_lm.utils import load, quantize_model, save

METHOD, MODEL, FOLDER, TOKENS = sys.argv[1:5]
BITS, HIGH_BITS = int(sys.argv[5]), int(sys.argv[6])
BITS_PER_WEIGHT, LEARNING_RATE, BATCH_SIZE = float(sys.argv[7]), float(sys.argv[8]), int(sys.argv[9])
SEED = 1
GROUP_SIZE = int(os.environ.get("GROUP_SIZE", "64"))


def matrix(layer):
    return mx.dequantize(
        layer["weight"],
        scales=layer["scales"],
        biases=layer["biases"],
        group_size=layer.group_size,
        bits=layer.bits,
        mode=layer.mode,
    )


# MLX multiplies by packed matrices in one thread on a CPU. The same numbers come from whole ones.
if mx.default_device() == mx.Device(mx.cpu):
    nn.QuantizedLinear.__call__ = lambda self, x: x @ matrix(self).T
    nn.QuantizedEmbedding.as_linear = lambda self, x: x @ matrix(self).T

model, tokenizer, config = load(MODEL, return_config=True)
tokens = mx.load(TOKENS)["tokens"]


def rounded(config, predicate=None):
    return quantize_model(model, config, GROUP_SIZE, BITS, quant_predicate=predicate)


if METHOD == "round":
    model, config = rounded(config)
elif METHOD == "gptq":
    model, config["quantization"] = gptq.gptq_quantize(
        model, tokens, BITS, GROUP_SIZE, BITS, GROUP_SIZE, batch_size=BATCH_SIZE
    )
elif METHOD == "awq":
    awq.awq_quantize(
        model,
        tokens,
        awq.AWQ_MODEL_CONFIGS[config["model_type"]],
        group_size=GROUP_SIZE,
        bits=BITS,
        embed_group_size=GROUP_SIZE,
        embed_bits=BITS,
    )
    config = awq.update_config(model, config)
elif METHOD == "dynamic":
    low, high = (BITS, GROUP_SIZE), (HIGH_BITS, GROUP_SIZE)
    felt = dict(dynamic_quant.estimate_sensitivities(model, tokens, *low, *high, batch_size=BATCH_SIZE))
    threshold = dynamic_quant.estimate_threshold(model, felt, BITS_PER_WEIGHT, *low, *high)

    def predicate(path, layer):
        if not hasattr(layer, "to_quantized"):
            return False
        return {"bits": HIGH_BITS, "group_size": GROUP_SIZE} if felt[path] > threshold else True

    model, config = rounded(config, predicate)
elif METHOD == "dwq":
    whole, _ = load(MODEL)
    model, config = rounded(config)
    # mlx-lm reads batches in a random order, and leaves out what the last token foretells. So that it learns the same as Mlx does
    # in each step, batches stand where it looks for them, with a token more at the end of each window.
    count = len(tokens) // BATCH_SIZE
    np.random.seed(SEED)
    places = np.argsort(np.random.permutation(count)).tolist()
    windows = [(window + [0], 0) for window in tokens.tolist()]
    windows = [windows[BATCH_SIZE * place + row] for place in places for row in range(BATCH_SIZE)]
    dwq.dwq_quantize(
        model,
        lambda batch, _index, split: whole(batch),
        optimizers.Adam(learning_rate=LEARNING_RATE, bias_correction=True),
        windows,
        windows[:BATCH_SIZE],
        BATCH_SIZE,
        tokens.shape[1] + 1,
        seed=SEED,
        dtype=mx.float32,
    )

save(FOLDER, MODEL, model, tokenizer, config)
