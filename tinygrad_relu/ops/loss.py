"""Losses of the error ``x - target``, each derived from the record of an elementwise function; and losses of labels."""
from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy import empty

from ..autodiff.broadcast import broadcast_to, filled
from ..autodiff.node import Array, Op, value
from ..autodiff.tape import derivative
from ..checks import check_labels
from ..kernels.formulas.piecewise import RELU
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import loss as kernels
from ..kernels.loops.loss import error_loss
from ..kernels.machine.door import launch
from .activation import activation_op
from .elementwise import add, cast, compare, div, mul, neg, one_hot, sub, where
from .indexing import getitem
from .normalization import LOG_SOFTMAX, SOFTMAX
from .shape import reshape
from .sums import SUM


def _scale(count: int, reduction: str) -> float:
    return 1.0 / count if reduction == "mean" else 1.0


@cache
def error_loss_op(record: Elementwise[...]) -> Op:
    """The operation ``op(x, target, p=parameters, reduction=...)``: difference, function and mean in one launch."""
    elementwise = activation_op(record)

    def forward(x: Array, target: Array, *, p: tuple[float, ...], reduction: str) -> Array:
        out = empty(x.shape if reduction == "none" else (), x.dtype)
        launch(error_loss(record).forward, x.ravel(), target.ravel(), p, _scale(x.size, reduction), out.ravel())
        return out

    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, target: Array, *,
              p: tuple[float, ...], reduction: str) -> None:
        to_x, to_target = into
        out = to_x if to_x.size else to_target
        launch(error_loss(record).pullback, g.ravel(), x.ravel(), target.ravel(), p, _scale(x.size, reduction), out.ravel())
        if to_target.size:
            launch(np.negative, out, to_target)

    def composed(g: Any, y: Any, x: Any, target: Any, p: tuple[float, ...], reduction: str) -> Any:
        error, weights = sub(x, target), broadcast_to(mul(g, _scale(prod(x.shape), reduction)), shape=x.shape)
        return elementwise.pull_of(0)(weights, elementwise(error, p=p), error, p=p)

    return Op(f"{record.name}_loss", forward, fused=fused, pull=(
        composed, lambda g, y, x, target, p, reduction: neg(composed(g, y, x, target, p, reduction))))


# -- losses of labels: x (rows, classes), labels (rows,) of int64, of_class (classes,) the weights of the classes, or empty ------

HOW = {"none": kernels.NONE, "sum": kernels.SUM, "mean": kernels.MEAN}


def _of_labels(x: Any, labels: Array) -> Any:
    """The entry of each row at its label."""
    return getitem(x, (np.arange(labels.size), labels))


def _weigh(labels: Array, of_class: Array, ignore: int, index: Array, own: Array, share: Array | None) -> None:
    """The labels, 0 if they are ignored; their weights, 0 if they are; and one divided by the total."""
    kept = labels != ignore
    index[...] = np.where(kept, labels, 0)
    own[...] = np.where(kept, of_class[index] if of_class.size else 1, 0)
    if share is not None:
        share[...] = 1 / own.sum(dtype=float)


def _nll(x: Array, labels: Array, of_class: Array, *, ignore: int, reduction: str) -> tuple[Array, Array]:
    weights, out = empty(labels.size + 1), empty(labels.shape if reduction == "none" else (), x.dtype)
    try:
        launch(kernels.nll, x, labels, of_class, ignore, HOW[reduction], weights, out.ravel())
    except IndexError:
        check_labels(np.where(labels == ignore, 0, labels), len(x), x.shape[1], "nll_loss: labels")      # says which, and where
        raise
    launch(_check_weight, "nll_loss", weights)
    return out, weights


def _check_weight(name: str, weights: Array) -> None:
    """Raise if a mean would divide by a weight of 0: the last entry is infinite."""
    if weights[-1] == np.inf:
        raise ValueError(f"{name}: the labels that are not ignored have a total weight of 0; the mean over nothing is not "
                         "defined")


def _nll_steps(x: Any, labels: Array, of_class: Array, ignore: int, reduction: str) -> Any:
    index, own, share = np.empty_like(labels), empty(labels.shape, x.dtype), empty((), x.dtype)
    launch(_weigh, labels, of_class, ignore, index, own, share if reduction == "mean" else None)
    losses = mul(where(compare(np.not_equal, own, 0.0), _of_labels(x, index), 0.0), sub(0.0, own))
    return losses if reduction == "none" else mul(SUM(losses), share if reduction == "mean" else 1.0)


def _multi_margin(x: Array, labels: Array, of_class: Array, *, margin: float, p: int, reduction: str) -> tuple[Array, Array]:
    weights, out = empty(labels.size + 1), empty(labels.shape if reduction == "none" else (), x.dtype)
    try:
        launch(kernels.multi_margin, x, labels, of_class, margin, p == 2, HOW[reduction], weights, out.ravel())
    except IndexError:
        check_labels(labels, len(x), x.shape[1], "multi_margin_loss: labels")
        raise
    return out, weights


def _multi_margin_steps(x: Any, labels: Array, of_class: Array, margin: float, p: int, reduction: str) -> Any:
    rows, classes = x.shape
    short = _relu(add(sub(x, reshape(_of_labels(x, labels), (rows, 1))), margin))
    own = empty(rows, x.dtype)
    launch(_weigh, labels, of_class, -1, np.empty_like(labels), own, None)
    losses = mul(SUM(where(one_hot(labels, classes), 0.0, mul(short, short) if p == 2 else short), axis=1), div(own, classes))
    return losses if reduction == "none" else mul(SUM(losses), 1 / rows if reduction == "mean" else 1.0)


_relu = activation_op(RELU)
nll: Op = Op("nll_loss", _nll, saves=True, pull=derivative(_nll_steps), index="labels",
             fused=lambda g, y, weights, into, add, x, labels, *_, **settings: launch(
                 kernels.nll_pullback, g.ravel(), labels, weights, into[0]))
multi_margin: Op = Op("multi_margin_loss", _multi_margin, saves=True, pull=derivative(_multi_margin_steps), index="labels",
                      fused=lambda g, y, weights, into, add, x, labels, of_class, margin, p, reduction: launch(
                          kernels.multi_margin_pullback, g.ravel(), x, labels, margin, p == 2, weights, into[0]))


# -- cross-entropy -----------------------------------------------------------------------------------------------------

@cache
def cross_entropy(reduction: str) -> Op:
    """The operation ``op(x, labels)``. It keeps the gradient, which is the softmax but for one entry of each row."""

    def forward(x: Array, labels: Array) -> tuple[Array, Array]:
        dtype = x.dtype
        slopes, losses = empty(x.shape, dtype), empty(labels.shape if reduction == "none" else (), dtype)
        try:
            launch(kernels.cross_entropy, x, labels, _scale(labels.size, reduction), slopes, losses.ravel())
        except IndexError:
            check_labels(labels, len(x), x.shape[1], "cross_entropy: labels")
            raise
        return losses, slopes

    def fused(g: Array, y: Array, slopes: Array, into: list[Array], add: int, x: Array, labels: Array) -> None:
        launch(kernels.cross_entropy_pullback, g.ravel(), slopes, bool(add), into[0])

    def pull(g: Any, y: Any, x: Any, labels: Array) -> Any:
        targets = cast(one_hot(labels, x.shape[1]), dtype=x.dtype)
        return mul(mul(sub(SOFTMAX(x), targets), reshape(g, shape=(prod(g.shape), 1))), _scale(labels.size, reduction))

    return Op("cross_entropy", forward, fused=fused, saves=True, adds=True, saves_gradient=reduction != "none", pull=(pull, None),
              index="labels")


# A scale is a number, or an array () if it depends on data: of labels with weights, say.


def _launch_scaled(kernel: Any, *arguments: Any) -> None:
    launch(*((_with_numbers, kernel) if any(type(x) is np.ndarray and not x.ndim for x in arguments) else (kernel,)), *arguments)


def _with_numbers(kernel: Any, *arguments: Any) -> None:
    kernel(*[x.item() if type(x) is np.ndarray and not x.ndim else x for x in arguments])


def _scaled(g: Any, scale: Any) -> Any:
    return mul(g, cast(scale, dtype=g.dtype) if isinstance(scale, np.ndarray) else scale)


def _soft_cross_entropy(x: Array, targets: Array, *, scale: Any, reduction: str) -> tuple[Array, Array]:
    probabilities = empty(x.shape, x.dtype)
    losses = empty(x.shape[:1] if reduction == "none" else (), x.dtype)
    _launch_scaled(kernels.soft_cross_entropy, x, targets, scale, probabilities, losses.ravel())
    return losses, probabilities


def _soft_cross_entropy_fused(g: Array, y: Array, probabilities: Array, into: list[Array], add: int, x: Array,
                              targets: Array, *, scale: Any, reduction: str) -> None:
    to_x, to_targets = into
    if to_x.size:
        _launch_scaled(kernels.soft_cross_entropy_pullback, g.ravel(), probabilities, targets, scale, to_x)
    if to_targets.size:
        _launch_scaled(kernels.soft_cross_entropy_to_targets, g.ravel(), x, scale, to_targets)


def _soft_cross_entropy_pull(g: Any, y: Any, x: Any, targets: Any, scale: Any, reduction: str) -> Any:
    weights = reshape(_scaled(g, scale), shape=(prod(g.shape), 1))
    slopes = mul(sub(mul(SOFTMAX(x), SUM(targets, axis=-1, keepdims=True)), targets), weights)
    return where(filled(empty((x.shape[0], 1), bool), _any_in_row, value(targets)), slopes, 0.0)


def _any_in_row(x: Array, out: Array) -> None:
    out[...] = (x != 0).any(axis=1, keepdims=True)


# Each row has a target per class instead of one label: class probabilities, or targets made from labels if classes have weights,
# or labels are smoothed or ignored.
soft_cross_entropy: Op = Op("soft_cross_entropy", _soft_cross_entropy, fused=_soft_cross_entropy_fused, saves=True, pull=(
    _soft_cross_entropy_pull,
    lambda g, y, x, targets, scale, reduction: mul(LOG_SOFTMAX(x), neg(reshape(_scaled(g, scale), shape=(prod(g.shape), 1))))))
