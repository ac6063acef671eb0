"""A whole training step, eager and captured, at the sizes of compare.py; and the step of an optimizer alone."""
import numpy as np

from tinygrad_relu import Tensor, capture, nn, optim

from .compare import POPULATIONS, SIZES, our_step, problem

RULES = {"SGD": optim.SGD, "SGD, momentum": lambda p: optim.SGD(p, momentum=0.9), "Adam": optim.Adam, "AdamW": optim.AdamW}
FORMS = {"arrays": lambda x, y: ((x, y), {}), "Tensors": lambda x, y: ((Tensor(x), Tensor(y)), {}),
         "tuple": lambda x, y: (((x, y),), {}), "dict": lambda x, y: (({"x": x, "y": y},), {}),
         "names": lambda x, y: ((), {"x": x, "y": y}), "number": lambda x, y: ((x, y, 0.5), {})}
SCHEDULES = {"StepLR": lambda opt: optim.StepLR(opt, 10), "CosineAnnealingLR": lambda opt: optim.CosineAnnealingLR(opt, 10**9)}


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


class Call:
    """A call of a captured function that does next to nothing, by the form of its arguments."""

    params = (tuple(FORMS),)
    param_names = ("form",)

    def setup(self, form):
        x, y = np.ones(8, np.float32), np.zeros(8, np.float32)
        self.inputs, self.options = FORMS[form](x, y)
        self.program = capture(lambda *inputs, **options: None)
        for _ in range(3):
            self.program(*self.inputs, **self.options)

    def time_call(self, form):
        self.program(*self.inputs, **self.options)


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


class Schedule:
    """A step of a schedule: the rate stays the same in most of StepLR's, and changes in each of cosine's."""

    params = (tuple(SCHEDULES),)
    param_names = ("schedule",)

    def setup(self, schedule):
        self.schedule = SCHEDULES[schedule](optim.SGD([nn.Parameter([1.0])], lr=0.1))

    def time_step(self, schedule):
        self.schedule.step()
