"""Replays: the launches of a proved recording, run without the step."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff.guard import Later
from ..autodiff.node import Array
from ..autodiff.tape import changed
from ..kernels.machine.policy import Kernel
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from .arrays import Launch, arrays_in, copies, differ, fresh, mapped, owner_of, restore

LINE = 64       # bytes: arrays in packed memory begin at a line of the processor's cache


def move(optimizer: Optimizer, segment: Any, options: Any, data: Array, grad: Array) -> None:
    """How a step of an optimizer is recorded: as one call, which reads the rate and all other options when it is replayed."""
    optimizer.move(segment, grad, options)
    segment.steps += 1
    changed(segment.parameters)


def is_launch(optimizer: Optimizer) -> bool:
    """Whether its steps are launches, not code of a user."""
    return type(optimizer).move is Optimizer.move


class Move:
    """A step of an optimizer as one launch, whose numbers are those of each replay."""

    def __init__(self, optimizer: Optimizer, segment: Any, options: Any, data: Array, grad: Array) -> None:
        self.optimizer, self.segment, self.options, self.grad = optimizer, segment, options, grad
        self.counts = "step" in optimizer.state_names           # whether the numbers depend on the count of steps
        self.known, self.launch = dict(options), Launch(*optimizer.launch_of(segment, grad, options))

    def numbers(self) -> tuple[Any, ...] | None:
        """All arguments, if they may have changed since the last call."""
        if not self.counts and self.options == self.known:
            return None
        self.known = dict(self.options)
        arguments: tuple[Any, ...] = self.optimizer.launch_of(self.segment, self.grad, self.options)[1]
        for x, y in zip(arguments, self.launch.arguments):
            if isinstance(x, np.ndarray) and x is not y and (x.size or y.size):
                raise Stale
        return arguments


class Stale(Exception):
    """A replay would use other arrays than it has recorded."""


class Replay:
    """The launches of a recording as they are run: with steps of optimizers as launches.

    With `overwritten`, memory that one launch overwrites wholly before others use it, arrays get memory of their own.
    """

    def __init__(self, launches: list[Launch], result: Any, writes: int, overwritten: set[int] | None = None) -> None:
        self.writes = writes                        # how many launches run before the first that writes state
        self.is_exact = overwritten is None         # whether it uses the very arrays of the recording
        self.moves: dict[int, Move] = {}
        launches = list(launches)
        for i, (kernel, arguments) in enumerate(launches):
            if kernel is move and is_launch(arguments[0]):
                self.moves[i] = Move(*arguments)
                launches[i] = self.moves[i].launch
        self.launches, self.result = (launches, result) if overwritten is None else packed(launches, result, overwritten)
        self.calls = [_call(*launch) for launch in self.launches]

    def __call__(self) -> Any:
        """Run all launches; returns the result."""
        for i, move in self.moves.items():
            if arguments := move.numbers():
                self.calls[i] = (self.calls[i][0], arguments)
        calls: Any = iter(self.calls)
        try:
            for code, arguments in calls:
                code(*arguments)
        finally:
            self.at = len(self.calls) - calls.__length_hint__() - 1
        for move in self.moves.values():
            move.segment.steps += 1
            changed(move.segment.parameters)
        return mapped(fresh, self.result)


    def does_the_same(self, state: list[Array], before: list[Array], result: Any) -> bool:
        """Whether a replay from an earlier state leads to the state of now, with the same result. Otherwise nothing changes."""
        after = copies(state)
        restore(state, before)
        for move in self.moves.values():
            move.segment.steps -= 1
        found = self()
        same = not any(map(differ, [*state, *arrays_in(found)], [*after, *arrays_in(result)]))
        restore(state, () if same else after)
        return same


def _call(kernel: Any, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return (kernel.code[arguments[kernel.key].dtype] if type(kernel) is Kernel else kernel), arguments


def packed(launches: list[Launch], result: Any, overwritten: set[int]) -> tuple[list[Launch], Any]:
    """The launches with private arrays that are never in use at the same time in the same memory.

    That is for memory whose first launch overwrites all of it. It is in use from this launch to the last one, or to the end if it
    is in the result.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    owners: dict[int, Array] = {}
    for i, tree in enumerate([*(launch.arguments for launch in launches), result]):
        for x in arrays_in(tree):
            key = id(owner_of(x))
            if key in overwritten:
                owners[key] = owner_of(x)
                first.setdefault(key, i)
                last[key] = i
    starts: dict[int, int] = {}
    for key in sorted(owners, key=lambda key: -owners[key].nbytes):         # large ones first
        at_once = [k for k in starts if first[k] <= last[key] and first[key] <= last[k]]
        taken = sorted((starts[k], starts[k] + owners[k].nbytes) for k in at_once)
        starts[key] = 0
        for begin, end in taken:
            if starts[key] + owners[key].nbytes <= begin:
                break
            starts[key] = max(starts[key], -(-end // LINE) * LINE)
    memory = np.zeros(max((starts[key] + owners[key].nbytes for key in starts), default=0) + LINE, np.uint8)
    memory = memory[-memory.ctypes.data % LINE:]

    def moved(x: Any) -> Any:
        if isinstance(x, (Tensor, Later)):
            return Tensor.leaf(moved(x.array)) if isinstance(x, Tensor) else Later(moved(x.array))
        if not isinstance(x, np.ndarray) or id(owner_of(x)) not in starts:
            return x
        offset = starts[id(owner_of(x))] + x.ctypes.data - owner_of(x).ctypes.data
        return np.ndarray(x.shape, x.dtype, memory, offset, x.strides)

    return [Launch(kernel, mapped(moved, arguments)) for kernel, arguments in launches], mapped(moved, result)
