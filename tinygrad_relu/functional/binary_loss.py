"""The losses of two classes: logits against probabilities of yes, distances against 1 and -1."""
from __future__ import annotations

import numpy as np

from ..autodiff.node import Array, value
from ..kernels.formulas.smooth import SOFTPLUS
from ..ops.activation import activation_op
from ..ops.elementwise import add, mul, neg, sub, where
from ..tensor import Tensor
from .activation import relu
from .inputs import Input, as_tensor
from .loss import check_margin, check_target, constant, reduced

_softplus, _exact = activation_op(SOFTPLUS), (1.0, float("inf"))


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
    x, margin = as_tensor(x), check_margin("hinge_embedding_loss", margin)
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
