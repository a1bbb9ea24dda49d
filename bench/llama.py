"""The Python side of bench/llama: answers each line with the tokens per second that mlx-lm reads and writes."""

import sys
import time

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.generate import generate_step
from mlx_lm.models.llama import Model, ModelArgs

SHORT, LONG, TOKENS = map(int, sys.argv[1:4])
FORM = sys.argv[4]
LAYERS, WIDTH, HEADS, KEY_VALUE_HEADS, HEAD, HIDDEN, VOCABULARY, TIED = map(int, sys.argv[5:])
GROUP_SIZE, ROPE_BASE, NORM_EPS = 32, 500_000.0, 1e-5


def random_model():
    model = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            intermediate_size=HIDDEN,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_VALUE_HEADS,
            head_dim=HEAD,
            rms_norm_eps=NORM_EPS,
            vocab_size=VOCABULARY,
            rope_theta=ROPE_BASE,
            rope_traditional=True,
            tie_word_embeddings=bool(TIED),
        )
    )
    model.update(tree_map_with_path(random_weight, model.parameters()))
    if FORM == "4bit":
        nn.quantize(model, GROUP_SIZE, 4)
    mx.eval(model.parameters())
    mx.clear_cache()
    return model


def random_weight(_path, weight):
    if weight.ndim == 1:
        return mx.ones(weight.shape, mx.bfloat16)
    weight = (mx.random.normal(weight.shape) * 0.02).astype(mx.bfloat16)
    mx.eval(weight)
    return weight


def generate(model, length, tokens):
    ids = mx.array([i * 7919 % (VOCABULARY - 1) for i in range(1, length + 1)])
    start = time.perf_counter()
    for count, _ in enumerate(generate_step(ids, model, max_tokens=tokens)):
        if count == 0:
            first = time.perf_counter()
    end = time.perf_counter()
    return length / (first - start), (tokens - 1) / (end - first)


def main():
    model = random_model()
    for _ in sys.stdin:
        reading, writing = generate(model, SHORT, TOKENS)
        long_reading, _ = generate(model, LONG, 1)
        print(reading, long_reading, writing, flush=True)


main()
