"""Activations made of straight pieces: ReLU, its leaky relatives, steps and clips (and hardswish, with one parabola).

How the formulas are written, and why:

- They *select* a piece; they never multiply by a mask. Multiplying, a dead unit's gradient 0 * inf would be NaN;
  selected, it is exactly zero whatever arrives.
- The last piece of every chain of selects is the one that a NaN falls into, and it returns x (or what x gives), so that
  a NaN comes out as NaN, in the value and in the pullback, and is never disguised as a dead unit. (PyTorch's pullbacks
  return g or 0 there.)
- At a kink the pullback takes the slope that PyTorch 2.13 takes (run and compared); ``kinks`` says which.
- LLVM turns each select into a packed compare and blend: a chain of three costs no more than the memory traffic.
"""
from __future__ import annotations

from ..machine.policy import scalar
from .record import Activation


@scalar
def flat(c, x, y, *p):
    """Second derivative of straight pieces: 0, exactly, whatever c is (NaN where x is NaN)."""
    T = type(x)
    return T(0) if x == x else x


# -- ReLU -------------------------------------------------------------------------------------------------------------


@scalar
def relu(x, at_zero=0.0):
    """max(x, 0); `at_zero` is the slope taken at x = 0: 0 (PyTorch, TensorFlow, JAX), 1/2 or 1."""
    T = type(x)
    return T(0) if x <= T(0) else x


@scalar
def relu_dx(g, x, y, at_zero=0.0):
    T = type(x)
    on_the_kink = T(0) if at_zero == 0.0 else g * T(at_zero)    # selected: 0 * inf would be NaN
    return T(0) if x < T(0) else on_the_kink if x == T(0) else g if x > T(0) else x


# -- leaky: a slope a on the left -------------------------------------------------------------------------------------
# The slope is fixed in leaky_relu, learned in prelu (one a channel), drawn in rrelu (one an element): one formula.


@scalar
def leaky_relu(x, negative_slope=0.01):
    """x for x > 0, negative_slope * x otherwise."""
    T = type(x)
    return T(negative_slope) * x if x <= T(0) else x


@scalar
def leaky_relu_dx(g, x, y, negative_slope=0.01):
    """Pullback to x; the kink belongs to the left piece, as in PyTorch."""
    T = type(x)
    return g * T(negative_slope) if x <= T(0) else g if x > T(0) else x


@scalar
def leaky_relu_da(g, x):
    """Pullback to the slope: g min(x, 0), selected, so that a live unit adds exactly 0 even for g = inf."""
    T = type(x)
    return T(0) if x >= T(0) else g * x


@scalar
def prelu(x, weight=0.25):
    """x for x > 0, weight * x otherwise; the weight is learned (`leaky_relu_da`)."""
    return leaky_relu(x, weight)


@scalar
def prelu_dx(g, x, y, weight=0.25):
    return leaky_relu_dx(g, x, y, weight)


@scalar
def rrelu(x, lower=1 / 8, upper=1 / 3):
    """Evaluation form: the slope is the mean (lower + upper) / 2. In training it is drawn from U(lower, upper)."""
    return leaky_relu(x, 0.5 * (lower + upper))


@scalar
def rrelu_dx(g, x, y, lower=1 / 8, upper=1 / 3):
    return leaky_relu_dx(g, x, y, 0.5 * (lower + upper))


# -- step -------------------------------------------------------------------------------------------------------------


@scalar
def step(x, straight_through=0.0):
    """1 for x >= 0, otherwise 0."""
    T = type(x)
    return T(1) if x >= T(0) else T(0) if x < T(0) else x


@scalar
def step_dx(g, x, y, straight_through=0.0):
    """0, the derivative; or with straight_through = 1 the whole g, as if the step were the identity."""
    T = type(x)
    passed = T(0) if straight_through == 0.0 else g * T(straight_through)
    return passed if x == x else x


# -- clips ------------------------------------------------------------------------------------------------------------


@scalar
def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x clipped to [min_val, max_val]."""
    T = type(x)
    return T(min_val) if x <= T(min_val) else T(max_val) if x >= T(max_val) else x


@scalar
def hardtanh_dx(g, x, y, min_val=-1.0, max_val=1.0):
    """g strictly inside, 0 on both ends and beyond: such a unit can be dead on the high side too."""
    T = type(x)
    return T(0) if x <= T(min_val) else T(0) if x >= T(max_val) else g if x == x else x


@scalar
def relu6(x):
    """x clipped to [0, 6]."""
    return hardtanh(x, 0.0, 6.0)


@scalar
def relu6_dx(g, x, y):
    return hardtanh_dx(g, x, y, 0.0, 6.0)


@scalar
def hardsigmoid(x):
    """relu6(x + 3) / 6."""
    T = type(x)
    return T(0) if x <= T(-3) else T(1) if x >= T(3) else (x + T(3)) / T(6)


@scalar
def hardsigmoid_dx(g, x, y):
    T = type(x)
    return T(0) if x <= T(-3) else T(0) if x >= T(3) else g / T(6) if x == x else x


@scalar
def hardswish(x):
    """x relu6(x + 3) / 6; selected, so that -inf gives 0 (PyTorch: NaN) and nothing overflows."""
    T = type(x)
    return T(0) if x <= T(-3) else x if x >= T(3) else x * (x + T(3)) / T(6)


@scalar
def hardswish_dx(g, x, y):
    """0, (2x + 3) / 6, 1. Written 2x + 3, not x/3 + 1/2, because it is exact around its zero at -3/2."""
    T = type(x)
    return T(0) if x <= T(-3) else g if x >= T(3) else g * ((x + x + T(3)) / T(6))


@scalar
def hardswish_dxx(c, x, y):
    T = type(x)
    return T(0) if x <= T(-3) else T(0) if x >= T(3) else c / T(3) if x == x else x


# -- records ----------------------------------------------------------------------------------------------------------

RELU = Activation(
    "relu", relu, relu_dx, flat, "max(x, 0)",
    "Nair & Hinton 2010, Rectified linear units improve restricted Boltzmann machines, ICML; the slope at 0: "
    "Bertoin et al. 2021, Numerical influence of ReLU'(0) on backpropagation, arXiv 2106.12915",
    lambda at_zero=0.0: ((0.0, at_zero),),
    slope_from_y=lambda at_zero=0.0: at_zero == 0.0,       # else y = 0 does not say whether x was 0 or below
    expected=lambda at_zero=0.0: None if 0 <= at_zero <= 1 else "a slope at 0 from 0 to 1")

LEAKY_RELU = Activation(
    "leaky_relu", leaky_relu, leaky_relu_dx, flat, "x if x > 0 else negative_slope * x",
    "Maas, Hannun & Ng 2013, Rectifier nonlinearities improve neural network acoustic models, ICML",
    lambda negative_slope=0.01: ((0.0, negative_slope),))

PRELU = Activation(
    "prelu", prelu, prelu_dx, flat, "x if x > 0 else weight * x, the weight learned",
    "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers, arXiv 1502.01852",
    lambda weight=0.25: ((0.0, weight),))

RRELU = Activation(
    "rrelu", rrelu, rrelu_dx, flat, "x if x > 0 else a * x, a ~ U(lower, upper); in evaluation a = (lower + upper) / 2",
    "Xu, Wang, Chen & Li 2015, Empirical evaluation of rectified activations in convolutional network, "
    "arXiv 1505.00853",
    lambda lower=1 / 8, upper=1 / 3: ((0.0, 0.5 * (lower + upper)),))

STEP = Activation(
    "step", step, step_dx, flat, "1 if x >= 0 else 0",
    "McCulloch & Pitts 1943, A logical calculus of the ideas immanent in nervous activity; straight-through: "
    "Bengio, Leonard & Courville 2013, arXiv 1308.3432",
    lambda straight_through=0.0: ((0.0, straight_through),))

HARDTANH = Activation(
    "hardtanh", hardtanh, hardtanh_dx, flat, "min(max(x, min_val), max_val)",
    "Collobert 2004, Large scale machine learning, PhD thesis, Universite Paris VI",
    lambda min_val=-1.0, max_val=1.0: ((min_val, 0.0), (max_val, 0.0)),
    slope_from_y=lambda min_val=-1.0, max_val=1.0: True,
    expected=lambda min_val=-1.0, max_val=1.0: None if min_val < max_val else "min_val < max_val")

RELU6 = Activation(
    "relu6", relu6, relu6_dx, flat, "min(max(x, 0), 6)",
    "Krizhevsky 2010, Convolutional deep belief networks on CIFAR-10",
    lambda: ((0.0, 0.0), (6.0, 0.0)),
    slope_from_y=lambda: True)

HARDSIGMOID = Activation(
    "hardsigmoid", hardsigmoid, hardsigmoid_dx, flat, "min(max(x + 3, 0), 6) / 6",
    "Howard et al. 2019, Searching for MobileNetV3, arXiv 1905.02244",
    lambda: ((-3.0, 0.0), (3.0, 0.0)))

HARDSWISH = Activation(
    "hardswish", hardswish, hardswish_dx, hardswish_dxx, "x * min(max(x + 3, 0), 6) / 6",
    "Howard et al. 2019, Searching for MobileNetV3, arXiv 1905.02244",
    lambda: ((-3.0, 0.0), (3.0, 1.0)))

PIECEWISE = (RELU, LEAKY_RELU, PRELU, RRELU, STEP, HARDTANH, RELU6, HARDSIGMOID, HARDSWISH)
