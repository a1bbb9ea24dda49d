"""The Python side of bench/train_step: answers each line with the microseconds of a compiled and of a built step."""

import gc
import sys
import time

import mlx.core as mx

import models

MODEL = sys.argv[1]
RATE = float(sys.argv[2])
COMPILED, BUILT = map(int, sys.argv[3:])


def microseconds(function, count):
    start = time.perf_counter()
    function(count)
    return (time.perf_counter() - start) * 1e6 / count


def main():
    mx.set_default_device(mx.cpu)
    parameters, loss, inputs = models.new(MODEL)
    mx.eval(parameters, inputs)
    step = models.training_step(loss, RATE)
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
