"""Containers of arrays: lists, tuples, dictionaries, objects of classes derived from these, and the state of the random
numbers."""

from itertools import zip_longest

from ._array import array
from ._random import RandomState


def rebuilt(container, elements):
    """A tuple of the same class; those of `NamedTuple` take their elements one by one."""
    return getattr(type(container), "_make", type(container))(elements)


def copied(container):
    """The same values in containers of their own."""
    if isinstance(container, dict):
        return {key: copied(value) for key, value in container.items()}
    if isinstance(container, list):
        return [copied(value) for value in container]
    if isinstance(container, tuple):
        return rebuilt(container, map(copied, container))
    return container.key if isinstance(container, RandomState) else container


def arrays(container):
    """The arrays, in the order of the elements."""
    if isinstance(container, array):
        return [container]
    if isinstance(container, dict):
        container = container.values()
    elif not isinstance(container, (list, tuple, RandomState)):
        return []
    return [found for value in container for found in arrays(value)]


def changed(container, change):
    """The container with arrays in place of its arrays. Lists and dictionaries stay the same objects."""
    if isinstance(container, array):
        return change(container)
    if isinstance(container, dict):
        for key, value in container.items():
            container[key] = changed(value, change)
    elif isinstance(container, list):
        container[:] = [changed(value, change) for value in container]
    elif isinstance(container, tuple):
        return rebuilt(container, [changed(value, change) for value in container])
    elif isinstance(container, RandomState):
        container.key = change(container.key)
    return container


def filled(container, values):
    """The container with the arrays and the form of another. Lists and dictionaries stay the same objects."""
    if isinstance(container, dict) and isinstance(values, dict):
        for key in container.keys() - values.keys():
            del container[key]
        for key, value in values.items():
            container[key] = filled(container.get(key), value)
    elif isinstance(container, list) and isinstance(values, list):
        container[:] = [filled(former, value) for former, value in zip_longest(container[: len(values)], values)]
    elif isinstance(container, tuple) and isinstance(values, tuple):
        return rebuilt(values, map(filled, container, values))
    elif isinstance(container, RandomState):
        container.key = values
    elif container is None or isinstance(values, array):
        return values
    return container
