"""Has Elixir answer for the optimizers and schedules of `mlx.optimizers`.

An optimizer is an object of Python's class, which holds its state. Python and Elixir make it from the same arguments. Each
step sends the state to Elixir, and takes the new one.
"""

import functools
import sys

import mlx.core as mx
from mlx.core._connection import connection
from mlx.nn._layers import call, constructor, function, replace_everywhere
from mlx.utils import tree_map

SHARED = ("step", "learning_rate")


def take(optimizer, struct):
    optimizer._struct = struct


def no_states(parameters):
    return tree_map(lambda _: {}, parameters)


def put(state, new, parameters, replace):
    """Puts what Elixir remembers of parameters into the state, which stays the same object. Without `replace` only what the
    state lacks."""
    if isinstance(parameters, mx.array):
        if replace or not state:
            state.update(new)
    elif isinstance(parameters, dict):
        for key, value in parameters.items():
            put(state.setdefault(key, no_states(value)), new.get(key, {}), value, replace)
    elif isinstance(parameters, (list, tuple)):
        if len(state) < len(parameters):
            state.extend(no_states(list(parameters[len(state) :])))
        for index, value in enumerate(parameters):
            put(state[index], new.get(index, {}), value, replace)


def put_state(optimizer, new, parameters, replace):
    if "states" in new:
        for part, state in zip(optimizer.optimizers, new["states"]):
            put_state(part, state, parameters, replace)
        return
    for name in SHARED:
        if name in new and (replace or name not in optimizer.state):
            optimizer.state[name] = new[name]
    put(optimizer.state, new, parameters_of(new, parameters), replace)
    optimizer._initialized = True


def parameters_of(state, parameters):
    """The parameters of which there is a state: an optimizer among several has those of some."""
    if isinstance(parameters, dict):
        kept = {key: value for key, value in parameters.items() if key in state or value in ({}, [], ())}
        return {key: parameters_of(state.get(key, {}), value) for key, value in kept.items()}
    if isinstance(parameters, (list, tuple)):
        return type(parameters)([parameters_of(state.get(index, {}), value) for index, value in enumerate(parameters)])
    return parameters


def initialized(optimizer):
    return all(map(initialized, getattr(optimizer, "optimizers", []))) and (
        hasattr(optimizer, "optimizers") or optimizer._initialized
    )


def init(self, parameters):
    put_state(self, call("mlx.optimizers.Optimizer.init", self, parameters), parameters, replace=False)


def apply_gradients(self, gradients, parameters):
    if not initialized(self):
        self.init(gradients)
    parameters = tree_map(lambda _, parameter: parameter, gradients, parameters)
    result, state = call("mlx.optimizers.Optimizer.apply_gradients", self, gradients, parameters, self.state)
    put_state(self, state, gradients, replace=True)
    return result


METHODS = {"init": init, "apply_gradients": apply_gradients}


def answer_by_elixir():
    """Replaces what has a row in `Mlx.Conformance.OptimizerSignatures`."""
    package = sys.modules["mlx.optimizers"]
    for name in connection.call("conformance.networks", [], {}):
        if not name.startswith("mlx.optimizers."):
            continue
        last = name.rpartition(".")[2]
        if last in METHODS:
            for owner in package.Optimizer, package.MultiOptimizer:
                setattr(owner, last, functools.wraps(getattr(owner, last))(METHODS[last]))
            continue
        original = getattr(package, last)
        if isinstance(original, type):
            original.__init__ = constructor(name, original.__init__, take)
        else:
            replace_everywhere("mlx.optimizers", original, function(name, original))
