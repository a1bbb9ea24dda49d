"""Convolutions over any number of axes, by their definitions.

`x` has the shape `(batch, channels, sizes...)`, a kernel `w` `(outputs, channels / groups, sizes...)`. What is computed is

    y[n, o, i] = sum over c and k of x[n, c, i * stride + k * dilation - padding] * w[o, c, k]

where `i` and `k` are places, one number for each axis. It is linear in `x` and in `w`; `spread` and `correlate` are its
adjoints: the gradients with respect to `x` and `w`, of which the first is the transposed convolution.
"""

import itertools

import numpy


def convolve(x, w, stride, padding, dilation, groups):
    padded = pad(x, padding)
    reach = [dilated * (size - 1) + 1 for dilated, size in zip(dilation, w.shape[2:])]
    sizes = [(size - span) // step + 1 for size, span, step in zip(padded.shape[2:], reach, stride)]
    y = numpy.zeros((x.shape[0], w.shape[0], *sizes))
    for place, window in windows(w.shape[2:], sizes, stride, dilation):
        for inputs, outputs in channels(groups, x.shape[1], w.shape[0]):
            y[:, outputs] += mix(padded[(slice(None), inputs, *window)], w[(outputs, slice(None), *place)])
    return y


def spread(y, w, sizes, stride, padding, dilation, groups):
    """The adjoint of `convolve` for `x` of the given sizes: every element of `y` goes where it would come from."""
    inputs_of_all = w.shape[1] * groups
    padded = numpy.zeros((y.shape[0], inputs_of_all, *(size + 2 * pad for size, pad in zip(sizes, padding))))
    for place, window in windows(w.shape[2:], y.shape[2:], stride, dilation):
        for inputs, outputs in channels(groups, inputs_of_all, w.shape[0]):
            padded[(slice(None), inputs, *window)] += mix(y[:, outputs], w[(outputs, slice(None), *place)].T)
    return padded[(..., *(slice(pad, pad + size) for size, pad in zip(sizes, padding)))]


def correlate(x, y, sizes, stride, padding, dilation, groups):
    """The adjoint of `convolve` for `w` of the given sizes."""
    padded = pad(x, padding)
    w = numpy.zeros((y.shape[1], x.shape[1] // groups, *sizes))
    summed = [0, *range(2, x.ndim)]
    for place, window in windows(sizes, y.shape[2:], stride, dilation):
        for inputs, outputs in channels(groups, x.shape[1], y.shape[1]):
            seen = padded[(slice(None), inputs, *window)]
            w[(outputs, slice(None), *place)] = numpy.tensordot(y[:, outputs], seen, (summed, summed))
    return w


def pad(x, padding):
    return numpy.pad(x.astype(numpy.float64), [(0, 0), (0, 0), *((size, size) for size in padding)])


def windows(kernel_sizes, sizes, stride, dilation):
    """The places in a kernel, and for each what it meets of the padded input."""
    for place in itertools.product(*map(range, kernel_sizes)):
        starts = [index * dilated for index, dilated in zip(place, dilation)]
        yield place, [slice(at, at + step * (size - 1) + 1, step) for at, step, size in zip(starts, stride, sizes)]


def channels(groups, inputs, outputs):
    """The channels of each group."""
    for group in range(groups):
        yield [slice(group * count // groups, (group + 1) * count // groups) for count in (inputs, outputs)]


def mix(x, matrix):
    """Multiplies the channels by a matrix."""
    return numpy.moveaxis(numpy.tensordot(matrix.astype(numpy.float64), x, (1, 1)), 0, 1)
