"""Why entries of a gradient are exactly zero: every zero of a backward pass, with its reason.

A derivative rule is linear in the gradient g that arrives: it returns J' g. So a random gradient in place of the real one tells
which paths are open. An entry of J' g that is exactly zero has one of these causes:

1. J' v is zero there, for a random v: the operation itself passes nothing to this entry, and its kind tells why.
2. J' v is zero for every v that is random where g is not zero, and zero elsewhere: only zeros of g lead here. With v random where
   g is zero for one reason, J' v tells whether that reason leads here. Of several reasons, the first in `Reason` counts.
3. Otherwise something that is not zero leads here: the terms cancel each other, or their products underflow.
"""
from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Any

import numpy as np

from ..autodiff.node import Array, Node
from ..autodiff.tape import history, parts
from ..kernels.formulas.record import Elementwise, flat
from ..ops.activation import flat_sides, maxout
from ..ops.elementwise import maximum, minimum
from ..ops.indexing import cut, embedding, take
from ..ops.reductions import MAX, MIN
from ..parameters import Parameter
from .explain import cancelled_by_norms


class Reason(IntEnum):
    """Why an entry of a gradient is exactly zero. An entry with several reasons on several samples has the first of them."""

    NONE = 0                    # it is not zero
    UNDERFLOW = 1               # the products that sum to it are too small for the type
    CANCELLED = 2               # terms that are not zero cancel each other, as before a normalisation
    SATISFIED_LOSS = 3          # the loss has no slope at this output
    DEAD_DOWNSTREAM = 4         # all later units that it reaches are flat
    ZERO_WEIGHT_DOWNSTREAM = 5  # the weights that lead on are exactly zero
    CLIPPED = 6                 # a maximum or a minimum with another number takes that number
    SATURATION = 7              # the slope is rounded to zero, though the formula is not flat
    ZERO_INPUT = 8              # the input that the weight multiplies is zero
    MASK = 9                    # the unit is on a flat side of its activation, or another piece or entry is the largest
    FROZEN = 10                 # it requires no gradient
    DISCONNECTED = 11           # no operation leads from it to the loss

    @property
    def label(self) -> str:
        return "not zero" if self is Reason.NONE else self.name.lower().replace("_", " ")


# Those that a backward pass meets; and what a reason becomes for the units before, to which these later units are flat.
FOUND = [reason for reason in Reason if reason not in (Reason.NONE, Reason.FROZEN)]
FLAT = (Reason.MASK, Reason.SATURATION)
DOWNSTREAM = np.array([Reason.DEAD_DOWNSTREAM if reason in FLAT else reason for reason in Reason], np.uint8)
Found = tuple[Array, Array]         # a gradient, and the reason for each of its entries


def reasons(loss: Node, outputs: Collection[Node]) -> dict[Node, Found]:
    """The gradient of each leaf of a loss, and for each entry the `Reason` why it is exactly zero, as integers.

    Operations between `outputs`, those of a model, and the loss count as the loss: their zeros mean that it is satisfied. One
    backward pass of several pullbacks for each operation. No hook is called, no ``.grad`` is changed, and the graph is kept.

    >>> x = Tensor([-1.0, 2.0, 3.0], requires_grad=True)
    >>> y = F.relu(x)
    >>> (gradient, why), = reasons(F.mse_loss(y, [0.0, 0.0, 3.0]), [y]).values()
    >>> [Reason(code).label for code in why]
    ['mask', 'not zero', 'satisfied loss']
    """
    nodes = history(loss, "why_zero")
    inner = {node for output in outputs for node in history(output, "why_zero")}
    rng = np.random.default_rng(0)
    cancelled = cancelled_by_norms(nodes)
    table: dict[Node, Found] = {loss: (np.ones(loss.shape, loss.dtype), np.zeros(loss.shape, np.uint8))}
    for node in reversed(nodes):
        for x, found in _passed(node, *table.pop(node), node not in inner, rng).items():
            table[x] = added(table[x], found) if x in table else found
    return {x: (g, np.full_like(why, Reason.CANCELLED) if id(x) in cancelled else why) for x, (g, why) in table.items()}


def added(a: Found, b: Found) -> Found:
    """The sum of two gradients. An entry that is zero in both has the first of both reasons. One that is zero in the sum alone is
    cancelled."""
    total = a[0] + b[0]
    both = np.where((a[1] == 0) | (b[1] == 0), 0, np.minimum(a[1], b[1]))
    return total, np.where((both == 0) & (total == 0), Reason.CANCELLED, both).astype(np.uint8)


def _passed(node: Node, g: Array, why: Array, in_loss: bool, rng: np.random.Generator) -> dict[Node, Found]:
    """What one operation passes to its inputs, with the reasons of the zeros; `why` has those of the gradient g that arrives."""

    def pulled(v: Array) -> dict[Node, Array]:
        with np.errstate(all="ignore"):
            return parts(node, v.astype(g.dtype)) if node.op.pure else {node.parents[0]: v}

    random: Any = rng.uniform(0.5, 1.5, g.shape)
    given, opened = pulled(g), pulled(random)
    live = pulled(np.where(why == 0, random, 0.0)) if (why == 0).any() else {}
    cancel = pulled(g * random)
    leads = {reason: pulled(np.where(why == reason, random, 0.0)) for reason in FOUND if (why == reason).any()}
    found: dict[Node, Found] = {}
    for x, part in given.items():
        reason = np.full(part.shape, Reason.UNDERFLOW, np.uint8)
        reason[cancel[x] != 0] = Reason.CANCELLED
        closed = opened[x] == 0
        only_zeros = ~closed & (live[x] == 0) if live else ~closed
        for known, lead in reversed(leads.items()):
            reason[only_zeros & (lead[x] != 0)] = known
        if not isinstance(x, Parameter) and node.op.multiplies:
            reason = DOWNSTREAM[reason]
        if closed.any():
            reason[closed] = np.broadcast_to(_local(node, x), reason.shape)[closed]
        if in_loss:
            reason[...] = Reason.SATISFIED_LOSS
        found[x] = part, np.where(part != 0, 0, reason).astype(np.uint8)
    return found


def _local(node: Node, x: Node) -> Any:
    """Why an operation passes nothing to entries of its input x, whatever gradient arrives."""
    op, (i, *more) = node.op, [i for i, parent in enumerate(node.parents) if parent is x]
    if more:                                    # as in x - x
        return Reason.CANCELLED
    if isinstance(op.activation, Elementwise) and op.elementwise:
        if i:
            return Reason.ZERO_INPUT            # slopes, which multiply min(z, 0)
        z, p = node.values[0], node.params.get("p", op.activation.defaults)
        low, high = flat_sides(op.activation, p)
        return np.where((z <= low) | (z >= high) | (op.activation.f_dxx is flat), Reason.MASK, Reason.SATURATION)
    if op.multiplies and i < 2:
        return Reason.ZERO_WEIGHT_DOWNSTREAM if isinstance(node.parents[1 - i], Parameter) else Reason.ZERO_INPUT
    if op in (maximum, minimum):
        return Reason.CLIPPED
    if op in (cut, take, embedding):
        return Reason.DISCONNECTED              # an entry that is not picked
    return Reason.MASK if op.elementwise or op in (maxout, MAX, MIN) else Reason.SATURATION
