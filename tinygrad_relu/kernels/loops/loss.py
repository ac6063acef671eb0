"""Losses that depend on the error e = x - target alone: squared, absolute, and the two that Huber joined of them.

Such a loss is an elementwise function of e, and so its record is of the kind that an activation has: value, pullback,
second derivative, kinks. From the record follow the kernels here, which take the difference, the function and the mean in
one launch each way.
"""
from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..formulas.piecewise import flat
from ..formulas.record import Activation
from ..machine.policy import kernel, scalar
from .reduce import LANES


@scalar
def squared(x):
    """The square of the error."""
    return x * x


@scalar
def squared_dx(g, x, y):
    return g * (x + x)


@scalar
def squared_dxx(c, x, y):
    return c + c if x == x else x


@scalar
def absolute(x):
    """The size of the error."""
    return abs(x)


@scalar
def absolute_dx(g, x, y):
    """The sign of the error; 0 at 0, as in PyTorch."""
    T = type(x)
    return g if x > T(0) else -g if x < T(0) else T(0) if x == T(0) else x


@scalar
def huber(x, delta=1.0):
    """A parabola up to `delta`, and its tangent from there on."""
    T = type(x)
    a = abs(x)
    return T(0.5) * x * x if a <= T(delta) else T(delta) * (a - T(0.5) * T(delta))


@scalar
def huber_dx(g, x, y, delta=1.0):
    T = type(x)
    far = g * T(delta)
    return far if x > T(delta) else -far if x < -T(delta) else g * x


@scalar
def huber_dxx(c, x, y, delta=1.0):
    T = type(x)
    return c if abs(x) < T(delta) else T(0) if x == x else x


@scalar
def smooth_l1(x, beta=1.0):
    """Huber's loss divided by `beta`, so that its slope far out is 1; beta = 0 is the absolute value."""
    T = type(x)
    a = abs(x)
    return T(0.5) * x * x / T(beta) if a < T(beta) else a - T(0.5) * T(beta)


@scalar
def smooth_l1_dx(g, x, y, beta=1.0):
    T = type(x)
    return g * x / T(beta) if abs(x) < T(beta) else absolute_dx(g, x, y)


@scalar
def smooth_l1_dxx(c, x, y, beta=1.0):
    T = type(x)
    return c / T(beta) if abs(x) < T(beta) else T(0) if x == x else x


SQUARED = Activation("squared_error", squared, squared_dx, squared_dxx, "(x - target)^2",
                     "Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes")
ABSOLUTE = Activation("absolute_error", absolute, absolute_dx, flat, "|x - target|",
                      "Boscovich 1757, De litteraria expeditione per pontificiam ditionem", lambda: ((0.0, 0.0),))
HUBER = Activation("huber", huber, huber_dx, huber_dxx, "e^2 / 2 if |e| <= delta else delta (|e| - delta / 2), e = x - target",
                   "Huber 1964, Robust estimation of a location parameter, Ann. Math. Statist. 35")
SMOOTH_L1 = Activation("smooth_l1", smooth_l1, smooth_l1_dx, smooth_l1_dxx,
                       "e^2 / (2 beta) if |e| < beta else |e| - beta / 2, e = x - target", "Girshick 2015, arXiv 1504.08083",
                       lambda beta=1.0: ((0.0, 0.0),) if beta == 0 else ())

ERRORS = {record.name: record for record in (SQUARED, ABSOLUTE, HUBER, SMOOTH_L1)}


class ErrorLoss(NamedTuple):
    """The two kernels of a loss of the error."""

    loss: Any           # loss(x, target, p, scale, out): out = f(x - target), or scale times the sum where out has one entry
    pullback: Any       # pullback(g, x, target, p, scale, gx): gx = scale g f'(x - target); a g of one entry serves all


@cache
def error_loss(record: Activation) -> ErrorLoss:
    """The kernels of a record, made when they are first asked for. Sums are float64, whatever x is."""
    f, f_dx = record.f, record.f_dx

    def loss(x, target, p, scale, out):
        if out.size == x.size:
            for i in range(x.size):
                out[i] = f(x[i] - target[i], *p)
            return
        lanes = np.zeros(LANES)
        for start in range(0, x.size, LANES):
            a, b = x[start:start + LANES], target[start:start + LANES]
            for k in range(a.size):
                lanes[k] += f(a[k] - b[k], *p)
        out[0] = scale * lanes.sum()

    def pullback(g, x, target, p, scale, gx):
        weight = x.dtype.type(scale)
        if g.size == 1:
            weight *= g[0]
            for i in range(gx.size):
                e = x[i] - target[i]
                gx[i] = f_dx(weight, e, f(e, *p), *p)
        else:
            for i in range(gx.size):
                e = x[i] - target[i]
                gx[i] = f_dx(weight * g[i], e, f(e, *p), *p)

    return ErrorLoss(*(kernel(loop, name=f"{record.name}_{loop.__name__}" if loop is loss else f"{record.name}_loss_pullback",
                              formulas=(f, f_dx)) for loop in (loss, pullback)))
