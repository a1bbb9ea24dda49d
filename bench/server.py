"""The Python side of bench/server: mlx-lm's batch generation with as many requests at once as there are clients.

    server.py FOLDER REQUESTS

Prints tokens per second, and the milliseconds up to the first token of a request at p50 and p99.
"""

import json
import sys
import time

from mlx_lm import load
from mlx_lm.generate import BatchGenerator


def measure(model, prompts, clients, tokens):
    generator = BatchGenerator(model, max_tokens=tokens, completion_batch_size=clients, prefill_batch_size=min(clients, 8))
    waiting, came, firsts, done = list(prompts), {}, {}, 0
    started = time.perf_counter()

    def ask():
        (uid,) = generator.insert([waiting.pop(0)], [tokens])
        came[uid] = time.perf_counter()

    for _ in range(min(clients, len(waiting))):
        ask()
    while done < len(prompts):
        for response in generator.next_generated():
            now = time.perf_counter()
            firsts.setdefault(response.uid, 1000 * (now - came[response.uid]))
            if response.finish_reason is not None:
                done += 1
                if waiting:
                    ask()
    seconds = time.perf_counter() - started
    times = sorted(firsts.values())
    return len(prompts) * tokens / seconds, times[len(times) // 2], times[-1]


def main():
    model, _ = load(sys.argv[1])
    with open(sys.argv[2]) as file:
        requests = json.load(file)
    measure(model, requests["prompts"][:2], 1, requests["tokens"])
    print(*measure(model, requests["prompts"], requests["clients"], requests["tokens"]))


main()
