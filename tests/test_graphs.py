"""Random graphs, built here and in a twin of plain NumPy, agree in every value and every gradient.

A Hypothesis state machine applies operations to the tensors that it has made so far. So nodes are shared, broadcast, viewed,
detached, made under no_grad, and differentiated several times, in combinations that no author would think of.

The operations are in graphs_draws.py, the twin in graphs_twin.py. The last test checks that all public functions are among the
operations, with a list of exceptions and their reasons.
"""
from __future__ import annotations

import functools
import operator
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from graphs_draws import DRAWS
from graphs_kinds import Hand, meet
from graphs_twin import HOW, Graph, Made
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from public import names_of
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn

SHAPES = [(), (1,), (3,), (2, 3), (3, 1), (1, 3), (3, 3), (2, 1, 3)]
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.lt, tg.maximum, tg.minimum]


def numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Odd seeds draw multiples of 1/2, many of which tie or are on kinks."""
    drawn = np.random.default_rng(seed).uniform(-2, 2, shape)
    return np.round(2 * drawn) / 2 if seed % 2 else drawn


class RandomGraphs(RuleBasedStateMachine):

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()

    @initialize(shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3), seed=st.integers(0, 999))
    def leaves_to_begin_with(self, shapes: list[Any], seed: int) -> None:
        for i, shape in enumerate([(2, 3), *shapes]):       # a matrix is always there
            self.graph.leaf(numbers(shape, seed + i), True)

    @rule(shape=st.sampled_from(SHAPES), seed=st.integers(0, 999), needs=st.booleans())
    def leaf(self, shape: Any, seed: int, needs: bool) -> None:
        self.graph.leaf(numbers(shape, seed), needs)

    @rule(data=st.data(), kinds=st.lists(st.sampled_from(list(DRAWS)), min_size=3, max_size=12))
    def operations(self, data: Any, kinds: list[str]) -> None:
        hand = Hand(self.graph, lambda options, what: data.draw(st.sampled_from(options), what))
        for kind in kinds:
            made = DRAWS[kind][hand.choose(list(DRAWS[kind]), kind)](hand)
            self.graph.add(made, hand.choose(["recorded", *HOW], "how"))

    @rule(data=st.data(), f=st.sampled_from(OPERATORS))
    def operands_that_do_not_meet(self, data: Any, f: Any) -> None:
        a, b = (data.draw(st.sampled_from(self.graph.tensors), "operand") for _ in range(2))
        if not meet(a.shape, b.shape):
            with pytest.raises(ValueError, match="cannot be broadcast"):
                f(a, b)

    @rule(data=st.data())
    def detach(self, data: Any) -> None:
        self.graph.detach(data.draw(st.sampled_from(range(len(self.graph.tensors))), "operand"))

    @rule(data=st.data(), retain=st.booleans(), seed=st.integers(0, 99))
    def backward(self, data: Any, retain: bool, seed: int) -> None:
        roots = [i for i, t in reversed([*enumerate(self.graph.tensors)]) if t.requires_grad]
        self.graph.walk_back(data.draw(st.sampled_from(roots), "root"), retain, seed)

    @rule(data=st.data())
    def zero_grad(self, data: Any) -> None:
        self.graph.zero_grad(data.draw(st.sampled_from(sorted(self.graph.collected)), "leaf"))

    def teardown(self) -> None:
        """At the end one backward pass from all results that are left, so that every part of the graph is tested."""
        ends = self.graph.ends()
        if ends and self.graph.add(Made(weighed, weighed, ends)):
            self.graph.walk_back(len(self.graph.tensors) - 1, True, 0)


def weighed(*several: Any) -> Any:
    """One number from all: their weighted sum."""
    rng = np.random.default_rng(0)
    return sum((rng.uniform(-1, 1, x.shape) * x).sum() / x.size for x in several) / len(several)


TestRandomGraphs = RandomGraphs.TestCase
TestRandomGraphs.settings = settings(max_examples=strength(80, thorough=400), stateful_step_count=20, deadline=None, derandomize=True,
                                     suppress_health_check=list(HealthCheck))


# -- all of them -------------------------------------------------------------------------------------------------------

NOT_DRAWN = {
    "only plain numbers come out": {"Tensor.item", "Tensor.numpy", "Tensor.__float__", "Tensor.__int__", "Tensor.__bool__",
                                    "Tensor.__format__", "Tensor.__contains__", "Tensor.__dir__", "Tensor.__repr__", "Tensor.__array__", "Tensor.__dlpack__", "Tensor.__dlpack_device__",
                                    "one_hot"},
    "it makes, copies or changes leaves": {"from_dlpack", "Tensor.__reduce__", "Tensor.requires_grad_",
                                            "Tensor.__iadd__", "Tensor.__isub__", "Tensor.__imul__", "Tensor.__itruediv__"},
    "it is refused where it would lose a gradient": {"Tensor.__array_function__", "Tensor.__setitem__"},
    "it is the base of others": {"nn.Module", "nn.Activation", "nn.Loss"},
    "it holds others, or returns its input": {"nn.ModuleList", "nn.ModuleDict", "nn.Identity"},
    "it is no function": {"REDUCTIONS"},
    "it calls another for each network of a population (test_members)": {"per_member"},
}


def methods() -> dict[str, Any]:
    """The public methods of a Tensor, by name."""
    return {name: f for cls in reversed(tg.Tensor.__mro__[:-1]) for name, f in vars(cls).items()
            if isinstance(f, FunctionType | property) and (name.startswith("__") or not name.startswith("_"))}


def modules() -> set[str]:
    found = names_of(nn)
    return {name for name, cls in found.items() if isinstance(cls, type) and issubclass(cls, nn.Module)}


class Calls:
    """The public functions that the tests call directly, and not the functions that these call in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.inside = False
        for owner in (F, tg):
            for name in set(names_of(F)) & set(vars(owner)):
                if callable(getattr(owner, name)):
                    monkeypatch.setattr(owner, name, self.noting(getattr(owner, name), name))
        for name, f in methods().items():
            noted = self.noting(f.fget if isinstance(f, property) else f, f"Tensor.{name}")
            monkeypatch.setattr(tg.Tensor, name, property(noted, f.fset) if isinstance(f, property) else noted)
        monkeypatch.setattr(nn.Module, "__call__", self.noting(nn.Module.__call__))

    def noting(self, f: Any, name: str | None = None) -> Any:
        """`f`, which notes its name, or the class of the module, when it is called."""
        @functools.wraps(f)
        def noted(*p: Any, **q: Any) -> Any:
            if self.inside:
                return f(*p, **q)
            self.names.add(name or f"nn.{type(p[0]).__name__}")
            self.inside = True
            try:
                return f(*p, **q)
            finally:
                self.inside = False
        return noted


def test_every_operation_by_itself_and_no_public_function_is_missing(monkeypatch):
    """Each operation is applied three times, to leaves and to earlier results, and differentiated at once."""
    calls = Calls(monkeypatch)
    for name, draw in [item for draws in DRAWS.values() for item in draws.items()]:
        graph, rng = Graph(), np.random.default_rng([*name.encode()])
        for shape in SHAPES:
            graph.leaf(numbers(shape, rng.integers(1000)), True)
        hand = Hand(graph, lambda options, what, rng=rng: options[rng.integers(len(options))])
        for how in ("recorded", "hooked", "recorded"):
            assert any(graph.add(draw(hand), how) for _ in range(10)), f"{name} is never made"
            graph.walk_back(len(graph.tensors) - 1, True, 0)
        graph.detach(0)
    public = {*names_of(F), *(f"Tensor.{name}" for name in methods()), *(f"nn.{name}" for name in modules())}
    assert public - calls.names == set().union(*NOT_DRAWN.values()), "draw it in graphs_draws.py, or say why not"
