"""The models of models.exs and their training step, for the Python sides of the benchmarks."""

import math

import mlx.core as mx
from mlx.utils import tree_map

LAYERS, WIDTH, HEAD_SIZE, VOCABULARY = 4, 256, 64, 512


def new(name):
    return {"tiny": lambda: mlp([16, 16, 4], 8), "mlp": lambda: mlp([784, 128, 10], 64), "transformer": transformer}[name]()


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
    parameters = {
        "embedding": weight(VOCABULARY, WIDTH),
        "layers": [transformer_layer(WIDTH) for _ in range(LAYERS)],
        "norm": weight(WIDTH),
        "head": weight(WIDTH, VOCABULARY),
    }
    tokens = mx.arange(8 * 128).reshape(8, 128) % VOCABULARY
    return parameters, transformer_loss, [tokens, (tokens + 1) % VOCABULARY]


def transformer_layer(width):
    shapes = {
        "attention_norm": (width,),
        "query": (width, width),
        "key": (width, width),
        "value": (width, width),
        "output": (width, width),
        "norm": (width,),
        "up": (width, 4 * width),
        "down": (4 * width, width),
    }
    return {name: weight(*shape) for name, shape in shapes.items()}


def transformer_loss(parameters, tokens, targets):
    x = mx.take(parameters["embedding"], tokens, axis=0)
    for layer in parameters["layers"]:
        x = block(layer, x)
    return cross_entropy(mx.fast.rms_norm(x, parameters["norm"], 1e-5) @ parameters["head"], targets)


def block(layer, x):
    x = x + attention(layer, mx.fast.rms_norm(x, layer["attention_norm"], 1e-5))
    hidden = mx.fast.rms_norm(x, layer["norm"], 1e-5) @ layer["up"]
    return x + (hidden * mx.sigmoid(hidden)) @ layer["down"]


def attention(layer, x):
    batch, length, width = x.shape
    queries, keys, values = (
        (x @ layer[name]).reshape(batch, length, width // HEAD_SIZE, HEAD_SIZE).transpose(0, 2, 1, 3)
        for name in ("query", "key", "value")
    )
    scale = math.sqrt(1 / HEAD_SIZE)
    x = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask="causal")
    return x.transpose(0, 2, 1, 3).reshape(batch, length, width) @ layer["output"]


def cross_entropy(logits, targets):
    chosen = mx.take_along_axis(logits, targets[..., None], axis=-1).squeeze(-1)
    return mx.mean(mx.logsumexp(logits, axis=-1) - chosen)


def training_step(loss, rate):
    def step(parameters, x, targets):
        value, gradient = mx.value_and_grad(loss)(parameters, x, targets)
        return value, tree_map(lambda parameter, gradient: parameter - gradient * rate, parameters, gradient)

    return step
