"""The Python side of bench/host for tokens: answers each line with the microseconds of building, and with submission.

    host_tokens.py FOLDER PROMPT TOKENS KIND...

FOLDER has the models that host_kinds.py makes.
"""

import pathlib
import sys
import time

import mlx.core as mx
from host_kinds import families, load

FOLDER = pathlib.Path(sys.argv[1])
PROMPT, TOKENS = map(int, sys.argv[2:4])


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
    return map(min, zip(*times))


def main():
    models = [load(FOLDER, name) for name in sys.argv[4:]]
    for _ in sys.stdin:
        print(*(time for model in models for time in token(model)), flush=True)


main()
