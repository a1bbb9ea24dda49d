"""The Python side of bench/train_step: answers each line with the microseconds of a compiled and of a built step."""

import gc
import math
import sys
import time

import mlx.core as mx
from mlx.utils import tree_map

LAYERS, WIDTH, HEADS, VOCABULARY = 4, 256, 4, 512
MODEL = sys.argv[1]
RATE = float(sys.argv[2])
COMPILED, BUILT = map(int, sys.argv[3:])


def weight(*shape):
    return mx.random.normal(shape, key=mx.random.key(0)) * 0.05


def mlp(widths, batch):
    layers = [{"weight": weight(a, b), "bias": mx.zeros((b,))} for a, b in zip(widths, widths[1:])]
    x = mx.random.normal((batch, widths[0]), key=mx.random.key(1))
    return layers, mlp_loss, [x, mx.arange(batch) % widths[-1]]


def mlp_loss(layers, x, targets):
    first, second = layers
    return cross_entropy(linear(mx.maximum(linear(x, first), 0), second), targets)


def linear(x, layer):
    return x @ layer["weight"] + layer["bias"]


def transformer():
    shapes = {
        "attention_norm": (WIDTH,),
        "query": (WIDTH, WIDTH),
        "key": (WIDTH, WIDTH),
        "value": (WIDTH, WIDTH),
        "output": (WIDTH, WIDTH),
        "norm": (WIDTH,),
        "up": (WIDTH, 4 * WIDTH),
        "down": (4 * WIDTH, WIDTH),
    }
    parameters = {
        "embedding": weight(VOCABULARY, WIDTH),
        "layers": [{name: weight(*shape) for name, shape in shapes.items()} for _ in range(LAYERS)],
        "norm": weight(WIDTH),
        "head": weight(WIDTH, VOCABULARY),
    }
    tokens = mx.arange(8 * 128).reshape(8, 128) % VOCABULARY
    return parameters, transformer_loss, [tokens, (tokens + 1) % VOCABULARY]


def transformer_loss(parameters, tokens, targets):
    x = mx.take(parameters["embedding"], tokens, axis=0)
    for layer in parameters["layers"]:
        x = x + attention(layer, mx.fast.rms_norm(x, layer["attention_norm"], 1e-5))
        hidden = mx.fast.rms_norm(x, layer["norm"], 1e-5) @ layer["up"]
        x = x + (hidden * mx.sigmoid(hidden)) @ layer["down"]
    return cross_entropy(mx.fast.rms_norm(x, parameters["norm"], 1e-5) @ parameters["head"], targets)


def attention(layer, x):
    batch, length, _ = x.shape
    queries, keys, values = (
        (x @ layer[name]).reshape(batch, length, HEADS, WIDTH // HEADS).transpose(0, 2, 1, 3)
        for name in ("query", "key", "value")
    )
    scale = math.sqrt(HEADS / WIDTH)
    x = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask="causal")
    return x.transpose(0, 2, 1, 3).reshape(batch, length, WIDTH) @ layer["output"]


def cross_entropy(logits, targets):
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1).squeeze(-1)
    return mx.mean(mx.logsumexp(logits, axis=-1) - chosen)


def microseconds(function, count):
    start = time.perf_counter()
    function(count)
    return (time.perf_counter() - start) * 1e6 / count


def main():
    mx.set_default_device(mx.cpu)
    models = {"tiny": lambda: mlp([16, 16, 4], 8), "mlp": lambda: mlp([784, 128, 10], 64), "transformer": transformer}
    parameters, loss, inputs = models[MODEL]()
    mx.eval(parameters, inputs)

    def step(parameters, x, targets):
        value, gradient = mx.value_and_grad(loss)(parameters, x, targets)
        return value, tree_map(lambda parameter, gradient: parameter - gradient * RATE, parameters, gradient)

    compiled = mx.compile(step)

    def train(count):
        new = parameters
        for _ in range(count):
            value, new = compiled(new, *inputs)
            mx.eval(value, new)

    def build(count):
        for _ in range(count):
            step(parameters, *inputs)

    for _ in sys.stdin:
        gc.collect()
        train(COMPILED)
        print(microseconds(train, COMPILED), microseconds(build, BUILT), flush=True)


main()
