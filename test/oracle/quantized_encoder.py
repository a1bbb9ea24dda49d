"""Quantizes the encoder of a folder with MLX, as files of MLX's community have it.

    quantized_encoder.py FOLDER SETTINGS TABLES    reads FOLDER/model.safetensors and config.json. Writes FOLDER/quantized with
                                                   packed matrices, and FOLDER/unpacked with what these stand for. SETTINGS is an
                                                   object of JSON with group_size, bits and mode, and those of single layers
                                                   under their names; TABLES is 1 where tables of positions and types are packed
"""

import json
import pathlib
import sys

import mlx.core as mx

folder, settings, tables = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "1"
config = json.loads((folder / "config.json").read_text())
packed, unpacked = {}, {}

for name, array in mx.load(str(folder / "model.safetensors")).items():
    path = name.removesuffix(".weight")
    own = settings.get(path, settings)
    packing = {key: own[key] for key in ("group_size", "bits", "mode") if key in own}
    table = "position" in name or "token_type" in name
    head = any(part in name for part in ("classifier", "pooler", "head.", "pre_classifier"))
    if array.ndim == 2 and array.shape[1] % packing["group_size"] == 0 and not head and (tables or not table):
        parts = mx.quantize(array, **packing)
        for part, value in zip(("weight", "scales", "biases"), parts):
            packed[f"{path}.{part}"] = value
        unpacked[name] = mx.dequantize(*parts, **packing).astype(mx.float32)
    else:
        packed[name] = unpacked[name] = array

for name, tensors, more in [("quantized", packed, {"quantization": settings}), ("unpacked", unpacked, {})]:
    target = folder / name
    target.mkdir()
    mx.save_safetensors(str(target / "model.safetensors"), tensors)
    (target / "config.json").write_text(json.dumps({**config, **more}))
