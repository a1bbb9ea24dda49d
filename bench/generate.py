"""The Python side of bench/generate: answers each line with the tokens per second of the prompt and of the answer."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "test" / "oracle"))

from llama import Llama


def main():
    path, max_tokens, ids = sys.argv[1], int(sys.argv[2]), [int(id) for id in sys.argv[3].split()]
    model = Llama(path)
    for _ in sys.stdin:
        tokens, prompt_seconds, generation_seconds = model.generate(ids, max_tokens)
        print(len(ids) / prompt_seconds, (len(tokens) - 1) / generation_seconds, flush=True)


main()
