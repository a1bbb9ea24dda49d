"""The Python side of bench/memory: answers a line with the megabytes in use before, at most, and at the end of a row."""

import itertools
import os
import pathlib
import sys
import time

import mlx.core as mx

import models

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "oracle"))

from llama import Llama

TOKENS = 40


def layer(x, weight):
    return mx.maximum(x @ weight, 0) * 0.9 + 0.1


def elementwise(x, count):
    operations = [lambda x: x * 0.9, mx.sigmoid, lambda x: x + 0.1, mx.sqrt]
    for operation in itertools.islice(itertools.cycle(operations), count):
        x = operation(x)
    return x


def evaluated(x):
    mx.eval(x)
    return x


def chain(read):
    x, weight = models.weight(2048, 1024), models.weight(1024, 1024)

    def work():
        y = x
        for _ in range(60):
            y = layer(y, weight)
        return read(y)

    return [x, weight], work


def elementwise_layers():
    x = models.weight(1024, 2048)
    return x, lambda: evaluated(elementwise(x, 60))


def training_loop():
    given, loss, inputs = models.mlp([256, 1024, 10], 1024)
    step = models.training_step(loss, 0.01)

    def work():
        parameters = given
        for _ in range(50):
            value, parameters = step(parameters, *inputs)
            mx.eval(value, parameters)
        return parameters

    return [given, inputs], work


def transformer():
    layer = models.transformer_layer(512)
    x = models.weight(1, 256, 512)

    def work():
        y = x
        for _ in range(24):
            y = models.block(layer, y)
        return evaluated(y)

    return [layer, x], work


def generation():
    model = Llama(os.environ["MLX_TEST_MODEL"], "float32")
    return [], lambda: model.generate(list(range(1, 129)), TOKENS)


ROWS = {
    "chain": lambda: chain(evaluated),
    "chain, read as a number": lambda: chain(lambda y: y.sum().item()),
    "60 elementwise layers": elementwise_layers,
    "training loop": training_loop,
    "transformer of 24 layers": transformer,
    "generation": generation,
}


def main():
    given, work = ROWS[sys.argv[1]]()
    mx.eval(given)
    sys.stdin.readline()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    result = work()
    time.sleep(1)
    print(*(size / 1e6 for size in (before, mx.get_peak_memory(), mx.get_active_memory())), flush=True)


main()
