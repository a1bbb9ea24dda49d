"""The Python side of bench/losses: answers a line with the losses of the steps, and saves the first gradients."""

import pathlib
import sys

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

import networks

NAME, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])


def main():
    mx.set_default_device(mx.cpu)
    model, optimizer, _ = networks.new(NAME)
    model.load_weights(str(FOLDER / "weights.safetensors"))
    batches = mx.load(str(FOLDER / "batches.safetensors"))
    gradients = nn.value_and_grad(model, lambda x, y: networks.loss(model, x, y))
    _value, first = gradients(batches["0.0"], batches["0.1"])
    mx.save_safetensors(str(FOLDER / "gradients.safetensors"), dict(tree_flatten(first)))
    _, step = networks.steps(model, optimizer)
    sys.stdin.readline()
    print(*(step(batches[f"{i}.0"], batches[f"{i}.1"]).item() for i in range(len(batches) // 2)), flush=True)


main()
