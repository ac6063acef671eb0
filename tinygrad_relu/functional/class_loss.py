"""The losses of classification: logits, log-probabilities or scores against labels. Labels have no gradient."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, value
from ..checks import as_numbers, check_count, check_labels, check_name, check_real
from ..kernels.smooth import SOFTPLUS
from ..ops import softmax as softmax_ops
from ..ops.activation import activation_op
from ..ops.elementary import power
from ..ops.elementwise import add, mul, neg, sub, where
from ..ops.loss import entry_of_class
from ..ops.reduction import sum_
from ..ops.shape import reshape
from ..tensor import Tensor
from .activation import relu
from .inputs import Input, as_tensor
from .loss import REDUCTIONS, check_target, constant, reduced

_softplus, _exact = activation_op(SOFTPLUS), (1.0, float("inf"))


def cross_entropy(x: Input, labels: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """``log sum_k exp(x_k) - x_label``, the cross-entropy of logits, averaged over the rows.

    With q the target of a row, ``sum_c q_c (log sum_k exp(x_k) - x_c)``, where ``q_c = w_c ((1 - s) [c = label] + s / classes)``
    for the weights w and the smoothing s.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Logits: no softmax before this.
    labels : array_like of int, shape (rows,)
    weight : array_like, shape (classes,), optional
        Of each class. The mean is then divided by the sum of the weights of the labels.
    ignore_index : int
        Rows with this label have the loss 0, the gradient 0, and no share in the mean.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float from 0 to 1

    Returns
    -------
    Tensor, shape (), or (rows,) for "none"

    Raises
    ------
    TypeError
        If the labels are no integers.
    ValueError
        If a label is no class (named with its row), the lengths differ, the batch is empty, or all of it is ignored in a mean.

    References
    ----------
    Label smoothing: Szegedy et al. 2016, arXiv 1512.00567

    Examples
    --------
    >>> round(cross_entropy([[0.0, 0.0]], [1]).item(), 6)
    0.693147
    >>> cross_entropy([[0.0, 0.0], [0.0, 9.0]], [1, -100], label_smoothing=0.1, reduction="none")
    Tensor([0.69314718, 0.        ])
    """
    x = as_tensor(x)
    if reduction not in REDUCTIONS:
        check_name(reduction, REDUCTIONS, "cross_entropy: reduction")
    if weight is None and not label_smoothing and type(ignore_index) is int and ignore_index < 0:
        try:
            return softmax_ops.cross_entropy(x, softmax_ops.labels_of(labels, x.array), reduction=reduction)
        except ValueError:                      # a label that is no class: an error, unless it is the one to ignore
            if not (as_numbers(value(labels), "cross_entropy: labels") == ignore_index).any():
                raise
    if not 0 <= check_real(label_smoothing, "cross_entropy: label_smoothing") <= 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, expected a number from 0 to 1")
    rows = _checked("cross_entropy", x, labels, weight, ignore_index)
    targets = np.full(x.shape, label_smoothing / x.shape[1], x.dtype)
    targets[np.arange(len(targets)), rows.labels] += 1 - label_smoothing
    targets *= rows.of_class
    targets[~rows.kept] = 0
    scale = 1 / _total("cross_entropy", rows) if reduction == "mean" else 1.0
    return softmax_ops.soft_cross_entropy(x, targets, scale=scale, reduction=reduction)


def nll_loss(x: Input, labels: Any, weight: Input | None = None, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """``-w_label x_label``, the negative log-likelihood of log-probabilities x, averaged with the weights w.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Log-probabilities, as `log_softmax` gives them; `cross_entropy` takes both steps at once.
    labels, weight, ignore_index, reduction
        As in `cross_entropy`.

    Returns
    -------
    Tensor, shape (), or (rows,) for "none"

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
    check_name(reduction, REDUCTIONS, "nll_loss: reduction")
    rows = _checked("nll_loss", x, labels, weight, ignore_index)
    chosen = where(rows.own != 0, entry_of_class(x, rows.labels), 0.0)      # selected: an ignored row may hold an infinity
    losses = mul(chosen, 0 - rows.own)
    return reduced("nll_loss", losses, reduction, _total("nll_loss", rows) if reduction == "mean" else 1.0)


def multi_margin_loss(x: Input, labels: Any, p: int = 1, margin: float = 1.0, weight: Input | None = None,
                      reduction: str = "mean") -> Tensor:
    """``sum_c max(0, margin - x_label + x_c)^p / classes`` over the other classes c: the hinge loss of many classes.

    Parameters
    ----------
    x : Tensor or array_like, shape (rows, classes)
        Scores.
    labels : array_like of int, shape (rows,)
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
    x, margin = as_tensor(x), _margin("multi_margin_loss", margin)
    check_name(reduction, REDUCTIONS, "multi_margin_loss: reduction")
    if isinstance(p, bool) or p not in (1, 2):
        raise ValueError(f"multi_margin_loss: p is {p!r}, expected 1 or 2")
    rows = _checked("multi_margin_loss", x, labels, weight, None)
    n, classes = x.shape
    short = relu(add(sub(x, reshape(entry_of_class(x, rows.labels), shape=(n, 1))), margin))
    others = np.arange(classes) != rows.labels[:, None]
    losses = mul(sum_(where(others, power(short, float(p)), 0.0), axis=1), rows.own / classes)
    return reduced("multi_margin_loss", losses, reduction, n)


def hinge_embedding_loss(x: Input, target: Input, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """``x`` where the target is 1, ``max(0, margin - x)`` where it is -1; averaged over all elements.

    Parameters
    ----------
    x : Tensor or array_like
        Distances: small ones for pairs that belong together (1), large ones for others (-1).
    target : array_like of 1 and -1, of the shape of `x`
    margin : float
        At ``x = margin`` the slope is that of the left side, -1 (as in PyTorch).
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor, shape (), or that of `x` for "none"

    Raises
    ------
    ValueError
        If the shapes differ, a target is neither 1 nor -1, the batch is empty in a mean, or `margin` is not finite.

    References
    ----------
    Hadsell, Chopra & LeCun 2006, Dimensionality reduction by learning an invariant mapping, CVPR

    Examples
    --------
    >>> hinge_embedding_loss([0.25, 0.25, 3.0], [1, -1, -1], reduction="none")
    Tensor([0.25, 0.75, 0.  ])
    """
    x, margin = as_tensor(x), _margin("hinge_embedding_loss", margin)
    signs = value(check_target("hinge_embedding_loss", x, value(target), reduction))
    wrong = signs[abs(signs) != 1]
    if wrong.size:
        raise ValueError(f"hinge_embedding_loss: the target holds {wrong[0]:g}, expected 1 and -1")
    losses = where(signs > 0, x, relu(sub(margin, x), at_zero=1.0))
    return reduced("hinge_embedding_loss", losses, reduction, x.size)


def binary_cross_entropy_with_logits(x: Input, target: Input, weight: Input | None = None, reduction: str = "mean",
                                     pos_weight: Input | None = None) -> Tensor:
    """``p t softplus(-x) + (1 - t) softplus(x)``, the cross-entropy of sigmoid(x) against the probabilities t; averaged.

    Both terms are positive and nothing cancels, so that loss and gradient of a confident logit are small and not zero:
    at x = -50 and t = 0 both are e^-50.

    Parameters
    ----------
    x : Tensor or array_like
        Logits.
    target : Tensor or array_like, of the shape of `x`
        Probabilities from 0 to 1.
    weight : array_like that broadcasts to the shape of `x`, optional
        Of each element. The mean is divided by the number of elements all the same (as in PyTorch).
    reduction : {"mean", "sum", "none"}
    pos_weight : array_like that broadcasts to the shape of `x`, optional
        The factor p of the positive side: above 1 it asks for recall, below 1 for precision.

    Returns
    -------
    Tensor, shape (), or that of `x` for "none"

    Raises
    ------
    ValueError
        If the shapes differ or do not broadcast, or the batch is empty in a mean.
    TypeError
        If `target` requires a gradient and has another dtype.

    Examples
    --------
    >>> binary_cross_entropy_with_logits([1000.0, -1000.0], [1.0, 1.0], reduction="none")
    Tensor([   0., 1000.])
    """
    name, x = "binary_cross_entropy_with_logits", as_tensor(x)
    target = check_target(name, x, target, reduction)
    yes, no = _softplus(neg(x), p=_exact), _softplus(x, p=_exact)
    positive = target if pos_weight is None else mul(target, _elementwise(f"{name}: pos_weight", pos_weight, x))
    losses = add(mul(positive, yes), mul(sub(1.0, target), no))
    if weight is not None:
        losses = mul(losses, _elementwise(f"{name}: weight", weight, x))
    return reduced(name, losses, reduction, x.size)


class _Rows(NamedTuple):
    labels: Array       # int64; 0 where ignored
    kept: Array         # whether a row is not ignored
    of_class: Array     # the weight of each class
    own: Array          # the weight of each row's label; 0 where ignored


def _checked(name: str, x: Tensor, labels: Any, weight: Input | None, ignore_index: int | None) -> _Rows:
    """Labels that are classes, or to be ignored, with their weights."""
    if x.ndim != 2:
        raise ValueError(f"{name}: x has shape {x.shape}, expected (rows, classes)")
    classes, found = x.shape[1], as_numbers(value(labels), f"{name}: labels")
    kept = np.full(found.shape, True)
    if ignore_index is not None:
        kept = found != check_count(ignore_index, f"{name}: ignore_index", least=-(2**63))
    found = check_labels(np.where(kept, found, 0), x.shape[0], classes, f"{name}: labels")
    of_class = np.ones(classes, x.dtype) if weight is None else constant(f"{name}: weight", weight, x)
    if of_class.shape != (classes,):
        raise ValueError(f"{name}: got a weight of shape {of_class.shape} for {classes} classes; expected ({classes},)")
    return _Rows(found, kept, of_class, np.where(kept, of_class[found], x.dtype.type(0)))


def _total(name: str, rows: _Rows) -> float:
    """What a mean is divided by."""
    total = float(rows.own.sum(dtype=np.float64))
    if total == 0:
        raise ValueError(f"{name}: every row is ignored or has the weight 0; the mean over nothing is not defined")
    return total


def _elementwise(name: str, weight: Input, x: Tensor) -> Array:
    """Weights that broadcast to the shape of x."""
    weights = constant(name, weight, x)
    try:
        fits = np.broadcast_shapes(weights.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name} has shape {weights.shape}, which does not broadcast to that of x, {x.shape}")
    return weights


def _margin(name: str, margin: float) -> float:
    if not np.isfinite(check_real(margin, f"{name}: margin")):
        raise ValueError(f"{name}: margin is {margin}, expected a finite number")
    return float(margin)
