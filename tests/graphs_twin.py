"""A graph that is built twice: of our Tensors, and of plain NumPy arrays that know nothing of a graph.

In the twin every number carries its derivatives with respect to all entries of all leaves. A step hands them on, one by one, by
a complex step along them (see naive.py); a gradient is then a sum over what its root carries. There is no way back in it.

Both go on from our values, once they have been compared: so roundings do not add up, and what is equal in one is in the other.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import naive
import numpy as np
import pytest
from table import close

import tinygrad_relu as tg

LARGEST = 40.0          # what has larger values is not kept,
STEEPEST = 1e3          # nor what has larger derivatives: sums of them could cancel, and leave roundings
ROUNDINGS = 1 << 12     # how many may part the two: of one step from the same inputs, or of a chain of slopes up to STEEPEST
HOOK = -0.5             # what hooks multiply a gradient by
NEAR = 1e-6             # within this distance of its inputs, no step that is made has a kink:
SAME = 1e-3             # its values and slopes change by less than this there


HOW = ["recorded", "under no_grad", "hooked"]


class Made(NamedTuple):
    """An operation on the tensors with these numbers, and the same on arrays.

    Several results come as a tuple if they are parts of one operation, whose graph is freed with any of them, and as a list
    if each stands by itself.
    """

    ours: Callable[..., Any]
    twin: Callable[..., Any]
    inputs: tuple[int, ...]


class Graph:
    """Number i is `tensors[i]` of ours, of the value `values[i]`; its derivatives are `slopes[i][leaf][entry]`."""

    def __init__(self) -> None:
        self.tensors: list[tg.Tensor] = []
        self.values: list[np.ndarray] = []
        self.slopes: list[dict[int, np.ndarray]] = []
        self.behind: list[set[Any]] = []        # what is freed with a number: itself, and what it was made of
        self.freed: set[Any] = set()
        self.used: set[int] = set()             # what something was made of
        self.collected: dict[int, Any] = {}     # leaf: the gradient that should be in .grad, or None

    # -- building -----------------------------------------------------------------------------------------------------

    def leaf(self, array: np.ndarray, needs: bool) -> None:
        number = len(self.tensors)
        if needs:
            self.collected[number] = None
        identity = np.eye(array.size).reshape(array.size, *array.shape)
        self._keep(tg.Tensor(array, requires_grad=needs), {number: identity} if needs else {}, set())

    def detach(self, i: int) -> None:
        self._keep(self.tensors[i].detach(), {}, set())

    def add(self, made: Made, how: str = "recorded") -> bool:
        """Make the same in both, compare, and keep what came out; False where the two could differ with good reason."""
        ours, twin, inputs = made
        tensors, values = [self.tensors[i] for i in inputs], [self.values[i] for i in inputs]
        if not smooth(twin, values):
            return False
        expected, slopes = parts(twin(*values)), {} if how == "under no_grad" else self._slopes(twin, inputs)
        if any(np.max(abs(part), initial=0) > STEEPEST for several in slopes.values() for part in several):
            return False
        with tg.no_grad() if how == "under no_grad" else nullcontext():
            found = ours(*tensors)
        behind: set[Any] = set()
        if slopes:
            behind = behind.union(*(self.behind[i] for i in inputs if self.slopes[i]))
            self.used |= set(inputs)
        if isinstance(found, tuple):
            behind |= {("inside", len(self.tensors))}   # what the parts have in common
        for k, (y, value) in enumerate(zip(parts(found), expected, strict=True)):
            assert isinstance(y, tg.Tensor) and y.dtype == np.float64 and y.data.flags.c_contiguous
            close(y.data, np.real(value), ROUNDINGS)
            if y.size and not any(y is x for x in tensors):         # what hands its input back has made nothing
                if slopes and how == "hooked":
                    y.register_hook(lambda g: HOOK * g)
                factor = HOOK if how == "hooked" else 1.0
                self._keep(y, {leaf: factor * several[k] for leaf, several in slopes.items()}, behind)
        return True

    def _slopes(self, twin: Callable[..., Any], inputs: Sequence[int]) -> dict[int, list[np.ndarray]]:
        """For each leaf behind the inputs, the derivatives of each result."""
        found = {}
        for leaf in sorted(set().union(*(self.slopes[i] for i in inputs))):
            steps = [parts(twin(*(self.values[i] + 1j * naive.H * self.slopes[i][leaf][entry] if leaf in self.slopes[i]
                                  else self.values[i] for i in inputs))) for entry in range(self.values[leaf].size)]
            found[leaf] = [np.array([np.imag(y) for y in several]) / naive.H for several in zip(*steps)]
        return found

    def _keep(self, tensor: tg.Tensor, slopes: dict[int, np.ndarray], behind: set[Any]) -> None:
        assert tensor.requires_grad == bool(slopes)
        number = len(self.tensors)
        self.tensors.append(tensor), self.values.append(tensor.data.copy()), self.slopes.append(slopes)
        self.behind.append(set() if number in self.collected else behind | {number})

    # -- walking back -------------------------------------------------------------------------------------------------

    def ends(self) -> tuple[int, ...]:
        """What nothing was made of, but can still be walked back from."""
        return tuple(i for i, slopes in enumerate(self.slopes) if slopes and i not in self.used and not self.is_freed(i))

    def is_freed(self, root: int) -> bool:
        return bool(self.behind[root] & self.freed)

    def walk_back(self, root: int, retain: bool, seed: int) -> None:
        """Collect gradients in both, and compare all; on a walk that keeps the graph, also those of the composed rules."""
        y, weights = self.tensors[root], np.random.default_rng(seed).uniform(-1, 1, self.values[root].shape)
        if self.is_freed(root):
            with pytest.raises(RuntimeError, match="has been freed"):
                y.backward(weights)
        else:
            found = {leaf: np.sum(slopes * weights, axis=tuple(range(1, slopes.ndim))).reshape(self.values[leaf].shape)
                     for leaf, slopes in self.slopes[root].items()}
            if retain:
                composed = tg.grad(y, [self.tensors[leaf] for leaf in found], weights, create_graph=True)
                for g, expected in zip(composed, found.values()):
                    close(g.data, expected, ROUNDINGS)
            y.backward(weights, retain_graph=retain)
            for leaf, part in found.items():
                self.collected[leaf] = part if self.collected[leaf] is None else self.collected[leaf] + part
            if not retain:
                self.freed |= self.behind[root]
        self.compare()

    def compare(self) -> None:
        """All gradients; and no value has changed."""
        for leaf, expected in self.collected.items():
            if expected is None:
                assert self.tensors[leaf].grad is None
            else:
                close(self.tensors[leaf].grad, expected, ROUNDINGS)
        for tensor, value in zip(self.tensors, self.values):
            np.testing.assert_array_equal(tensor.data, value)

    def zero_grad(self, leaf: int) -> None:
        self.tensors[leaf].grad = self.collected[leaf] = None


def parts(results: Any) -> Sequence[Any]:
    return results if isinstance(results, (tuple, list)) else (results,)


def smooth(twin: Callable[..., Any], values: Sequence[np.ndarray]) -> bool:
    """Whether results are of moderate size, and they and their slopes hardly change within NEAR of these values: so no rounding
    inside an operation decides on which side of a kink we are.

    Equal numbers are moved alike, so that a tie remains one. Multiples of 1/4 are not moved, for what is done to them is exact:
    the 0 of relu, the 1 of a clip may stand on a kink.
    """
    rng, found = np.random.default_rng(0), []
    direction = [1j * naive.H * rng.uniform(-1, 1, x.shape) for x in values]
    offset = [np.where(x * 4 % 1 == 0, 0.0, NEAR * np.sin(1e4 * x)) for x in values]
    with np.errstate(all="ignore"):
        for side in (0, -1, 1):
            y = np.concatenate([np.ravel(y) for y in parts(twin(*(x + side * e + d for x, e, d in zip(values, offset, direction))))])
            found.append(np.array([np.real(y), np.imag(y) / naive.H]))
        return bool(np.max(abs(found[0][0]), initial=0) <= LARGEST
                    and all(np.max(abs(y - found[0]), initial=0) < SAME * max(1, np.max(abs(found[0]), initial=0)) for y in found[1:]))
