"""The losses of regression: functions of the error ``x - target``. Those of classes: `class_loss`, `binary_loss`."""
from __future__ import annotations

from math import inf, isfinite
from typing import Any

import numpy as np

from ..autodiff.node import Array, Node, value
from ..checks import as_floats, check_name, check_number, check_real
from ..kernels.formulas.record import Activation
from ..kernels.loops.loss import ABSOLUTE, HUBER, SMOOTH_L1, SQUARED
from ..ops.elementwise import mul
from ..ops.loss import error_loss_op
from ..ops.reduction import sum_
from ..tensor import Tensor
from .inputs import Input, as_tensor

REDUCTIONS = ("mean", "sum", "none")


def mse_loss(x: Input, target: Input, reduction: str = "mean", weight: Input | None = None) -> Tensor:
    """``(x - target)^2``, averaged over all elements.

    Parameters
    ----------
    x, target : Tensor or array_like, of one shape
    reduction : {"mean", "sum", "none"}
    weight : array_like of the same shape, optional
        Of each element; the mean is then divided by the sum of the weights. No gradient flows to it.

    Returns
    -------
    Tensor, shape (), or that of `x` for "none"

    Raises
    ------
    ValueError
        If the shapes differ (broadcasting a target is nearly always a mistake), or there is nothing to average.
    TypeError
        If `target` requires a gradient and has another dtype.

    Examples
    --------
    >>> mse_loss([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    >>> mse_loss([1.0, 2.0], [1.0, 4.0], weight=[3.0, 1.0]).item()
    1.0
    """
    return _error_loss("mse_loss", SQUARED, (), x, target, reduction, weight)


def l1_loss(x: Input, target: Input, reduction: str = "mean", weight: Input | None = None) -> Tensor:
    """``|x - target|``, averaged over all elements. Where the error is 0 the slope is 0 (as in PyTorch).

    Parameters, shapes and errors are those of `mse_loss`.

    Examples
    --------
    >>> l1_loss([1.0, 2.0], [1.0, 4.0]).item()
    1.0
    """
    return _error_loss("l1_loss", ABSOLUTE, (), x, target, reduction, weight)


def huber_loss(x: Input, target: Input, reduction: str = "mean", delta: float = 1.0, weight: Input | None = None) -> Tensor:
    """``e^2 / 2`` where ``|e| <= delta``, else ``delta (|e| - delta / 2)``, with ``e = x - target``; averaged.

    Parameters
    ----------
    x, target, reduction
        As in `mse_loss`.
    delta : float
        Where the parabola goes over into a line; above 0. The slope is continuous there, the second derivative is that of
        the line, 0.
    weight : array_like of the same shape, optional
        Of each element. The mean is divided by the number of elements all the same: PyTorch does so here, and otherwise in
        `mse_loss` and `l1_loss`.

    Raises
    ------
    ValueError
        As `mse_loss`, and if `delta` is not a finite number above 0.

    References
    ----------
    Huber 1964, Robust estimation of a location parameter, Ann. Math. Statist. 35

    Examples
    --------
    >>> huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    delta = check_delta("huber_loss", delta)
    return _error_loss("huber_loss", HUBER, (delta,), x, target, reduction, weight, per_weight=False)


def smooth_l1_loss(x: Input, target: Input, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """``e^2 / (2 beta)`` where ``|e| < beta``, else ``|e| - beta / 2``, with ``e = x - target``; averaged.

    Huber's loss with ``delta = beta``, divided by beta; with ``beta = 0`` it is `l1_loss`.

    Parameters
    ----------
    x, target, reduction
        As in `mse_loss`.
    beta : float, 0 or more

    Raises
    ------
    ValueError
        As `mse_loss`, and if `beta` is negative or not finite.

    References
    ----------
    Girshick 2015, arXiv 1504.08083

    Examples
    --------
    >>> smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    beta = check_number(beta, "smooth_l1_loss: beta")
    return _error_loss("smooth_l1_loss", SMOOTH_L1, (beta,), x, target, reduction)


def _error_loss(name: str, record: Activation, p: tuple[float, ...], x: Input, target: Input, reduction: str,
                weight: Input | None = None, per_weight: bool = True) -> Tensor:
    """The loss of a record; a weighted mean is divided by the sum of the weights, or by the number of elements."""
    x = as_tensor(x)
    target = check_target(name, x, target, reduction)
    op = error_loss_op(record)
    if weight is None:
        return op(x, target, p=p, reduction=reduction)
    weights = constant(f"{name}: weight", weight, x)
    if weights.shape != x.shape:
        raise ValueError(f"{name}: got x of shape {x.shape} and a weight of shape {weights.shape}; expected one shape")
    losses = mul(op(x, target, p=p, reduction="none"), weights)
    return reduced(name, losses, reduction, np.sum(weights, dtype=np.float64) if per_weight else x.size)


# -- what all losses share ---------------------------------------------------------------------------------------------

def check_target(name: str, x: Tensor, target: Input, reduction: str) -> Any:
    """A target of the shape and dtype of x, where the reduction is known and there is something to reduce."""
    if reduction not in REDUCTIONS:
        check_name(reduction, REDUCTIONS, f"{name}: reduction")
    if not isinstance(target, Node) or (target.dtype != x.dtype and not target.requires_grad):
        target = as_floats(value(target), x.dtype, f"{name}: target")
    if target.shape != x.shape:
        raise ValueError(f"{name}: got x of shape {x.shape} and a target of shape {target.shape}; expected one shape")
    if target.dtype != x.dtype:
        raise TypeError(f"{name}: x is {x.dtype}, the target {target.dtype}; expected one dtype")
    if x.size == 0 and reduction == "mean":
        raise ValueError(f"{name}: the batch is empty; the mean over nothing is not defined")
    return target


def constant(name: str, weight: Input, x: Tensor) -> Array:
    """Weights of a loss, in the dtype of x."""
    return as_floats(value(check_constant(name, weight)), x.dtype, name)


def reduced(name: str, losses: Any, reduction: str, total: float) -> Tensor:
    """The losses as they are, their sum, or their sum divided by `total`."""
    if reduction == "none":
        return losses
    if reduction == "mean" and total == 0:
        raise ValueError(f"{name}: the weights sum to 0; the mean over nothing is not defined")
    summed = sum_(losses)
    return summed if reduction == "sum" else mul(summed, 1.0 / float(total))


# -- settings, which the modules of `nn` check when they are made ---------------------------------------------------------

def check_constant(name: str, weight: Input) -> Input:
    """Weights that require no gradient."""
    if isinstance(weight, Node) and weight.requires_grad:
        raise TypeError(f"{name} requires a gradient, but the loss passes none on to it; pass weight.detach()")
    return weight


def check_delta(name: str, delta: float) -> float:
    """Where a parabola goes over into a line."""
    if not 0 < check_real(delta, f"{name}: delta") < inf:
        raise ValueError(f"{name}: delta is {delta}, expected a finite number above 0")
    return float(delta)


def check_margin(name: str, margin: float) -> float:
    """A margin, by which a score should exceed another: any finite number."""
    if not isfinite(check_real(margin, f"{name}: margin")):
        raise ValueError(f"{name}: margin is {margin}, expected a finite number")
    return float(margin)
