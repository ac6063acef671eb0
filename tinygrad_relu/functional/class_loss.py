"""The losses of many classes: logits, log-probabilities or scores against labels, or against class probabilities.

The classes are the second axis of x, as in PyTorch: x is (rows, classes), or (rows, classes, d1, ...) where there is a label at
every place of a sequence or an image; or it is the (classes,) of one sample. Labels have no gradient.
"""
from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, Node, value
from ..checks import as_numbers, check_labels
from ..ops import softmax as softmax_ops
from ..ops.elementary import power
from ..ops.elementwise import add, mul, sub, where
from ..ops.loss import entry_of_class
from ..ops.shape import reshape, transpose
from ..ops.sums import SUM
from ..tensor import Tensor
from .activation import relu
from .lift import Input, as_tensor
from .loss import (
    REDUCTIONS,
    check_ignore_index,
    check_margin,
    check_power,
    check_reduction,
    check_smoothing,
    check_target,
    constant,
    reduced,
)


def cross_entropy(x: Input, target: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """``log sum_k exp(x_k) - x_label``, the cross-entropy of logits, averaged over the labels.

    With q what is asked of the classes, ``sum_c q_c (log sum_k exp(x_k) - x_c)``, where ``q_c = w_c ((1 - s) t_c + s / classes)``
    for the weights w and the smoothing s. The target t is 1 at the label and 0 elsewhere, or it is given: as class probabilities.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes), (rows, classes, d1, ...) or (classes,)
        Logits: no softmax before this.
    target : array_like of int, shape (rows,), (rows, d1, ...) or (); or Tensor or array_like of float, of the shape of `x`
        Labels; or class probabilities, to which a gradient flows where they require one. That they are positive and sum to 1
        is not checked. One of 0 asks nothing, not even of a logit of -inf (where PyTorch has NaN).
    weight : array_like, shape (classes,), optional
        Of each class. The mean of labels is then divided by the sum of their weights, that of probabilities by their number
        all the same (as in PyTorch).
    ignore_index : int
        Places with this label have the loss 0, the gradient 0, and no share in the mean.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float from 0 to 1

    Returns
    -------
    Tensor, shape (), or that of the labels for "none"

    Raises
    ------
    TypeError
        If the labels are no integers, or the probabilities require a gradient and have another dtype than `x`.
    ValueError
        If a label is no class (named with its place), the shapes do not fit, or in a mean the batch is empty or all of it
        ignored; if there are probabilities and an `ignore_index` from 0 on.

    References
    ----------
    Label smoothing: Szegedy et al. 2016, arXiv 1512.00567

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0]], [1]).item(), 6)
    0.693147
    >>> cross_entropy([[0.0, 0.0], [0.0, 9.0]], [1, -100], label_smoothing=0.1, reduction="none")
    Tensor([0.69314718, 0.        ])
    >>> cross_entropy([[0.0, 1.0]], [[0.25, 0.75]]).item() == cross_entropy([0.0, 1.0], 1, label_smoothing=0.5).item()
    True
    """
    x = as_tensor(x)
    if reduction not in REDUCTIONS:
        check_reduction("cross_entropy", reduction)
    if type(target) is not np.ndarray or target.ndim != 1 or x.array.ndim != 2:         # not a batch of labels
        target = target if isinstance(target, Node) else as_numbers(target, "cross_entropy: labels")
        if target.dtype.kind == "f" and target.ndim == x.ndim:
            return _of_probabilities(x, target, weight, ignore_index, reduction, label_smoothing)
        if x.ndim != 2:
            return _at_every_place(cross_entropy, x, target, weight, ignore_index, reduction, label_smoothing)
    if weight is None and not label_smoothing and type(ignore_index) is int and ignore_index < 0:
        try:
            return softmax_ops.cross_entropy(x, softmax_ops.labels_of(target, x.array), reduction=reduction)
        except ValueError:                      # a label that is no class, or none: an error, unless it is the one to ignore
            found = as_numbers(value(target), "cross_entropy: labels")
            if not (found == ignore_index).any() and (found.size or reduction == "mean"):
                raise
    smoothing = check_smoothing("cross_entropy", label_smoothing)
    rows = _checked("cross_entropy", x, target, weight, ignore_index, reduction)
    asked = np.full(x.shape, smoothing / x.shape[1], x.dtype)
    asked[np.arange(len(asked)), rows.labels] += 1 - smoothing
    asked *= rows.of_class
    asked[~rows.kept] = 0
    scale = 1 / _total("cross_entropy", rows) if reduction == "mean" else 1.0
    return softmax_ops.soft_cross_entropy(x, asked, scale=scale, reduction=reduction)


def _of_probabilities(x: Tensor, target: Any, weight: Input | None, ignore_index: int, reduction: str,
                      smoothing: float) -> Tensor:
    """The cross-entropy against class probabilities."""
    name = "cross_entropy"
    if x.ndim == 0 or target.shape != x.shape or x.shape[x.ndim > 1] == 0:
        raise ValueError(f"{name}: got x of shape {x.shape} and class probabilities of shape {target.shape}; expected one shape, "
                         "with at least one class")
    if check_ignore_index(name, ignore_index) >= 0:
        raise ValueError(f"{name}: ignore_index is {ignore_index}, and there are class probabilities in place of labels; "
                         "expected a negative number, which is no label")
    smoothing, asked, classes = check_smoothing(name, smoothing), check_target(name, x, target, reduction), x.shape[x.ndim > 1]
    if smoothing:
        asked = add(mul(asked, 1 - smoothing), smoothing / classes)
    if weight is not None:
        asked = mul(asked, _of_class(name, weight, x, classes).reshape(-1, *[1] * (x.ndim - 2)))
    losses = softmax_ops.soft_cross_entropy(_rows(x), _rows(asked), scale=classes / x.size if reduction == "mean" else 1.0,
                                            reduction=reduction)
    return reshape(losses, shape=_places(x.shape)) if reduction == "none" else losses


def nll_loss(x: Input, target: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """``-w_label x_label``, the negative log-likelihood of log-probabilities x, averaged with the weights w.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes), (rows, classes, d1, ...) or (classes,)
        Log-probabilities, as `log_softmax` gives them; `cross_entropy` takes both steps at once.
    target : array_like of int, shape (rows,), (rows, d1, ...) or ()
        Labels.
    weight, ignore_index, reduction
        As in `cross_entropy`.

    Returns
    -------
    Tensor, shape (), or that of the labels for "none"

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`.

    Examples
    --------
    >>> nll_loss([[-0.5, -1.0], [-2.0, -0.25]], [0, 1], weight=[1.0, 3.0]).item()
    0.3125
    """
    x = as_tensor(x)
    check_reduction("nll_loss", reduction)
    if x.ndim != 2:
        return _at_every_place(nll_loss, x, target, weight, ignore_index, reduction)
    rows = _checked("nll_loss", x, target, weight, ignore_index, reduction)
    chosen = where(rows.own != 0, entry_of_class(x, rows.labels), 0.0)      # selected: an ignored row may hold an infinity
    losses = mul(chosen, 0 - rows.own)
    return reduced("nll_loss", losses, reduction, _total("nll_loss", rows) if reduction == "mean" else 1.0)


def multi_margin_loss(x: Input, target: Any, p: int = 1, margin: float = 1.0, weight: Input | None = None,
                      reduction: str = "mean") -> Tensor:
    """``sum_c max(0, margin - x_label + x_c)^p / classes`` over the other classes c: the hinge loss of many classes.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Scores.
    target : array_like of int, shape (rows,)
        Labels.
    p : {1, 2}
    margin : float
        By how much the right score should exceed every other one. Where it does so exactly the slope is 0.
    weight : array_like, shape (classes,), optional
        Of each label. The mean is divided by the number of rows all the same (as in PyTorch).
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or (rows,) for "none"

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`, and if `p` is neither 1 nor 2 or `margin` is not finite.

    References
    ----------
    Crammer & Singer 2001, J. Mach. Learn. Res. 2

    Examples
    --------
    >>> multi_margin_loss([[0.5, 1.0, -2.0]], [0]).item()
    0.5
    """
    x, margin = as_tensor(x), check_margin("multi_margin_loss", margin)
    check_reduction("multi_margin_loss", reduction)
    p = check_power("multi_margin_loss", p)
    rows = _checked("multi_margin_loss", x, target, weight, None, reduction)
    n, classes = x.shape
    short = relu(add(sub(x, reshape(entry_of_class(x, rows.labels), shape=(n, 1))), margin))
    others = np.arange(classes) != rows.labels[:, None]
    losses = mul(SUM(where(others, power(short, float(p)), 0.0), axis=1), rows.own / classes)
    return reduced("multi_margin_loss", losses, reduction, n)


class _Rows(NamedTuple):
    labels: Array       # int64; 0 where ignored
    kept: Array         # whether a row is not ignored
    of_class: Array     # the weight of each class
    own: Array          # the weight of each row's label; 0 where ignored


def _checked(name: str, x: Tensor, labels: Any, weight: Input | None, ignore_index: int | None, reduction: str) -> _Rows:
    """Labels that are classes, or to be ignored, with their weights."""
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"{name}: x has shape {x.shape}, expected (rows, classes), with at least one class")
    n, classes = x.shape
    found = as_numbers(value(labels), f"{name}: labels")
    kept = np.full(found.shape, True)
    if ignore_index is not None:
        kept = found != check_ignore_index(name, ignore_index)
    if found.shape == (n,) == (0,) and reduction != "mean":
        found = found.astype(np.int64)
    else:
        found = check_labels(np.where(kept, found, 0), n, classes, f"{name}: labels")
    of_class = np.ones(classes, x.dtype) if weight is None else _of_class(name, weight, x, classes)
    return _Rows(found, kept, of_class, np.where(kept, of_class[found], x.dtype.type(0)))


def _of_class(name: str, weight: Input, x: Tensor, classes: int) -> Array:
    """The weight of each class."""
    of_class = constant(f"{name}: weight", weight, x)
    if of_class.shape != (classes,):
        raise ValueError(f"{name}: got a weight of shape {of_class.shape} for {classes} classes; expected ({classes},)")
    return of_class


def _total(name: str, rows: _Rows) -> float:
    """What a mean is divided by."""
    total = float(rows.own.sum(dtype=np.float64))
    if total == 0:
        raise ValueError(f"{name}: every row is ignored or has the weight 0; the mean over nothing is not defined")
    return total


def _at_every_place(loss: Callable[..., Tensor], x: Tensor, target: Any, weight: Input | None, ignore_index: int, reduction: str,
                    *options: Any) -> Tensor:
    """A loss of rows, taken at every place of x (rows, classes, d1, ...), or at the one place of x (classes,)."""
    name = loss.__name__
    if x.ndim == 0:
        raise ValueError(f"{name}: x has shape (), expected (rows, classes), (rows, classes, d1, ...) or (classes,)")
    labels, shape = as_numbers(value(target), f"{name}: labels"), _places(x.shape)
    if labels.shape != shape:
        raise ValueError(f"{name}: x has shape {x.shape}, the labels {labels.shape}; expected labels of shape {shape}")
    classes = x.shape[x.ndim > 1]
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
    if wrong.any() and labels.dtype.kind != "f":
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"{name}: labels holds {labels[place]} at {place}; expected labels from 0 to {classes - 1}")
    losses = loss(_rows(x), labels.ravel(), weight, ignore_index, reduction, *options)
    return reshape(losses, shape=shape) if reduction == "none" else losses


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the labels for an x of this one: without the axis of the classes."""
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def _rows(x: Any) -> Any:
    """x as (rows, classes), a row for each place."""
    if x.ndim > 2:
        x = transpose(x, axes=(0, *range(2, x.ndim), 1))
    return x if x.ndim == 2 else reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))
