"""The perplexity of tokens and its standard error, by mlx-lm's formula, of the Llama in llama.py.

    perplexity.py MODEL.gguf WINDOW "ID ID ..."
"""

import math
import sys

import mlx.core as mx
import mlx.nn as nn
from llama import Cache, Llama


def main():
    path, window, ids = sys.argv[1], int(sys.argv[2]), [int(id) for id in sys.argv[3].split()]
    model = Llama(path)
    data = mx.array(ids[: len(ids) // window * window]).reshape(-1, window)
    logits = model.output(model.hidden(data[:, :-1], [Cache() for _ in model.layers])).astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, data[:, 1:], reduction="none").flatten()
    perplexity = math.exp(losses.mean().item())
    print(perplexity, perplexity * mx.sqrt(mx.var(losses, ddof=1)).item() / math.sqrt(losses.size))


main()
