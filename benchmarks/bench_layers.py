"""Normalisation, dropout and embedding, forward and backward: a small batch, a usual one, and one larger than the caches."""
import numpy as np

from tinygrad_relu import Tensor, grad, nn

SHAPES = ((64, 64), (256, 256), (1024, 512))


class Layers:
    params = (("batch_norm", "batch_norm_evaluation", "layer_norm", "dropout", "rrelu"), SHAPES, ("float32",))
    param_names = ("layer", "shape", "dtype")
    timeout = 300

    def setup(self, name, shape, dtype):
        rng = np.random.default_rng(0)
        self.layer = {"batch_norm": lambda: nn.BatchNorm1d(shape[1], dtype=dtype),
                      "batch_norm_evaluation": lambda: nn.BatchNorm1d(shape[1], dtype=dtype).eval(),
                      "layer_norm": lambda: nn.LayerNorm(shape[1], dtype=dtype),
                      "maxout": lambda: nn.Maxout(shape[1], shape[1], 2, dtype=dtype, rng=0),
                      "dropout": lambda: nn.Dropout(rng=0), "rrelu": lambda: nn.RReLU(rng=0)}[name]()
        self.x = Tensor(rng.standard_normal(shape), requires_grad=True, dtype=dtype)
        self.inputs, self.g = [self.x, *self.layer.parameters()], self.x.data.copy()
        self.y = self.layer(self.x)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.layer(self.x)

    def time_backward(self, *_):
        grad(self.y, self.inputs, self.g, retain_graph=True)


class Maxout(Layers):
    """The matrix product, and the maximum of the pieces."""

    params = (("maxout",), ((64, 64), (256, 256)), ("float32",))


class Series(Layers):
    """A batch norm of channels with a length."""

    params = (("batch_norm",), ((32, 64, 100),), ("float32", "float64"))


class Embedding:
    params = ((1000, 10_000), (512, 8192))
    param_names = ("rows", "indices")
    timeout = 300

    def setup(self, rows, n):
        rng = np.random.default_rng(0)
        self.layer, self.indices = nn.Embedding(rows, 64, rng=0), rng.integers(0, rows, n)
        self.y = self.layer(self.indices)
        self.g = np.ones(self.y.shape, np.float32)
        self.time_forward(), self.time_backward()

    def time_forward(self, *_):
        self.layer(self.indices)

    def time_backward(self, *_):
        grad(self.y, self.layer.weight, self.g, retain_graph=True)
