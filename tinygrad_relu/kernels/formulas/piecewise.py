"""Activations made of straight pieces: ReLU, its leaky relatives, steps and clips (and hardswish, with one parabola).

- Formulas *select* a piece and never multiply by a mask: with a mask, a dead unit's gradient 0 * inf would be NaN; selected, it
  is exactly zero whatever arrives.
- NaN falls through to the last piece, which returns x. So NaN gives NaN, in the value and in the pullback, and never looks like
  a dead unit. (PyTorch's pullbacks return g or 0 at NaN.)
- At a kink the pullback takes the slope that PyTorch 2.13 takes; ``kinks`` lists them.
- LLVM turns each select into a packed compare and blend: a chain of three costs no more than the memory traffic.
"""
from __future__ import annotations

from ..machine.policy import scalar
from .record import Elementwise, flat


def relu(x: float, at_zero: float = 0.0) -> float:
    """max(x, 0); `at_zero` is the slope taken at x = 0: 0 (PyTorch, TensorFlow, JAX), 1/2 or 1."""
    T = type(x)
    return T(0) if x <= T(0) else x


def relu_dx(g, x, y, at_zero=0.0):
    T = type(x)
    on_the_kink = T(0) if at_zero == 0.0 else g * T(at_zero)    # selected: 0 * inf would be NaN
    return T(0) if x < T(0) else on_the_kink if x == T(0) else g if x > T(0) else x


RELU = Elementwise(
    "relu", relu, relu_dx, flat, "max(x, 0)",
    "Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann machines, ICML; the slope at 0: "
    "Bertoin et al. 2021, Numerical influence of ReLU'(0) on backpropagation, arXiv 2106.12915",
    lambda at_zero=0.0: ((0.0, at_zero),),
    slope_from_y=lambda at_zero=0.0: at_zero == 0.0,       # else y = 0 does not say whether x was 0 or below
    expected=lambda at_zero=0.0: None if 0 <= at_zero <= 1 else "a slope at 0 from 0 to 1")


# A slope on the left: fixed in leaky_relu, learned in prelu (one per channel), drawn in rrelu (one per element). The kink belongs
# to the left piece, as in PyTorch.


def leaky_relu(x: float, negative_slope: float = 0.01) -> float:
    T = type(x)
    return T(negative_slope) * x if x <= T(0) else x


def leaky_relu_dx(g, x, y, negative_slope=0.01):
    T = type(x)
    return g * T(negative_slope) if x <= T(0) else g if x > T(0) else x


@scalar
def leaky_relu_da(g, x):
    """The gradient of the slope: g min(x, 0), selected, so that a live unit adds exactly 0 even for g = inf."""
    T = type(x)
    return T(0) if x >= T(0) else g * x


def prelu(x: float, weight: float = 0.25) -> float:
    return leaky_relu(x, weight)


def rrelu(x: float, lower: float = 1 / 8, upper: float = 1 / 3) -> float:
    """In evaluation; in training the slope is drawn from U(lower, upper)."""
    return leaky_relu(x, 0.5 * (lower + upper))


LEAKY_RELU = Elementwise(
    "leaky_relu", leaky_relu, leaky_relu_dx, flat, "x if x > 0 else negative_slope * x",
    "Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models, ICML",
    lambda negative_slope=0.01: ((0.0, negative_slope),))
PRELU = Elementwise(
    "prelu", prelu, leaky_relu_dx, flat, "x if x > 0 else weight * x, the weight learned",
    "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, arXiv 1502.01852",
    lambda weight=0.25: ((0.0, weight),))
RRELU = Elementwise(
    "rrelu", rrelu, lambda g, x, y, lower=1 / 8, upper=1 / 3: leaky_relu_dx(g, x, y, 0.5 * (lower + upper)), flat,
    "x if x > 0 else a * x, a ~ U(lower, upper); in evaluation a = (lower + upper) / 2",
    "Xu, Wang, Chen & Li 2015, Empirical evaluation of rectified activations in convolutional network, "
    "arXiv 1505.00853",
    lambda lower=1 / 8, upper=1 / 3: ((0.0, 0.5 * (lower + upper)),),
    expected=lambda lower=1 / 8, upper=1 / 3: None if lower <= upper else "lower <= upper")


def step(x: float, straight_through: float = 0.0) -> float:
    T = type(x)
    return T(1) if x >= T(0) else T(0) if x < T(0) else x


def step_dx(g, x, y, straight_through=0.0):
    """0, the derivative; with straight_through = 1 all of g, as if the step were the identity."""
    T = type(x)
    passed = T(0) if straight_through == 0.0 else g * T(straight_through)
    return passed if x == x else x


STEP = Elementwise(
    "step", step, step_dx, flat, "1 if x >= 0 else 0",
    "McCulloch & Pitts 1943, A logical calculus of the ideas immanent in nervous activity; straight-through: "
    "Bengio, Leonard & Courville 2013, arXiv 1308.3432",
    lambda straight_through=0.0: ((0.0, straight_through),))


def hardtanh(x: float, min_val: float = -1.0, max_val: float = 1.0) -> float:
    T = type(x)
    return T(min_val) if x <= T(min_val) else T(max_val) if x >= T(max_val) else x


def hardtanh_dx(g, x, y, min_val=-1.0, max_val=1.0):
    """g strictly inside, 0 at both ends and beyond: such a unit can be dead on the high side too."""
    T = type(x)
    return T(0) if x <= T(min_val) else T(0) if x >= T(max_val) else g if x == x else x


def relu6(x: float) -> float:
    return hardtanh(x, 0.0, 6.0)


def hardsigmoid(x: float) -> float:
    T = type(x)
    between = (x + T(3)) / T(6)                 # before the choice, so that LLVM need not branch around a division
    return T(0) if x <= T(-3) else T(1) if x >= T(3) else between


def hardswish(x: float) -> float:
    """Selected, so that -inf gives 0 (PyTorch: NaN) and nothing overflows."""
    T = type(x)
    between = x * (x + T(3)) / T(6)
    return T(0) if x <= T(-3) else x if x >= T(3) else between


def hardswish_dx(g, x, y):
    """0, (2x + 3) / 6, 1. Written 2x + 3, not x/3 + 1/2, because it is exact around its zero at -3/2."""
    T = type(x)
    between = g * ((x + x + T(3)) / T(6))
    return T(0) if x <= T(-3) else g if x >= T(3) else between


HARDTANH = Elementwise(
    "hardtanh", hardtanh, hardtanh_dx, flat, "min(max(x, min_val), max_val)",
    "Collobert 2004, Large scale machine learning, PhD thesis, Universite Paris VI",
    lambda min_val=-1.0, max_val=1.0: ((min_val, 0.0), (max_val, 0.0)),
    slope_from_y=lambda min_val=-1.0, max_val=1.0: True,
    expected=lambda min_val=-1.0, max_val=1.0: None if min_val <= max_val else "min_val <= max_val")
RELU6 = Elementwise(
    "relu6", relu6, lambda g, x, y: hardtanh_dx(g, x, y, 0.0, 6.0), flat, "min(max(x, 0), 6)",
    "Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10",
    lambda: ((0.0, 0.0), (6.0, 0.0)), slope_from_y=lambda: True)
HARDSIGMOID = Elementwise(
    "hardsigmoid", hardsigmoid, lambda g, x, y: hardtanh_dx(g / type(x)(6), x, y, -3.0, 3.0), flat, "min(max(x + 3, 0), 6) / 6",
    "Howard et al. 2019, Searching for MobileNetV3, arXiv 1905.02244", lambda: ((-3.0, 0.0), (3.0, 0.0)))
HARDSWISH = Elementwise(
    "hardswish", hardswish, hardswish_dx, lambda c, x, y: hardtanh_dx(c / type(x)(3), x, y, -3.0, 3.0),
    "x * min(max(x + 3, 0), 6) / 6", "Howard et al. 2019, Searching for MobileNetV3, arXiv 1905.02244",
    lambda: ((-3.0, 0.0), (3.0, 1.0)), f_dxxx=flat)
