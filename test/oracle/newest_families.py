"""The cases of families.py of the newest types of models, some of which have kernels for Metal alone."""

import importlib

import mlx.core as mx
import recurrent_families

WINDOW = 16

KIMI_K3 = {
    **recurrent_families.KIMI_LINEAR,
    "hidden_act": "situ",
    "num_hidden_layers": 5,
    "linear_attn_config": {
        **recurrent_families.KIMI_LINEAR["linear_attn_config"],
        "kda_layers": [1, 2, 4],
        "gate_lower_bound": -5.0,
        "use_full_rank_gate": True,
    },
    "q_lora_rank": 64,
    "v_head_dim": 32,
    "attn_res_block_size": 2,
    "activation_situ_beta": 1.5,
    "activation_situ_linear_beta": 2.5,
    "mla_use_output_gate": True,
    "routed_expert_hidden_size": 64,
    "latent_moe_use_norm": True,
}
LONGCAT_NGRAM = {
    "vocab_size": 128,
    "hidden_size": 256,
    "ngram_vocab_size_ratio": 3,
    "emb_neighbor_num": 3,
    "emb_split_num": 2,
}
MUSE_SPARK = {
    "model_type": "muse_spark_text",
    "num_hidden_layers": 4,
    "head_dim": 16,
    "post_norm_eps": 1e-3,
    "rope_parameters": {"rope_theta": 5000.0},
    "layer_rope_theta": [5000.0, 5000.0, 0, 5000.0],
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "full_attention"],
    "sliding_window": WINDOW,
    "final_logit_softcapping": 20.0,
    "output_multiplier": 0.5,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_hidden_size": 64,
    "moe_intermediate_size": 64,
    "routed_scaling_factor": 1.5,
}
DEEPSEEK_V41 = {
    "intermediate_size": None,
    "num_key_value_heads": None,
    "num_hidden_layers": 6,
    "head_dim": 40,
    "q_lora_rank": 64,
    "qk_rope_head_dim": 8,
    "o_groups": 2,
    "o_lora_rank": 32,
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "gate_temp": 1.5,
    "swiglu_limit": 1.0,
    "rms_norm_eps": 1e-20,
    "sliding_window": WINDOW,
    "compress_ratios": [0, 4, 4, 4, 4, 0],
    "kv_source_layer_ids": [1, 3],
    "index_source_layer_ids": [1, 2, 3],
    "candidate_source_layer_id": 1,
    "candidate_topk_blocks": 4,
    "candidate_block_size": 2,
    "index_n_heads": 16,
    "index_head_dim": 24,
    "index_topk": 5,
    "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 32, "beta_slow": 1},
    "hc_mult": 3,
    "hc_sinkhorn_iters": 4,
}
PRISM_LAYERS = ["linear_attn.in_proj_qkv", "linear_attn.out_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
PRISM_BLOCKS = {
    "model.embed_tokens": 512,
    **{f"model.layers.0.{path}": 512 for path in PRISM_LAYERS},
    "model.layers.0.mlp.down_proj": 1024,
    "model.layers.1.self_attn.q_proj": 512,
    "model.layers.1.self_attn.k_proj": 0,
    "model.layers.1.self_attn.v_proj": 512,
}


def prism(text, blocks):
    """A model of Qwen 3.5 whose packed matrices have blocks of these sizes by their paths."""
    sizes = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "linear_value_head_dim": 128}
    return {
        "text_config": {**text, **recurrent_families.QWEN3_5, **sizes},
        "schema_version": 2,
        "tensor_namespace": "mlx-vlm-qwen3_5",
        "quantization": {"bits": 2, "group_size": 128, "mode": "affine"},
        "modules": [
            {"path": path, "embedding": path.endswith("embed_tokens"), "dtype": "float16", "block": block}
            for path, block in blocks.items()
        ],
    }


def cases(base, longcat):
    """As CASES of families.py, for its BASE and LONGCAT."""
    text = {key: value for key, value in base.items() if key not in ("intermediate_size", "rope_theta")}
    return {
        "kimi_k3": ("kimi_k3", {"text_config": {**base, **KIMI_K3}}),
        "kimi_k3-long": (
            "kimi_k3",
            {
                **KIMI_K3,
                "linear_attn_config": recurrent_families.KIMI_LINEAR["linear_attn_config"],
                "q_lora_rank": None,
                "attn_res_block_size": 3,
                "activation_situ_linear_beta": None,
                "mla_use_output_gate": False,
                "routed_expert_hidden_size": None,
                "num_shared_experts": 0,
                "tie_word_embeddings": True,
            },
        ),
        "longcat_flash_ngram": ("longcat_flash_ngram", {**longcat, **LONGCAT_NGRAM}),
        "longcat_flash_ngram-four": (
            "longcat_flash_ngram",
            {**longcat, **LONGCAT_NGRAM, "ngram_vocab_size_ratio": 7, "emb_neighbor_num": 4, "emb_split_num": 1, "q_lora_rank": 32},
        ),
        "muse_spark": ("muse_spark", {"text_config": {**text, **MUSE_SPARK}}),
        "deepseek_v41": ("deepseek_v41", DEEPSEEK_V41),
        "deepseek_v41-rounded": (
            "deepseek_v41",
            {
                **DEEPSEEK_V41,
                "num_hidden_layers": 2,
                "kv_source_layer_ids": [1],
                "index_source_layer_ids": [1],
                "head_dim": 32,
                "index_head_dim": 32,
                "scoring_func": "sigmoid",
                "candidate_source_layer_id": -1,
            },
        ),
        "deepseek_v41-ones": (
            "deepseek_v41",
            {
                **DEEPSEEK_V41,
                "num_hidden_layers": 3,
                "compress_ratios": [0, 1, 1],
                "kv_source_layer_ids": [1],
                "index_source_layer_ids": [2],
                "rope_scaling": None,
                "swiglu_limit": 0.0,
                "scoring_func": "softmax",
            },
        ),
        "deepseek_v41-long": (
            "deepseek_v41",
            {**DEEPSEEK_V41, "compress_ratios": [4, 4], "kv_source_layer_ids": [0, 1], "index_source_layer_ids": [0], "num_hidden_layers": 3},
        ),
        "prism_hadamard_qwen35": ("prism_hadamard_qwen35", prism({**base, "tie_word_embeddings": True}, PRISM_BLOCKS)),
        "prism_hadamard_qwen35-head": (
            "prism_hadamard_qwen35",
            prism(base, {"lm_head": 512, "model.layers.1.self_attn.o_proj": 0}),
        ),
    }


def prepare(module, model):
    """Gives a model random weights that are not like those of others."""
    if module == "muse_spark":
        coefficients = importlib.import_module("mlx_lm.models.muse_spark").residual_gate_coefficients
        for layer in model.layers:
            for gate in ["add_attn", "add_ffn"]:
                alpha, beta = coefficients(mx.random.normal((64,)) * 0.5)
                layer.update({f"{gate}_alpha": alpha, f"{gate}_beta": beta})
    if module == "prism_hadamard_qwen35":
        for path, layer in model.named_modules():
            if "biases" in layer:
                rows, columns = layer.weight.shape[0], layer.weight.shape[1] * 16
                matrix = mx.quantize(0.1 * mx.random.normal((rows, columns)), group_size=128, bits=2)
                layer.update(dict(zip(["weight", "scales", "biases"], matrix)))
            if "signs" in layer:
                layer.signs = mx.sign(mx.random.normal(layer.signs.shape))


class InFull:
    """mlx.core for a class that rounds to 16 bits."""

    bfloat16 = float16 = mx.float32

    def __getattr__(self, name):
        return getattr(mx, name)


def queries_and_keys(qkvg, *, n_heads, n_kv_heads, head_dim, eps, query_scale, rope_base=None, offset=0):
    heads = qkvg[..., : (n_heads + n_kv_heads) * head_dim].reshape(*qkvg.shape[:-1], -1, head_dim)
    heads = mx.fast.rms_norm(heads, None, eps).swapaxes(1, 2)
    heads = mx.concatenate([heads[:, :n_heads] * query_scale, heads[:, n_heads:]], axis=1)
    if rope_base:
        heads = mx.fast.rope(heads, head_dim, traditional=True, base=rope_base, scale=1.0, offset=offset)
    return mx.split(heads.swapaxes(1, 2), [n_heads], axis=2)


def chosen_experts(logits, bias, *, top_k, multiplier, score_eps, route_scale):
    scores = mx.sigmoid(logits * multiplier)
    chosen = mx.argsort(-(scores + bias), axis=-1)[..., :top_k]
    weights = mx.take_along_axis(scores, chosen, axis=-1)
    return chosen, weights / (weights.sum(-1, keepdims=True) + score_eps) * route_scale


def norm_and_sum(experts, weights, *, norm_weight, eps):
    return (mx.fast.rms_norm(experts * norm_weight, None, eps) * weights[..., None]).sum(-2)


def norm_add_norm(branch, stream, *, alpha, beta, post_weight, post_eps, next_norm):
    branch = branch if post_weight is None else branch * post_weight
    stream = alpha * stream + beta * mx.fast.rms_norm(branch, None, post_eps)
    return stream, next_norm and next_norm(stream)


def norm_and_gate(x, gate, *, eps):
    heads = mx.fast.rms_norm(x, None, eps).swapaxes(1, 2)
    return heads.flatten(2, 3) * mx.sigmoid(gate)


def replace_kernels():
    """Puts what kernels for Metal compute into their classes, which are in full precision then."""
    spark = importlib.import_module("mlx_lm.models.muse_spark")
    spark.mx = importlib.import_module("mlx_lm.models.prism_hadamard_qwen35").mx = InFull()
    spark.qk_norm, spark.qk_norm_rope, spark.expert_routing = queries_and_keys, queries_and_keys, chosen_experts
    spark.post_expert_norm_combine, spark.norm_add_norm = norm_and_sum, norm_add_norm
    spark.rms_norm_sigmoid_gate = norm_and_gate


def kimi_k3_names(weights):
    """The names and shapes of files of Kimi K3, in which matrices of the delta rule are apart."""
    renamed = {}
    for key, value in recurrent_families.kimi_names(weights).items():
        for mean in ["self_attention_res", "mlp_res", "output_attn_res"]:
            for part in ["proj", "norm"]:
                key = key.replace(f"{mean}_{part}.weight", f"{mean}.{part}_weight")
        for name in ["qkv_proj.", "qkv_conv1d."]:
            if name in key:
                parts = zip("qkv", mx.split(value, 3))
                renamed.update({key.replace("qkv", part): rows for part, rows in parts})
                break
        else:
            renamed[key.replace("block_sparse_moe.gate.e_score", "block_sparse_moe.e_score")] = value
    return renamed


def muse_spark_files(weights, stacked):
    """The names and shapes of Hugging Face's files: a number for each gate of the stream, weights less one, and rows for pairs
    of features that are half a head apart."""
    centered = ("input_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm", "expert_norm")
    gates = {"add_attn_beta": "post_attention_residual_gate.gate", "add_ffn_beta": "post_feedforward_residual_gate.gate"}
    norms = {key: value for key, value in weights.items() if ".experts.post_expert_norm." in key}
    renamed = {}
    for key, value in {**stacked(weights), **norms}.items():
        path, name = key.rsplit(".", 1)
        if name in gates:
            renamed[f"{path}.{gates[name]}"] = 0.3 * (mx.log(value) - mx.log(1 - value))
        elif path.endswith(centered):
            renamed[key] = value - 1
        elif path.endswith("qkvg_proj"):
            heads = value.reshape(-1, 8, 2, value.shape[-1]).swapaxes(1, 2).reshape(-1, value.shape[-1])
            for part, rows, apart in zip(["q", "k", "v", "gate"], mx.split(value, [64, 96, 128]), mx.split(heads, [64, 96, 128])):
                renamed[key.replace("qkvg", part)] = apart if part in "qk" else rows
        elif not name.endswith("_alpha"):
            renamed[key] = value
    return renamed


def HF(join_latent, stacked):
    """The names and shapes that Hugging Face's files have, by the names of cases."""
    return {
        "kimi_k3": kimi_k3_names,
        "longcat_flash_ngram": lambda weights: {
            key.replace("ngram_embeddings.word_embeddings", "embed_tokens"): value
            for key, value in join_latent(weights).items()
        },
        "muse_spark": lambda weights: muse_spark_files(weights, stacked),
    }
