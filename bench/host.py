"""The Python side of bench/host for compiled calls: answers each line with the microseconds of its rows."""

import statistics
import sys
import time

import mlx.core as mx

ARRAYS, CALLS = map(int, sys.argv[1:])


def call(function, arrays):
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        results = function(arrays)
        times.append((time.perf_counter() - start) * 1e6)
        mx.eval(results)
    return statistics.median(times)


def first(arrays):
    return arrays[0] * 0.5


def all_of_them(arrays):
    return [array * 0.5 for array in arrays]


def main():
    arrays = [mx.ones((8,)) for _ in range(ARRAYS)]
    mx.eval(arrays)
    # A function is traced once, so that a new one is made for each call that traces.
    calls = [mx.compile(first), mx.compile(all_of_them), lambda arrays: mx.compile(lambda x: all_of_them(x))(arrays)]
    for _ in sys.stdin:
        print(*(call(function, arrays) for function in calls), flush=True)


main()
