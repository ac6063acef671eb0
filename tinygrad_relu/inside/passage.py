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
    zero: bool                      # whether the gradient that goes there is exactly zero everywhere
    blame: Any                      # the other factor of the product, if that is exactly zero everywhere


@dataclass(frozen=True)
class Passage:
    """One operation, and the gradient that arrived there."""

    node: Node
    zeros: float | None             # the share of exact zeros in that gradient; None if it is empty
    finite: bool
    zero_slopes: float | None       # the share of slopes that are exactly zero, if the operation has slopes
    flat: int                       # of an activation, the number of units (columns) with zero slopes only
    units: int                      # and of all units
    edges: list[Edge]
    why: str                        # why a gradient that is not zero does not get through, if that is known
    underflow: str                  # if products with so small a gradient may underflow: that, in words

    @property
    def zero(self) -> bool:
        return self.zeros in (None, 1)

    @property
    def dies(self) -> bool:
        """Whether a gradient that is not zero arrived, and only exact zeros went on."""
        return not self.zero and all(edge.zero for edge in self.edges)


def walk_back(nodes: list[Node], gradients: dict[Node, Array]) -> tuple[list[Passage], dict[int, float | None]]:
    """Walk from the root (the last node, whose gradient is given) to the leaves, calling no hook and writing no ``.grad``.

    Returns the passages, root first; and the share of exact zeros in the gradient of each node and leaf, by its id.
    """
    passages, zeros = [], {}
    for node in reversed(nodes):
        met, given = _passage(node, gradients.pop(node))
        passages.append(met)
        zeros[id(node)] = met.zeros
        for x, part in given.items():
            gradients[x] = np.asarray(gradients[x] + part) if x in gradients else part
    return passages, zeros | {id(leaf): _share_of_zeros(g) for leaf, g in gradients.items()}


def _passage(node: Node, g: Array) -> tuple[Passage, dict[Node, Array]]:
    """The passage of the gradient `g` through `node`, and the gradient of each of its inputs."""
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
    """The slopes (pullback of ones) of an elementwise operation that passes a gradient to one input only, or of the activation of
    an affine layer; None for other operations."""
    op, ones = node.op, np.ones(node.shape, node.dtype)
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
    """The factor of the gradient of input i, if it is exactly zero everywhere."""
    if not node.op.multiplies or i > 1:
        return None
    other, array = node.parents[1 - i], node.values[1 - i]
    return (array if other is None else other) if isinstance(array, np.ndarray) and not array.any() else None
