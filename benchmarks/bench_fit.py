"""`tg.fit`: a whole run, one epoch of it, and the batches alone."""
import numpy as np

import tinygrad_relu as tg
from tinygrad_relu import data, nn, optim
from tinygrad_relu import functional as F

WIDTHS = {"tiny": [2, 16, 16, 2], "digits": [64, 64, 64, 10]}
SAMPLES, BATCH = 1797, 32


class Fit:
    params = tuple(WIDTHS)
    param_names = ("size",)
    timeout = 300

    def setup(self, size):
        self.widths, rng = WIDTHS[size], np.random.default_rng(0)
        self.set = rng.standard_normal((SAMPLES, self.widths[0]), dtype=np.float32), rng.integers(0, self.widths[-1], SAMPLES)
        self.time_run(size)             # compiled, or loaded from the cache

    def time_run(self, *_):
        """Five epochs. The first batches of each kind are recorded and proved."""
        model = nn.MLP(self.widths, rng=0)
        opt = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        return tg.fit(model, opt, F.cross_entropy, self.set, epochs=5, batch_size=BATCH, rng=0, quiet=True)

    def track_epoch(self, *_):
        """The shortest epoch: 57 replays of a captured step."""
        return min(self.time_run()["seconds"])

    track_epoch.unit = "seconds"


class Batches:
    """An epoch of shuffled batches of 64, in new arrays and in the same two."""

    params = (64, 784)
    param_names = ("features",)

    def setup(self, features):
        x = np.ones((10_000, features), np.float32)
        self.batches = data.batches(x, np.arange(10_000) % 10, 64, rng=0)
        self.time_new(), self.time_refilled()

    def time_new(self, *_):
        for _ in self.batches:
            pass

    def time_refilled(self, *_):
        for _ in self.batches.refilled():
            pass
