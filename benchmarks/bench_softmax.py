"""Softmax, log-softmax and cross-entropy, forward and backward, float32: few classes and many."""
import numpy as np

from tinygrad_relu import Tensor, grad
from tinygrad_relu import functional as F


def _cross_entropy(x):
    return F.cross_entropy(x, np.arange(len(x.data)) % x.shape[1])


class Softmax:
    params = (("softmax", "log_softmax", "cross_entropy"), ((512, 10), (256, 1000)))
    param_names = ("function", "shape")
    timeout = 300

    def setup(self, name, shape):
        rng = np.random.default_rng(0)
        self.function = _cross_entropy if name == "cross_entropy" else getattr(F, name)
        self.x = Tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True)
        self.y = self.function(self.x)
        self.g = rng.standard_normal(self.y.shape, dtype=np.float32)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.function(self.x)

    def time_backward(self, *_):
        grad(self.y, self.x, self.g, retain_graph=True)
