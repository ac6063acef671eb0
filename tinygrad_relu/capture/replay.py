"""Replays: the launches of a proved recording, run without the step."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from ..autodiff.guard import Later
from ..autodiff.node import Array, next_order
from ..autodiff.tape import changed
from ..checks import owner_of
from ..kernels.loops.affine import is_pullback
from ..kernels.loops.members import linear_activation_of_members
from ..kernels.loops.strided import as_kernel
from ..kernels.machine.host import LINE, zeros
from ..kernels.machine.program import Native
from ..optim.optimizer import Optimizer
from ..tensor import Tensor
from .arrays import Launch, agree, arrays_in, copies, differ, fresh, mapped, restore
from .fusion import fused


def move(optimizer: Optimizer, segment: Any, options: Any, data: Array, grad: Array) -> None:
    """How a step of an optimizer is recorded: as one call, which reads the rate and all other options when it is replayed."""
    changed(segment.parameters)
    steps = segment.steps + 1
    optimizer.move(segment, grad, options)
    segment.steps = steps


def is_launch(optimizer: Optimizer) -> bool:
    """Whether its steps are launches, not code of a user."""
    return type(optimizer).move is Optimizer.move


class Move:
    """A step of an optimizer as one launch, whose numbers are those of each replay."""

    def __init__(self, optimizer: Optimizer, segment: Any, options: Any, data: Array, grad: Array) -> None:
        self.optimizer, self.segment, self.options, self.grad = optimizer, segment, options, grad
        self.known, self.launch = dict(options), Launch(*optimizer.launch_of(segment, grad, options))
        self.arguments = list(self.launch.arguments)            # with the numbers of the last replay
        self.same = {id(x) for x in (segment.data, grad, segment.cuts, *segment.state.values())}    # that each launch uses
        self.varies = "step" in optimizer.state_names or any(
            isinstance(x, np.ndarray) and x.size and id(x) not in self.same for x in self.launch.arguments)
        self.write: Callable[[int, Any], None] = lambda position, number: None
        self.before = 0         # how many launches of a replay move the same segment before this one

    def renew(self) -> None:
        """Give the launch the numbers of now."""
        if not self.varies and self.options == self.known:
            return
        buffers, segment = dict(self.segment.state), copy(self.segment) if self.before else self.segment
        segment.steps += self.before
        _, now = self.optimizer.launch_of(segment, self.grad, self.options)
        if buffers.keys() != self.segment.state.keys():     # it needs another buffer, which the step will make
            self.segment.state = buffers
            raise Stale
        for i, (old, new) in enumerate(zip(self.arguments, now)):
            if old is new:
                continue
            if not isinstance(old, np.ndarray):
                self.write(i, new)
                self.arguments[i] = new
            elif old.size or new.size:
                if id(old) in self.same or old.shape != new.shape:
                    raise Stale
                old[...] = new
        if not self.varies:
            self.known = dict(self.options)     # last: Ctrl-C may have come before


class Stale(BaseException):
    """No error: a recording is out of date: the step would find other variables or modules, or use other arrays."""


class Replay:
    """The launches of a recording as they are run: with steps of optimizers as launches.

    With `overwritten`, memory that one launch overwrites wholly before others use it, arrays get memory of their own, and
    with `fuse` neighbours become one launch where they can.
    """

    def __init__(self, launches: list[Launch], result: Any, writes: int, overwritten: set[int] | None = None,
                 fuse: bool = False) -> None:
        self.is_exact = overwritten is None         # whether it uses the very arrays of the recording
        moves = {i: Move(*x) for i, (kernel, x) in enumerate(launches) if kernel is move and is_launch(x[0])}
        launches = [moves[i].launch if i in moves else launch for i, launch in enumerate(launches)]
        numbered = list(zip(launches, range(len(launches))))
        if fuse and overwritten is not None:
            numbered = fused(launches, result, overwritten)
        launches, numbers = map(list, zip(*numbered)) if numbered else ([], [])
        self.moves = {numbers.index(i): each for i, each in moves.items()}
        self.writes = sum(i < writes for i in numbers)      # how many launches run before the first that writes state
        self.launches, self.result = (launches, result) if overwritten is None else packed(launches, result, overwritten)
        found: list[Any] = []
        mapped(found.append, self.result)
        self.made = sum(isinstance(x, Tensor) for x in found)       # how many nodes a replay makes
        self.next = 0       # the number of the next node, if no other is made until the next replay
        self.calls = list(_calls(self.launches))
        for run, first, count in self.calls:
            for i, each in self.moves.items():
                if first <= i < first + count:
                    each.write = partial(run.__self__.write, i - first)
        self.steps = list(self.moves.values())
        for i, each in enumerate(self.steps):
            each.before = sum(other.segment is each.segment for other in self.steps[:i])

    def run(self) -> Any:
        """Run all launches; returns the result. (A method, because the call of an object takes 0.1 us more.)"""
        for each in self.steps:
            each.renew()
        for each in self.steps:     # before the launches: Ctrl-C is noticed when they have run
            each.segment.steps += 1
        try:
            for run in self.calls:
                self.running = run
                run[0]()
        except Exception:
            for each in self.steps:
                each.segment.steps -= 1
            raise
        now = next_order()
        if now != self.next:        # a graph of the values before may have been recorded since the last replay
            for each in self.steps:
                changed(each.segment.parameters, now)
        self.next = now + 1 + self.made
        return fresh(self.result) if type(self.result) is Tensor else mapped(fresh, self.result)

    @property
    def at(self) -> int:
        """The number of the launch that has raised an error."""
        run, first, _ = self.running
        return first + getattr(getattr(run, "__self__", None), "at", 0)

    def does_the_same(self, state: list[Array], before: list[Array], result: Any) -> bool:
        """Whether a replay from an earlier state leads to the state of now, with the same result. Otherwise nothing changes."""
        after, result = copies(state), mapped(fresh, result)        # which may have the memory that the replay uses
        restore(state, before)
        for each in self.steps:
            each.segment.steps -= 1
        found = self.run()
        pairs = zip([*state, *arrays_in(found)], [*after, *arrays_in(result)])
        same = agree(found, result) and not any(differ(x, y, nan=False) for x, y in pairs)
        restore(state, () if same else after)
        return same


def _calls(launches: list[Launch]) -> Iterator[tuple[Any, int, int]]:
    """What runs the launches: for all neighbours that are kernels one native function, and for any other function a call.

    With each, the number of its first launch, and how many they are.
    """
    found: list[Any] = [as_kernel(*launch) for launch in launches]
    for others, group in groupby(range(len(launches)), lambda i: found[i] is None):
        numbers = [*group]
        if others:
            yield from ((partial(launches[i].kernel, *launches[i].arguments), i, 1) for i in numbers)
        else:
            yield Native([found[i] for i in numbers]).run, numbers[0], len(numbers)


def _owners(*trees: Any) -> set[int]:
    return {id(owner_of(x)) for x in arrays_in(trees)}


def _successors(launches: list[Launch], first: dict[int, int],
                last: dict[int, int]) -> tuple[dict[int, int], set[tuple[int, int]]]:
    """Memory that a pullback of a layer and its activation uses again: what replaces other memory, and pairs of old and new.

    The kernel computes gz from g, z and y, number by number, and then gx from gz. So gz replaces g; gx replaces z if it is as
    large, and else may lie where z or y have been. (Not with members, of which each is done on its own.)
    """
    same: dict[int, int] = {}
    follows: set[tuple[int, int]] = set()
    for i, (kernel, arguments) in enumerate(launches):
        if (single := is_pullback(kernel)) or is_pullback(kernel, linear_activation_of_members):
            g, z, y, x, weight, _, gz, gx, gw, gb, _ = arguments
            ended = {key for key in _owners(g, z, y) - _owners(x, weight, gz, gw, gb) if last.get(key) == i}
            for old, new in ((g, gz), (z, gx)):
                whole = old.shape == new.shape and all(x.nbytes == owner_of(x).nbytes for x in (old, new))
                before, after = id(owner_of(old)), id(owner_of(new))
                if whole and before in ended and first.get(after) == i:
                    same[after] = key = same.get(before, before)
                    last[key] = max(last[key], last[after])
                    ended.remove(before)
            if single and first.get(after) == i:
                follows |= {(key, after) for key in ended}
    return same, follows


def packed(launches: list[Launch], result: Any, overwritten: set[int]) -> tuple[list[Launch], Any]:
    """The launches with private arrays that are never in use at the same time in the same memory.

    That is for memory whose first launch overwrites all of it. It is in use from this launch to the last one, or to the end if it
    is in the result. Within one launch an array may take the place of another (see `_successors`).
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
    same, follows = _successors(launches, first, last)
    owners = {key: x for key, x in owners.items() if key not in same}
    starts: dict[int, int] = {}
    for key in sorted(owners, key=lambda key: (-owners[key].nbytes, -last[key])):       # large ones first
        at_once = [k for k in starts if first[k] <= last[key] and first[key] <= last[k] and not {(k, key), (key, k)} & follows]
        starts[key] = 0
        for begin, end in sorted((starts[k], starts[k] + owners[k].nbytes) for k in at_once):
            if starts[key] + owners[key].nbytes <= begin:
                break
            starts[key] = max(starts[key], -(-end // LINE) * LINE)
    memory = zeros(max((starts[key] + owners[key].nbytes for key in starts), default=0))

    def moved(x: Any) -> Any:
        if isinstance(x, (Tensor, Later)):
            return Tensor.leaf(moved(x.array)) if isinstance(x, Tensor) else Later(moved(x.array))
        key = same.get(id(owner_of(x)), id(owner_of(x))) if isinstance(x, np.ndarray) else 0
        if key not in starts:
            return x
        offset = starts[key] + x.ctypes.data - owner_of(x).ctypes.data
        return np.ndarray(x.shape, x.dtype, memory, offset, x.strides)

    return [Launch(kernel, mapped(moved, arguments)) for kernel, arguments in launches], mapped(moved, result)
