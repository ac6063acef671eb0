"""A list of launches as one native function: a table, which one compiled loop walks without Python.

Each row of the table is two addresses: of a function, and of the *words* that it gets. The words of a launch are the address of
its kernel and the kernel's arguments, 64 bits each: a number is one word; an array is its size, address, shape and strides. An
*unpacker* loads the words into registers and onto the stack, as the kernel takes them, and calls it. It depends only on the types
of the arguments, so kernels share them.

A launch costs 8 ns in a table, where Python takes 0.2 us.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .policy import Integers, Kernel, assembled, kernel

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
        self.launches = list(launches)
        words: list[int] = []
        starts, unpackers, self._slots = [], [], []
        for each, arguments in self.launches:
            entry = each.entry(arguments[each.key].dtype)
            each.check(arguments, entry.types)
            packed = [[entry.address], *map(_packed, arguments, entry.types)]
            starts.append(len(words))
            unpackers.append(_unpacker(entry.words))
            self._slots.append(np.cumsum([len(words), *map(len, packed)])[1:])      # where each argument starts
            words += chain.from_iterable(packed)
        self.words = np.array(words, _WORD)
        self.numbers = self.words.view(np.float64)          # the same memory, for arguments that are floats
        self.rows = np.column_stack([unpackers, self.words.ctypes.data + 8 * np.array(starts, _WORD)]).astype(_WORD).ravel()
        self.at = np.zeros(1, _WORD)
        self._walk = walk.compile(_WORD)

    def slot(self, launch: int, argument: int) -> int:
        """The index of a number among `words` (int, bool) or `numbers` (float)."""
        return int(self._slots[launch][argument])

    def __call__(self) -> None:
        try:
            self._walk(self.rows, self.at)
        except RuntimeError:
            kernel, arguments = self.launches[self.at[0]]
            kernel(*arguments)          # raises again, now with its message
            raise


def _packed(x: Any, kind: Any) -> list[int]:
    """The words of an argument; `kind` is Numba's type. The first two of an array are its owner, which no kernel asks for."""
    if isinstance(kind, types.Array):
        return [0, 0, x.size, x.itemsize, x.ctypes.data, *x.shape, *x.strides]
    if isinstance(kind, types.BaseTuple):
        return [_packed(number, types.float64)[0] for number in x]
    return [int(np.float64(x).view(_WORD)) if kind == types.float64 else int(x)]


# -- the loop ------------------------------------------------------------------------------------------------------------


@intrinsic
def _call(typingcontext, function, argument):
    """``function(argument)``, given two addresses: a function of LLVM code that returns a status, 0 if nothing was raised."""
    def generate(context, builder, signature, values):
        word = ir.IntType(64)
        function = builder.inttoptr(values[0], ir.FunctionType(ir.IntType(32), [word]).as_pointer())
        return builder.call(function, [values[1]])

    return types.int32(types.int64, types.int64), generate


@kernel
def walk(rows: Integers, at: Integers):
    """Call the function of each row of two numbers; `at` is the number of the row that runs."""
    for i in range(rows.size // 2):
        at[0] = i
        if _call(rows[2 * i], rows[2 * i + 1]) != 0:
            raise RuntimeError("a launch has raised an error")


@cache
def _unpacker(words: tuple[str, ...]) -> int:
    """The address of ``status = unpack(words)`` for words of these types, compiled in 2 ms.

    Numba's functions return a status. Their first two arguments are the addresses of a result, here None, and of an error.
    """
    loads = "".join(f"""
        %at{i} = getelementptr i64, ptr %words, i64 {i + 1}
        %word{i} = load {word}, ptr %at{i}""" for i, word in enumerate(words))
    arguments = "".join(f", {word} %word{i}" for i, word in enumerate(words))
    return assembled(f"""
    define i32 @unpack(ptr %words) {{
        %none = alloca ptr
        %error = alloca ptr
        %kernel = load ptr, ptr %words {loads}
        %status = call i32 %kernel(ptr %none, ptr %error {arguments})
        ret i32 %status
    }}""", "unpack")
