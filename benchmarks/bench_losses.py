"""Every loss forward and backward, float32; the clipping of gradients; and sums over many rows."""
from inspect import isclass

import numpy as np

from tinygrad_relu import Tensor, grad, nn, optim
from tinygrad_relu import functional as F

KINDS = dict.fromkeys(("cross_entropy", "nll_loss", "multi_margin_loss"), "labels") | {         # of targets; else numbers
    "binary_cross_entropy_with_logits": "probabilities", "hinge_embedding_loss": "signs"}
MODULES = [loss for loss in vars(nn).values() if isclass(loss) and issubclass(loss, nn.Loss) and hasattr(loss, "function")]
LOSSES = {f.__name__: (f, KINDS.get(f.__name__, "numbers")) for f in (loss.function for loss in MODULES)}
LOSSES |= {"cross_entropy, smoothed": (lambda x, labels: F.cross_entropy(x, labels, label_smoothing=0.1), "labels"),
           "cross_entropy, probabilities": (F.cross_entropy, "probabilities")}


class Losses:
    """A new module of a loss is a new benchmark."""

    params = (tuple(LOSSES), (64,))
    param_names = ("loss", "rows")
    timeout = 300

    def setup(self, name, rows):
        rng = np.random.default_rng(0)
        self.f, kind = LOSSES[name]
        self.x = Tensor(rng.standard_normal((rows, 10), dtype=np.float32), requires_grad=True)
        numbers = rng.standard_normal((rows, 10), dtype=np.float32)
        self.target = {"labels": np.arange(rows) % 10, "numbers": numbers, "probabilities": abs(numbers) % 1,
                       "signs": np.sign(numbers)}[kind]
        self.y = self.f(self.x, self.target)
        self.time_forward(), self.time_backward()       # compiled, or loaded from the cache

    def time_forward(self, *_):
        self.f(self.x, self.target)

    def time_backward(self, *_):
        grad(self.y, self.x, retain_graph=True)


class Large(Losses):
    params = (("cross_entropy", "mse_loss"), (100_000,))


class Places:
    """The cross-entropy of the places of an image, labels and class probabilities, float32; and the gradient of the latter."""

    params = ((8, 64),)
    param_names = ("side",)
    timeout = 300

    def setup(self, side):
        rng = np.random.default_rng(0)
        self.x = Tensor(rng.standard_normal((16, 10, side, side), dtype=np.float32), requires_grad=True)
        self.labels = rng.integers(0, 10, (16, side, side))
        self.chances = F.softmax(rng.standard_normal(self.x.shape, dtype=np.float32), axis=1).detach()
        self.chances.requires_grad = True
        self.time_labels(), self.time_probabilities()   # compiled, or loaded from the cache

    def time_labels(self, *_):
        grad(F.cross_entropy(self.x, self.labels), self.x)

    def time_probabilities(self, *_):
        grad(F.cross_entropy(self.x, self.chances), (self.x, self.chances))


class Clipping:
    """Clipping the gradients of a model, which are in one flat buffer."""

    params = ((64, 1024),)
    param_names = ("width",)
    timeout = 300

    def setup(self, width):
        self.parameters = nn.MLP([width, width, width, 10], rng=0).parameters()
        optim.SGD(self.parameters)
        for p in self.parameters:
            p.home[...] = 1e-3
            p.grad = p.home
        self.time_norm(), self.time_value()             # compiled, or loaded from the cache

    def time_norm(self, *_):
        nn.utils.clip_grad_norm_(self.parameters, 1.0)

    def time_value(self, *_):
        nn.utils.clip_grad_value_(self.parameters, 1.0)


class LongSums:
    """The gradients of a bias and of a slope, over few rows and over a million."""

    params = ((64, 1_000_000),)
    param_names = ("rows",)
    timeout = 300

    def setup(self, rows):
        self.g = np.ones((rows, 10), np.float32)
        self.bias = Tensor(np.zeros(10), requires_grad=True, dtype="float32")
        self.slopes = Tensor(np.full(10, 0.25), requires_grad=True, dtype="float32")
        self.affine = F.linear(np.ones((rows, 1), np.float32), np.ones((10, 1), np.float32), self.bias)
        self.prelu = F.prelu(-self.g, self.slopes)
        self.time_bias(), self.time_slopes()            # compiled, or loaded from the cache

    def time_bias(self, *_):
        grad(self.affine, self.bias, self.g, retain_graph=True)

    def time_slopes(self, *_):
        grad(self.prelu, self.slopes, self.g, retain_graph=True)
