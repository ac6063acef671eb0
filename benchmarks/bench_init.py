"""Drawing the weights of a layer."""
import numpy as np

from tinygrad_relu import nn
from tinygrad_relu.nn.init import INITIALISERS


class Starts:
    params = (tuple(INITIALISERS), (64,))
    param_names = ("init", "width")

    def setup(self, init, width):
        self.time_weight(init, width)

    def time_weight(self, init, width):
        INITIALISERS[init]((width, width), np.random.default_rng(0), "float32")


class Networks:
    def setup(self):
        self.time_mlp()

    def time_mlp(self):
        nn.MLP([64, 64, 64, 10], rng=0)
