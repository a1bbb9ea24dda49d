"""Calls of layers and functions of mlx.nn with their gradients, as the tests make them in Elixir."""

import mlx.core as mx
import mlx.nn as nn
import mlx.utils as utils


def as_written(fun):
    """`fun` with its operations computed one by one: kernels of compiled functions round in another way."""
    def run(*arguments, **options):
        mx.disable_compile()
        try:
            return fun(*arguments, **options)
        finally:
            mx.enable_compile()
    return run


def listed(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def weighted_sum(outputs):
    """A scalar to which each element of the outputs adds another part of itself."""
    total = mx.array(0.0)
    for output in outputs:
        total = total + mx.sum(output * mx.sin(mx.arange(output.size)).reshape(output.shape))
    return total


def differentiated(arrays):
    return [mx.issubdtype(array.dtype, mx.floating) for array in arrays]


def flat(tree):
    return [array for _, array in sorted(utils.tree_flatten(tree))]


@as_written
def function(fun, *inputs):
    """The outputs of `fun` and the gradients of the inputs."""
    wanted = differentiated(inputs)

    def loss(some):
        some = iter(some)
        outputs = listed(fun(*[next(some) if wants else array for wants, array in zip(wanted, inputs)]))
        return weighted_sum(outputs), outputs

    chosen = [array for wants, array in zip(wanted, inputs) if wants]
    if not chosen:
        return listed(fun(*inputs))
    (_, outputs), gradients = mx.value_and_grad(loss)(chosen)
    return outputs + gradients


@as_written
def layer(layer, names, parameters, inputs, call=None, train=True, gradients=True):
    """
    The outputs of a layer with these parameters, the gradients of the inputs and of the parameters that are trained, and
    all parameters after the call.
    """
    call = call or (lambda layer, *inputs: layer(*inputs))
    layer.load_weights(list(zip(names, parameters)))
    layer.train(train)
    if not gradients:
        return listed(call(layer, *inputs))
    results = function(lambda *inputs: call(layer, *inputs), *inputs)
    layer.update(utils.tree_unflatten(list(zip(names, parameters))))
    trained = layer.trainable_parameters()

    def loss(trained):
        layer.update(trained)
        return weighted_sum(listed(call(layer, *inputs)))

    gradients = flat(mx.grad(loss)(trained)) if utils.tree_flatten(trained) else []
    layer.update(utils.tree_unflatten(list(zip(names, parameters))))
    call(layer, *inputs)
    return results + gradients + flat(layer.parameters())


def initial(make, seed):
    """The parameters of a layer made after a seed."""
    mx.random.seed(seed)
    return flat(make().parameters())


@as_written
def trained(layer, names, parameters, x, y, steps, rate, seed):
    """The losses of steps of gradient descent after a seed, and all parameters after them."""
    layer.load_weights(list(zip(names, parameters)))
    step = nn.value_and_grad(layer, lambda: nn.losses.mse_loss(layer(x), y))
    mx.random.seed(seed)
    values = []
    for _ in range(steps):
        value, gradients = step()
        layer.update(utils.tree_map(lambda array, gradient: array - rate * gradient, layer.trainable_parameters(), gradients))
        values.append(value)
    return values + flat(layer.parameters())
