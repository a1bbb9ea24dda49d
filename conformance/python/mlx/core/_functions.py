"""Functions that Elixir returned, as those of Python."""

import functools

from ._connection import BUILDERS, connection
from ._containers import arrays, changed, copied, filled
from ._handle import Handle


class Function(Handle):
    """A function that Elixir made."""

    TAG = "callable"

    def __call__(self, *arguments, **keywords):
        return connection.call("conformance.apply", [self, list(arguments), keywords], {})


def wrapped(result, fun):
    """The function that Elixir made of `fun`, with its name, signature and documentation. It keeps `fun` alive."""
    return functools.update_wrapper(result, fun, updated=())


def transform(name):
    def function(fun, *arguments, **options):
        return wrapped(connection.call(f"mlx.core.{name}", [connection.reference(fun), *arguments], options), fun)

    function.__name__ = function.__qualname__ = name
    return function


def differentiation(name):
    """A transform whose function is called with the caller's own containers, which hold other arrays meanwhile."""
    make = transform(name)

    def function(fun, *arguments, **options):
        calls = []

        def with_originals(*positional, **keywords):
            call = calls[-1]
            originals = arrays(call)
            filled(call, [list(positional), keywords])
            former = {other._id: original for other, original in zip(arrays(call), originals)}
            try:
                return fun(*call[0], **call[1])
            finally:
                changed(call, lambda current: former.get(current._id, current))

        transformed = make(functools.update_wrapper(with_originals, fun, updated=()), *arguments, **options)

        def called(*positional, **keywords):
            calls.append([list(positional), keywords])
            try:
                return transformed(*positional, **keywords)
            finally:
                calls.pop()

        return wrapped(called, transformed)

    function.__name__ = function.__qualname__ = name
    return function


grad = differentiation("grad")
value_and_grad = differentiation("value_and_grad")
vmap = transform("vmap")
checkpoint = transform("checkpoint")
compile_without_state = transform("compile")


def compile(fun, inputs=None, outputs=None, shapeless=False):
    """A compiled function. Containers that it reads and changes are an argument and a result of what Elixir compiles."""
    if inputs is None and outputs is None:
        return compile_without_state(fun, shapeless=shapeless)

    def with_state(state, *arguments, **keywords):
        originals = copied(inputs)
        filled(inputs, state)
        try:
            return fun(*arguments, **keywords), copied(outputs)
        finally:
            filled(inputs, originals)

    compiled = compile_without_state(with_state, shapeless=shapeless)

    @functools.wraps(fun)
    def function(*arguments, **keywords):
        result, state = compiled(inputs, *arguments, **keywords)
        filled(outputs, state)
        return result

    return function


class custom_function:
    """A function with transforms of its own, which are given one after another."""

    def __init__(self, f):
        self._function = f
        self._transforms = {}
        self._make()

    def _make(self):
        references = {name: connection.reference(fun) for name, fun in self._transforms.items()}
        self._made = connection.call("mlx.core.custom_function", [connection.reference(self._function)], references)

    def _set(self, name, fun):
        self._transforms[name] = fun
        self._make()
        return self

    def vjp(self, f):
        return self._set("vjp", f)

    def jvp(self, f):
        return self._set("jvp", f)

    def vmap(self, f):
        return self._set("vmap", f)

    def __call__(self, *arguments, **keywords):
        return self._made(*arguments, **keywords)


BUILDERS["callable"] = Function
