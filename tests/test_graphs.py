"""Random graphs, built here and in a twin of plain NumPy, agree in every value and every gradient.

A Hypothesis state machine applies operations to whatever tensors there are by then. So nodes are shared, broadcast,
viewed, detached, made under no_grad, and walked back several times, in ways that nobody would think of writing down.

The twin knows no derivative and no graph. It keeps the list of steps and, for the gradient of a leaf's entry, goes
through it once more with a complex step there (see naive.py).
"""
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import prod
from typing import Any, NamedTuple

import naive
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from table import close

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.activations import ACTIVATIONS

SHAPES = [(), (1,), (3,), (2, 3), (3, 1), (1, 3), (3, 3), (2, 1, 3)]
LARGEST = 40.0          # results that grow beyond it are thrown away: the twins' roundings would drift apart
NEAR = 1e-6             # so are those that pass this close by a kink, where a rounding decides which side it is


class Made(NamedTuple):
    """An operation on tensors, and the same on arrays."""

    ours: Callable[..., Any]
    twin: Callable[..., Any]


def activation(name: str) -> Made:
    value, slope = naive.ACTIVATIONS[name]
    return Made(getattr(F, name), naive.dual(value, slope))


SMOOTH = {      # one input, smooth, defined everywhere
    "pos": Made(lambda x: +x, lambda x: +x),
    "neg": Made(lambda x: -x, lambda x: -x),
    "exp": Made(tg.exp, np.exp),
    "sin": Made(tg.sin, np.sin),
    "cos": Made(tg.cos, np.cos),
    "square": Made(tg.square, lambda x: x * x),
    "cube": Made(lambda x: x**3, lambda x: x * x * x),
    "scaled": Made(lambda x: 0.5 * x + 1, lambda x: 0.5 * x + 1),
    "from a number": Made(lambda x: 2 - x, lambda x: 2 - x),
    "an array on the left": Made(lambda x: np.float64(1.5) * np.ones(x.shape) * x, lambda x: 1.5 * x),
    "log of a sum": Made(lambda x: tg.log(1 + x * x), lambda x: np.log(1 + x * x)),
    "root of a sum": Made(lambda x: tg.sqrt(1 + x * x), lambda x: np.sqrt(1 + x * x)),
    "root": Made(lambda x: (2 + tg.sin(x)).sqrt(), lambda x: np.sqrt(2 + np.sin(x))),
    "logarithm": Made(lambda x: tg.log1p(x * x), lambda x: np.log(1 + x * x)),
    "inverse": Made(lambda x: 1 / (2 + tg.cos(x)), lambda x: 1 / (2 + np.cos(x))),
    "power of a number": Made(lambda x: 1.5 ** tg.sin(x), lambda x: np.exp(np.sin(x) * np.log(1.5))),
}
KINKED = {      # one input, with the kinks that the twin had better keep away from
    "abs": (Made(abs, naive.dual(np.abs, np.sign)), (0.0,)),
    "clip": (Made(lambda x: x.clip(-1, 1), naive.dual(lambda x: np.clip(x, -1, 1), lambda x: abs(x) < 1)), (-1.0, 1.0)),
    **{name: (activation(name), tuple(x for x, _ in ACTIVATIONS[name].kinks(*ACTIVATIONS[name].parameters.values())))
       for name in naive.ACTIVATIONS if name in ACTIVATIONS and name not in ("log", "log1p", "prelu", "rrelu")},
}
BINARY = {      # two inputs, broadcast
    "add": Made(lambda a, b: a + b, lambda a, b: a + b),
    "sub": Made(lambda a, b: a - b, lambda a, b: a - b),
    "mul": Made(lambda a, b: a * b, lambda a, b: a * b),
    "div": Made(lambda a, b: a / (2 + tg.sin(b)), lambda a, b: a / (2 + np.sin(b))),
    "power": Made(lambda a, b: (1 + a * a) ** tg.sin(b), lambda a, b: (1 + a * a) ** np.sin(b)),
}
EXTREME = {     # two inputs, a kink where they tie
    "maximum": Made(tg.maximum, naive.maximum),
    "minimum": Made(tg.minimum, naive.minimum),
}
REDUCTIONS = {  # one input along an axis
    "sum": Made(lambda x, a, k: x.sum(a, k), lambda x, a, k: x.sum(axis=a, keepdims=k)),
    "mean": Made(lambda x, a, k: x.mean(a, k), lambda x, a, k: x.mean(axis=a, keepdims=k)),
    "var": Made(lambda x, a, k: x.var(axis=a, keepdims=k), lambda x, a, k: naive.var(x, a, k)),
    "logsumexp": Made(lambda x, a, k: tg.logsumexp(x, a, k), lambda x, a, k: naive.logsumexp(x, a, k)),
    "prod": Made(lambda x, a, k: tg.sin(x).prod(a, k), lambda x, a, k: np.prod(np.sin(x), axis=a, keepdims=k)),
    "std": Made(lambda x, a, k: (1 + x.var(a, 0, k)) ** 0.5, lambda x, a, k: np.sqrt(1 + naive.var(x, a, k))),
    "cumsum": Made(lambda x, a, k: tg.cumsum(x, a), lambda x, a, k: np.cumsum(x, axis=a)),
}


class RandomGraphs(RuleBasedStateMachine):
    """`tensors[i]` is ours; `steps[i]` says how the twin makes the same: a function and the numbers of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[tg.Tensor] = []
        self.steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        self.leaves: dict[int, Any] = {}                # number: the gradient that should have been collected, or None
        self.behind: list[set[int]] = []                # from which results a gradient flows to which earlier ones
        self.freed: set[int] = set()

    # -- the twin -----------------------------------------------------------------------------------------------------

    def replay(self, upto: int, leaf: int | None = None, entry: Any = ()) -> Any:
        """The value of number `upto`, with a complex step at one entry of a leaf."""
        values: list[Any] = []
        for i, (f, inputs) in enumerate(self.steps[:upto + 1]):
            value = f(*(values[k] for k in inputs))
            if i == leaf:
                value = value.astype(complex)
                value[entry] += 1j * naive.H
            values.append(value)
        return values[upto]

    def gradient(self, root: int, leaf: int, weights: Any) -> Any:
        """d sum(weights * root) / d leaf."""
        g = np.zeros(self.tensors[leaf].shape)
        for entry in np.ndindex(g.shape):
            g[entry] = np.sum(weights * np.imag(self.replay(root, leaf, entry))) / naive.H
        return g

    def add(self, ours: Callable[..., Any], twin: Callable[..., Any], inputs: tuple[int, ...], recorded: bool = True) -> None:
        """Make the same in both, compare the values, and keep it unless it grows too large."""
        with nullcontext() if recorded else tg.no_grad():
            made = ours(*(self.tensors[i] for i in inputs))
        expected = np.asarray(twin(*(np.asarray(self.replay(i)) for i in inputs)))
        assert isinstance(made, tg.Tensor) and made.dtype == np.float64 and made.data.flags.c_contiguous
        close(made.data, expected, ulps=1 << 14)        # values below 40, thirty steps, slopes up to 40 a step along the way
        sources = [i for i in inputs if self.tensors[i].requires_grad]
        assert made.requires_grad == (recorded and bool(sources))
        if expected.size == 0 or np.max(abs(expected)) > LARGEST:
            return
        self.tensors.append(made)
        self.steps.append((twin if recorded else lambda *x: np.real(twin(*x)), inputs))
        self.behind.append(set().union(*(self.behind[i] | {i} for i in sources)) if recorded else set())

    def pick(self, data: Any) -> int:
        """Some number, the younger the likelier: Hypothesis prefers what is small, and so the graphs grow deep."""
        return len(self.tensors) - 1 - data.draw(st.integers(0, len(self.tensors) - 1), "how old")

    # -- the rules ----------------------------------------------------------------------------------------------------

    @initialize(shapes=st.lists(st.sampled_from(SHAPES), min_size=2, max_size=4), seed=st.integers(0, 999))
    def leaves_to_begin_with(self, shapes: list[Any], seed: int) -> None:
        for i, shape in enumerate(shapes):
            self.leaf(shape, seed + i, True)

    @rule(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), needs=st.booleans())
    def leaf(self, shape: Any, seed: int, needs: bool) -> None:
        array = np.random.default_rng(seed).uniform(-2, 2, shape)
        if needs:
            self.leaves[len(self.tensors)] = None
        self.tensors.append(tg.Tensor(array, requires_grad=needs))
        self.steps.append((lambda: array, ()))
        self.behind.append(set())

    @rule(data=st.data(), name=st.sampled_from(sorted(SMOOTH)), recorded=st.sampled_from([True, True, True, False]))
    def smooth(self, data: Any, name: str, recorded: bool) -> None:
        self.add(*SMOOTH[name], (self.pick(data),), recorded)

    @rule(data=st.data(), name=st.sampled_from(sorted(KINKED)))
    def kinked(self, data: Any, name: str) -> None:
        i, (made, kinks) = self.pick(data), KINKED[name]
        if all(np.min(abs(self.tensors[i].data - kink)) > NEAR for kink in kinks):
            self.add(*made, (i,))

    @rule(data=st.data(), name=st.sampled_from(sorted(BINARY)), recorded=st.sampled_from([True, True, True, False]))
    def binary(self, data: Any, name: str, recorded: bool) -> None:
        i, k = self.pick(data), self.pick(data)
        if self.fit(i, k):
            self.add(*BINARY[name], (i, k), recorded)
        else:
            with pytest.raises(ValueError, match="cannot be broadcast"):
                BINARY[name].ours(self.tensors[i], self.tensors[k])

    @rule(data=st.data(), name=st.sampled_from(sorted(EXTREME)))
    def extreme(self, data: Any, name: str) -> None:
        i, k = self.pick(data), self.pick(data)
        if i == k or (self.fit(i, k) and np.min(abs(self.tensors[i].data - self.tensors[k].data)) > NEAR):
            self.add(*EXTREME[name], (i, k))

    @rule(data=st.data(), seed=st.integers(0, 99))
    def choice(self, data: Any, seed: int) -> None:
        i, k = self.pick(data), self.pick(data)
        if self.fit(i, k):
            shape = np.broadcast_shapes(self.tensors[i].shape, self.tensors[k].shape)
            mask = np.random.default_rng(seed).random(shape) < 0.5
            self.add(lambda a, b: tg.where(mask, a, b), lambda a, b: np.where(mask, a, b), (i, k))

    @rule(data=st.data(), name=st.sampled_from(sorted(REDUCTIONS)), keepdims=st.booleans())
    def reduction(self, data: Any, name: str, keepdims: bool) -> None:
        i = self.pick(data)
        axes: list[Any] = [None, *range(-self.tensors[i].ndim, self.tensors[i].ndim)]
        axis = data.draw(st.sampled_from(axes), "axis")
        ours, twin = REDUCTIONS[name]
        self.add(lambda x: ours(x, axis, keepdims), lambda x: twin(x, axis, keepdims), (i,))

    @rule(data=st.data(), largest=st.booleans(), keepdims=st.booleans())
    def winner(self, data: Any, largest: bool, keepdims: bool) -> None:
        """The largest or the smallest entry; no two may tie but for those that are exactly the same in both twins."""
        i = self.pick(data)
        flat = np.sort(self.tensors[i].data, axis=None)
        if np.min(np.diff(flat), initial=1) > NEAR:
            axis = data.draw(st.sampled_from([None, *range(self.tensors[i].ndim)]), "axis")
            ours, twin = (tg.max, naive.largest) if largest else (tg.min, naive.smallest)
            self.add(lambda x: ours(x, axis, keepdims), lambda x: twin(x, axis, keepdims), (i,))

    @rule(data=st.data())
    def softmax(self, data: Any) -> None:
        i = self.pick(data)
        if self.tensors[i].ndim:
            axis = data.draw(st.integers(-self.tensors[i].ndim, self.tensors[i].ndim - 1), "axis")
            self.add(lambda x: F.softmax(x, axis), lambda x: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True), (i,))

    @rule(data=st.data())
    def view(self, data: Any) -> None:
        """What only moves numbers: other shapes, other orders, parts."""
        i = self.pick(data)
        x = self.tensors[i]
        size, axes = x.size, data.draw(st.permutations(range(x.ndim)), "axes")
        shape = data.draw(st.sampled_from([(size,), (1, size), (size, 1), *([(size // 3, 3)] if size % 3 == 0 else [])]), "shape")
        views = {
            "reshape": (lambda t: t.reshape(shape),) * 2,
            "transpose": (lambda t: t.transpose(*axes), lambda t: t.transpose(axes)),
            "squeeze": (lambda t: t.squeeze(),) * 2,
            "expand_dims": (lambda t: tg.expand_dims(t, 0), lambda t: t[None]),
            "broadcast_to": (lambda t: tg.broadcast_to(t, (2, *t.shape)), lambda t: np.stack([t, t])),
            "flip": (tg.flip, np.flip),
            "flatten": (lambda t: t.flatten(), lambda t: t.reshape(-1)),
            "pad": (lambda t: tg.pad(t, 1), lambda t: np.pad(t, 1)),
            "swapaxes": (lambda t: t.swapaxes(0, -1) if t.ndim else t + 0, lambda t: t.swapaxes(0, -1) if t.ndim else t),
            "split": (lambda t: tg.split(t, [1])[0] if t.ndim else t + 0, lambda t: t[:1] if t.ndim else t),
        }
        name = data.draw(st.sampled_from(sorted(views)), "view")
        if name != "broadcast_to" or prod(x.shape) < 20:
            self.add(*views[name], (i,))

    @precondition(lambda self: any(t.ndim for t in self.tensors))
    @rule(data=st.data())
    def part(self, data: Any) -> None:
        """Indexing the first axis: a row, a slice, rows with repetitions, a mask."""
        i = data.draw(st.sampled_from([i for i, t in enumerate(self.tensors) if t.ndim]), "operand")
        n = self.tensors[i].shape[0]
        rows = data.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4), "rows")
        index = data.draw(st.sampled_from([rows[0], slice(None, None, -1), slice(rows[0] % n, None), np.array(rows),
                                           np.arange(n) % 2 == 0]), "index")
        self.add(lambda x: x[index], lambda x: x[index], (i,))

    @rule(data=st.data(), axis=st.integers(0, 1))
    def join(self, data: Any, axis: int) -> None:
        """Two of one shape, or one with itself."""
        i = self.pick(data)
        k = data.draw(st.sampled_from([k for k, t in enumerate(self.tensors) if t.shape == self.tensors[i].shape]), "operand")
        if self.tensors[i].size < 20:
            if axis < self.tensors[i].ndim:
                self.add(lambda a, b: tg.concatenate([a, b], axis), lambda a, b: np.concatenate([a, b], axis), (i, k))
            elif axis <= self.tensors[i].ndim:
                self.add(lambda a, b: tg.stack([a, b], axis), lambda a, b: np.stack([a, b], axis), (i, k))

    @precondition(lambda self: any(t.ndim == 2 for t in self.tensors))
    @rule(data=st.data(), spelled=st.booleans())
    def product(self, data: Any, spelled: bool) -> None:
        """A matrix times the transpose of one with as many columns."""
        matrices = [i for i, t in enumerate(self.tensors) if t.ndim == 2]
        i = data.draw(st.sampled_from(matrices), "operand")
        k = data.draw(st.sampled_from([k for k in matrices if self.tensors[k].shape[1] == self.tensors[i].shape[1]]), "operand")
        ours = (lambda a, b: tg.einsum("ij,kj->ik", a, b)) if spelled else (lambda a, b: a @ b.T)
        self.add(ours, lambda a, b: a @ b.T, (i, k))

    @rule(data=st.data(), name=st.sampled_from(["linear", "layer_norm", "maxout", "mse_loss", "cross_entropy"]))
    def layer(self, data: Any, name: str) -> None:
        """What networks are made of, on a matrix of three columns."""
        matrices = [i for i, t in enumerate(self.tensors) if t.ndim == 2 and t.shape[1] == 3]
        if not matrices:
            return
        i, k = (data.draw(st.sampled_from(matrices), "operand") for _ in range(2))
        rows = len(self.tensors[i])
        layers = {
            "linear": (F.linear, lambda x, w: x @ w.T, (i, k)),
            "layer_norm": (lambda x: F.layer_norm(x, 3, eps=0.1), lambda x: naive.layer_norm(x, 1, eps=0.1), (i,)),
            "maxout": (lambda x: F.maxout(x, 3), lambda x: naive.largest(x, 1, True), (i,)),
            "mse_loss": (F.mse_loss, lambda a, b: ((a - b) ** 2).mean(), (i, k)),
            "cross_entropy": (lambda x: F.cross_entropy(x, np.arange(rows) % 3),
                              lambda x: (naive.logsumexp(x, 1) - x[np.arange(rows), np.arange(rows) % 3]).mean(), (i,)),
        }
        if name == "mse_loss" and self.tensors[i].shape != self.tensors[k].shape:
            return
        if name != "maxout" or np.min(np.diff(np.sort(self.tensors[i].data, axis=1)), initial=1) > NEAR:
            self.add(*layers[name])

    @rule(data=st.data())
    def detach(self, data: Any) -> None:
        i = self.pick(data)
        self.tensors.append(self.tensors[i].detach())
        self.steps.append((np.real, (i,)))
        self.behind.append(set())

    @rule(data=st.data(), retain=st.booleans(), seed=st.integers(0, 99))
    def backward(self, data: Any, retain: bool, seed: int) -> None:
        root = self.pick(data)
        if self.tensors[root].requires_grad:
            self.walk_back(root, retain, seed)

    def teardown(self) -> None:
        """At the end back from the youngest results that are not freed, so that no graph is built for nothing."""
        roots = [i for i, t in enumerate(self.tensors) if t.requires_grad and not (self.behind[i] | {i}) & self.freed]
        for root in roots[-3:]:
            self.walk_back(root, True, 0)

    def walk_back(self, root: int, retain: bool, seed: int) -> None:
        history = self.behind[root] | {root}
        weights = np.random.default_rng(seed).uniform(-1, 1, self.tensors[root].shape)
        if history & self.freed:
            with pytest.raises(RuntimeError, match="has been freed"):
                self.tensors[root].backward(weights)
        else:
            self.tensors[root].backward(weights, retain_graph=retain)
            if not retain:
                self.freed |= history - set(self.leaves)
            for leaf in history & set(self.leaves):
                part = self.gradient(root, leaf, weights)
                self.leaves[leaf] = part if self.leaves[leaf] is None else self.leaves[leaf] + part
        for leaf, expected in self.leaves.items():
            if expected is None:
                assert self.tensors[leaf].grad is None
            else:
                close(self.tensors[leaf].grad, expected, ulps=1 << 18)      # as the values, times the slopes on the way back

    @precondition(lambda self: self.leaves)
    @rule(data=st.data())
    def zero_grad(self, data: Any) -> None:
        leaf = data.draw(st.sampled_from(sorted(self.leaves)), "leaf")
        self.tensors[leaf].grad = self.leaves[leaf] = None

    def fit(self, i: int, k: int) -> bool:
        try:
            return prod(np.broadcast_shapes(self.tensors[i].shape, self.tensors[k].shape)) <= 40
        except ValueError:
            return False


TestRandomGraphs = RandomGraphs.TestCase
TestRandomGraphs.settings = settings(max_examples=200, stateful_step_count=30, deadline=None, derandomize=True,
                                     suppress_health_check=list(HealthCheck))
