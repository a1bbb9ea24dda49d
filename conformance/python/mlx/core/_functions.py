"""Functions that Elixir returned, as those of Python."""

import functools

from ._connection import BUILDERS, connection
from ._terms import Tagged


class Function:
    """A transformed function: a handle of a function of the server."""

    def __init__(self, id):
        self._id = id

    def __call__(self, *arguments, **keywords):
        return connection.call("conformance.apply", [self, list(arguments), keywords], {})

    def _term(self):
        return Tagged("callable", self._id)

    def __del__(self):
        connection.release(self._id)


def wrapped(result, fun):
    """The function that Elixir made of `fun`, with its name, signature and documentation. It keeps `fun` alive."""
    return functools.update_wrapper(result, fun, updated=())


def transform(name):
    def function(fun, *arguments, **options):
        return wrapped(connection.call(f"mlx.core.{name}", [fun, *arguments], options), fun)

    function.__name__ = function.__qualname__ = name
    return function


grad = transform("grad")
value_and_grad = transform("value_and_grad")
vmap = transform("vmap")
compile_without_state = transform("compile")


def compile(fun, inputs=None, outputs=None, shapeless=False):
    """A compiled function. Containers that it reads and changes are an argument and a result of what Elixir compiles."""
    if inputs is None and outputs is None:
        return compile_without_state(fun, shapeless=shapeless)

    def with_state(state, *arguments, **keywords):
        originals = copied(inputs)
        update(inputs, state)
        try:
            return fun(*arguments, **keywords), copied(outputs)
        finally:
            update(inputs, originals)

    compiled = compile_without_state(with_state, shapeless=shapeless)

    @functools.wraps(fun)
    def function(*arguments, **keywords):
        result, state = compiled(inputs, *arguments, **keywords)
        update(outputs, state)
        return result

    return function


def copied(container):
    """The same values in containers of their own."""
    if isinstance(container, dict):
        return {key: copied(value) for key, value in container.items()}
    if isinstance(container, (list, tuple)):
        return type(container)(map(copied, container))
    return container


def update(container, other):
    """Puts the values of another container into this one."""
    if container is None:
        return
    for key, value in other.items() if isinstance(other, dict) else enumerate(other):
        if isinstance(value, (dict, list, tuple)):
            update(container[key], value)
        else:
            container[key] = value


BUILDERS["callable"] = Function
