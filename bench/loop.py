"""The Python side of bench/loop.exs: answers each line with the microseconds of a round of the loop."""

import gc
import sys
import time

import mlx.core as mx

COUNT, REPETITIONS = map(int, sys.argv[1:])


@mx.compile
def body(i, x):
    return i + 1, mx.where(i % 2 == 0, x + 1, x - 1)


def loop(x):
    i = mx.array(0)
    goes_on = i < COUNT
    while goes_on.item():
        i, x = body(i, x)
        goes_on = i < COUNT
        mx.eval(x, goes_on)
    return x


def measure(x):
    gc.collect()
    start = time.perf_counter()
    bytes(memoryview(loop(x)))
    return (time.perf_counter() - start) * 1e6 / COUNT


def main():
    mx.set_default_device(mx.cpu)
    x = mx.zeros((10, 10))
    mx.eval(x)
    for _ in sys.stdin:
        print(min(measure(x) for _ in range(REPETITIONS)), flush=True)


main()
