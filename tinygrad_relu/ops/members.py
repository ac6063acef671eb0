"""The operations of populations that have kernels of their own: the affine layer, and the cross-entropy of labels.

Axis 0 of weights, biases and results has an entry for each member. The samples are shared by all members, (rows, inputs), or each
has its own, (members, rows, inputs).
"""
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..autodiff.node import Array, Op
from ..checks import check_labels
from ..kernels.formulas.record import Elementwise
from ..kernels.loops import affine as single
from ..kernels.loops import members as kernels
from ..kernels.loops.pointwise import loops
from ..kernels.machine.door import launch
from .elementwise import cast, mul, one_hot, sub
from .linalg import affine_rules
from .normalization import SOFTMAX
from .shape import reshape


def _stacked(x: Array) -> Array:
    return x if x.ndim == 3 else x.reshape(1, *x.shape)


def _biases(bias: Array, members: int) -> Array:
    return bias if bias.ndim == 2 else bias.reshape(members, 0)


@cache
def affine_of_members(activation: Elementwise[...] | None = None, p: tuple[float, ...] = (), keeps: bool = False) -> Op:
    """The operation ``f(x @ weight[k].T + bias[k])`` for each member k; see `linalg.affine`."""
    fused, apart = (kernels.linear_activation_of_members(activation), loops(activation)) if activation else (None, None)
    from_y, overwrites = single.slope_from_y(activation, p)
    one_launch = (from_y or not overwrites) and not keeps       # else the kernel would leave out the z that is needed

    def forward(x: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
        members, outputs, inputs = weight.shape
        fits = x.ndim == 2 or (x.ndim == 3 and len(x) == members)
        if not (fits and x.shape[-1] == inputs and bias.shape in ((members, outputs), (0,))):
            raise ValueError(f"linear: x has shape {x.shape}, the weights of {members} members {weight.shape}; expected x "
                             f"(rows, {inputs}), shared by all members, or ({members}, rows, {inputs})")
        if not x.dtype == weight.dtype == bias.dtype:
            raise TypeError(f"linear: x is {x.dtype}, the weights of {members} members {weight.dtype}, the biases {bias.dtype}; "
                            "expected one dtype (x.astype(...) converts)")
        y = np.empty((members, x.shape[-2], outputs), x.dtype)
        z = y if from_y and overwrites and not keeps else np.empty(y.shape, y.dtype)
        if fused and one_launch:
            launch(fused.forward, _stacked(x), weight, _biases(bias, members), p, z, y)
        else:
            launch(kernels.linear_of_members, _stacked(x), weight, _biases(bias, members), z)
            if apart:
                launch(apart.forward, z.ravel(), p, y.ravel())
        return y, z

    def pullback(g: Array, y: Array, z: Array, into: list[Array], add: int, x: Array, weight: Array, bias: Array) -> None:
        gx, gw, gb, *gz = into
        gx, gb = _stacked(gx) if gx.size else gw[:0], _biases(gb, len(gb))
        if fused:
            launch(fused.pullback, g, z, y, _stacked(x), weight, p, *gz, gx, gw, gb, add)
        else:
            launch(kernels.linear_pullback_of_members, g, _stacked(x), weight, gx, gw, gb, add)

    name = "linear" if activation is None else f"linear_{activation.name}"
    return Op(f"{name}_of_members", forward, fused=pullback, saves=True, adds=True, scratch=activation is not None,
              pull=affine_rules(affine_of_members, activation, p), multiplies=True, activation=activation, p=p)


def _cross_entropy(x: Array, labels: Array) -> tuple[Array, Array]:
    members, rows, classes = x.shape
    if labels.shape not in ((rows,), (members, rows)) or not rows:
        raise ValueError(f"cross_entropy: x has shape {x.shape}, the labels {labels.shape}; expected ({rows},), shared by all "
                         f"members, or {members, rows}")
    slopes, losses = np.empty(x.shape, x.dtype), np.empty(members, x.dtype)
    try:
        launch(kernels.cross_entropy_of_members, x, labels.ravel(), 1.0 / rows, slopes, losses)
    except IndexError:
        check_labels(labels.ravel(), labels.size, classes, "cross_entropy: labels")
        raise
    return losses, slopes


def _cross_entropy_pull(g: Any, y: Any, x: Any, labels: Array) -> Any:
    targets = cast(one_hot(labels, x.shape[2]), dtype=x.dtype)
    return mul(mul(sub(SOFTMAX(x), targets), reshape(g, shape=(x.shape[0], 1, 1))), 1.0 / x.shape[1])


# ``cross_entropy(x, labels)``: the mean of each member; x (members, rows, classes), labels (rows,) or (members, rows).
cross_entropy: Op = Op(
    "cross_entropy_of_members", _cross_entropy, saves=True, pull=(_cross_entropy_pull, None), index="labels",
    fused=lambda g, y, slopes, into, add, x, labels: launch(kernels.cross_entropy_pullback_of_members, g, slopes, into[0]))
