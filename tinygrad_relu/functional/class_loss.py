"""The losses of many classes: logits, log-probabilities or scores against labels, or against class probabilities.

Classes are axis 1 of x, as in PyTorch: x is (rows, classes); or (rows, classes, d1, ...), with a label at every place of a
sequence or an image; or (classes,), one sample. Labels have the shape of x without the axis of the classes.
"""
from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy import ndarray

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array, Node, value
from ..checks import LABELS, as_numbers, copied, valid_labels
from ..kernels.machine.door import launch
from ..ops import loss as ops
from ..ops.elementwise import add, mul
from ..ops.shape import reshape, transpose
from ..tensor import Tensor
from .array import Input, as_tensor
from .loss import REDUCTIONS, check_target, checked, constant


def cross_entropy(x: Input, target: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """``log sum_k exp(x_k) - x_label``, the cross-entropy of logits, averaged over the labels.

    In general ``sum_c q_c (log sum_k exp(x_k) - x_c)`` with ``q_c = w_c ((1 - s) t_c + s / classes)``, for class weights w and
    label smoothing s from 0 to 1 (Szegedy et al. 2016, arXiv 1512.00567). t is 1 at the label and 0 elsewhere; or `target` holds
    t itself, class probabilities in the shape of x. These get a gradient if they require one. They are not checked to be
    positive or to sum to 1. A probability of 0 contributes 0, even at a logit of -inf (PyTorch: NaN).

    x holds logits, so apply no softmax first. Places with the label `ignore_index` have loss and gradient 0 and do not count in
    the mean. With `weight`, the mean over labels divides by the sum of their weights, that over probabilities by the number of
    places (as in PyTorch). For "none", the result has the shape of the labels.

    >>> round(F.cross_entropy([[0.0, 0.0]], [1]).item(), 6)
    0.693147
    >>> F.cross_entropy([[0.0, 0.0], [0.0, 9.0]], [1, -100], label_smoothing=0.1, reduction="none")
    Tensor([0.69314718, 0.        ])
    >>> F.cross_entropy([[0.0, 1.0]], [[0.25, 0.75]]).item() == F.cross_entropy([0.0, 1.0], 1, label_smoothing=0.5).item()
    True
    """
    x = as_tensor(x)
    if reduction not in REDUCTIONS:
        checked("cross_entropy", "reduction", reduction)
    if type(target) is not ndarray or target.ndim != 1 or x.array.ndim != 2:         # not a batch of labels
        target = target if isinstance(target, Node) else as_numbers(target, "cross_entropy: labels", LABELS)
        if target.dtype.kind == "f" and target.ndim == x.ndim:
            return _of_probabilities(x, target, weight, ignore_index, reduction, label_smoothing)
        if x.ndim != 2:
            return _at_every_place(cross_entropy, x, target, weight, ignore_index, reduction, label_smoothing)
    if weight is None and not label_smoothing and type(ignore_index) is int and ignore_index < 0:
        try:
            labels = _labels("cross_entropy", x.array, target, None, reduction)
            return ops.cross_entropy(reduction).__call__(x, labels)
        except ValueError:                      # a label that is not a class: an error, unless it is the one to ignore
            if not (as_numbers(value(target), "cross_entropy: labels", LABELS) == ignore_index).any():
                raise
            refuse_while_recording("has labels to ignore, whose loss takes another way than other labels; with a weight for each "
                                   "class (ones, say) all labels take one way")
    smoothing = checked("cross_entropy", "label_smoothing", label_smoothing)
    labels = _labels("cross_entropy", x, target, checked("cross_entropy", "ignore_index", ignore_index), reduction)
    of_class = np.ones(x.shape[1]) if weight is None else _of_class("cross_entropy", weight, x)
    asked, scale = np.empty(x.shape, x.dtype), np.ones(())
    launch(_ask, labels, of_class, ignore_index, smoothing, asked, scale if reduction == "mean" else None)
    return ops.soft_cross_entropy(x, asked, scale=scale, reduction=reduction)


def _ask(labels: Array, of_class: Array, ignore_index: int, smoothing: float, asked: Array, scale: Array | None) -> None:
    """What each row asks of each class, and for a mean 1 / (the weight of all rows)."""
    kept = labels != ignore_index
    labels = np.where(kept, labels, 0)
    if labels.size:
        valid_labels(labels, classes=asked.shape[1], name="cross_entropy: labels")
    asked.fill(smoothing / asked.shape[1])
    asked[np.arange(len(asked)), labels] += 1 - smoothing
    asked *= of_class
    asked[~kept] = 0
    if scale is not None:
        total = float(np.sum(of_class[labels], where=kept, dtype=np.float64))
        if total == 0:
            raise ValueError("cross_entropy: the labels that are not ignored have a total weight of 0; the mean over nothing is "
                             "not defined")
        scale[...] = 1 / total


def _of_probabilities(x: Tensor, target: Any, weight: Input | None, ignore_index: int, reduction: str,
                      smoothing: float) -> Tensor:
    """The cross-entropy against class probabilities."""
    name = "cross_entropy"
    if x.ndim == 0 or target.shape != x.shape or x.shape[x.ndim > 1] == 0:
        raise ValueError(f"{name}: got x of shape {x.shape} and class probabilities of shape {target.shape}; expected one shape, "
                         "with at least one class")
    if checked(name, "ignore_index", ignore_index) >= 0:
        raise ValueError(f"{name}: ignore_index is {ignore_index}, and there are class probabilities in place of labels; "
                         "expected a negative number, which is not a label")
    smoothing, classes = checked(name, "label_smoothing", smoothing), x.shape[x.ndim > 1]
    asked = check_target(name, x, target, reduction)
    if smoothing:
        asked = add(mul(asked, 1 - smoothing), smoothing / classes)
    if weight is not None:
        asked = mul(asked, _of_class(name, weight, x).reshape(-1, *[1] * (x.ndim - 2)))
    scale = classes / x.size if reduction == "mean" else 1.0
    losses = ops.soft_cross_entropy(_rows(x), _rows(asked), scale=scale, reduction=reduction)
    return reshape(losses, shape=_places(x.shape)) if reduction == "none" else losses


def nll_loss(x: Input, target: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """``-w_label x_label``, the negative log-likelihood of log-probabilities x, averaged with the class weights w.

    `log_softmax` computes such an x; `cross_entropy` takes both steps at once, with the same shapes and `ignore_index`.

    >>> F.nll_loss([[-0.5, -1.0], [-2.0, -0.25]], [0, 1], weight=[1.0, 3.0]).item()
    0.3125
    """
    x = as_tensor(x)
    checked("nll_loss", "reduction", reduction)
    if x.ndim != 2:
        return _at_every_place(nll_loss, x, target, weight, ignore_index, reduction)
    ignore = min(checked("nll_loss", "ignore_index", ignore_index), 2**63 - 1)
    labels = _labels("nll_loss", x, target, ignore, reduction)
    return ops.nll(x, labels, _of_class("nll_loss", weight, x), ignore=ignore, reduction=reduction)


def multi_margin_loss(x: Input, target: Any, p: int = 1, margin: float = 1.0, weight: Input | None = None,
                      reduction: str = "mean") -> Tensor:
    """``sum_c max(0, margin - x_label + x_c)^p / classes`` over the other classes c: the hinge loss of many classes.

    x holds scores, (rows, classes) or (classes,); p is 1 or 2. Where the right score exceeds another by exactly `margin`, the
    slope is 0. `weight` has one entry per class; the mean is divided by the number of rows (as in PyTorch). Source: Crammer &
    Singer 2001, J. Mach. Learn. Res. 2.

    >>> F.multi_margin_loss([[0.5, 1.0, -2.0]], [0]).item()
    0.5
    """
    name, x = "multi_margin_loss", as_tensor(x)
    checked(name, "reduction", reduction)
    margin, p = checked(name, "margin", margin), checked(name, "p", p)
    if x.ndim == 1:
        labels = as_numbers(value(target), f"{name}: labels", LABELS)
        if labels.shape not in ((), (1,)):
            raise ValueError(f"{name}: x has shape {x.shape}, the labels {labels.shape}; expected one label")
        loss = multi_margin_loss(reshape(x, (1, x.size)), labels.reshape(1), p, margin, weight, reduction)
        return reshape(loss, labels.shape) if reduction == "none" else loss
    labels = _labels(name, x, target, None, reduction)
    return ops.multi_margin(x, labels, _of_class(name, weight, x), margin=margin, p=p, reduction=reduction)


_INT64 = np.dtype(np.int64)         # comparing dtypes is twice as fast as comparing with a type


def _labels(name: str, x: Any, labels: Any, ignore: int | None, reduction: str) -> Array:
    """Labels as int64, one per row; the kernel checks that they are classes or `ignore`."""
    shape = x.shape
    if len(shape) != 2 or shape[1] == 0:
        raise ValueError(f"{name}: x has shape {shape}, expected (rows, classes), with at least one class")
    n, classes = shape
    if type(labels) is ndarray and labels.dtype is _INT64 and labels.shape == (n,) and n and labels.flags.carray:
        return labels                                           # nothing to do, found out in a third of the time
    found = given = as_numbers(value(labels), f"{name}: labels", LABELS)
    if found.shape != (n,) or found.dtype != _INT64 or (n == 0 and reduction == "mean"):
        if n or reduction == "mean" or found.shape != (n,):
            valid_labels(found if ignore is None else np.where(found == ignore, 0, found), n, classes, f"{name}: labels")
        found = found.astype(np.int64)
    found = found if found.flags.carray else found.copy()       # kernels take contiguous arrays
    return found if found is given else copied(given, found)


def _of_class(name: str, weight: Input | None, x: Tensor) -> Array:
    """The weight of each class; empty where all are 1."""
    if weight is None:
        return np.empty(0, x.dtype)
    of_class, classes = constant(name, "weight", weight, x), x.shape[x.ndim > 1]
    if of_class.shape != (classes,):
        raise ValueError(f"{name}: got a weight of shape {of_class.shape} for {classes} classes; expected ({classes},)")
    return of_class


def _at_every_place(loss: Callable[..., Tensor], x: Tensor, target: Any, weight: Input | None, ignore_index: int, reduction: str,
                    *options: Any) -> Tensor:
    """A loss of rows, taken at every place of x (rows, classes, d1, ...), or at the one place of x (classes,)."""
    name = loss.__name__
    if x.ndim == 0:
        raise ValueError(f"{name}: x has shape (), expected (rows, classes), (rows, classes, d1, ...) or (classes,)")
    labels, shape = as_numbers(value(target), f"{name}: labels", LABELS), _places(x.shape)
    if labels.shape != shape:
        hint = "" if x.ndim < 3 or labels.shape != x.shape[:-1] else (
            f", as classes are on axis 1; on the last axis? pass x.reshape(-1, {x.shape[-1]}) and labels.ravel()")
        hint = f"; x comes first: {name}(x, labels)" if labels.ndim > x.ndim else hint
        hint = f"; of a population? F.per_member(F.{name}, x, labels)" if labels.shape == x.shape[1:-1] != () else hint
        raise ValueError(f"{name}: x has shape {x.shape}, the labels {labels.shape}; expected labels of shape {shape}{hint}")
    classes = x.shape[x.ndim > 1]
    wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
    if wrong.any() and labels.dtype.kind != "f":
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ValueError(f"{name}: labels holds {labels[place]} at {place}; expected labels from 0 to {classes - 1}")
    losses = loss(_rows(x), labels.ravel(), weight, ignore_index, reduction, *options)
    return reshape(losses, shape=shape) if reduction == "none" else losses


def _places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the labels for an x of this shape: without the axis of the classes."""
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def _rows(x: Any) -> Any:
    """x as (rows, classes), a row for each place."""
    if x.ndim > 2:
        x = transpose(x, axes=(0, *range(2, x.ndim), 1))
    return x if x.ndim == 2 else reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))
