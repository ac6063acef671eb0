"""Every activation forward and backward, float32; and maxout. A new record of an activation is a new benchmark."""
import numpy as np

from tinygrad_relu import Tensor, functional, grad
from tinygrad_relu.kernels.formulas import ACTIVATIONS
from tinygrad_relu.ops.activation import activation_op


class Activations:
    """16384 numbers fit into the nearest caches."""

    params = (tuple(ACTIVATIONS), (16384,))
    param_names = ("activation", "elements")
    timeout = 300

    def setup(self, name, elements):
        record = ACTIVATIONS[name]
        rng = np.random.default_rng(0)
        self.op, self.p = activation_op(record), tuple(float(v) for v in record.parameters.values())
        self.array = rng.standard_normal(elements, dtype=np.float32)
        self.g = rng.standard_normal(elements, dtype=np.float32)
        self.x = Tensor(self.array, requires_grad=True)
        self.y = self.op(self.x, p=self.p)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.op(self.array, p=self.p)

    def time_backward(self, *_):
        """The pullback within a backward pass, whose overhead is a few microseconds."""
        grad(self.y, self.x, self.g, retain_graph=True)


class Large(Activations):
    """A million numbers, which do not fit: one activation limited by the memory, and one limited by arithmetic."""

    params = (("relu", "gelu"), (1 << 20,))


class Small(Activations):
    """256 numbers: the overhead of an operation."""

    params = (("relu", "tanh"), (256,))


class Maxout:
    """16,384 numbers, the pieces of fewer units, forward with the index of the winner."""

    params = (2, 4, 5)
    param_names = ("pieces",)
    timeout = 300

    def setup(self, pieces):
        rng, units = np.random.default_rng(0), 16384 // pieces
        self.x = Tensor(rng.standard_normal((units, pieces), dtype=np.float32), requires_grad=True)
        self.g = rng.standard_normal((units, 1), dtype=np.float32)
        self.y = functional.maxout(self.x, pieces)
        self.time_forward(pieces), self.time_backward()

    def time_forward(self, pieces):
        functional.maxout(self.x, pieces)

    def time_backward(self, *_):
        grad(self.y, self.x, self.g, retain_graph=True)
