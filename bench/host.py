"""The Python side of bench/host: answers each line with the microseconds of its rows.

    host.py FOLDER PROMPT TOKENS ARRAYS CALLS KIND...

FOLDER has the models that host_kinds.py makes.
"""

import itertools
import pathlib
import statistics
import sys
import time

import mlx.core as mx
from host_kinds import families, load

FOLDER = pathlib.Path(sys.argv[1])
PROMPT, TOKENS, ARRAYS, CALLS = map(int, sys.argv[2:6])
NAMES = sys.argv[6:]


def step(model, ids, cache):
    start = time.perf_counter()
    token = mx.argmax(model(ids, cache=cache)[:, -1, :], axis=-1)
    built = time.perf_counter()
    mx.async_eval(token)
    submitted = time.perf_counter()
    mx.eval(token)
    return ((built - start) * 1e6, (submitted - start) * 1e6), token[None]


def token(model):
    cache = families.caches(model)
    _, ids = step(model, mx.arange(PROMPT)[None], cache)
    _, ids = step(model, ids, cache)
    times = []
    for _ in range(TOKENS):
        measured, ids = step(model, ids, cache)
        times.append(measured)
    return map(statistics.median, zip(*times))


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
    models = [load(FOLDER, name) for name in NAMES]
    arrays = [mx.ones((8,)) for _ in range(ARRAYS)]
    mx.eval(arrays)
    # A function is traced once, so that a new one is made for each call that traces.
    calls = [mx.compile(first), mx.compile(all_of_them), lambda arrays: mx.compile(lambda x: all_of_them(x))(arrays)]
    for _ in sys.stdin:
        tokens = itertools.chain.from_iterable(map(token, models))
        print(*tokens, *(call(function, arrays) for function in calls), flush=True)


main()
