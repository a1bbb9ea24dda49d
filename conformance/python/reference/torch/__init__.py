"""The part of PyTorch with which MLX's tests of convolutions compare, for where PyTorch is not installed.

Convolutions and their gradients are written down by their definitions, in numpy and with numbers of 64 bits
(`_convolution`). Nothing here knows of `mlx`.
"""

import numpy

from ._tensor import Tensor, bfloat16, float32
from .nn.functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)


def from_numpy(array):
    return Tensor(array)


def tensor(array):
    return Tensor(numpy.array(array))


def ones(shape):
    return Tensor(numpy.ones(shape, numpy.float32))


def transpose(tensor, first, second):
    return Tensor(tensor.numpy().swapaxes(first, second), tensor.dtype)


def permute(tensor, axes):
    return tensor.permute(*axes)


def flip(tensor, axes):
    return Tensor(numpy.flip(tensor.numpy(), axes), tensor.dtype)
