"""Types of elements, devices and streams. Python compares them by value, so they are values and not handles."""

import enum

from ._connection import BUILDERS, connection
from ._handle import Handle
from ._terms import Tagged


class Dtype:
    """A type, known by its name in Python."""

    __slots__ = ("name",)
    known = {}

    def __new__(cls, name):
        if name not in cls.known:
            cls.known[name] = object.__new__(cls)
            cls.known[name].name = name
        return cls.known[name]

    def __repr__(self):
        return f"mlx.core.{self.name}"

    def _term(self):
        return Tagged("dtype", self.name)

    @property
    def size(self):
        return connection.call("mlx.core.Dtype.size", [self], {})

    def __reduce__(self):
        return Dtype, (self.name,)


class Attributes:
    """What `finfo` and `iinfo` are: an object whose attributes come from the server."""

    def __init__(self, dtype):
        self.__dict__ = connection.call(f"mlx.core.{type(self).__name__}", [dtype], {})


class finfo(Attributes):
    pass


class iinfo(Attributes):
    pass


class DtypeCategory(enum.Enum):
    complexfloating = 0
    floating = 1
    inexact = 2
    signedinteger = 3
    unsignedinteger = 4
    integer = 5
    number = 6
    generic = 7

    def _term(self):
        return Tagged("category", self.name)


class DeviceType(enum.Enum):
    cpu = 0
    gpu = 1

    def __eq__(self, other):
        return other == self if isinstance(other, Device) else self is other

    def __hash__(self):
        return hash(self.name)

    def _term(self):
        return Tagged("device", self.name, 0)


class Device:
    def __init__(self, type, index=0):
        self.type = type.type if isinstance(type, Device) else type
        self.index = index

    def __eq__(self, other):
        if isinstance(other, DeviceType):
            other = Device(other)
        return isinstance(other, Device) and (self.type is other.type) and self.index == other.index

    def __hash__(self):
        return hash((self.type, self.index))

    def __repr__(self):
        return f"Device({self.type.name}, {self.index})"

    def _term(self):
        return Tagged("device", self.type.name, self.index)


class Stream(Handle):
    TAG = "stream"

    def __init__(self, id, device, index):
        super().__init__(id)
        self.device = device
        self.index = index

    def __eq__(self, other):
        return isinstance(other, Stream) and (self.device, self.index) == (other.device, other.index)

    def __hash__(self):
        return hash((self.device, self.index))

    def __repr__(self):
        return f"Stream({self.device}, {self.index})"


class StreamContext:
    """`with mx.stream(...)`: calls inside of the block run on that stream."""

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        connection.enter("mlx.core.stream", [self.stream])
        return self

    def __exit__(self, *_error):
        connection.leave()


BUILDERS["dtype"] = lambda name: Dtype(name.decode())
BUILDERS["device"] = lambda name, index: Device(DeviceType[name], index)
BUILDERS["stream"] = Stream
