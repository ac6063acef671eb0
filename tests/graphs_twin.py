"""A graph that is built twice: with our Tensors, and with plain NumPy arrays, which record nothing.

In the twin every array carries its derivatives with respect to all entries of all leaves. Each operation propagates them forward,
one by one, by a complex step (see naive.py). A gradient is then a sum over the derivatives of its root. The twin has no backward
pass.

After each comparison both continue from our values. So rounding errors do not add up, and both have the same ties.
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

LARGEST = 40.0          # results with larger values are not kept,
STEEPEST = 1e3          # nor those with larger derivatives: sums of them could cancel to rounding errors
ROUNDINGS = 1 << 12     # roundings by which the two may differ in one step, or in a chain of slopes up to STEEPEST
HOOK = -0.5             # the factor by which hooks multiply a gradient
NEAR = 1e-6             # within this distance of its inputs, no step that is made has a kink:
SAME = 1e-3             # its values and slopes change by less than this there


HOW = ["recorded", "under no_grad", "hooked"]


class Made(NamedTuple):
    """An operation on the tensors with these numbers, and the same on arrays.

    Several results are a tuple if they are parts of one operation, whose graph is freed with any of them, and a list if they are
    independent of each other.
    """

    ours: Callable[..., Any]
    twin: Callable[..., Any]
    inputs: tuple[int, ...]


class Graph:
    """Result i is our `tensors[i]`; the twin has its value `values[i]` and its derivatives `slopes[i][leaf][entry]`."""

    def __init__(self) -> None:
        self.tensors: list[tg.Tensor] = []
        self.values: list[np.ndarray] = []
        self.slopes: list[dict[int, np.ndarray]] = []
        self.behind: list[set[Any]] = []        # freed with a result: itself, and the results that it was computed from
        self.freed: set[Any] = set()
        self.used: set[int] = set()             # results that another result was computed from
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
        """Apply the operation in both, compare, and keep the results. Returns False if the two may rightly differ."""
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
            if y.size and not any(y is x for x in tensors):         # an operation that returns its input has made no new result
                if slopes and how == "hooked":
                    y.register_hook(lambda g: HOOK * g)
                factor = HOOK if how == "hooked" else 1.0
                self._keep(y, {leaf: factor * several[k] for leaf, several in slopes.items()}, behind)
        return True

    def _slopes(self, twin: Callable[..., Any], inputs: Sequence[int]) -> dict[int, list[np.ndarray]]:
        """For each leaf that the inputs depend on, the derivatives of each result."""
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

    # -- backward -------------------------------------------------------------------------------------------------

    def ends(self) -> tuple[int, ...]:
        """The results that no other result uses, and whose graph is not freed."""
        return tuple(i for i, slopes in enumerate(self.slopes) if slopes and i not in self.used and not self.is_freed(i))

    def is_freed(self, root: int) -> bool:
        return bool(self.behind[root] & self.freed)

    def walk_back(self, root: int, retain: bool, seed: int) -> None:
        """Compute the gradients in both, and compare all. If the graph is retained, also compare those of the composed rules."""
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
        """Compare all gradients, and check that no value has changed."""
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
    """Whether results are of moderate size, and results and slopes hardly change within NEAR of these values. Then no rounding
    inside an operation decides which side of a kink an input is on.

    Equal numbers are moved equally, so that ties remain ties. Multiples of 1/4 are not moved, because operations on them are
    exact: they may be on a kink, such as the 0 of relu or the 1 of a clip.
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
