"""A whole eager training step, at the sizes at which peers are measured too (compare.py)."""
from .compare import SIZES, our_step, problem


class Step:
    params = tuple(SIZES)
    param_names = ("size",)
    timeout = 300

    def setup(self, size):
        self.step, _ = our_step(*problem(size))
        self.step()                     # compiled, or loaded from the cache

    def time_step(self, size):
        """zero_grad, forward, cross_entropy, backward, SGD with momentum and L2."""
        self.step()
