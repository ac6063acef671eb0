"""The losses."""
from __future__ import annotations

from typing import Any

from ..checks import check_name
from ..ops import reduction as reductions
from ..ops import softmax as softmax_ops
from ..ops.elementwise import mul, sub
from ..tensor import Tensor, operand_array
from .inputs import Input, as_tensor

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(x: Input, labels: Any, reduction: str = "mean") -> Tensor:
    """``log sum_k exp(x_k) - x_label``, the cross-entropy of logits, averaged over the rows.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Logits: no softmax before this.
    labels : array_like of int, shape (rows,)
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or (rows,) for "none"

    Raises
    ------
    TypeError
        If the labels are no integers.
    ValueError
        If a label is no class (named with its row), the lengths differ, or the batch is empty.

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0]], [1]).item(), 6)
    0.693147
    """
    x = as_tensor(x)
    if reduction not in REDUCTIONS:
        check_name(reduction, REDUCTIONS, "cross_entropy: reduction")
    return softmax_ops.cross_entropy(x, softmax_ops.labels_of(labels, x.array), reduction=reduction)


def mse_loss(x: Input, target: Input, reduction: str = "mean") -> Tensor:
    """``(x - target)^2``, averaged over all elements.

    Parameters
    ----------
    x, target : Tensor or array_like, of one shape
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If the shapes differ (broadcasting a target is nearly always a mistake), or there is nothing to average.

    Examples
    --------
    >>> mse_loss([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    check_name(reduction, REDUCTIONS, "mse_loss: reduction")
    x = as_tensor(x)
    target = operand_array(target, x, "mse_loss: target")
    if x.shape != target.shape:
        raise ValueError(f"mse_loss: got x of shape {x.shape} and a target of shape {target.shape}; expected one shape")
    if x.size == 0 and reduction == "mean":
        raise ValueError("mse_loss: the batch is empty; the mean over nothing is not defined")
    error = sub(x, target)
    squares = mul(error, error)
    return squares if reduction == "none" else reductions.sum_(squares) if reduction == "sum" else reductions.mean(squares)
