"""The Python side of bench/dispatch: answers each line with the microseconds of its four rows."""

import gc
import sys
import time

import mlx.core as mx

CHAIN, READS, REPETITIONS = map(int, sys.argv[1:])


def microseconds(function, count):
    start = time.perf_counter()
    result = function()
    return (time.perf_counter() - start) * 1e6 / count, result


def chain(one):
    total = one
    for _ in range(CHAIN):
        total = mx.add(total, one)
    return total


def evaluate(one):
    for _ in range(READS):
        mx.eval(mx.add(one, one))


def read(one):
    for _ in range(READS):
        bytes(memoryview(mx.add(one, one)))


def measure(one):
    gc.collect()
    lazy, total = microseconds(lambda: chain(one), CHAIN)
    forced, _ = microseconds(lambda: mx.eval(total), CHAIN)
    return lazy, lazy + forced, microseconds(lambda: evaluate(one), READS)[0], microseconds(lambda: read(one), READS)[0]


def main():
    mx.set_default_device(mx.cpu)
    one = mx.ones((10,))
    mx.eval(one)
    for _ in sys.stdin:
        rows = zip(*(measure(one) for _ in range(REPETITIONS)))
        print(*map(min, rows), flush=True)


main()
