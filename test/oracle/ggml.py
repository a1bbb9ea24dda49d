"""The numbers of ggml's quantized tensors, as PyPI's gguf computes them."""

import importlib.util
import sys
import types

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


def formats():
    """Codes and names of the formats that can be computed."""
    def can_be_computed(code):
        try:
            dequantize(np.zeros(0, np.uint8).reshape(0, 4096), code)
        except NotImplementedError:
            return False
        except Exception:
            return True
        return True

    return [code.value for code in GGMLQuantizationType if can_be_computed(code)]


readers = {}


def tensor(path, name):
    """The numbers of a tensor of a file."""
    if path not in readers:
        readers[path] = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    found = readers[path][name]
    return mx.array(dequantize(found.data, found.tensor_type))
