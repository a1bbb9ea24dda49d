"""The Python side of bench/tokenization: answers each line with the milliseconds that each text takes, and then
how many tokens each becomes.

    tokenization.py TOKENIZER.json TEXT ...    the tokenizer, and files with a text each
"""

import gc
import sys
import time

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation()
tokenizer.no_padding()
texts = [open(path, newline="").read() for path in sys.argv[2:]]


def encode(text):
    gc.collect()
    start = time.perf_counter()
    encoding = tokenizer.encode(text)
    return (time.perf_counter() - start) * 1e3, float(len(encoding))


for _ in sys.stdin:
    times, counts = zip(*map(encode, texts))
    print(*times, *counts, flush=True)
