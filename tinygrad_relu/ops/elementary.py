"""Powers, roots, sine and cosine, and the absolute value, by NumPy's ufuncs; and the exponential and the logarithm."""
from __future__ import annotations

from collections.abc import Callable
from math import log as log_of_number
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op, Pull, value
from ..kernels.formulas import smooth
from ..kernels.loops.loss import ABSOLUTE
from ..kernels.loops.pointwise import loops
from ..kernels.machine.door import copy, launch
from .activation import activation_op
from .axes import T
from .elementwise import add, binary, compare, div, entrywise, mul, neg, sub, unary, where

_FIRST_STEP: dict[float, Callable[..., Any]] = {-1.0: np.reciprocal, 0.5: np.sqrt, 1.0: copy}


def _power(a: Any, b: Any) -> Array:
    """a^b. The common powers are computed without `pow`: a hundred times faster, and as exact."""
    if isinstance(a, np.ndarray) and isinstance(b, (int, float)) and b in (-1.0, 0.5, 1.0, 2.0, 3.0, 4.0):
        out = np.empty(a.shape, a.dtype)
        launch(_FIRST_STEP.get(b, np.square), a, out)
        if b == 3.0:
            launch(np.multiply, out, a, out)
        elif b == 4.0:
            launch(np.square, out, out)
        return out
    return _general_power(a, b)


_general_power = binary(np.power)


def _power_base(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, (int, float)):
        if b in (-1.0, 0.5):            # without pow: -g y^2 and g / 2y
            return neg(mul(mul(g, y), y)) if b == -1 else div(g, mul(y, 2.0))
        return where(False, g, 0.0) if b == 0 else mul(g, mul(a if b == 2 else power(a, b - 1), b))
    return _to_base(g, a, b)


def _power_exponent(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(a, (int, float)):
        if a > 0:
            return mul(mul(g, y), log_of_number(a))
        a = np.asarray(a, value(y).dtype)
    return _to_exponent(g, a, b, value(y))


# At base 0, every first and second derivative of a^b is its limit from the right: 0, finite, or infinite. The exception is 0^0,
# where all of them are 0 (PyTorch's first ones are 0 as well). Composed from other rules they would be inf - inf or 0 * inf: NaN.
# So the two slopes are operations whose own rules select the limit; they share the rule of the mixed second derivative.

def _slope_to_base(g: Any, a: Any, b: Any) -> Any:
    """g b a^(b-1)."""
    usual = _is_usual(a, b)
    return where(usual, mul(g, mul(b, power(a, where(usual, sub(b, 1.0), 0.0)))), 0.0)


def _to_base_twice(h: Any, z: Any, g: Any, a: Any, b: Any) -> Any:
    """h g b (b-1) a^(b-2)."""
    usual = _is_usual(a, b)
    return where(usual, mul(b, _to_base(mul(h, g), a, where(usual, sub(b, 1.0), 1.0))), 0.0)


def _times_log(x: Any, a: Any, b: Any) -> Any:
    """x ln a; 0 where a = 0 and b >= 0. With x = g a^b it is g times the slope with respect to b."""
    vanishes = compare(np.logical_and, compare(np.equal, a, 0.0), compare(np.greater_equal, b, 0.0))
    return where(vanishes, 0.0, mul(x, LOG(where(vanishes, 1.0, a))))


def _mixed(g: Any, a: Any, b: Any) -> Any:
    """g a^(b-1) (1 + b ln a). Its limit at a = 0 is 0 for b > 1, -infinity for 0 < b <= 1, and infinity for b < 0."""
    exponent, zero = value(b), compare(np.equal, a, 0.0)
    above, up_to = compare(np.greater, b, 1.0), compare(np.less_equal, b, 1.0)
    vanishes = compare(np.logical_and, zero, compare(np.logical_or, above, compare(np.equal, b, 0.0)))
    diverges = compare(np.logical_and, zero, compare(np.logical_and, up_to, b))
    base, limit = where(zero, 1.0, a), where(diverges, binary(np.copysign)(np.inf, neg(exponent)), exponent)
    usual = mul(g, mul(power(base, sub(b, 1.0)), add(mul(b, LOG(base)), 1.0)))
    return where(vanishes, 0.0, where(diverges, mul(g, limit), usual))


def _is_usual(a: Any, b: Any) -> Array:
    """Where a^b is not 0^0."""
    return compare(np.logical_or, a, b)


EXP, LOG = activation_op(smooth.EXP), activation_op(smooth.LOG)

power: Op = entrywise("power", _power, pull=(_power_base, _power_exponent))
_to_base: Op = entrywise("power_to_base", _slope_to_base, pull=(
    lambda h, z, g, a, b: _to_base(h, a, b),
    _to_base_twice,
    lambda h, z, g, a, b: _mixed(mul(h, g), a, b)))
_to_exponent: Op = entrywise("power_to_exponent", lambda g, a, b, y: _times_log(mul(g, y), a, b), pull=(
    lambda h, z, g, a, b, y: _to_exponent(h, a, b, y),
    lambda h, z, g, a, b, y: _mixed(mul(h, g), a, b),
    lambda h, z, g, a, b, y: _times_log(_to_exponent(mul(h, g), a, b, y), a, b), None))


def _function(name: str, ufunc: np.ufunc, rule: Pull, text: str, fused: Any = None) -> Callable[[T], T]:
    """A ufunc and its derivative rule as a function of one array or Tensor, which `Tensor` has as a method."""
    # without NumPy's warnings about NaN and infinity, which kernels do not give either
    op = entrywise(name, np.errstate(all="ignore")(unary(ufunc)), pull=(rule,), fused=fused)

    def function(x: T) -> T:
        return op(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text}\n\n>>> tg.{name}([0.0, 1.0]).shape\n(2,)\n"
    return function


sqrt = _function("sqrt", np.sqrt, lambda g, y, a: div(g, mul(y, 2.0)),
                 "``x^(1/2)``, elementwise; NaN below 0. The slope at 0 is infinite.")
square = _function("square", np.square, lambda g, y, a: mul(g, mul(a, 2.0)), "``x * x``, elementwise.")
sin: Callable[[T], T] = _function("sin", np.sin, lambda g, y, a: mul(g, cos(a)),
                                      "``sin(x)``, elementwise, of an angle in radians; NaN at infinity.")
cos: Callable[[T], T] = _function("cos", np.cos, lambda g, y, a: neg(mul(g, sin(a))),
                                      "``cos(x)``, elementwise, of an angle in radians; NaN at infinity.")
abs = _function(        # the gradient is g for a > 0, -g for a < 0, and elsewhere a itself, which is 0 or NaN
    "abs", np.absolute,
    lambda g, y, a: where(compare(np.greater, a, 0.0), g, where(compare(np.less, a, 0.0), neg(g), value(a))),
    "``|x|``, elementwise. The slope at 0 is 0, as in PyTorch.",
    lambda g, y, saved, into, add, a: launch(loops(ABSOLUTE).pullback, g.ravel(), a.ravel(), y.ravel(), (), into[0].ravel()))
