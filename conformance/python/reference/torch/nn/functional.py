"""Convolutions of PyTorch."""

from .. import _convolution
from .._tensor import Tensor
from . import grad


def convolution(axes):
    def conv(input, weight, stride=1, padding=0, dilation=1, groups=1):
        settings = grad.settings(axes, stride, padding, dilation, groups)
        return Tensor(_convolution.convolve(input.array, weight.array, *settings), input.dtype)

    return conv


def transposed_convolution(axes):
    def conv(input, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
        settings = stride, padding, dilation, groups = grad.settings(axes, stride, padding, dilation, groups)
        sizes = [
            (size - 1) * step - 2 * pad + dilated * (kernel - 1) + more + 1
            for size, step, pad, dilated, kernel, more in zip(
                input.shape[2:], stride, padding, dilation, weight.shape[2:], grad.per_axis(axes, output_padding)
            )
        ]

        def gradients(y):
            return (
                _convolution.convolve(y, weight.array, *settings),
                _convolution.correlate(y, input.array, weight.shape[2:], *settings),
            )

        spread = _convolution.spread(input.array, weight.array, sizes, *settings)
        return Tensor(spread, input.dtype, ((input, weight), gradients))

    return conv


conv1d, conv2d, conv3d = map(convolution, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(transposed_convolution, (1, 2, 3))
