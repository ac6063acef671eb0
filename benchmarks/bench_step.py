"""A whole training step, eager and captured, at the sizes of compare.py; and the step of an optimizer alone."""
from tinygrad_relu import capture, nn, optim

from .compare import POPULATIONS, SIZES, our_step, problem

RULES = {"SGD": optim.SGD, "SGD, momentum": lambda p: optim.SGD(p, momentum=0.9), "Adam": optim.Adam, "AdamW": optim.AdamW}


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


class Captured(Step):
    """The same step, replayed."""

    def setup(self, size):
        super().setup(size)
        self.step = capture(self.step)
        for _ in range(4):              # recorded and proved, with and without gradients from before
            self.step()


class Population(Captured):
    """A captured step of a population: of all its networks together."""

    params = tuple(POPULATIONS)


class Update:
    """The step of an optimizer alone: one launch over a flat buffer with given gradients."""

    params = (tuple(RULES), (64, 512))
    param_names = ("rule", "width")
    timeout = 300

    def setup(self, rule, width):
        parameters = nn.MLP([width, width, width, 10], rng=0).parameters()
        self.optimizer = RULES[rule](parameters)
        for p in parameters:
            p.home[...] = 1e-3
            p.grad = p.home
        self.optimizer.step()           # compiled, or loaded from the cache

    def time_update(self, *_):
        self.optimizer.step()
