"""Work that needs nothing of this package. Where these figures change from commit to commit, the machine has changed."""
import numpy as np


class Control:
    """The interpreter, the arithmetic of one core, and the memory."""

    def setup(self):
        rng = np.random.default_rng(0)
        self.a, self.b = rng.standard_normal((2, 256, 256), dtype=np.float32)
        self.out = np.empty_like(self.a)
        self.large, self.copy = np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)
        self.time_python(), self.time_numpy_product(), self.time_copy()

    def time_python(self):
        total = 0
        for i in range(10_000):
            total += i

    def time_numpy_product(self):
        np.matmul(self.a, self.b, out=self.out)

    def time_copy(self):
        np.copyto(self.copy, self.large)
