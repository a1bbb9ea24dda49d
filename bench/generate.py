"""The Python side of bench/generate: answers each line with the tokens per second that mlx-lm reads and writes.

    generate.py FOLDER TOKENS "ID ID ..."
"""

import pathlib
import sys
import time
import types
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "oracle"))

import families  # noqa: E402, F401

# What mlx-lm imports for tokenizers, pictures and downloads, of which generation needs nothing here.
for name in ["huggingface_hub", "transformers", "mlx_lm.tokenizer_utils", "mlx_lm.processors"]:
    module = types.ModuleType(name)
    module.__getattr__ = lambda part: mock.MagicMock()
    sys.modules[name] = module

import mlx.core as mx  # noqa: E402
from mlx_lm.generate import generate_step  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402


def generate(model, ids, max_tokens):
    started = time.perf_counter()
    for count, _ in enumerate(generate_step(mx.array(ids), model, max_tokens=max_tokens)):
        if count == 0:
            first = time.perf_counter()
    ended = time.perf_counter()
    return len(ids) / (first - started), (max_tokens - 1) / (ended - first)


def main():
    model, _ = load_model(pathlib.Path(sys.argv[1]))
    max_tokens, ids = int(sys.argv[2]), [int(id) for id in sys.argv[3].split()]
    for _ in sys.stdin:
        print(*generate(model, ids, max_tokens), flush=True)


main()
