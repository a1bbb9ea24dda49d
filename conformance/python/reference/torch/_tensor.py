"""Arrays of numpy with the methods of PyTorch's tensors."""

import numpy

float32 = "float32"
bfloat16 = "bfloat16"


def rounded(array):
    """The nearest numbers that have 16 bits, in 32; halves go to the even one."""
    bits = numpy.ascontiguousarray(array, numpy.float32).view(numpy.uint32)
    bits = bits + 0x7FFF + (bits >> 16 & 1)
    return (bits & 0xFFFF0000).astype(numpy.uint32).view(numpy.float32)


class Tensor:
    """`derivatives`, for what was computed: the tensors it was computed from, and the function that has their gradients."""

    def __init__(self, array, dtype=None, derivatives=((), None)):
        self.dtype = dtype or array.dtype.name
        self.array = rounded(array) if self.dtype == bfloat16 else array.astype(self.dtype, copy=False)
        self.derivatives = derivatives
        self.grad = None

    @property
    def shape(self):
        return self.array.shape

    @property
    def ndim(self):
        return self.array.ndim

    def size(self):
        return self.array.shape

    def numpy(self, force=False):
        return self.array

    def to(self, target):
        """As another type, or on a device, of which there is one."""
        return self if target == "cpu" else Tensor(self.array, target)

    def permute(self, *axes):
        return Tensor(self.array.transpose(axes), self.dtype)

    def __getitem__(self, index):
        return Tensor(self.array[index], self.dtype)

    def requires_grad_(self, _required=True):
        return self

    def retain_grad(self):
        pass

    def sum(self):
        total = numpy.array(self.array.sum(), self.array.dtype)
        return Tensor(total, derivatives=((self,), lambda gradient: (numpy.broadcast_to(gradient, self.shape),)))

    def backward(self):
        """Gives the tensors that this one was computed from their gradients. None of them may be used twice."""
        self.accept(numpy.ones(self.shape, self.array.dtype))

    def accept(self, gradient):
        self.grad = Tensor(gradient, self.dtype)
        sources, gradients = self.derivatives
        for source, of_source in zip(sources, gradients(gradient) if sources else ()):
            source.accept(of_source)
