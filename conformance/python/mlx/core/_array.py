"""The class `array`: a handle of an array of the server, with its shape and type, and methods that forward."""

import numpy

from ._connection import BUILDERS, connection
from ._terms import Tagged
from ._types import Dtype

FORWARDED_OPERATORS = """
    abs add and div eq floordiv ge gt invert le lshift lt matmul mod mul ne neg or pos pow radd rdiv rfloordiv rmod rmul rpow
    rshift rsub rtruediv sub truediv xor
""".split()

IN_PLACE_OPERATORS = "add and floordiv lshift matmul mod mul or pow rshift sub truediv xor".split()


def call(name, *arguments, **options):
    return connection.call(f"mlx.core.array.{name}", arguments, options)


class array:
    __slots__ = ("_id", "shape", "dtype", "__weakref__")

    def __init__(self, val, dtype=None):
        self._take(connection.call("mlx.core.array", [val], {"dtype": dtype}))

    def _take(self, other):
        """Becomes the handle of what `other` holds: arrays of MLX change only so."""
        if hasattr(self, "_id"):
            connection.release(self._id)
        self._id, self.shape, self.dtype = other._id, other.shape, other.dtype
        other._id = None

    def _term(self):
        return Tagged("array", self._id)

    def __del__(self):
        if getattr(self, "_id", None) is not None:
            connection.release(self._id)

    def __getattr__(self, name):
        if name.startswith("_") or f"mlx.core.array.{name}" not in METHODS:
            raise AttributeError(f"'array' object has no attribute {name!r}")
        if name in PROPERTIES:
            return call(name, self)
        return lambda *arguments, **options: call(name, self, *arguments, **options)

    __hash__ = object.__hash__

    @property
    def at(self):
        return ArrayAt(self)

    def __getitem__(self, index):
        return call("__getitem__", self, index)

    def __setitem__(self, index, value):
        self._take(call("__setitem__", self, index, value))

    def __len__(self):
        if not self.shape:
            raise TypeError("len() 0-dimensional array.")
        return self.shape[0]

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __bool__(self):
        return bool(call("__bool__", self))

    def __int__(self):
        return int(call("__int__", self))

    def __index__(self):
        return call("__index__", self)

    def __float__(self):
        return float(call("__float__", self))

    def __complex__(self):
        return complex(call("__complex__", self))

    def __copy__(self):
        return call("__copy__", self)

    def __deepcopy__(self, _memo):
        return call("__copy__", self)

    def __repr__(self):
        return call("__repr__", self)

    def __array__(self, dtype=None, copy=None):
        shape, name, data = connection.call("conformance.buffer", [self], {})
        copied = numpy.frombuffer(data, name).reshape(shape).copy()
        return copied if dtype is None else copied.astype(dtype, copy=False)

    def __dlpack__(self, **options):
        return self.__array__().__dlpack__(**options)

    def __dlpack_device__(self):
        return self.__array__().__dlpack_device__()

    def __reduce__(self):
        return unpickle, (connection.call("conformance.bytes", [self], {}), self.shape, self.dtype)

    def __format__(self, specification):
        if not self.shape:
            return format(call("item", self), specification)
        return object.__format__(self, specification)

    def __array_namespace__(self, api_version=None):
        import mlx.core

        if api_version is not None:
            raise ValueError("Explicitly specifying api_version is not yet implemented.")
        return mlx.core


def unpickle(data, shape, dtype):
    return connection.call("conformance.from_bytes", [data, shape, dtype], {})


def define_operator(name):
    def operator(self, *operands):
        return call(name, self, *operands)

    operator.__name__ = name
    setattr(array, name, operator)


def define_in_place(name):
    def operator(self, other):
        self._take(call(name, self, other))
        return self

    operator.__name__ = name
    setattr(array, name, operator)


for word in FORWARDED_OPERATORS:
    define_operator(f"__{word}__")
for word in IN_PLACE_OPERATORS:
    define_in_place(f"__i{word}__")


class ArrayAt:
    """`x.at[index].add(values)`: updates that return a new array."""

    def __init__(self, array):
        self.array = array
        self.index = None

    def __getitem__(self, index):
        self.index = (index,)
        return self

    def __getattr__(self, name):
        def update(value):
            if self.index is None:
                raise ValueError("Must give indices to array.at (e.g. `x.at[0].add(4)`).")
            return connection.call(f"mlx.core.ArrayAt.{name}", [self.array, *self.index, value], {})

        return update


PROPERTIES = {"T", "mT", "real", "imag", "size", "ndim", "itemsize", "nbytes"}

# The names that the server knows, from the mapping table.
METHODS = set()


def build(id, shape, type_name):
    handle = array.__new__(array)
    handle._id, handle.shape, handle.dtype = id, tuple(shape), Dtype(type_name.decode())
    return handle


BUILDERS["array"] = build
