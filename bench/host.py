"""The Python side of bench/host: answers each line with the microseconds of its rows."""

import collections
import functools
import itertools
import pathlib
import statistics
import sys
import time

import mlx.core as mx
import mlx.nn as nn

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "oracle"))

from llama import Cache

PROMPT, TOKENS, ARRAYS, CALLS, *SIZES = map(int, sys.argv[1:])
Sizes = collections.namedtuple("Sizes", "layers width heads key_value_heads hidden vocabulary")


@functools.partial(mx.compile, shapeless=True)
def gated(gate, up):
    return nn.silu(gate) * up


class Attention(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.heads, self.key_value_heads = sizes.heads, sizes.key_value_heads
        size = sizes.width // sizes.heads
        self.scale = size**-0.5
        self.to_queries = nn.Linear(sizes.width, sizes.heads * size, bias=False)
        self.to_keys = nn.Linear(sizes.width, sizes.key_value_heads * size, bias=False)
        self.to_values = nn.Linear(sizes.width, sizes.key_value_heads * size, bias=False)
        self.output = nn.Linear(sizes.heads * size, sizes.width, bias=False)
        self.rope = nn.RoPE(size)

    def __call__(self, x, mask, cache):
        batch, length, _ = x.shape
        queries = self.to_queries(x).reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)
        keys = self.to_keys(x).reshape(batch, length, self.key_value_heads, -1).transpose(0, 2, 1, 3)
        values = self.to_values(x).reshape(batch, length, self.key_value_heads, -1).transpose(0, 2, 1, 3)
        queries = self.rope(queries, offset=cache.offset)
        keys = self.rope(keys, offset=cache.offset)
        keys, values = cache.update(keys, values)
        y = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self.scale, mask=mask)
        return self.output(y.transpose(0, 2, 1, 3).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def __call__(self, x):
        return self.down(gated(self.gate(x), self.up(x)))


class Block(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.attention_norm = nn.RMSNorm(sizes.width)
        self.attention = Attention(sizes)
        self.feed_forward_norm = nn.RMSNorm(sizes.width)
        self.feed_forward = FeedForward(sizes)

    def __call__(self, x, mask, cache):
        x = x + self.attention(self.attention_norm(x), mask, cache)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Llama(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.blocks = [Block(sizes) for _ in range(sizes.layers)]
        self.norm = nn.RMSNorm(sizes.width)

    def __call__(self, ids, caches):
        x = self.embedding(ids)
        mask = "causal" if ids.shape[1] > 1 else None
        for block, cache in zip(self.blocks, caches):
            x = block(x, mask, cache)
        return self.embedding.as_linear(self.norm(x))


def step(model, ids, caches):
    start = time.perf_counter()
    token = mx.argmax(model(ids, caches)[:, -1, :], axis=-1)
    built = time.perf_counter()
    mx.async_eval(token)
    submitted = time.perf_counter()
    mx.eval(token)
    return ((built - start) * 1e6, (submitted - start) * 1e6), token[None]


def token(model):
    caches = [Cache() for _ in model.blocks]
    _, ids = step(model, mx.arange(PROMPT)[None], caches)
    times = []
    for _ in range(TOKENS):
        measured, ids = step(model, ids, caches)
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
    width = len(Sizes._fields)
    models = [Llama(Sizes(*SIZES[start : start + width])) for start in range(0, len(SIZES), width)]
    arrays = [mx.ones((8,)) for _ in range(ARRAYS)]
    mx.eval([model.parameters() for model in models], arrays)
    # A function is traced once, so that a new one is made for each call that traces.
    calls = [mx.compile(first), mx.compile(all_of_them), lambda arrays: mx.compile(lambda x: all_of_them(x))(arrays)]
    for _ in sys.stdin:
        tokens = itertools.chain.from_iterable(map(token, models))
        print(*tokens, *(call(function, arrays) for function in calls), flush=True)


main()
