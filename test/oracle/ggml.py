"""The numbers of ggml's quantized tensors, as PyPI's gguf computes them."""

import importlib.util
import sys
import types
import zlib

import mlx.core as mx
import numpy as np


def without_the_rest(name):
    """The package without what its `__init__` imports, which needs more than numpy."""
    package = types.ModuleType(name)
    package.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = package


without_the_rest("gguf")

from gguf.constants import GGMLQuantizationType  # noqa: E402
from gguf.gguf_reader import GGUFReader  # noqa: E402
from gguf.quants import dequantize  # noqa: E402


def numbers(data, format):
    """What blocks of a format, which are bytes, hold."""
    with np.errstate(all="ignore"):
        return mx.array(dequantize(np.array(data), GGMLQuantizationType[format]))


readers = {}


def checksum(path, name):
    """The CRC of the numbers of a file's tensor as float32, where zeros have no sign."""
    if path not in readers:
        readers[path] = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    found = readers[path][name]
    return mx.array(zlib.crc32(dequantize(found.data, found.tensor_type) + np.float32(0)), mx.uint32)
