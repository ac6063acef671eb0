"""Recurrent layers over a sequence, forward and backward, float32: a small one and a large one."""
import numpy as np

from tinygrad_relu import Tensor, grad, nn


class Recurrent:
    params = (("RNN", "LSTM", "GRU"), ((20, 8, 16, 16), (100, 32, 128, 128)))
    param_names = ("kind", "steps, batch, inputs, hidden")
    timeout = 300

    def setup(self, kind, sizes):
        steps, batch, inputs, hidden = sizes
        rng = np.random.default_rng(0)
        self.layer = getattr(nn, kind)(inputs, hidden, rng=rng)
        self.x = Tensor(rng.standard_normal((steps, batch, inputs), dtype=np.float32), requires_grad=True)
        self.y, _ = self.layer(self.x)
        self.g = rng.standard_normal(self.y.shape, dtype=np.float32)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.layer(self.x)

    def time_backward(self, *_):
        grad(self.y, [self.x, *self.layer.parameters()], self.g, retain_graph=True)


class Cell:
    """One step of a cell: the cost per step of a loop over time in Python."""

    params = ("RNNCell", "LSTMCell", "GRUCell")
    param_names = ("kind",)
    timeout = 300

    def setup(self, kind):
        rng = np.random.default_rng(0)
        self.cell = getattr(nn, kind)(16, 16, rng=rng)
        self.x = Tensor(rng.standard_normal((8, 16), dtype=np.float32))
        self.time_step()

    def time_step(self, *_):
        self.cell(self.x)
