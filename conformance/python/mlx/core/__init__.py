"""`mlx.core` as MLX's own tests know it. Nothing is computed here: every function and method is a request to an Elixir
process, which looks its name up (`test/support/python_names.ex`) and calls the function of `Mlx` that stands there.

What is written in Python is only what cannot be a request: classes whose objects Python compares, contexts, and the
protocols of the language (operators, iteration, conversion to numpy).
"""

import sys
import types

import numpy

from ..__array_api_info import __array_namespace_info__
from . import _array
from ._array import ArrayAt, array
from ._connection import connection
from ._distributed import Group
from ._exports import FunctionExporter, export_function, export_to_dot, exporter
from ._functions import checkpoint, compile, custom_function, grad, value_and_grad, vmap
from ._random import RandomState
from ._terms import is_tensor
from ._types import Device, DeviceType, Dtype, DtypeCategory, Stream, StreamContext, finfo, iinfo

SUBMODULES = ("random", "fft", "linalg", "fast", "metal", "cuda", "distributed")
MEMBERS = {"distributed": {"Group": Group}, "random": {"state": RandomState()}}

bool_ = Dtype("bool")
uint8, uint16, uint32, uint64 = map(Dtype, ("uint8", "uint16", "uint32", "uint64"))
int8, int16, int32, int64 = map(Dtype, ("int8", "int16", "int32", "int64"))
float16, bfloat16, float32, float64 = map(Dtype, ("float16", "bfloat16", "float32", "float64"))
complex64 = Dtype("complex64")

cpu, gpu = DeviceType.cpu, DeviceType.gpu
stream = StreamContext
newaxis = None
globals().update({category.name: category for category in DtypeCategory})


def forward(name):
    """The function that asks the server for `name`."""

    def function(*arguments, **options):
        return connection.call(name, arguments, options)

    function.__name__ = function.__qualname__ = name.rsplit(".", 1)[1]
    return function


def from_dlpack(x, /, *, copy=None):
    """An array of what another library holds, whose bytes numpy reads."""
    try:
        return asarray(numpy.from_dlpack(x.cpu() if is_tensor(x) else x), copy=copy)
    except BufferError as error:
        raise ValueError(str(error)) from error


def fill():
    """Puts functions and constants into this module and its submodules, as the server lists them."""
    listed = connection.call("conformance.names", [], {})
    for submodule in SUBMODULES:
        module = types.ModuleType(f"{__name__}.{submodule}")
        sys.modules[module.__name__] = module
        globals()[submodule] = module
        vars(module).update(MEMBERS.get(submodule, {}))
    for name, value in listed.items():
        path, _, last = name.rpartition(".")
        if path == "mlx.core.array":
            _array.METHODS.add(name)
        elif path in sys.modules and last not in vars(sys.modules[path]):
            setattr(sys.modules[path], last, forward(name) if value is None else value)


fill()
__version__ = connection.call("conformance.version", [], {})
