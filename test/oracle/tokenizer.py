"""The PyPI package `tokenizers` as the oracle of Mlx.LM.Tokenizer.

    tokenizer.py encode MODEL.gguf INPUT     a text in base64 a line -> its ids
    tokenizer.py decode MODEL.gguf INPUT     ids a line -> the text in base64
    tokenizer.py split PRE_TOKENIZER INPUT   a text in base64 a line -> its words, each in base64
"""

import base64
import struct
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


PRE_TOKENIZERS = {
    "gpt-2": split(GPT2),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), split(GPT2)]),
    "llama-bpe": split(LLAMA3),
    "qwen2": split(LLAMA3.replace("{1,3}", "")),
    "gpt-4o": split(O200K),
    "tekken": split(O200K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")),
    "qwen35": split(QWEN35),
}

SIMPLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_metadata(path):
    with open(path, "rb") as file:

        def number(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def string():
            return file.read(number("Q")).decode()

        def value(kind):
            if kind == 8:
                return string()
            if kind == 9:
                element, count = number("I"), number("Q")
                return [value(element) for _ in range(count)]
            return number(SIMPLE[kind])

        file.read(16)
        return {string(): value(number("I")) for _ in range(number("Q"))}


def load_tokenizer(path):
    metadata = read_metadata(path)
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token, kind in zip(tokens, types) if kind == 3]
    )
    return tokenizer


def to_text(line):
    return base64.b64decode(line).decode()


def to_line(text):
    return base64.b64encode(text.encode()).decode()


def main(command, source, path):
    with open(path) as file:
        lines = file.read().split("\n")

    if command == "split":
        pre_tokenizer = PRE_TOKENIZERS[source]
        normalizer = normalizers.NFC() if source == "qwen2" else normalizers.Sequence([])
        for line in lines:
            text = normalizer.normalize_str(to_text(line))
            print(" ".join(to_line(word) for word, _ in pre_tokenizer.pre_tokenize_str(text)))
        return

    tokenizer = load_tokenizer(source)
    for line in lines:
        if command == "encode":
            print(" ".join(map(str, tokenizer.encode(to_text(line)).ids)))
        else:
            print(to_line(tokenizer.decode([int(id) for id in line.split()], skip_special_tokens=False)))


if __name__ == "__main__":
    main(*sys.argv[1:])
