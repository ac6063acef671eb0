"""Losses of the error ``x - target``, and of two classes. Those of many classes are in `class_loss`.

Every loss takes the prediction, the target, and then its settings. `checked` checks the settings when a function is called, and
when a module of `nn` is made.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf, isfinite
from typing import Any

import numpy as np

from ..autodiff.node import Array, Node, value
from ..checks import as_floats, check_count, check_name, check_number, check_real
from ..kernels.formulas.record import Elementwise
from ..kernels.formulas.smooth import SOFTPLUS
from ..kernels.loops.loss import ABSOLUTE, HUBER, SMOOTH_L1, SQUARED
from ..kernels.machine.door import launch
from ..ops.activation import activation_op
from ..ops.elementwise import add, compare, mul, neg, sub, where
from ..ops.loss import error_loss_op
from ..ops.sums import SUM
from ..tensor import Tensor
from .activation import relu
from .array import Input, as_tensor

REDUCTIONS = ("mean", "sum", "none")

_softplus, _EXACT = activation_op(SOFTPLUS), (1.0, inf)


def mse_loss(x: Input, target: Input, reduction: str = "mean", weight: Input | None = None) -> Tensor:
    """``(x - target)^2``, averaged over all elements; x and target have one shape, as a broadcast is nearly always a mistake.

    `weight` has that shape too and gets no gradient. A weighted mean is divided by the sum of the weights (as in PyTorch).

    >>> F.mse_loss([1.0, 2.0], [1.0, 4.0]).item(), F.mse_loss([1.0, 2.0], [1.0, 4.0], weight=[3.0, 1.0]).item()
    (2.0, 1.0)
    """
    return _error_loss("mse_loss", SQUARED, (), x, target, reduction, weight)


def l1_loss(x: Input, target: Input, reduction: str = "mean", weight: Input | None = None) -> Tensor:
    """``|x - target|``, averaged over all elements; the slope at 0 is 0 (as in PyTorch). Weights as in `mse_loss`.

    >>> F.l1_loss([1.0, 2.0], [1.0, 4.0]).item()
    1.0
    """
    return _error_loss("l1_loss", ABSOLUTE, (), x, target, reduction, weight)


def huber_loss(x: Input, target: Input, reduction: str = "mean", delta: float = 1.0, weight: Input | None = None) -> Tensor:
    """``e^2 / 2`` where ``|e| <= delta``, else ``delta (|e| - delta / 2)``, with ``e = x - target``; averaged.

    The second derivative at ``|e| = delta`` is 0. Unlike in `mse_loss` and `l1_loss`, a weighted mean is divided by the number of
    elements (as in PyTorch). Source: Huber 1964, Ann. Math. Statist. 35.

    >>> F.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    p = (checked("huber_loss", "delta", delta),)
    return _error_loss("huber_loss", HUBER, p, x, target, reduction, weight, per_weight=False)


def smooth_l1_loss(x: Input, target: Input, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``e^2 / (2 beta)`` where ``|e| < beta``, else ``|e| - beta / 2``, with ``e = x - target``; averaged.

    It is ``huber_loss(delta=beta) / beta``; with ``beta = 0`` it is `l1_loss`. Source: Girshick 2015, arXiv 1504.08083.

    >>> F.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    return _error_loss("smooth_l1_loss", SMOOTH_L1, (checked("smooth_l1_loss", "beta", beta),), x, target, reduction)


def _error_loss(name: str, record: Elementwise[...], p: tuple[float, ...], x: Input, target: Input, reduction: str,
                weight: Input | None = None, per_weight: bool = True) -> Tensor:
    """The loss of a record; a weighted mean is divided by the sum of the weights, or by the number of elements."""
    x = as_tensor(x)
    target = check_target(name, x, target, reduction)
    op = error_loss_op(record)
    if weight is None:
        return op(x, target, p=p, reduction=reduction)
    weights = constant(name, "weight", weight, x)
    if weights.shape != x.shape:
        raise ValueError(f"{name}: got x of shape {x.shape} and a weight of shape {weights.shape}; expected one shape")
    losses = mul(op(x, target, p=p, reduction="none"), weights)
    if per_weight and reduction == "mean":
        share = np.empty((), x.dtype)
        launch(_share, name, weights, share)
        return mul(SUM(losses), share)
    return reduced(losses, reduction)


def _share(name: str, weights: Array, out: Array) -> None:
    total = float(np.sum(weights, dtype=np.float64))
    if total == 0:
        raise ValueError(f"{name}: the weights sum to 0; the mean over nothing is not defined")
    out[...] = 1.0 / total


def hinge_embedding_loss(x: Input, target: Input, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1; averaged over all elements.

    x holds distances: pairs that belong together (1) should be close, others (-1) at least `margin` apart. At ``x = margin``
    the slope is -1 (as in PyTorch). Source: Hadsell, Chopra & LeCun 2006, CVPR.

    >>> F.hinge_embedding_loss([0.25, 0.25, 3.0], [1, -1, -1], reduction="none")
    Tensor([0.25, 0.75, 0.  ])
    """
    x, margin = as_tensor(x), checked("hinge_embedding_loss", "margin", margin)
    signs = value(check_target("hinge_embedding_loss", x, value(target), reduction))
    launch(_check_signs, signs)
    losses = where(compare(np.greater, signs, 0.0), x, relu(sub(margin, x), at_zero=1.0))
    return reduced(losses, reduction)


def _check_signs(signs: Array) -> None:
    wrong = signs[abs(signs) != 1]
    if wrong.size:
        raise ValueError(f"hinge_embedding_loss: the target holds {wrong[0]:g}, expected 1 and -1")


def binary_cross_entropy_with_logits(x: Input, target: Input, weight: Input | None = None, reduction: str = "mean",
                                     pos_weight: Input | None = None) -> Tensor:
    """``p t softplus(-x) + (1 - t) softplus(x)``, the cross-entropy of sigmoid(x) against the probabilities t; averaged.

    Both terms are positive, so nothing cancels: at x = -50 and t = 0, loss and gradient are e^-50, not 0. p is `pos_weight`:
    above 1 it favours recall, below 1 precision. `weight` and `pos_weight` broadcast to the shape of x. The mean is divided by
    the number of elements, whatever the weights (as in PyTorch).

    >>> F.binary_cross_entropy_with_logits([1000.0, -1000.0], [1.0, 1.0], reduction="none")
    Tensor([   0., 1000.])
    """
    name, x = "binary_cross_entropy_with_logits", as_tensor(x)
    target = check_target(name, x, target, reduction)
    yes, no = _softplus(neg(x), p=_EXACT), _softplus(x, p=_EXACT)
    positive = target if pos_weight is None else mul(target, _broadcastable(name, "pos_weight", pos_weight, x))
    losses = add(mul(positive, yes), mul(sub(1.0, target), no))
    if weight is not None:
        losses = mul(losses, _broadcastable(name, "weight", weight, x))
    return reduced(losses, reduction)


def _broadcastable(name: str, key: str, weight: Input, x: Tensor) -> Array:
    weights = constant(name, key, weight, x)
    try:
        np.broadcast_to(weights, x.shape)
    except ValueError:
        raise ValueError(f"{name}: {key} has shape {weights.shape}, which does not broadcast to that of x, {x.shape}") from None
    return weights


def check_target(name: str, x: Tensor, target: Input, reduction: str) -> Any:
    """The target in the dtype of x, if its shape is that of x, the reduction is known and a mean has something to average."""
    if reduction not in REDUCTIONS:
        checked(name, "reduction", reduction)
    if not isinstance(target, Node) or (target.dtype != x.dtype and not target.requires_grad):
        target = as_floats(value(target), x.dtype, f"{name}: target")
    if target.shape != x.shape:
        raise ValueError(f"{name}: got x of shape {x.shape} and a target of shape {target.shape}; expected one shape")
    if target.dtype != x.dtype:
        raise TypeError(f"{name}: x is {x.dtype}, the target {target.dtype}; expected one dtype (x.astype(...) converts)")
    if x.size == 0 and reduction == "mean":
        raise ValueError(f"{name}: the batch is empty; the mean over nothing is not defined")
    return target


def constant(name: str, key: str, weight: Input, x: Tensor) -> Array:
    """The weights of a loss in the dtype of x."""
    return as_floats(value(checked(name, key, weight)), x.dtype, f"{name}: {key}")


def reduced(losses: Any, reduction: str) -> Tensor:
    """The losses as they are, their sum, or their mean."""
    if reduction == "none":
        return losses
    summed = SUM(losses)
    return summed if reduction == "sum" else mul(summed, 1.0 / float(losses.size))


WEIGHTS = ("weight", "pos_weight")
CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "reduction": lambda reduction, name: check_name(reduction, REDUCTIONS, name),
    "ignore_index": partial(check_count, least=-(2**63)), "beta": check_number,
    "p": lambda p, name: int(check_real(p, name, lambda p: p in (1, 2), "1 or 2")),
    "delta": partial(check_real, fits=lambda delta: 0 < delta < inf, expected="a finite number above 0"),
    "margin": partial(check_real, fits=isfinite, expected="a finite number"),
    "label_smoothing": partial(check_real, fits=lambda smoothing: 0 <= smoothing <= 1, expected="a number from 0 to 1")}


def checked(loss: str, key: str, setting: Any) -> Any:
    """A setting of a loss; errors begin with the name of the function or module."""
    name = f"{loss}: {key}"
    if key in WEIGHTS and isinstance(setting, Node) and setting.requires_grad:
        raise TypeError(f"{name} requires a gradient, which the loss does not compute; pass weight.detach()")
    return CHECKS[key](setting, name) if key in CHECKS else setting
