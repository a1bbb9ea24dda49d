"""A small Llama on plain mlx.core: the reference that Mlx.LM is compared with.

    llama.py MODEL.gguf quantized|float32 MAX_TOKENS "ID ID ..." ...

Writes one line for each prompt: the tokens that follow it, chosen greedily, without a stop at end tokens. The second
argument says whether the weights stay quantized or are dequantized while loading.
"""

import sys
import time

import mlx.core as mx


class Linear:
    """y = x W^T, with W quantized in groups of 32 where the file holds it so."""

    def __init__(self, weights, name, form):
        self.weight = weights[f"{name}.weight"]
        self.scales = weights.get(f"{name}.scales")
        if self.scales is not None:
            self.biases = weights[f"{name}.biases"]
            self.group_size = 32
            # Each u32 holds 32 / bits values, and each scale belongs to one group.
            self.bits = self.weight.shape[-1] * 32 // (self.scales.shape[-1] * self.group_size)
            if form == "float32":
                self.weight = self.dequantize(self.weight, self.scales, self.biases)
                mx.eval(self.weight)
                self.scales = None

    def dequantize(self, weight, scales, biases):
        args = [scales.astype(mx.float32), biases.astype(mx.float32), self.group_size, self.bits]
        return mx.dequantize(weight, *args)

    def __call__(self, x):
        if self.scales is None:
            return x @ self.weight.T
        return mx.quantized_matmul(x, self.weight, self.scales, self.biases, True, self.group_size, self.bits)

    def rows(self, ids):
        if self.scales is None:
            return self.weight[ids]
        return self.dequantize(self.weight[ids], self.scales[ids], self.biases[ids])


class Cache:
    """Keys and values of one layer, in a buffer that grows 256 positions at a time."""

    step = 256

    def __init__(self):
        self.keys = self.values = None
        self.offset = 0

    def update(self, keys, values):
        start, self.offset = self.offset, self.offset + keys.shape[2]
        self.keys = self.put(self.keys, keys, start)
        self.values = self.put(self.values, values, start)
        return self.keys[..., : self.offset, :], self.values[..., : self.offset, :]

    def put(self, buffer, new, start):
        if buffer is None or self.offset > buffer.shape[2]:
            length = -(-new.shape[2] // self.step) * self.step
            room = mx.zeros((*new.shape[:2], length, new.shape[3]), new.dtype)
            buffer = room if buffer is None else mx.concatenate([buffer[..., :start, :], room], axis=2)
        buffer[..., start : self.offset, :] = new
        return buffer


class Llama:
    def __init__(self, path, form="quantized"):
        weights, meta = mx.load(path, return_metadata=True)
        self.layers = range(meta["llama.block_count"].item())
        self.heads = meta["llama.attention.head_count"].item()
        self.kv_heads = meta["llama.attention.head_count_kv"].item()
        self.eps = meta["llama.attention.layer_norm_rms_epsilon"].item()
        self.rope_base = meta["llama.rope.freq_base"].item()
        self.rope_dims = meta["llama.rope.dimension_count"].item()
        self.norms = {name: array for name, array in weights.items() if "norm.weight" in name}
        linears = {name.rsplit(".", 1)[0] for name in weights if "norm" not in name}
        self.linears = {name: Linear(weights, name, form) for name in linears}

    def norm(self, name, x):
        return mx.fast.rms_norm(x, self.norms[f"{name}.weight"], self.eps)

    def attention(self, block, x, cache):
        batch, length, width = x.shape

        def project(name, heads):
            y = self.linears[f"{block}.attn_{name}"](x)
            return y.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

        # GGUF files of Llama keep the rows of q and k in the order of the original, interleaved rotation.
        def rotate(y):
            return mx.fast.rope(
                y, self.rope_dims, traditional=True, base=self.rope_base, scale=1.0, offset=cache.offset
            )

        queries, keys = rotate(project("q", self.heads)), rotate(project("k", self.kv_heads))
        keys, values = cache.update(keys, project("v", self.kv_heads))
        scale = queries.shape[-1] ** -0.5
        mask = "causal" if length > 1 else None
        y = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        return self.linears[f"{block}.attn_output"](y.transpose(0, 2, 1, 3).reshape(batch, length, width))

    def mlp(self, block, x):
        gate, up = self.linears[f"{block}.ffn_gate"](x), self.linears[f"{block}.ffn_up"](x)
        return self.linears[f"{block}.ffn_down"](gate * mx.sigmoid(gate) * up)

    def hidden(self, ids, caches):
        """What the last block gives for each of ids, of shape (batch, length) -> (batch, length, width)."""
        x = self.linears["token_embd"].rows(ids)
        for layer in self.layers:
            block = f"blk.{layer}"
            x = x + self.attention(block, self.norm(f"{block}.attn_norm", x), caches[layer])
            x = x + self.mlp(block, self.norm(f"{block}.ffn_norm", x))
        return x

    def output(self, x):
        """Logits of what the last block gives."""
        return self.linears.get("output", self.linears["token_embd"])(self.norm("output_norm", x))

    def __call__(self, ids, caches):
        """Logits of the position after the last of ids, of shape (1, length) -> (1, vocabulary)."""
        return self.output(self.hidden(ids, caches)[:, -1, :])

    def generate(self, prompt, max_tokens):
        """Greedy tokens, the seconds until the first of them and the seconds of the others."""
        caches = [Cache() for _ in self.layers]
        started = time.perf_counter()
        token = mx.argmax(self(mx.array([prompt]), caches), axis=-1)
        tokens = [token.item()]
        first = time.perf_counter()
        for _ in range(max_tokens - 1):
            token = mx.argmax(self(token[None], caches), axis=-1)
            tokens.append(token.item())
        return tokens, first - started, time.perf_counter() - first


def main():
    path, form, max_tokens, *prompts = sys.argv[1:]
    model = Llama(path, form)
    for prompt in prompts:
        tokens, _, _ = model.generate([int(id) for id in prompt.split()], int(max_tokens))
        print(*tokens, flush=True)


if __name__ == "__main__":
    main()
