"""Python values as terms of Erlang's external format, and back.

What Erlang has no term for is a tuple whose first element is an atom: `{tuple, List}`, `{complex, Real, Imaginary}`,
`{array, Id}`. A binary is text on the way out, and bytes on the way in, where text is `{text, Binary}`. An object says how it is written with a method `_term`, which returns a `Tagged`.
"""

import math
import os
import struct

import numpy

VERSION = 131
NEW_FLOAT, SMALL_INTEGER, INTEGER, SMALL_BIG, LARGE_BIG = 70, 97, 98, 110, 111
SMALL_TUPLE, LARGE_TUPLE, NIL, STRING, LIST, BINARY, MAP = 104, 105, 106, 107, 108, 109, 116
ATOM, SMALL_UTF8_ATOM, UTF8_ATOM = 100, 119, 118

WORDS = {"nil": None, "true": True, "false": False, "nan": math.nan, "infinity": math.inf, "neg_infinity": -math.inf}


class Tagged:
    """A tuple of Erlang that begins with an atom."""

    __slots__ = ("tag", "fields")

    def __init__(self, tag, *fields):
        self.tag = tag
        self.fields = fields


class Opaque:
    """Stands for an object that means nothing on the other side but its type."""

    def __init__(self, value):
        self.type_name = type(value).__name__

    def _term(self):
        return Tagged("opaque", self.type_name)


def encode(value):
    """The bytes of a value."""
    out = bytearray([VERSION])
    put(out, value)
    return bytes(out)


def put(out, value):
    writer = WRITERS.get(type(value))
    if writer is None:
        writer = writer_of(value)
    writer(out, value)


def put_atom(out, name):
    text = name.encode()
    out += bytes((SMALL_UTF8_ATOM, len(text))) + text


def put_word(word):
    def put_it(out, _value):
        put_atom(out, word)

    return put_it


def put_boolean(out, value):
    put_atom(out, "true" if value else "false")


def put_integer(out, value):
    if 0 <= value < 256:
        out += bytes((SMALL_INTEGER, value))
    elif -(1 << 31) <= value < 1 << 31:
        out += struct.pack(">Bi", INTEGER, value)
    else:
        magnitude = abs(value)
        size = (magnitude.bit_length() + 7) // 8
        out += struct.pack(">BBB", SMALL_BIG, size, value < 0) + magnitude.to_bytes(size, "little")


def put_float(out, value):
    if math.isnan(value):
        put_atom(out, "nan")
    elif math.isinf(value):
        put_atom(out, "infinity" if value > 0 else "neg_infinity")
    else:
        out += struct.pack(">Bd", NEW_FLOAT, value)


def put_binary(out, value):
    out += struct.pack(">BI", BINARY, len(value))
    out += value


def put_text(out, value):
    put_binary(out, value.encode())


def put_list(out, value):
    if value:
        out += struct.pack(">BI", LIST, len(value))
        for element in value:
            put(out, element)
    out.append(NIL)


def put_map(out, value):
    out += struct.pack(">BI", MAP, len(value))
    for key, element in value.items():
        put(out, key)
        put(out, element)


def put_tagged(out, value):
    out += bytes((SMALL_TUPLE, len(value.fields) + 1))
    put_atom(out, value.tag)
    for field in value.fields:
        put(out, field)


def put_tuple(out, value):
    put_tagged(out, Tagged("tuple", list(value)))


# The classes derived from `tuple` whose objects were sent, by the number of the class.
TUPLE_CLASSES = {}


def put_instance(out, value):
    TUPLE_CLASSES[id(type(value))] = type(value)
    put_tagged(out, Tagged("instance", id(type(value)), list(value)))


def instance(class_id, elements):
    """An object of a class derived from `tuple`; those of `NamedTuple` take their elements one by one."""
    tuple_class = TUPLE_CLASSES[class_id]
    return getattr(tuple_class, "_make", tuple_class)(elements)


def put_complex(out, value):
    put_tagged(out, Tagged("complex", value.real, value.imag))


def put_bytes(out, value):
    out += bytes((SMALL_TUPLE, 2))
    put_atom(out, "bytes")
    put_binary(out, value)


def put_slice(out, value):
    put_tagged(out, Tagged("slice", value.start, value.stop, value.step))


def put_buffer(out, value, type_name=None):
    """An array or a number of numpy: its shape, the name of its type, and its bytes row after row."""
    array = numpy.asarray(value)
    if array.dtype == numpy.complex128:
        array = array.astype(numpy.complex64)
    out += bytes((SMALL_TUPLE, 4))
    put_atom(out, "buffer")
    put_list(out, array.shape)
    put_text(out, type_name or array.dtype.newbyteorder("=").name)
    put_binary(out, numpy.ascontiguousarray(array, array.dtype.newbyteorder("=")).tobytes())


def put_tensor(out, value):
    """A tensor of PyTorch. Numpy has no bfloat16: its bits are those of integers."""
    import torch

    value = value.detach().cpu()
    if value.dtype == torch.bfloat16:
        put_buffer(out, value.view(torch.int16).numpy(), "bfloat16")
    else:
        put_buffer(out, value.numpy())


def is_tensor(value):
    return type(value).__module__ == "torch" and hasattr(value, "__dlpack__")


def is_buffer(value):
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


def put_memory(out, value):
    put_buffer(out, memoryview(value))


def put_object(out, value):
    put_tagged(out, value._term())


def put_path(out, value):
    put(out, os.fspath(value))


def put_file(out, value):
    put_tagged(out, Tagged("file", value.name))


def put_array_like(out, value):
    put(out, value.__mlx_array__())


def put_opaque(out, value):
    put_tagged(out, Opaque(value)._term())


WRITERS = {
    type(None): put_word("nil"),
    type(...): put_word("ellipsis"),
    bool: put_boolean,
    int: put_integer,
    float: put_float,
    complex: put_complex,
    str: put_text,
    bytes: put_bytes,
    bytearray: put_bytes,
    list: put_list,
    tuple: put_tuple,
    dict: put_map,
    slice: put_slice,
    Tagged: put_tagged,
}

# Tried in this order for what is of another type.
CLASSES = [
    (bool, put_boolean),
    (int, put_integer),
    (float, put_float),
    (complex, put_complex),
    (str, put_text),
    (list, put_list),
    (tuple, put_instance),
    (dict, put_map),
    ((bytes, bytearray), put_bytes),
    (os.PathLike, put_path),
    ((numpy.ndarray, numpy.generic), put_buffer),
]


def writer_of(value):
    if hasattr(value, "_term"):
        return put_object
    for kind, writer in CLASSES:
        if isinstance(value, kind):
            return writer
    if hasattr(value, "__mlx_array__"):
        return put_array_like
    if hasattr(value, "fileno") and hasattr(value, "name"):
        return put_file
    if is_tensor(value):
        return put_tensor
    if is_buffer(value):
        return put_memory
    if callable(value):
        return CALLABLE_WRITER[0]
    return put_opaque


# How functions are written is known to the connection, which has to call them.
CALLABLE_WRITER = [put_opaque]


class Reader:
    """Reads one term. `builders` makes Python values of tagged tuples."""

    def __init__(self, data, builders):
        self.data = data
        self.position = 1
        self.builders = builders

    def take(self, size):
        start = self.position
        self.position = start + size
        return self.data[start : start + size]

    def unpack(self, layout, size):
        return struct.unpack(layout, self.take(size))[0]

    def read(self):
        tag = self.data[self.position]
        self.position += 1
        return self.READERS[tag](self)

    def read_items(self, count):
        return [self.read() for _ in range(count)]

    def read_list(self):
        items = self.read_items(self.unpack(">I", 4))
        self.position += 1
        return items

    def read_map(self):
        count = self.unpack(">I", 4)
        return {self.read(): self.read() for _ in range(count)}

    def read_big(self, size):
        negative = self.take(1)[0]
        magnitude = int.from_bytes(self.take(size), "little")
        return -magnitude if negative else magnitude

    def read_atom(self, size):
        name = self.take(size).decode()
        return WORDS[name] if name in WORDS else name

    def read_tuple(self, count):
        tag, *fields = self.read_items(count)
        return self.builders[tag](*fields)

    READERS = {
        NEW_FLOAT: lambda self: self.unpack(">d", 8),
        SMALL_INTEGER: lambda self: self.take(1)[0],
        INTEGER: lambda self: self.unpack(">i", 4),
        SMALL_BIG: lambda self: self.read_big(self.take(1)[0]),
        LARGE_BIG: lambda self: self.read_big(self.unpack(">I", 4)),
        NIL: lambda self: [],
        STRING: lambda self: list(self.take(self.unpack(">H", 2))),
        LIST: read_list,
        BINARY: lambda self: self.take(self.unpack(">I", 4)),
        MAP: read_map,
        ATOM: lambda self: self.read_atom(self.unpack(">H", 2)),
        UTF8_ATOM: lambda self: self.read_atom(self.unpack(">H", 2)),
        SMALL_UTF8_ATOM: lambda self: self.read_atom(self.take(1)[0]),
        SMALL_TUPLE: lambda self: self.read_tuple(self.take(1)[0]),
        LARGE_TUPLE: lambda self: self.read_tuple(self.unpack(">I", 4)),
    }
