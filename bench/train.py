"""The Python side of bench/train: answers each line with the milliseconds of a step, or with the megabytes that steps need."""

import sys
import time

import mlx.core as mx

import networks

NAME, WHAT, KIND, COUNT = *sys.argv[1:4], int(sys.argv[4])


def main():
    mx.set_default_device(mx.cpu)
    mx.random.seed(0)
    model, optimizer, batch = networks.new(NAME)
    built, compiled = networks.steps(model, optimizer)
    step = {"built": built, "compiled": compiled}[KIND]
    mx.eval(model.state, optimizer.state, batch)

    def train():
        for _ in range(COUNT):
            loss = step(*batch)
            mx.eval(loss, model.state, optimizer.state)

    if WHAT == "time":
        train()
    for _ in sys.stdin:
        mx.reset_peak_memory()
        start = time.perf_counter()
        train()
        ms = (time.perf_counter() - start) * 1e3 / COUNT
        print(ms if WHAT == "time" else mx.get_peak_memory() / 1e6, flush=True)


main()
