"""Encoders in plain numpy: the reference that Mlx.LM.Encoder is compared with.

    encoder.py make FAMILY FOLDER [KEY=VALUE ...]   writes a config.json, with these changes, and random weights
    encoder.py run FOLDER                           reads {"sequences": [{"ids": [...], "types": [...]}, ...]}, writes
                                                    {"vectors": [...], "logits": [...]}
    encoder.py texts FOLDER                         reads {"texts": [...]}, writes {"ids": [...], "vectors": [...]}: the
                                                    tokens, and the mean of their vectors with the length 1

Each sequence is computed alone and in double precision, so there is neither padding nor a mask of it. The tokens of texts
are those of Python's `tokenizers`.

Sources: Devlin et al., "BERT" (2018); Liu et al., "RoBERTa" (2019); Warner et al., "Smarter, Better, Faster, Longer"
(2024) for ModernBERT; Nussbaum et al., "Nomic Embed" (2024); Su et al., "RoFormer" (2021).
"""

import json
import math
import os
import struct
import sys

import numpy as np

# Files


def read_tensors(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        content = file.read()
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = entry["data_offsets"]
            array = np.frombuffer(content[first:last], np.float32).reshape(entry["shape"])
            tensors[name] = array.astype(np.float64)
    return tensors


def write_tensors(path, tensors):
    header, offset, content = {}, 0, []
    for name, array in tensors.items():
        data = array.astype(np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
        content.append(data)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(content))


# What the models are made of

erf = np.vectorize(math.erf, otypes=[np.float64])

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


class Weights:
    def __init__(self, tensors, prefix=""):
        self.tensors, self.prefix = tensors, prefix

    def get(self, name):
        return self.tensors.get(self.prefix + name)

    def linear(self, name, x):
        y = x @ self.get(f"{name}.weight").T
        return y if self.get(f"{name}.bias") is None else y + self.get(f"{name}.bias")

    def norm(self, name, x, eps):
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * self.get(f"{name}.weight")
        return y if self.get(f"{name}.bias") is None else y + self.get(f"{name}.bias")


def attention(queries, keys, values, heads, base=None, window=None):
    """The outputs for arrays of the shape (length, width)."""
    length, width = queries.shape
    size = width // heads
    split = [x.reshape(length, heads, size).transpose(1, 0, 2) for x in (queries, keys, values)]
    if base is not None:
        split[:2] = [rotate(x, base) for x in split[:2]]
    scores = split[0] @ split[1].transpose(0, 2, 1) / math.sqrt(size)
    if window is not None:
        positions = np.arange(length)
        scores[:, np.abs(positions[:, None] - positions[None, :]) > window] = -np.inf
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    return (scores @ split[2]).transpose(1, 0, 2).reshape(length, width)


def rotate(x, base):
    """Feature i and feature i + size / 2 are the coordinates of a point that is turned."""
    _heads, length, size = x.shape
    angles = np.arange(length)[:, None] / base ** (np.arange(0, size, 2) / size)[None, :]
    a, b = x[..., : size // 2], x[..., size // 2 :]
    return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)


# The families: the vectors of a sequence, and the scores of a classifier


def bert(config, weights, ids, types, first_position=0):
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]
    w = weights
    x = w.get("embeddings.word_embeddings.weight")[ids]
    x = x + w.get("embeddings.token_type_embeddings.weight")[types]
    x = x + w.get("embeddings.position_embeddings.weight")[first_position : first_position + len(ids)]
    x = w.norm("embeddings.LayerNorm", x, eps)
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        q, k, v = (w.linear(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        y = w.linear(f"{name}.attention.output.dense", attention(q, k, v, heads))
        x = w.norm(f"{name}.attention.output.LayerNorm", x + y, eps)
        y = ACTIVATIONS[config["hidden_act"]](w.linear(f"{name}.intermediate.dense", x))
        x = w.norm(f"{name}.output.LayerNorm", x + w.linear(f"{name}.output.dense", y), eps)
    return x


def bert_logits(_config, weights, heads, x):
    return heads.linear("classifier", np.tanh(weights.linear("pooler.dense", x[0])))


def roberta(config, weights, ids, types):
    return bert(config, weights, ids, types, config["pad_token_id"] + 1)


def roberta_logits(_config, _weights, heads, x):
    return heads.linear("classifier.out_proj", np.tanh(heads.linear("classifier.dense", x[0])))


def modernbert(config, weights, ids, _types):
    eps, w = config["norm_eps"], weights
    x = w.norm("embeddings.norm", w.get("embeddings.tok_embeddings.weight")[ids], eps)
    for index in range(config["num_hidden_layers"]):
        name = f"layers.{index}"
        whole = index % config["global_attn_every_n_layers"] == 0
        base = config["global_rope_theta"] if whole else config["local_rope_theta"]
        y = x if index == 0 else w.norm(f"{name}.attn_norm", x, eps)
        q, k, v = np.split(w.linear(f"{name}.attn.Wqkv", y), 3, -1)
        window = None if whole else config["local_attention"] // 2
        y = attention(q, k, v, config["num_attention_heads"], base, window)
        x = x + w.linear(f"{name}.attn.Wo", y)
        a, b = np.split(w.linear(f"{name}.mlp.Wi", w.norm(f"{name}.mlp_norm", x, eps)), 2, -1)
        x = x + w.linear(f"{name}.mlp.Wo", ACTIVATIONS[config["hidden_activation"]](a) * b)
    return w.norm("final_norm", x, eps)


def modernbert_logits(config, _weights, heads, x):
    pooled = x[0] if config["classifier_pooling"] == "cls" else x.mean(0)
    y = ACTIVATIONS[config["classifier_activation"]](heads.linear("head.dense", pooled))
    return heads.linear("classifier", heads.norm("head.norm", y, config["norm_eps"]))


def nomic_bert(config, weights, ids, types):
    eps, w = config["layer_norm_epsilon"], weights
    x = w.get("embeddings.word_embeddings.weight")[ids] + w.get("embeddings.token_type_embeddings.weight")[types]
    x = w.norm("emb_ln", x, eps)
    for index in range(config["n_layer"]):
        name = f"encoder.layers.{index}"
        q, k, v = np.split(w.linear(f"{name}.attn.Wqkv", x), 3, -1)
        y = attention(q, k, v, config["n_head"], config["rotary_emb_base"])
        x = w.norm(f"{name}.norm1", x + w.linear(f"{name}.attn.out_proj", y), eps)
        y = w.linear(f"{name}.mlp.fc11", x) * ACTIVATIONS["silu"](w.linear(f"{name}.mlp.fc12", x))
        x = w.norm(f"{name}.norm2", x + w.linear(f"{name}.mlp.fc2", y), eps)
    return x


def distilbert(config, weights, ids, _types):
    eps, w = 1e-12, weights
    x = w.get("embeddings.word_embeddings.weight")[ids] + w.get("embeddings.position_embeddings.weight")[: len(ids)]
    x = w.norm("embeddings.LayerNorm", x, eps)
    for index in range(config["n_layers"]):
        name = f"transformer.layer.{index}"
        q, k, v = (w.linear(f"{name}.attention.{part}_lin", x) for part in "qkv")
        y = w.linear(f"{name}.attention.out_lin", attention(q, k, v, config["n_heads"]))
        x = w.norm(f"{name}.sa_layer_norm", x + y, eps)
        y = ACTIVATIONS[config["activation"]](w.linear(f"{name}.ffn.lin1", x))
        x = w.norm(f"{name}.output_layer_norm", x + w.linear(f"{name}.ffn.lin2", y), eps)
    return x


def distilbert_logits(_config, _weights, heads, x):
    return heads.linear("classifier", ACTIVATIONS["relu"](heads.linear("pre_classifier", x[0])))


FAMILIES = {
    "distilbert": ("distilbert.", distilbert, distilbert_logits),
    "bert": ("bert.", bert, bert_logits),
    "roberta": ("roberta.", roberta, roberta_logits),
    "xlm-roberta": ("roberta.", roberta, roberta_logits),
    "modernbert": ("model.", modernbert, modernbert_logits),
    "nomic_bert": ("nomic_bert.", nomic_bert, bert_logits),
}

# Small models with random weights

BERT = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": 70,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "type_vocab_size": 2,
    "pad_token_id": 0,
}

ROBERTA = {**BERT, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}

CONFIGS = {
    "bert": BERT,
    "distilbert": {
        "vocab_size": 60,
        "dim": 32,
        "hidden_dim": 48,
        "n_heads": 4,
        "n_layers": 3,
        "max_position_embeddings": 70,
        "activation": "gelu",
        "pad_token_id": 0,
    },
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "modernbert": {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "max_position_embeddings": 2000,
        "norm_eps": 1e-5,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_activation": "gelu",
        "local_attention": 8,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "classifier_pooling": "cls",
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "pad_token_id": 0,
    },
    "nomic_bert": {
        "vocab_size": 60,
        "n_embd": 32,
        "n_inner": 48,
        "n_head": 4,
        "n_layer": 3,
        "n_positions": 90,
        "layer_norm_epsilon": 1e-12,
        "activation_function": "swiglu",
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_scaling_factor": None,
        "qkv_proj_bias": False,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "prenorm": False,
        "use_rms_norm": False,
        "type_vocab_size": 2,
    },
}


def linear(name, inputs, outputs, bias=True):
    return [(f"{name}.weight", (outputs, inputs))] + ([(f"{name}.bias", (outputs,))] if bias else [])


def norm(name, width, bias=True):
    return [(f"{name}.weight", (width,))] + ([(f"{name}.bias", (width,))] if bias else [])


def bert_shapes(config):
    width, hidden = config["hidden_size"], config["intermediate_size"]
    shapes = [
        ("embeddings.word_embeddings.weight", (config["vocab_size"], width)),
        ("embeddings.position_embeddings.weight", (config["max_position_embeddings"], width)),
        ("embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)),
        *norm("embeddings.LayerNorm", width),
    ]
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes += linear(f"{name}.attention.{part}", width, width)
        shapes += norm(f"{name}.attention.output.LayerNorm", width) + norm(f"{name}.output.LayerNorm", width)
        shapes += linear(f"{name}.intermediate.dense", width, hidden) + linear(f"{name}.output.dense", hidden, width)
    return shapes


def distilbert_shapes(config):
    width, hidden = config["dim"], config["hidden_dim"]
    shapes = [
        ("embeddings.word_embeddings.weight", (config["vocab_size"], width)),
        ("embeddings.position_embeddings.weight", (config["max_position_embeddings"], width)),
        *norm("embeddings.LayerNorm", width),
    ]
    for index in range(config["n_layers"]):
        name = f"transformer.layer.{index}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes += linear(f"{name}.attention.{part}", width, width)
        shapes += norm(f"{name}.sa_layer_norm", width) + norm(f"{name}.output_layer_norm", width)
        shapes += linear(f"{name}.ffn.lin1", width, hidden) + linear(f"{name}.ffn.lin2", hidden, width)
    return shapes


def modernbert_shapes(config):
    width, hidden, bias = config["hidden_size"], config["intermediate_size"], config["norm_bias"]
    shapes = [("embeddings.tok_embeddings.weight", (config["vocab_size"], width)), *norm("embeddings.norm", width, bias)]
    for index in range(config["num_hidden_layers"]):
        name = f"layers.{index}"
        shapes += norm(f"{name}.attn_norm", width, bias) if index > 0 else []
        shapes += linear(f"{name}.attn.Wqkv", width, 3 * width, config["attention_bias"])
        shapes += linear(f"{name}.attn.Wo", width, width, config["attention_bias"])
        shapes += norm(f"{name}.mlp_norm", width, bias)
        shapes += linear(f"{name}.mlp.Wi", width, 2 * hidden, config["mlp_bias"])
        shapes += linear(f"{name}.mlp.Wo", hidden, width, config["mlp_bias"])
    return shapes + norm("final_norm", width, bias)


def nomic_bert_shapes(config):
    width, hidden = config["n_embd"], config["n_inner"]
    shapes = [
        ("embeddings.word_embeddings.weight", (config["vocab_size"], width)),
        ("embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)),
        *norm("emb_ln", width),
    ]
    for index in range(config["n_layer"]):
        name = f"encoder.layers.{index}"
        shapes += linear(f"{name}.attn.Wqkv", width, 3 * width, False) + linear(f"{name}.attn.out_proj", width, width, False)
        shapes += linear(f"{name}.mlp.fc11", width, hidden, False) + linear(f"{name}.mlp.fc12", width, hidden, False)
        shapes += linear(f"{name}.mlp.fc2", hidden, width, False)
        shapes += norm(f"{name}.norm1", width) + norm(f"{name}.norm2", width)
    return shapes


def classifier_shapes(family, config, labels):
    """What is in the model, and what is beside it."""
    width = config.get("hidden_size") or config.get("n_embd") or config["dim"]
    if family == "distilbert":
        return [], linear("pre_classifier", width, width) + linear("classifier", width, labels)
    if family == "modernbert":
        head = linear("head.dense", width, width, config["classifier_bias"])
        return [], head + norm("head.norm", width, config["norm_bias"]) + linear("classifier", width, labels)
    if family in ("roberta", "xlm-roberta"):
        return [], linear("classifier.dense", width, width) + linear("classifier.out_proj", width, labels)
    return linear("pooler.dense", width, width), linear("classifier", width, labels)


SHAPES = {
    "bert": bert_shapes,
    "distilbert": distilbert_shapes,
    "roberta": bert_shapes,
    "xlm-roberta": bert_shapes,
    "modernbert": modernbert_shapes,
    "nomic_bert": nomic_bert_shapes,
}


def make(family, folder, *changes):
    generator = np.random.default_rng(sum(family.encode()))
    config = {"model_type": family, **CONFIGS[family]}
    config.update({key: json.loads(value) for key, value in (change.split("=", 1) for change in changes)})
    shapes = SHAPES[family](config)
    if "num_labels" in config:
        labels = config.pop("num_labels")
        config["id2label"] = {str(index): f"LABEL_{index}" for index in range(labels)}
        config["architectures"] = ["ModelForSequenceClassification"]
        inside, beside = classifier_shapes(family, config, labels)
        shapes = [(FAMILIES[family][0] + name, shape) for name, shape in shapes + inside] + beside
    tensors = {}
    for name, shape in shapes:
        deviation = 0.5 if len(shape) == 1 else 1 / math.sqrt(shape[1])
        centre = 1.0 if len(shape) == 1 and name.endswith("weight") else 0.0
        tensors[name] = centre + deviation * generator.standard_normal(shape)
    os.makedirs(folder, exist_ok=True)
    write_tensors(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)


def load(folder):
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    tensors = read_tensors(os.path.join(folder, "model.safetensors"))
    prefix, model, logits = FAMILIES[config["model_type"]]
    inside = any(name.startswith(prefix) for name in tensors)
    weights = Weights(tensors, prefix if inside else "")

    def vectors(ids, types):
        return model(config, weights, np.array(ids), np.array(types or [0] * len(ids)))

    def scores(x):
        return logits(config, weights, Weights(tensors), x)

    return vectors, scores if inside else None


def run(folder):
    read, score = load(folder)
    sequences = json.load(sys.stdin)["sequences"]
    vectors = [read(sequence["ids"], sequence.get("types")) for sequence in sequences]
    logits = [score(x).tolist() for x in vectors] if score else []
    json.dump({"vectors": [x.tolist() for x in vectors], "logits": logits}, sys.stdout)


def texts(folder):
    from tokenizers import Tokenizer

    read, _score = load(folder)
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    with open(os.path.join(folder, "sentence_bert_config.json")) as file:
        tokenizer.enable_truncation(json.load(file)["max_seq_length"])
    ids = [tokenizer.encode(text).ids for text in json.load(sys.stdin)["texts"]]
    json.dump({"ids": ids, "vectors": [unit_mean(read(each, None)).tolist() for each in ids]}, sys.stdout)


def unit_mean(x):
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"make": make, "run": run, "texts": texts}[command](*arguments)
