"""DeepSeek V4 by its definition, position by position and without caches: what Mlx.LM is compared with, since mlx-lm has no
class of it.

    deepseek_v4.py FOLDER    models with random weights in FOLDER/NAME, as families.py makes them; the one of the name
                             "names" has the names of DeepSeek's own files

The definition is that of DeepSeek-AI, "DeepSeek-V4" (2026), sections 2.1 to 2.3.
"""

import json
import math
import pathlib
import re
import sys

import mlx.core as mx

STEPS = 16
CHOSEN, ALL, WINDOW = "compressed_sparse_attention", "heavily_compressed_attention", "sliding_attention"

BASE = {
    "model_type": "deepseek_v4",
    "vocab_size": 128,
    "hidden_size": 64,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 32,
    "q_lora_rank": 64,
    "num_experts_per_tok": 2,
    "n_routed_experts": 8,
    "scoring_func": "sqrtsoftplus",
    "routed_scaling_factor": 1.5,
    "max_position_embeddings": 512,
    "sliding_window": 16,
    "o_groups": 2,
    "o_lora_rank": 32,
    "index_n_heads": 16,
    "index_head_dim": 16,
    "index_topk": 3,
    "hc_mult": 3,
    "hc_sinkhorn_iters": 4,
    "hc_eps": 1e-6,
    "rms_norm_eps": 1e-6,
    "swiglu_limit": 1.0,
    "qk_rope_head_dim": 8,
    "layer_types": [WINDOW, CHOSEN, ALL, CHOSEN],
    "compress_rates": {CHOSEN: 4, ALL: 8},
    "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
    "rope_theta": 10000.0,
    "compress_rope_theta": 160000.0,
    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1},
}
NESTED = {
    "main": {"rope_type": "default", "rope_theta": 5000.0},
    "compress": {"rope_type": "default", "rope_theta": 20000.0},
}
RATIOS = {"layer_types": None, "compress_ratios": [0, 4, 8, 4, 0], "compress_rates": None, "compress_rate_hca": 8}

# name: (length of the prompt, what is different from BASE)
CASES = {
    "plain": (40, {}),
    "short": (3, {}),
    "long": (90, {"index_topk": 5, "scoring_func": "softmax", "o_groups": 4}),
    "names": (40, {**RATIOS, "mlp_layer_types": None, "num_hash_layers": 1}),
    "nested": (40, {"rope_scaling": None, "rope_parameters": NESTED, "scoring_func": "sigmoid", "hc_mult": 2}),
}


def norm(x, eps, weight=None):
    y = x * mx.rsqrt(mx.mean(x * x, axis=-1, keepdims=True) + eps)
    return y if weight is None else y * weight


def frequencies(config, compressed):
    """The angles of one position, and whether they are stretched."""
    dims = config["qk_rope_head_dim"]
    nested = config.get("rope_parameters")
    if nested:
        base, scaling = nested["compress" if compressed else "main"]["rope_theta"], None
    else:
        base = config["compress_rope_theta" if compressed else "rope_theta"]
        scaling = config["rope_scaling"] if compressed else None
    angles = [base ** (-2 * pair / dims) for pair in range(dims // 2)]
    if not scaling:
        return mx.array(angles)
    turns = lambda count: (
        dims * math.log(scaling["original_max_position_embeddings"] / (count * 2 * math.pi)) / (2 * math.log(base))
    )
    low = max(math.floor(turns(scaling["beta_fast"])), 0)
    high = min(math.ceil(turns(scaling["beta_slow"])), dims - 1)
    for pair, angle in enumerate(angles):
        stretched = min(max((pair - low) / max(high - low, 0.001), 0), 1)
        angles[pair] = angle / scaling["factor"] * stretched + angle * (1 - stretched)
    return mx.array(angles)


def rotate(x, positions, angles, back=False):
    """The last features of x, {..., positions, features}, neighbours by neighbours."""
    dims = 2 * angles.size
    kept, pairs = x[..., :-dims], x[..., -dims:].reshape(*x.shape[:-1], -1, 2)
    turn = mx.array(positions, dtype=mx.float32)[:, None] * angles[None]
    cos, sin = mx.cos(turn), mx.sin(turn) * (-1 if back else 1)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = mx.stack([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return mx.concatenate([kept, turned.reshape(*x.shape[:-1], dims)], axis=-1)


def entries(x, weights, path, ratio, overlap, angles, eps):
    """The compressed entries of the windows of x that are complete."""
    kv, gate = x @ weights[f"{path}.kv_proj.weight"].T, x @ weights[f"{path}.gate_proj.weight"].T
    size, made = weights[f"{path}.kv_norm.weight"].size, []
    for window in range(x.shape[0] // ratio):
        own = slice(window * ratio, (window + 1) * ratio)
        rows, scores = kv[own][:, -size:], (gate[own] + weights[f"{path}.position_bias"])[:, -size:]
        if overlap and window:
            before = slice((window - 1) * ratio, window * ratio)
            rows = mx.concatenate([kv[before][:, :size], rows])
            scores = mx.concatenate([(gate[before] + weights[f"{path}.position_bias"])[:, :size], scores])
        entry = norm((mx.softmax(scores, axis=0) * rows).sum(axis=0), eps, weights[f"{path}.kv_norm.weight"])
        made.append(rotate(entry[None], [window * ratio], angles)[0])
    return mx.stack(made) if made else mx.zeros((0, size))


def attention(x, weights, path, config, kind):
    count, heads, size, eps = x.shape[0], config["num_attention_heads"], config["head_dim"], config["rms_norm_eps"]
    positions, angles = list(range(count)), frequencies(config, kind != WINDOW)
    low = norm(x @ weights[f"{path}.q_a_proj.weight"].T, eps, weights[f"{path}.q_a_norm.weight"])
    queries = norm((low @ weights[f"{path}.q_b_proj.weight"].T).reshape(count, heads, size), eps).swapaxes(0, 1)
    queries = rotate(queries, positions, angles)
    keys = norm(x @ weights[f"{path}.kv_proj.weight"].T, eps, weights[f"{path}.kv_norm.weight"])
    keys = rotate(keys, positions, angles)
    if kind != WINDOW:
        ratio = config["compress_rates"][kind]
        pool = entries(x, weights, f"{path}.compressor", ratio, kind == CHOSEN, angles, eps)
    if kind == CHOSEN:
        inner = f"{path}.compressor.indexer"
        index = entries(x, weights, inner, ratio, True, angles, eps)
        asked = (low @ weights[f"{inner}.q_b_proj.weight"].T).reshape(count, config["index_n_heads"], -1).swapaxes(0, 1)
        asked = rotate(asked, positions, angles)
        factors = x @ weights[f"{inner}.scorer.weights_proj.weight"].T
    outputs = []
    for at in positions:
        seen = [keys[max(at - config["sliding_window"] + 1, 0) : at + 1]]
        if kind != WINDOW and (at + 1) // ratio:
            complete = (at + 1) // ratio
            chosen = list(range(complete))
            if kind == CHOSEN:
                worth = (mx.maximum(asked[:, at] @ index[:complete].T, 0) * factors[at][:, None]).sum(axis=0)
                chosen = mx.argsort(-worth)[: config["index_topk"]].tolist()
            seen.append(pool[mx.array(chosen)])
        seen = mx.concatenate(seen)
        scores = queries[:, at] @ seen.T / math.sqrt(size)
        scores = mx.concatenate([scores, weights[f"{path}.sinks"][:, None]], axis=1)
        y = mx.softmax(scores, axis=1)[:, :-1] @ seen
        outputs.append(rotate(y[:, None], [at], angles, back=True)[:, 0])
    groups = config["o_groups"]
    grouped = mx.stack(outputs).reshape(count, groups, -1).swapaxes(0, 1)
    matrices = weights[f"{path}.o_a_proj.weight"].reshape(groups, config["o_lora_rank"], -1)
    return (grouped @ matrices.swapaxes(1, 2)).swapaxes(0, 1).reshape(count, -1) @ weights[f"{path}.o_b_proj.weight"].T


def experts(x, ids, weights, path, config):
    limit, hidden = config["swiglu_limit"], config["moe_intermediate_size"]
    forward = lambda x, gate, up, down: (
        (lambda gate: gate * mx.sigmoid(gate))(mx.minimum(x @ gate.T, limit)) * mx.clip(x @ up.T, -limit, limit)
    ) @ down.T
    logits = x @ weights[f"{path}.gate.weight"].T
    scores = {
        "sqrtsoftplus": lambda: mx.sqrt(mx.logaddexp(logits, 0)),
        "softmax": lambda: mx.softmax(logits, axis=-1),
        "sigmoid": lambda: mx.sigmoid(logits),
    }[config["scoring_func"]]()
    outputs = []
    for row, token in enumerate(ids):
        if f"{path}.gate.tid2eid" in weights:
            chosen = weights[f"{path}.gate.tid2eid"][token].tolist()
        else:
            worth = scores[row] + weights[f"{path}.gate.e_score_correction_bias"]
            chosen = mx.argsort(-worth)[: config["num_experts_per_tok"]].tolist()
        taken = scores[row][mx.array(chosen)]
        taken = taken / taken.sum() * config["routed_scaling_factor"]
        y = mx.zeros_like(x[row])
        for expert, share in zip(chosen, taken):
            both = weights[f"{path}.experts.gate_up_proj"][expert]
            y = y + share * forward(x[row], both[:hidden], both[hidden:], weights[f"{path}.experts.down_proj"][expert])
        outputs.append(y)
    shared = [weights[f"{path}.shared_experts.{name}_proj.weight"] for name in ["gate", "up", "down"]]
    return mx.stack(outputs) + forward(x, *shared)


def connected(streams, weights, path, config, part):
    """What a part takes of the streams, {length, streams, width}, and the streams after it."""
    count, eps = config["hc_mult"], config["hc_eps"]
    mixes = norm(streams.reshape(streams.shape[0], -1), config["rms_norm_eps"]) @ weights[f"{path}.fn"].T
    base, scale = weights[f"{path}.base"], weights[f"{path}.scale"]
    pre = mx.sigmoid(mixes[:, :count] * scale[0] + base[:count]) + eps
    post = 2 * mx.sigmoid(mixes[:, count : 2 * count] * scale[1] + base[count : 2 * count])
    comb = (mixes[:, 2 * count :] * scale[2] + base[2 * count :]).reshape(-1, count, count)
    comb = mx.softmax(comb, axis=-1) + eps
    for turn in range(2 * config["hc_sinkhorn_iters"] - 1):
        comb = comb / (comb.sum(axis=-1 if turn % 2 else -2, keepdims=True) + eps)
    y = part((pre[..., None] * streams).sum(axis=1))
    return post[..., None] * y[:, None] + comb.swapaxes(1, 2) @ streams


def logits(weights, config, ids):
    eps = config["rms_norm_eps"]
    x = weights["model.embed_tokens.weight"][mx.array(ids)]
    streams = mx.repeat(x[:, None], config["hc_mult"], axis=1)
    for layer, kind in enumerate(config["layer_types"]):
        path = f"model.layers.{layer}"
        norms = [weights[f"{path}.{name}_layernorm.weight"] for name in ["input", "post_attention"]]
        attend = lambda x: attention(norm(x, eps, norms[0]), weights, f"{path}.self_attn", config, kind)
        forward = lambda x: experts(norm(x, eps, norms[1]), ids, weights, f"{path}.mlp", config)
        streams = connected(streams, weights, f"{path}.attn_hc", config, attend)
        streams = connected(streams, weights, f"{path}.ffn_hc", config, forward)
        mx.eval(streams)
    head = {part: weights[f"model.hc_head.hc_{part}"] for part in ["fn", "base", "scale"]}
    mixes = norm(streams.reshape(len(ids), -1), eps) @ head["fn"].T
    factors = mx.sigmoid(mixes * head["scale"] + head["base"]) + config["hc_eps"]
    return norm((factors[..., None] * streams).sum(axis=1), eps, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def shapes(config):
    width, heads, size, low = (config[key] for key in ["hidden_size", "num_attention_heads", "head_dim", "q_lora_rank"])
    hidden, streams, count = config["moe_intermediate_size"], config["hc_mult"], config["n_routed_experts"]
    groups, rank = config["o_groups"], config["o_lora_rank"]
    yield from [("model.embed_tokens.weight", (128, width)), ("lm_head.weight", (128, width)), ("model.norm.weight", (width,))]
    yield from [("model.hc_head.hc_fn", (streams, streams * width)), ("model.hc_head.hc_base", (streams,))]
    yield "model.hc_head.hc_scale", (1,)
    for layer, kind in enumerate(config["layer_types"]):
        path = f"model.layers.{layer}"
        for site in ["attn_hc", "ffn_hc"]:
            numbers = (2 + streams) * streams
            yield from [(f"{path}.{site}.fn", (numbers, streams * width)), (f"{path}.{site}.base", (numbers,))]
            yield f"{path}.{site}.scale", (3,)
        for name in ["input", "post_attention"]:
            yield f"{path}.{name}_layernorm.weight", (width,)
        parts = {
            "q_a_proj.weight": (low, width),
            "q_a_norm.weight": (low,),
            "q_b_proj.weight": (heads * size, low),
            "kv_proj.weight": (size, width),
            "kv_norm.weight": (size,),
            "o_a_proj.weight": (groups * rank, heads * size // groups),
            "o_b_proj.weight": (width, groups * rank),
            "sinks": (heads,),
        }
        pools = {} if kind == WINDOW else {"compressor": size}
        if kind == CHOSEN:
            inner, index = "compressor.indexer", config["index_head_dim"]
            pools[inner] = index
            parts[f"{inner}.q_b_proj.weight"] = (config["index_n_heads"] * index, low)
            parts[f"{inner}.scorer.weights_proj.weight"] = (config["index_n_heads"], width)
        for pool, features in pools.items():
            both = features * (2 if kind == CHOSEN else 1)
            parts[f"{pool}.kv_proj.weight"] = parts[f"{pool}.gate_proj.weight"] = (both, width)
            parts[f"{pool}.position_bias"] = (config["compress_rates"][kind], both)
            parts[f"{pool}.kv_norm.weight"] = (features,)
        yield from ((f"{path}.self_attn.{part}", shape) for part, shape in parts.items())
        yield f"{path}.mlp.gate.weight", (count, width)
        if layer == 0:
            yield f"{path}.mlp.gate.tid2eid", (128, config["num_experts_per_tok"])
        else:
            yield f"{path}.mlp.gate.e_score_correction_bias", (count,)
        yield f"{path}.mlp.experts.gate_up_proj", (count, 2 * hidden, width)
        yield f"{path}.mlp.experts.down_proj", (count, width, hidden)
        for name, shape in {"gate": (hidden, width), "up": (hidden, width), "down": (width, hidden)}.items():
            yield f"{path}.mlp.shared_experts.{name}_proj.weight", shape


def random_weight(name, shape, config):
    if name.endswith("tid2eid"):
        experts = [mx.random.permutation(config["n_routed_experts"])[: shape[1]] for _ in range(shape[0])]
        return mx.stack(experts).astype(mx.int64)
    noise = mx.random.normal(shape)
    around_one = len(shape) == 1 and not name.endswith(("base", "sinks"))
    return 1 + 0.2 * noise if around_one else 0.15 * noise


RENAMED = [
    (r"^model\.", ""),
    (r"^lm_head", "head"),
    (r"^embed_tokens", "embed"),
    (r"^hc_head\.hc_", "hc_head_"),
    (r"self_attn\.compressor\.indexer\.(scorer\.)?(weights_proj)", r"attn.indexer.\2"),
    (r"self_attn\.compressor\.indexer\.q_b_proj", "attn.indexer.wq_b"),
    (r"self_attn\.compressor\.indexer\.", "attn.indexer.compressor."),
    (r"self_attn\.", "attn."),
    (r"compressor\.kv_proj", "compressor.wkv"),
    (r"compressor\.gate_proj", "compressor.wgate"),
    (r"compressor\.position_bias", "compressor.ape"),
    (r"compressor\.kv_norm", "compressor.norm"),
    (r"attn\.q_a_proj", "attn.wq_a"),
    (r"attn\.q_a_norm", "attn.q_norm"),
    (r"attn\.q_b_proj", "attn.wq_b"),
    (r"attn\.kv_proj", "attn.wkv"),
    (r"attn\.o_a_proj", "attn.wo_a"),
    (r"attn\.o_b_proj", "attn.wo_b"),
    (r"attn\.sinks", "attn.attn_sink"),
    (r"(attn|ffn)_hc\.", r"hc_\1_"),
    (r"input_layernorm", "attn_norm"),
    (r"post_attention_layernorm", "ffn_norm"),
    (r"\.mlp\.", ".ffn."),
    (r"gate\.e_score_correction_bias", "gate.bias"),
    (r"shared_experts\.gate_proj", "shared_experts.w1"),
    (r"shared_experts\.down_proj", "shared_experts.w2"),
    (r"shared_experts\.up_proj", "shared_experts.w3"),
]


def original(weights):
    """The names of DeepSeek's files, whose experts stand by themselves, with a layer that predicts further tokens."""
    renamed = {"mtp.0.e_proj.weight": mx.zeros((2, 2))}
    for key, value in weights.items():
        for pattern, replacement in RENAMED:
            key = re.sub(pattern, replacement, key)
        path, _, matrix = key.partition(".experts.")
        if matrix == "gate_up_proj":
            for expert, both in enumerate(value):
                for name, part in zip(["w1", "w3"], mx.split(both, 2)):
                    renamed[f"{path}.experts.{expert}.{name}.weight"] = part
        elif matrix == "down_proj":
            renamed.update({f"{path}.experts.{expert}.w2.weight": part for expert, part in enumerate(value)})
        else:
            renamed[key] = value
    return renamed


def main():
    for index, (name, (length, different)) in enumerate(CASES.items()):
        mx.random.seed(index)
        meant = {**BASE, **{key: value for key, value in different.items() if value is not None}}
        config = {key: value for key, value in {**BASE, **different}.items() if value is not None}
        weights = {key: random_weight(key, shape, meant) for key, shape in shapes(meant)}
        ids = mx.random.randint(0, 128, (length,)).tolist()
        tokens, last, steps = [], None, []
        prompt = logits(weights, meant, ids)
        last = prompt[-1]
        for _ in range(STEPS):
            tokens.append(mx.argmax(last).item())
            last = logits(weights, meant, ids + tokens)[-1]
            steps.append(last)
        folder = pathlib.Path(sys.argv[1]) / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        mx.save_safetensors(str(folder / "model.safetensors"), original(weights) if name == "names" else weights)
        expected = {"ids": mx.array([ids]), "prompt": prompt, "steps": mx.stack(steps), "tokens": mx.array(tokens)}
        mx.save_safetensors(str(folder / "expected.safetensors"), expected)


if __name__ == "__main__":
    main()
