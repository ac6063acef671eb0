"""What one operation does to a gradient on its way back: its slopes, what it hands on, and why that may be exactly zero."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, Node
from ..autodiff.tape import parts
from ..ops.activation import activation_op


class Edge(NamedTuple):
    """From an operation to one of its inputs: is all that it hands on there exactly zero, and whose zeros are to blame?"""

    to: Node
    zero: bool
    blame: Any              # the input with which the gradient was multiplied, if that is exactly zero everywhere


@dataclass(frozen=True)
class Passage:
    """What happened to the gradient at one operation.

    Attributes
    ----------
    node : Node
    zero : bool
        Whether nothing but exact zeros arrived.
    finite : bool
        Whether no NaN and no infinity arrived.
    zero_slopes : float or None
        The share of slopes that are exactly zero, where the operation has slopes.
    flat, units : int
        Of an activation: how many of its units (columns of the last axis) have none but zero slopes.
    edges : list of Edge
    why : str
        Why a gradient that is not zero does not get through; empty where it does, or nobody knows.
    tiny : float
        The largest number of a gradient so small that products with it may come out as zero; else 0.
    """

    node: Node
    zero: bool
    finite: bool
    zero_slopes: float | None
    flat: int
    units: int
    edges: list[Edge]
    why: str
    tiny: float

    @property
    def dies(self) -> bool:
        """Whether a gradient that is not zero arrived, and nothing but exact zeros went on."""
        return not self.zero and all(edge.zero for edge in self.edges)


def passage(node: Node, g: Array) -> tuple[Passage, dict[Node, Array]]:
    """What `node` does to the gradient `g`, and what it hands to each of its inputs."""
    with np.errstate(all="ignore"):
        slopes = slopes_of(node)
        given = parts(node, g) if node.op.pure else {node.parents[0]: g}       # the hooks of modules are not called
    edges = [Edge(x, not given[x].any(), _blame(node, i)) for i, x in enumerate(node.parents) if x is not None]
    share, flat, units = None, 0, 0
    if slopes is not None and slopes.size:
        share = float((slopes == 0).mean())
        if node.op.activation is not None:
            units = slopes.shape[-1] if slopes.ndim else 1
            flat = units - int((slopes.reshape(-1, units) != 0).any(axis=0).sum())
    finite = bool(np.isfinite(g).all())
    largest = float(abs(g).max()) if g.size and finite else 0.0
    tiny = largest if largest < np.sqrt(np.finfo(g.dtype).tiny) else 0.0
    why = ""
    if largest and all(edge.zero for edge in edges):
        if units and flat == units:
            why = f"{flat} of {units} units on the flat side"
        elif share == 1:
            why = "all its slopes are exactly zero"
        elif slopes is not None and not g[slopes != 0].any():
            why = "its slopes are exactly zero wherever a gradient arrives"
    return Passage(node, not g.any(), finite, share, flat, units, edges, why, tiny), given


def slopes_of(node: Node) -> Array | None:
    """The local slopes of an elementwise operation, which are its pullback of ones; None for operations that have none.

    Those of an affine layer with its activation are the slopes of the activation. Of an operation of several inputs, the
    slopes towards the one through which a gradient flows.
    """
    ones = np.ones(node.shape, node.dtype)
    op = node.op
    if op.activation is not None and not op.elementwise:
        return np.asarray(activation_op(op.activation).pull_of(0)(ones, node.array, node.saved, p=op.p))
    flowing = [i for i, x in enumerate(node.parents) if x is not None]
    if not op.elementwise or (len(flowing) > 1 and op.activation is None):
        return None
    i = flowing[0] if op.activation is None else 0
    part = np.asarray(op.pull_of(i)(ones, node.array, *node.values, **node.params))
    return part if part.shape == node.shape else None


def _blame(node: Node, i: int) -> Any:
    """The input with which the gradient of input i is multiplied, if it is nothing but exact zeros."""
    if not node.op.multiplies or i > 1:
        return None
    other, array = node.parents[1 - i], node.values[1 - i]
    return (array if other is None else other) if isinstance(array, np.ndarray) and not array.any() else None
