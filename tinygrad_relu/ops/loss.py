"""Losses of the error ``x - target``, each derived from the record of an elementwise function; and the entry of a label."""
from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from ..autodiff.broadcast import broadcast_to
from ..autodiff.node import Array, Op
from ..kernels.formulas.record import Activation
from ..kernels.loops.loss import error_loss
from ..kernels.machine.door import launch
from .activation import activation_op
from .elementwise import mul, neg, sub


def _scale(x: Any, reduction: str) -> float:
    return 1.0 / prod(x.shape) if reduction == "mean" else 1.0


@cache
def error_loss_op(record: Activation) -> Op:
    """The operation ``op(x, target, p=parameters, reduction=...)``: difference, function and mean in one launch."""
    elementwise = activation_op(record)

    def forward(x: Array, target: Array, *, p: tuple[float, ...], reduction: str) -> Array:
        out = np.empty(x.shape if reduction == "none" else (), x.dtype)
        launch(error_loss(record).loss, x.ravel(), target.ravel(), p, _scale(x, reduction), out.ravel())
        return out

    def fused(g: Array, y: Array, saved: Any, into: list[Array], add: int, x: Array, target: Array, *,
              p: tuple[float, ...], reduction: str) -> None:
        to_x, to_target = into
        out = to_x if to_x.size else to_target
        launch(error_loss(record).pullback, g.ravel(), x.ravel(), target.ravel(), p, _scale(x, reduction), out.ravel())
        if to_target.size:
            launch(np.negative, out, to_target)

    def composed(g: Any, y: Any, x: Any, target: Any, p: tuple[float, ...], reduction: str) -> Any:
        error, weights = sub(x, target), broadcast_to(mul(g, _scale(x, reduction)), shape=x.shape)
        return elementwise.pull_of(0)(weights, elementwise(error, p=p), error, p=p)

    return Op(f"{record.name}_loss", forward, fused=fused, pull=(
        composed, lambda g, y, x, target, p, reduction: neg(composed(g, y, x, target, p, reduction))))


def _pick(x: Array, labels: Array) -> Array:
    out = np.empty(labels.shape, x.dtype)
    launch(_take, x, labels, out)
    return out


def _take(x: Array, labels: Array, out: Array) -> None:
    out[:] = x[np.arange(labels.size), labels]


def _spread(g: Array, labels: Array, *, classes: int) -> Array:
    out = np.empty((labels.size, classes), g.dtype)
    launch(_put, g, labels, out)
    return out


def _put(g: Array, labels: Array, out: Array) -> None:
    out[:] = 0
    out[np.arange(labels.size), labels] = g


# The entry of each row (rows, classes) at its label, and the rows that hold it and zeros: each is the other's derivative.
entry_of_class: Op = Op("entry_of_class", _pick, pull=(
    lambda g, y, x, labels: row_of_class(g, labels, classes=x.shape[1]), None), index="labels")
row_of_class: Op = Op("row_of_class", _spread, pull=(lambda h, z, g, labels, classes: entry_of_class(h, labels), None),
                      index="labels")
