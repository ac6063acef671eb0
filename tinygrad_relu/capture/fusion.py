"""Fusion: neighbouring launches that one kernel can do. A replay on trial proves that the bits are the same."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array
from ..checks import owner_of
from ..kernels.loops.affine import affine, linear, linear_pullback
from ..kernels.loops.chain import MOST_ARRAYS, Step, chain
from ..kernels.loops.pointwise import loops
from ..kernels.loops.strided import ARITHMETIC
from ..kernels.machine.door import watch
from ..kernels.machine.policy import DTYPES, Kernel, exact
from .arrays import Launch, arrays_in, mapped

WORTH = 1 << 11             # numbers from which a chain is worth a kernel of its own, which takes a second to compile
MOST_COMPARISONS = 8        # of addresses, which LLVM makes before it uses vectors: of arrays that are written with all others


class Elementwise(NamedTuple):
    """A launch that computes each number of an array from one number of each input."""

    formula: Any
    is_exact: bool
    inputs: tuple[Any, ...]                 # arrays and numbers
    parameters: tuple[float, ...]           # of the formula
    out: Array


def elementwise(launch: Launch) -> Elementwise | None:
    """What an elementwise launch does; None for others."""
    kernel, (*inputs, out) = launch
    if type(kernel) is Kernel and kernel.formula is not None:
        *arrays, parameters = inputs
        found = Elementwise(kernel.formula, False, tuple(arrays), parameters, out)
    elif kernel in ARITHMETIC and len(inputs) in (1, 2) and any(isinstance(x, np.ndarray) for x in inputs):
        found = Elementwise(exact(ARITHMETIC[kernel]), True, (*inputs, *inputs)[:2], (), out)
    else:
        return None
    fits = all(x.shape == out.shape and x.dtype == out.dtype and x.flags.carray if isinstance(x, np.ndarray) else
               type(x) in (int, float) for x in found.inputs) and len(found.parameters) < 2
    return found if fits and out.flags.carray and out.dtype in DTYPES and out.size >= WORTH else None


Numbered = list[tuple[Launch, int]]     # with each launch, the number of the last one that is in it


def fused(launches: list[Launch], result: Any, private: set[int]) -> Numbered:
    """The launches with layers and their activations joined, and chains of elementwise ones.

    `private` is the memory that need not be written if no later launch and no result uses it.
    """
    last = {id(owner_of(x)): i for i, tree in enumerate([*(launch.arguments for launch in launches), result])
            for x in arrays_in(tree)}
    return _chains(_layers(launches, last, private), last, private)


def _layers(launches: list[Launch], last: dict[int, int], private: set[int]) -> Numbered:
    """An affine layer and the elementwise function after it as `affine` does both in one launch, forward and backward."""
    found: Numbered = []
    renamed: dict[tuple[int, int], Array] = {}      # for z that is no longer written: y, from which the slope follows
    for i, launch in enumerate(launches):
        before = launches[i - 1] if i and found[-1][1] == i - 1 else None
        joined = None
        if before and before.kernel is linear and _is(launch, "forward"):
            x, weight, bias, z = before.arguments
            _, p, y = launch.arguments
            if _memory(launch.arguments[0]) == _memory(z):
                given, (new_y, new_z) = _launches(affine(launch.kernel.record, p).forward, x, weight, bias)
                y = y.reshape(z.shape)
                if new_z is not new_y or _only_for_slopes(z, launches[i + 1:], launch.kernel.record, private):
                    renamed |= {_memory(z): y} if new_z is new_y else {}
                    joined = _renamed(given, {id(new_y): y, id(new_z): y if new_z is new_y else z})
        elif before and launch.kernel is linear_pullback and _is(before, "pullback"):
            g, z, y, p, gz = before.arguments
            _, x, weight, *into, add = launch.arguments
            if _memory(gz) == _memory(launch.arguments[0]) and last[id(owner_of(gz))] == i and id(owner_of(gz)) in private:
                shape = len(g) // len(weight), len(weight)
                g, y, z, gz = (each.reshape(shape) for each in (g, y, renamed.get(_memory(z), z), gz))
                pullback = affine(before.kernel.record, p).pullback
                (joined,), _ = _launches(pullback, g, y, z, (*into, gz), add, x, weight, weight[:0, 0])
        elif _is(launch, "pullback") and _memory(launch.arguments[1]) in renamed:
            launch = _renamed([launch], {id(launch.arguments[1]): renamed[_memory(launch.arguments[1])].reshape(-1)}) or launch
        if joined:
            found.pop()
        found.append((joined or launch, i))
    return found


def _is(launch: Launch, which: str) -> bool:
    """Whether it is the forward or the pullback of an elementwise function."""
    return type(launch.kernel) is Kernel and launch.kernel.formula is not None and launch.kernel is getattr(
        loops(launch.kernel.record), which)


def _launches(function: Any, *arguments: Any) -> tuple[list[Launch], Any]:
    """What a function would launch, and its result."""
    found: list[Launch] = []
    with watch(lambda kernel, arguments: found.append(Launch(kernel, arguments))):
        return found, function(*arguments)


def _renamed(launches: list[Launch], arrays: dict[int, Array]) -> Launch | None:
    """A single launch with some arrays, by identity, replaced by others."""
    if len(launches) != 1:
        return None
    ((kernel, arguments),) = launches
    return Launch(kernel, mapped(lambda x: arrays.get(id(x), x), arguments))


def _only_for_slopes(z: Array, later: list[Launch], record: Any, private: set[int]) -> bool:
    """Whether z is used only in pullbacks of an elementwise function, as its argument."""
    uses = [(launch, k) for launch in later for k, x in enumerate(arrays_in(launch.arguments)) if owner_of(x) is owner_of(z)]
    return id(owner_of(z)) in private and all(
        k == 1 and launch.kernel is loops(record).pullback and _memory(launch.arguments[1]) == _memory(z) for launch, k in uses)


def _chains(launches: Numbered, last: dict[int, int], private: set[int]) -> Numbered:
    """Neighbouring elementwise launches as one."""
    found: Numbered = []
    neighbours: list[Elementwise] = []          # those that the last launch in `found` joins
    for launch, i in launches:
        step = elementwise(launch)
        later = {key for key in last if key not in private or last[key] > i}      # memory that others read later, or may
        joined = _joined([*neighbours, step], later) if step and neighbours else None
        if joined:
            found.pop()
        found.append((joined or launch, i))
        neighbours = [*(neighbours if joined else []), step] if step else []
    return found


def _joined(several: list[Elementwise], later: set[int]) -> Launch | None:
    """One launch that does several, or None; `later` is the memory that others read later."""
    arrays: dict[Any, Array] = {}       # that are read before they are written, or must be written; by address and size
    results: dict[Any, int] = {}        # for memory that is written, the step that writes it last
    written: dict[Any, Array] = {}
    constants: list[float] = []
    sources: list[list[tuple[str, Any]]] = []       # of the arguments of each step
    for each in several:
        sources.append([])
        for x in each.inputs:
            if not isinstance(x, np.ndarray):
                sources[-1].append(("constant", len(constants)))
                constants.append(float(x))
            elif (key := _memory(x)) in results:
                sources[-1].append(("result", results[key]))
                if not (each.is_exact or several[results[key]].is_exact):
                    return None
            else:
                arrays.setdefault(key, x.reshape(-1))
                sources[-1].append(("array", key))
        results[_memory(each.out)], written[_memory(each.out)] = len(sources) - 1, each.out.reshape(-1)
    stored = {key: x for key, x in written.items() if id(owner_of(x)) in later}
    overlap = any(a != b and a[0] < sum(b) and b[0] < sum(a) for a in arrays | written for b in written)
    arrays |= stored
    comparisons = len(stored) * (len(arrays) - len(stored)) + len(stored) * (len(stored) - 1) // 2
    if (overlap or not stored or comparisons > MOST_COMPARISONS or len(arrays) > MOST_ARRAYS
            or len({x.size for x in (arrays | written).values()}) > 1):
        return None
    first = {"array": 0, "constant": len(arrays), "result": len(arrays) + len(constants)}      # places of what steps know
    at = {key: i for i, key in enumerate(arrays)}
    steps, numbers = [], list(constants)
    for each, places in zip(several, sources):
        arguments = tuple(first[kind] + (at[k] if kind == "array" else k) for kind, k in places)
        steps.append(Step(each.formula, arguments, tuple(range(len(numbers), len(numbers) + len(each.parameters)))))
        numbers += each.parameters
    ends = tuple((first["result"] + results[key], at[key]) for key in stored)
    return Launch(chain(tuple(steps), ends, len(arrays), len(constants), len(numbers)), (tuple(numbers), *arrays.values()))


def _memory(x: Array) -> tuple[int, int]:
    return x.ctypes.data, x.nbytes
