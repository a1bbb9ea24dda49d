"""Gradients of PyTorch's convolutions, as functions of their own."""

from .. import _convolution
from .._tensor import Tensor


def per_axis(axes, value):
    return [value] * axes if isinstance(value, int) else list(value)


def settings(axes, stride, padding, dilation, groups):
    return *(per_axis(axes, value) for value in (stride, padding, dilation)), groups


def input_gradient(axes):
    def gradient(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
        chosen = settings(axes, stride, padding, dilation, groups)
        return Tensor(_convolution.spread(grad_output.array, weight.array, input_size[2:], *chosen), weight.dtype)

    return gradient


def weight_gradient(axes):
    def gradient(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
        chosen = settings(axes, stride, padding, dilation, groups)
        return Tensor(_convolution.correlate(input.array, grad_output.array, weight_size[2:], *chosen), input.dtype)

    return gradient


conv1d_input, conv2d_input, conv3d_input = map(input_gradient, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(weight_gradient, (1, 2, 3))
