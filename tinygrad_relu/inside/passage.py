"""The effect of each operation on a gradient on its way back: its slopes, the gradients it hands on, and why they are zero."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array, Node
from ..autodiff.tape import parts
from ..ops.activation import activation_op


class Edge(NamedTuple):
    """From an operation to one of its inputs."""

    to: Node
    zero: bool              # whether the gradient that goes there is exactly zero everywhere
    blame: Any              # the other input, by which the gradient was multiplied, if that is exactly zero everywhere


@dataclass(frozen=True)
class Passage:
    """One operation, and the gradient that arrived there.

    Attributes
    ----------
    zeros : share of exact zeros in that gradient; None if it is empty.
    finite : whether it holds no NaN and no infinity.
    zero_slopes : share of slopes that are exactly zero, if the operation has slopes.
    flat, units : of an activation, the number of units (columns of the last axis) with zero slopes only, and of all units.
    why : why a gradient that is not zero does not get through; empty if it does, or if the reason is not known.
    underflow : for a gradient so small that products with it may underflow to zero: the same, in words.
    """

    node: Node
    zeros: float | None
    finite: bool
    zero_slopes: float | None
    flat: int
    units: int
    edges: list[Edge]
    why: str
    underflow: str

    @property
    def zero(self) -> bool:
        """Whether no number of that gradient differs from zero."""
        return self.zeros in (None, 1)

    @property
    def dies(self) -> bool:
        """Whether a gradient that is not zero arrived, and only exact zeros went on."""
        return not self.zero and all(edge.zero for edge in self.edges)


def walk_back(nodes: list[Node], gradients: dict[Node, Array]) -> tuple[list[Passage], dict[int, float | None]]:
    """Walk from the root (the last node, whose gradient is given) to the leaves, calling no hook and writing no ``.grad``.

    Returns the passages, root first; and the share of exact zeros in the gradient of each node and leaf, by its id.
    """
    passages = []
    for node in reversed(nodes):
        met, given = passage(node, gradients.pop(node))
        passages.append(met)
        for x, part in given.items():
            gradients[x] = np.asarray(gradients[x] + part) if x in gradients else part
    zeros = {id(met.node): met.zeros for met in passages}
    return passages, zeros | {id(leaf): _share_of_zeros(g) for leaf, g in gradients.items()}


def passage(node: Node, g: Array) -> tuple[Passage, dict[Node, Array]]:
    """What happens to the gradient `g` at `node`, and the gradient of each of its inputs."""
    with np.errstate(all="ignore"):
        slopes = slopes_of(node)
        given = parts(node, g) if node.op.pure else {node.parents[0]: g}       # the hooks of modules are not called
    edges = [Edge(x, not given[x].any(), _blame(node, i)) for i, x in enumerate(node.parents) if x is not None]
    share, flat, units = None, 0, 0
    if slopes is not None and slopes.size:
        share = _share_of_zeros(slopes)
        if node.op.activation is not None:
            units = slopes.shape[-1] if slopes.ndim else 1
            flat = units - int((slopes.reshape(-1, units) != 0).any(axis=0).sum())
    finite = bool(np.isfinite(g).all())
    largest = float(abs(g).max()) if g.size and finite else 0.0
    small = 0 < largest < np.sqrt(np.finfo(g.dtype).tiny)
    underflow = f"the gradient there is at most {largest:.0e}, and underflows" if small else ""
    why = ""
    if largest and all(edge.zero for edge in edges):
        if units and flat == units:
            why = f"{flat} of {units} units on the flat side"
        elif share == 1:
            why = "all its slopes are exactly zero"
        elif slopes is not None and not g[slopes != 0].any():
            why = "its slopes are exactly zero wherever a gradient arrives"
    return Passage(node, _share_of_zeros(g), finite, share, flat, units, edges, why, underflow), given


def slopes_of(node: Node) -> Array | None:
    """The local slopes of an elementwise operation, which are its pullback of ones; None for operations that have none.

    An affine layer with its activation has the slopes of the activation. An operation of several inputs has slopes if a
    gradient flows to one of them only.
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


def _share_of_zeros(x: Array) -> float | None:
    return float((x == 0).mean()) if x.size else None


def _blame(node: Node, i: int) -> Any:
    """The factor by which the gradient of input i is multiplied, if it is exactly zero everywhere."""
    if not node.op.multiplies or i > 1:
        return None
    other, array = node.parents[1 - i], node.values[1 - i]
    return (array if other is None else other) if isinstance(array, np.ndarray) and not array.any() else None
