"""Kernels of losses of the error e = x - target (squared, absolute, Huber, smooth L1), and of losses of labels.

A loss of the error is an elementwise function of e, so it has a record, like an activation. The kernels follow from the
record: difference, function and mean in one launch each way.
"""
from __future__ import annotations

import numpy as np

from ..formulas.exponential import log
from ..formulas.record import Elementwise, flat
from ..machine.parallel import parallel
from ..machine.policy import FACTORIES, Doubles, Integers, Matrix, Pair, Parameters, Vector, factory, kernel, pair, scalar
from .norm import as_line, exponentials, line_sum, rows_together
from .pointwise import loops
from .reduce import LANES, put_scaled, rows_of


def squared(x: float) -> float:
    return x * x


def absolute(x: float) -> float:
    return abs(x)


def absolute_dx(g, x, y):
    """The sign of the error; 0 at 0, as in PyTorch."""
    T = type(x)
    return g if x > T(0) else -g if x < T(0) else T(0) if x == T(0) else x


def huber(x: float, delta: float = 1.0) -> float:
    """A parabola up to `delta`, and its tangent from there on."""
    T = type(x)
    a = abs(x)
    return T(0.5) * x * x if a <= T(delta) else T(delta) * (a - T(0.5) * T(delta))


def huber_dx(g, x, y, delta=1.0):
    T = type(x)
    far = g * T(delta)
    return far if x > T(delta) else -far if x < -T(delta) else g * x


def huber_dxx(c, x, y, delta=1.0):
    T = type(x)
    return c if abs(x) < T(delta) else T(0) if x == x else x


def smooth_l1(x: float, beta: float = 1.0) -> float:
    """Huber's loss divided by `beta`, so that its slope far out is 1; beta = 0 is the absolute value."""
    T = type(x)
    a = abs(x)
    return T(0.5) * x * x / T(beta) if a < T(beta) else a - T(0.5) * T(beta)


def smooth_l1_dx(g, x, y, beta=1.0):
    T = type(x)
    return g * x / T(beta) if abs(x) < T(beta) else absolute_dx(g, x, y)


def smooth_l1_dxx(c, x, y, beta=1.0):
    T = type(x)
    return c / T(beta) if abs(x) < T(beta) else T(0) if x == x else x


SQUARED = Elementwise("squared_error", squared, lambda g, x, y: g * (x + x), lambda c, x, y: c + c if x == x else x,
                      "(x - target)^2", "Legendre 1805, Nouvelles méthodes pour la détermination des orbites des comètes")
ABSOLUTE = Elementwise("absolute_error", absolute, absolute_dx, flat, "|x - target|",
                       "Boscovich 1757, De litteraria expeditione per pontificiam ditionem", lambda: ((0.0, 0.0),))
HUBER = Elementwise("huber", huber, huber_dx, huber_dxx, "e^2 / 2 if |e| <= delta else delta (|e| - delta / 2), e = x - target",
                    "Huber 1964, Robust estimation of a location parameter, Ann. Math. Statist. 35")
SMOOTH_L1 = Elementwise("smooth_l1", smooth_l1, smooth_l1_dx, smooth_l1_dxx,
                        "e^2 / (2 beta) if |e| < beta else |e| - beta / 2, e = x - target", "Girshick 2015, arXiv 1504.08083",
                        lambda beta=1.0: ((0.0, 0.0),) if beta == 0 else ())

ERRORS = {record.name: record for record in (SQUARED, ABSOLUTE, HUBER, SMOOTH_L1)}
FACTORIES.append((loops, ERRORS.values()))      # for second derivatives


@factory(ERRORS.values())
def error_loss(record: Elementwise[...]) -> Pair:
    """``forward(x, target, p, scale, out)``: out = f(x - target), or scale times the sum where out has one entry;
    ``pullback(g, x, target, p, scale, gx)``: gx = scale g f'(x - target); a g of one entry is used for all. Sums are float64.
    """
    f, f_dx = record.f, record.f_dx

    def forward(x: Vector, target: Vector, p: Parameters, scale: float, out: Vector):
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

    def pullback(g: Vector, x: Vector, target: Vector, p: Parameters, scale: float, gx: Vector):
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

    return pair(f"{record.name}_loss", record, forward, pullback)


# -- losses of labels ----------------------------------------------------------------------------------------------------
# `of_class` has the weight of each class, or is empty. `how` is NONE, SUM or MEAN. `weights` (rows + 1) receives the weight of
# each row and, last, the factor of the sum: 1, or for a mean 1 / its divisor. Sums are float64.

NONE, SUM, MEAN = 0, 1, 2


@scalar
def weight_of_label(label, classes, of_class):
    if label < 0 or label >= classes:
        raise IndexError("a label is not a class")
    return float(of_class[label]) if of_class.size else 1.0


@kernel
def nll(x: Matrix, labels: Integers, of_class: Vector, ignore: int, how: int, weights: Doubles, out: Vector):
    """``out[r] = -weights[r] x[r, labels[r]]``, or their sum, or that divided by the sum of the weights.

    The weight of a row is that of its label, and 0 if the label is `ignore`; rows of weight 0 are skipped, whatever they hold.
    """
    T, rows, total, mass = x.dtype.type, labels.size, 0.0, 0.0
    for r in range(rows):
        weight = 0.0 if labels[r] == ignore else weight_of_label(labels[r], x.shape[1], of_class)
        loss = x[r, labels[r]] * T(-weight) if weight != 0 else T(0)
        weights[r] = weight
        mass += weight
        total += loss
        if how == NONE:
            out[r] = loss
    weights[rows] = 1 / mass if how == MEAN else 1.0
    if how != NONE:
        out[0] = T(weights[rows] * total)


@kernel
def nll_pullback(g: Vector, labels: Integers, weights: Doubles, gx: Matrix):
    """``gx[r, labels[r]] = -weights[r] g[r]``, times the factor of the sum; 0 elsewhere. One g may serve all rows."""
    T, rows = gx.dtype.type, labels.size
    for r in range(rows):
        for c in range(gx.shape[1]):
            gx[r, c] = 0
        if weights[r] != 0:
            gx[r, labels[r]] = T(-weights[r] * weights[rows]) * g[0 if g.size == 1 else r]


@kernel
def multi_margin(x: Matrix, labels: Integers, of_class: Vector, margin: float, squared: bool, how: int, weights: Doubles,
                 out: Vector):
    """``out[r] = weights[r] / classes * sum over c != label of max(0, x[r, c] - x[r, label] + margin)``, or its square.

    Or their sum, or their mean over the rows.
    """
    T, (rows, classes), total = x.dtype.type, x.shape, 0.0
    for r in range(rows):
        weights[r] = weight_of_label(labels[r], classes, of_class)
        summed = 0.0
        for c in range(classes):
            short = (x[r, c] - x[r, labels[r]]) + T(margin)
            short = T(0) if c == labels[r] or short <= T(0) else short
            summed += short * short if squared else short
        loss = T(summed) * T(weights[r] / classes)
        total += loss
        if how == NONE:
            out[r] = loss
    weights[rows] = 1 / rows if how == MEAN else 1.0
    if how != NONE:
        out[0] = T(weights[rows] * total)


@kernel
def multi_margin_pullback(g: Vector, x: Matrix, labels: Integers, margin: float, squared: bool, weights: Doubles, gx: Matrix):
    """Each class that falls short of the margin gets its slope, and the label gets minus their sum."""
    T, (rows, classes) = gx.dtype.type, gx.shape
    for r in range(rows):
        factor, summed = T(weights[r] * weights[rows] / classes) * g[0 if g.size == 1 else r], 0.0
        for c in range(classes):
            short = (x[r, c] - x[r, labels[r]]) + T(margin)
            slope = factor * (short + short) if squared else factor if short > T(0) else short     # NaN stays NaN
            slope = T(0) if c == labels[r] or short <= T(0) else slope
            gx[r, c] = slope
            summed += slope
        gx[r, labels[r]] = T(-summed)


# -- cross-entropy ---------------------------------------------------------------------------------------------------------
# The loss of each row is written to an array even if only the sum is wanted, so that threads can share the rows.


@scalar
def add_losses(each, scale, losses):
    """The sum of the losses of the rows times `scale`, if `losses` has one entry for all."""
    summed = 0.0        # in float64: there may be very many rows
    if losses.size == 1:
        for r in range(each.size):
            summed += each[r]
        losses[0] = losses.dtype.type(scale * summed)


@scalar
def softmax_and_logs(x, first, last, tops, logs, out):
    """The softmax of each row; ``log sum_k exp(x[r, k] - top)``, with its maximum `top`."""
    exponentials(x, first, last, tops, out)
    for r in range(first, last):
        y = out[r]
        logs[r - first] = total = line_sum(y)
        put_scaled(y, x.dtype.type(1) / total, False, y)
    for i in range(last - first):           # a loop of its own: logarithms of several rows at once
        logs[i] = log(logs[i])


@scalar
def cross_entropy_rows(start, stop, x, labels, scale, slopes, each):
    T, some = x.dtype.type, rows_together(x)
    logs = np.empty(min(some, stop - start), x.dtype)
    for first in range(start, stop, some):
        last = min(first + some, stop)
        softmax_and_logs(x, first, last, each, logs, slopes)
        rows = as_line(slopes, first, last)
        put_scaled(rows, T(scale), False, rows)
        for r in range(first, last):
            slopes[r, labels[r]] -= T(scale)
            each[r] = logs[r - first] - (x[r, labels[r]] - each[r])


@kernel
def cross_entropy(x: Matrix, labels: Integers, scale: float, slopes: Matrix, losses: Vector):
    """``losses[r] = log sum_k exp(x[r, k]) - x[r, labels[r]]``, and ``slopes[r] = scale * (softmax(x[r]) - onehot(labels[r]))``.

    If `losses` has one entry, it is their sum times `scale` (1 / rows for the mean).
    """
    for r in range(labels.size):
        if labels[r] < 0 or labels[r] >= x.shape[1]:
            raise IndexError("a label is not a class")
    each = losses if losses.size == x.shape[0] else np.empty(x.shape[0], x.dtype)
    parallel(cross_entropy_rows, x.shape[0], rows_of(x), (x, labels, scale, slopes, each))
    add_losses(each, scale, losses)


@scalar
def cross_entropy_pullback_rows(start, stop, g, slopes, add, gx):
    if g.size == 1:
        put_scaled(as_line(slopes, start, stop), g[0], add, as_line(gx, start, stop))
    else:
        for r in range(start, stop):
            put_scaled(slopes[r], g[r], add, gx[r])


@kernel
def cross_entropy_pullback(g: Vector, slopes: Matrix, add: bool, gx: Matrix):
    """``gx[r] = g[r] * slopes[r]``, or added to it; a g of one entry is used for all."""
    parallel(cross_entropy_pullback_rows, gx.shape[0], rows_of(gx), (g, slopes, add, gx))


@scalar
def soft_cross_entropy_rows(start, stop, x, targets, probabilities, each):
    T, some = x.dtype.type, rows_together(x)
    logs = np.empty(min(some, stop - start), x.dtype)
    for first in range(start, stop, some):
        last = min(first + some, stop)
        softmax_and_logs(x, first, last, each, logs, probabilities)
        for r in range(first, last):
            loss = T(0)
            for c in range(x.shape[1]):
                loss += T(0) if targets[r, c] == T(0) else targets[r, c] * (logs[r - first] - (x[r, c] - each[r]))
            each[r] = loss


@kernel
def soft_cross_entropy(x: Matrix, targets: Matrix, scale: float, probabilities: Matrix, losses: Vector):
    """``losses[r] = sum_c targets[r, c] (log sum_k exp(x[r, k]) - x[r, c])``, and the softmax of every row.

    A target of 0 contributes 0, even if x is infinite. For `scale` see `cross_entropy`.
    """
    each = losses if losses.size == x.shape[0] else np.empty(x.shape[0], x.dtype)
    parallel(soft_cross_entropy_rows, x.shape[0], rows_of(x), (x, targets, probabilities, each))
    add_losses(each, scale, losses)


@scalar
def soft_cross_entropy_pullback_rows(start, stop, g, probabilities, targets, scale, gx):
    T = gx.dtype.type
    for r in range(start, stop):
        weight = T(scale) * g[0 if g.size == 1 else r]
        mass, zeros = T(0), True
        for c in range(gx.shape[1]):
            mass += targets[r, c]
            zeros = zeros and targets[r, c] == T(0)
        for c in range(gx.shape[1]):
            gx[r, c] = T(0) if zeros else weight * (mass * probabilities[r, c] - targets[r, c])


@kernel
def soft_cross_entropy_pullback(g: Vector, probabilities: Matrix, targets: Matrix, scale: float, gx: Matrix):
    """``gx[r] = scale * g[r] * (sum_k targets[r, k] * probabilities[r] - targets[r])``; exactly 0 for a row of zeros."""
    parallel(soft_cross_entropy_pullback_rows, gx.shape[0], rows_of(gx), (g, probabilities, targets, scale, gx))


@kernel
def soft_cross_entropy_to_targets(g: Vector, x: Matrix, scale: float, gt: Matrix):
    """``gt[r, c] = scale * g[r] * (log sum_k exp(x[r, k]) - x[r, c])``: the gradient of the targets."""
    T, tops = gt.dtype.type, np.empty(x.shape[0], x.dtype)
    for r in range(gt.shape[0]):
        weight = T(scale) * (g[0] if g.size == 1 else g[r])
        exponentials(x, r, r + 1, tops, gt)
        log_total = log(line_sum(gt[r]))
        for c in range(gt.shape[1]):
            gt[r, c] = weight * (log_total - (x[r, c] - tops[r]))
