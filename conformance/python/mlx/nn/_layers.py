"""Has Elixir answer for the layers, activation functions, losses and initializers of `mlx.nn`.

A layer is an object of Python's class, with its attributes. Python and Elixir make it from the same arguments. Both have to
refuse what one of them refuses, and the arrays have to have the same names, shapes and types; those of Elixir are taken. A
call sends the arrays and layers in it to Elixir, which puts them into its struct and calls that. Arrays that the call
replaces, such as running statistics, come back.
"""

import functools
import inspect
import sys

import mlx.core as mx
from mlx.core._connection import BUILDERS, connection
from mlx.core._functions import Function
from mlx.core._handle import Handle
from mlx.core._terms import Tagged
from mlx.nn.layers.base import Module


class Struct(Handle):
    """A struct that Elixir made, with its arrays and structs by the names of their fields."""

    TAG = "made"

    def __init__(self, id, fields=None):
        super().__init__(id)
        self.fields = fields


BUILDERS["made"] = Struct


def with_fields(struct, fields):
    struct.fields = fields
    return struct


BUILDERS["layer"] = with_fields


def term(value):
    """What Elixir gets for a value: a layer with its arrays, any other model as a function."""
    if isinstance(value, Module):
        struct = vars(value).get("_struct")
        if struct is None:
            return connection.reference(value)
        fields = {name: term(element) for name, element in value.items() if isinstance(element, (mx.array, Module, list))}
        return Tagged("layer", struct, {**fields, "training": value.training})
    if hasattr(value, "_struct"):
        return value._struct
    return [term(element) for element in value] if isinstance(value, list) else value


def call(name, *arguments, **keywords):
    terms = [term(argument) for argument in arguments]
    result = connection.call(name, terms, {key: term(value) for key, value in keywords.items()})
    if isinstance(result, Function):
        # It may call functions among its arguments.
        result.arguments = arguments
    return result


def kind(array):
    return array.shape, array.dtype


def adopt(layer, struct):
    """Gives a layer the arrays of a struct, which have to be of the kinds of its own."""
    layer._struct = struct
    fields = struct.fields
    own = {name for name, value in layer.items() if isinstance(value, mx.array) and not name.startswith("_")}
    theirs = {name for name, value in fields.items() if isinstance(value, mx.array)}
    if own != theirs:
        raise AssertionError(f"{type(layer).__name__}: the arrays of Elixir are {sorted(theirs)}, of Python {sorted(own)}")
    for name, value in fields.items():
        if isinstance(value, Struct):
            adopt(layer[name], value)
        elif isinstance(value, list):
            for element, part in zip(layer[name], value):
                if part is not None:
                    adopt(element, part)
        elif kind(value) != kind(layer[name]):
            raise AssertionError(f"{type(layer).__name__}.{name}: Elixir has {kind(value)}, Python {kind(layer[name])}")
        else:
            layer[name] = value
    return layer


def attempt(function, *arguments, **keywords):
    try:
        return function(*arguments, **keywords), None
    except (ValueError, TypeError, KeyError) as error:
        return None, error


def both(name, python, elixir):
    """What Elixir made where Python made something, too. Errors are Python's: their words are tested."""
    _, refused = python
    struct, refused_here = elixir
    if refused and not refused_here:
        raise AssertionError(f"{name}: Elixir takes what Python refuses: {refused}")
    if refused or refused_here:
        raise refused or refused_here
    return struct


def constructor(name, original, take):
    """`__init__` of both, where `take` gives the object what Elixir made."""

    @functools.wraps(original)
    def __init__(self, *arguments, **keywords):
        python = attempt(original, self, *arguments, **keywords)
        take(self, both(name, python, attempt(call, name, *arguments, **keywords)))

    return __init__


def made_of(name, original):
    @functools.wraps(original.__func__)
    def make(cls, layer, *arguments, **keywords):
        return adopt(original.__func__(cls, layer, *arguments, **keywords), call(name, layer, *arguments, **keywords))

    return classmethod(make)


def method(name, original):
    @functools.wraps(original)
    def called(self, *arguments, **keywords):
        output, changed = call(name, self, *arguments, **keywords)
        if changed is not None:
            adopt(self, changed)
        return output

    return called


def function(name, original):
    return functools.update_wrapper(functools.partial(call, name), original)


def initializer(name, original):
    """An initializer refuses the shape of an array only when it is called."""

    @functools.wraps(original)
    def make(*arguments, **keywords):
        python, elixir = original(*arguments, **keywords), call(name, *arguments, **keywords)
        return lambda *arrays, **options: both(name, attempt(python, *arrays, **options), attempt(elixir, *arrays, **options))

    return make


def replace_everywhere(package, original, replacement):
    """Puts a function in the place of another in all modules of a package, which import it from each other."""
    for name, module in list(sys.modules.items()):
        if name.startswith(package):
            for key in [key for key, value in vars(module).items() if value is original]:
                setattr(module, key, replacement)


def answer_by_elixir():
    """Replaces what has a row in `Mlx.Conformance.LayerSignatures`."""
    package = sys.modules["mlx.nn"]
    for name in connection.call("conformance.networks", [], {}):
        if not name.startswith("mlx.nn."):
            continue
        *path, last = name.removeprefix("mlx.nn.").split(".")
        owner = functools.reduce(getattr, path, package)
        original = inspect.getattr_static(owner, last)
        if inspect.isclass(original):
            original.__init__ = constructor(name, original.__init__, adopt)
        elif isinstance(original, classmethod):
            setattr(owner, last, made_of(name, original))
        elif isinstance(original, staticmethod):
            setattr(owner, last, staticmethod(function(name, original.__func__)))
        elif inspect.isclass(owner):
            setattr(owner, last, method(name, original))
        else:
            kind_of = initializer if name.startswith("mlx.nn.init.") else function
            replace_everywhere("mlx.nn", original, kind_of(name, original))
