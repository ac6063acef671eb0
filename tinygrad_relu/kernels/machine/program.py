"""A list of launches as one native function: a table, which one loop walks without Python.

Each row of the table is two addresses: of a function, and of the *words* that it gets. The words of a launch are the address of
its kernel and the kernel's arguments, 64 bits each: a number is one word; an array is its size, address, shape and strides. An
*unpacker* loads the words into registers and onto the stack, as the kernel takes them, and calls it. It depends only on the types
of the arguments, so kernels share them.

A launch costs 8 ns in a table, where Python takes 0.2 us.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from .native import Definition, assembled, python_function
from .policy import Kernel

_WORD = np.dtype(np.int64)


class Native:
    """Launches as one function without Python: ``native()`` runs them in order, with the interpreter's lock released.

    `launches` are pairs of a kernel and its arguments. Arrays are used where they are; numbers may be changed between two runs.
    If a kernel raises, `at` is the index of its launch, and those after it have not run.

    >>> from tinygrad_relu.kernels.loops.update import sgd
    >>> p, g = np.ones(3), np.ones(3)
    >>> native = Native([(sgd, (p, g, p[:0], 0.25, 0.0, True, 1.0, 0.0, False, False))])
    >>> native()
    >>> p
    array([0.75, 0.75, 0.75])
    >>> native.numbers[native.slot(0, 3)] = 0.5
    >>> native()
    >>> p
    array([0.25, 0.25, 0.25])
    """

    def __init__(self, launches: Sequence[tuple[Kernel, tuple[Any, ...]]]) -> None:
        self.launches, self.at = list(launches), -1
        words: list[int] = []
        rows = []
        self._slots = []
        for kernel, arguments in self.launches:
            dtype = arguments[kernel.key].dtype
            kernel.check(arguments, dtype)
            types, packed = zip(*[_packed(x, word) for x, word in zip(arguments, kernel.words.values())])
            rows.append((_unpacker(tuple(chain.from_iterable(types))), len(words)))
            self._slots.append(np.cumsum([len(words) + 1, *map(len, packed)]))      # where each argument starts
            words += [kernel.address(dtype), *chain.from_iterable(packed)]
        self.words = np.array(words, _WORD)
        self.numbers = self.words.view(np.float64)          # the same memory, for arguments that are floats
        first = self.words.ctypes.data
        self._table = np.array([len(rows), *chain.from_iterable((code, first + 8 * at) for code, at in rows)], _WORD)
        self._run = _walker(self._table)

    def slot(self, launch: int, argument: int) -> int:
        """The index of a number among `words` (int, bool) or `numbers` (float)."""
        return int(self._slots[launch][argument])

    def write(self, launch: int, argument: int, number: Any) -> None:
        """Change a number for the next runs."""
        kind = [*self.launches[launch][0].words.values()][argument]
        (self.numbers if kind == "float" else self.words)[self._slots[launch][argument]] = number

    def __call__(self) -> None:
        at = self._run()
        if at != len(self.launches):
            self.at = at
            kernel, arguments = self.launches[at]
            kernel(*arguments)          # raises again, now with its message
            raise RuntimeError(f"launch {at} of a program, {kernel.__name__}, has raised an error")


def _packed(x: Any, word: str) -> tuple[list[str], list[int]]:
    """The words of an argument, and LLVM's types of them."""
    if isinstance(x, np.ndarray):
        return ["i64"] * (5 + 2 * x.ndim), [0, 0, x.size, x.itemsize, x.ctypes.data, *x.shape, *x.strides]
    if word in ("int", "bool"):
        return ["i64" if word == "int" else "i8"], [int(x)]
    numbers = np.array(x if word == "Parameters" else [x], np.float64)
    return ["double"] * len(numbers), numbers.view(_WORD).tolist()


@cache
def _unpacker(types: tuple[str, ...]) -> int:
    """The address of ``status = unpack(words)`` for kernels with such arguments (see `Kernel.address`), made in 2 ms."""
    loads = "".join(f"""
        %at{i} = getelementptr i64, ptr %words, i64 {i + 1}
        %word{i} = load {kind}, ptr %at{i}""" for i, kind in enumerate(types))
    arguments = "".join(f", {kind} %word{i}" for i, kind in enumerate(types))
    return assembled(f"""
    define i32 @unpack(ptr %words) {{
        %none = alloca ptr
        %error = alloca ptr
        %kernel = load ptr, ptr %words {loads}
        %status = call i32 %kernel(ptr %none, ptr %error {arguments})
        ret i32 %status
    }}""", "unpack")


# -- the loop ------------------------------------------------------------------------------------------------------------

# A function of Python as C writes it: `self` is the address of a table, as an int; the result is how many rows have run without
# an error. (Such a call takes 60 ns, and one by ctypes 270.)
_WALK = """
    declare ptr @PyLong_AsVoidPtr(ptr)
    declare ptr @PyLong_FromSsize_t(i64)
    declare ptr @PyEval_SaveThread()
    declare void @PyEval_RestoreThread(ptr)

    define ptr @walk(ptr %self, ptr %nothing) {
        %table = call ptr @PyLong_AsVoidPtr(ptr %self)
        %count = load i64, ptr %table
        %rows = getelementptr i64, ptr %table, i64 1
        %thread = call ptr @PyEval_SaveThread()
        br label %next
    next:
        %i = phi i64 [0, %0], [%after, %row]
        %left = icmp ult i64 %i, %count
        br i1 %left, label %row, label %end
    row:
        %after = add i64 %i, 1
        %place = getelementptr {ptr, ptr}, ptr %rows, i64 %i
        %pair = load {ptr, ptr}, ptr %place
        %unpack = extractvalue {ptr, ptr} %pair, 0
        %words = extractvalue {ptr, ptr} %pair, 1
        %status = call i32 %unpack(ptr %words)
        %raised = icmp ne i32 %status, 0
        br i1 %raised, label %end, label %next
    end:
        call void @PyEval_RestoreThread(ptr %thread)
        %result = call ptr @PyLong_FromSsize_t(i64 %i)
        ret ptr %result
    }
"""


_NO_ARGUMENTS = 4       # METH_NOARGS


@cache
def _definition() -> Definition:
    return Definition(b"walk", assembled(_WALK, "walk"), _NO_ARGUMENTS, None)


def _walker(table: Any) -> Callable[[], int]:
    """`walk` for a table: the number of rows, and the rows."""
    return python_function(_definition(), table.ctypes.data)
