"""What the PyPI package `tokenizers` makes of texts, pairs of texts and batches: what Mlx.LM.Tokenizer.encodings gives.

    encodings.py FOLDER    reads FOLDER/cases.json, a list of {"file", "texts", "add_special"}: a tokenizer.json, texts or pairs of
                           them, and whether special tokens are added; writes a list of JSON with the encodings of each, as lists
                           of ids, types, special ones, the mask and the offsets, or null where texts cannot be encoded so
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer

folder = pathlib.Path(sys.argv[1])
tokenizers = {}


def encodings(case):
    file = case["file"]
    if file not in tokenizers:
        tokenizers[file] = Tokenizer.from_file(file)
    texts = [tuple(text) if isinstance(text, list) else text for text in case["texts"]]
    try:
        batch = tokenizers[file].encode_batch(texts, add_special_tokens=case["add_special"])
    except Exception:
        return None
    return [[e.ids, e.type_ids, e.special_tokens_mask, e.attention_mask, e.offsets] for e in batch]


cases = json.loads((folder / "cases.json").read_text())
print(json.dumps([encodings(case) for case in cases]))
