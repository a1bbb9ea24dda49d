"""The Python side of bench/lora_losses: mlx-lm's logits with the adapter that Mlx has written, of the fused folder, and before.

    lora_logits.py FOLDER

FOLDER has model, adapter, fused and ids.safetensors, and gets logits.safetensors.
"""

import pathlib
import sys

import mlx.core as mx
from mlx_lm.utils import load

folder = pathlib.Path(sys.argv[1])
ids = mx.load(str(folder / "ids.safetensors"))["ids"]
folders = {"adapter": ("model", "adapter"), "fused": ("fused", None), "start": ("model", None)}
logits = {}
for name, (path, adapter) in folders.items():
    model, _tokenizer = load(str(folder / path), adapter_path=adapter and str(folder / adapter))
    logits[name] = model(ids)
    mx.eval(logits[name])
mx.save_safetensors(str(folder / "logits.safetensors"), logits)
