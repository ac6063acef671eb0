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
from itertools import accumulate, chain
from typing import Any

import numpy as np

from .native import (
    COMMON,
    DATA,
    METH_FASTCALL,
    SHAPE,
    TYPE,
    Definition,
    assembled,
    dtype_bytes,
    kernel_engine,
    load_word,
    offset,
    python_function,
)
from .policy import Kernel

_WORD = np.dtype(np.int64)


class Native:
    """Launches as one function without Python: `run` runs them in order, with the interpreter's lock released.

    `launches` are pairs of a kernel and its arguments. Arrays are used where they are; numbers may be changed between two runs.
    If a kernel raises, `at` is the index of its launch, and those after it have not run.

    >>> from tinygrad_relu.kernels.loops.update import sgd
    >>> p, g, cuts = np.ones(3), np.ones(3), np.zeros(0, int)
    >>> native = Native([(sgd, (p, g, p[:0], cuts, 0.25, 0.0, True, 1.0, 0.0, False, False))])
    >>> native.run()
    >>> p
    array([0.75, 0.75, 0.75])
    >>> native.write(0, 4, 0.5)
    >>> native.run()
    >>> p
    array([0.25, 0.25, 0.25])
    """

    def __init__(self, launches: Sequence[tuple[Kernel, tuple[Any, ...]]]) -> None:
        self.launches, self.at = list(launches), -1
        words: list[int] = []
        rows = []
        self._places: list[list[tuple[str, int]]] = []      # where each argument starts, and its declared type
        for kernel, arguments in self.launches:
            dtype = arguments[kernel.key].dtype
            kernel.check(arguments, dtype)
            types, packed = zip(*[_packed(x, word) for x, word in zip(arguments, kernel.words.values())])
            rows.append((_unpacker(tuple(chain.from_iterable(types))), len(words)))
            self._places.append([*zip(kernel.words.values(), accumulate(map(len, packed), initial=len(words) + 1))])
            words += [kernel.address(dtype), *chain.from_iterable(packed)]
        self.words = np.array(words, _WORD)
        self._integers, self._floats = self.words.data, self.words.view(np.float64).data
        first = self.words.ctypes.data
        self._table = np.array([len(rows), *chain.from_iterable((code, first + 8 * at) for code, at in rows)], _WORD)
        self._run, self._count = python_function(_definition("walk", _WALK, NO_ARGUMENTS), self._table.ctypes.data), len(rows)

    def write(self, launch: int, argument: int, number: Any) -> None:
        """Change a number for the next runs."""
        word, place = self._places[launch][argument]
        (self._floats if word == "float" else self._integers)[place] = number

    def run(self) -> None:
        at = self._run()
        if at != self._count:
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


@cache
def _definition(name: str, code: str, flags: int) -> Definition:
    kernel_engine()             # makes known what the code uses
    _definitions.append(Definition(name.encode(), assembled(code, name), flags, None))
    return _definitions[-1]


NO_ARGUMENTS = 4        # METH_NOARGS
_definitions: list[Definition] = []     # functions of Python refer to them; two threads may both make one, and `cache` keeps one


# -- inputs --------------------------------------------------------------------------------------------------------------

# `self` is the address of the words: how many inputs there are, and for each whether it varies, address and bytes of its home,
# its dtype (see `native.DTYPE`), axes, class, where its array is in it (0: it is the array), where another attribute is and what
# that must be, and its shape. Then addresses, each with the word that is there; the last is that of `self`.
_TAKE = f"""{COMMON}
declare ptr @PyLong_AsVoidPtr(ptr)
declare ptr @PyBool_FromLong(i64)
declare i32 @memcmp(ptr, ptr, i64)
declare ptr @memcpy(ptr, ptr, i64)

define ptr @take(ptr %self, ptr %arguments, i64 %number) {{
  %words = call ptr @PyLong_AsVoidPtr(ptr %self)
  %count = load i64, ptr %words
  %first = getelementptr i64, ptr %words, i64 1
  %right = icmp eq i64 %number, %count
  br i1 %right, label %next, label %return
next:
  %i = phi i64 [0, %0], [%after, %compare], [%after, %copy]
  %row = phi ptr [%first, %0], [%end, %compare], [%end, %copy]
  %after = add i64 %i, 1
  %left = icmp ult i64 %i, %count
  br i1 %left, label %input, label %slots
input:
  %place = getelementptr ptr, ptr %arguments, i64 %i
  %given = load ptr, ptr %place
{load_word("type", "ptr", "%given", TYPE)}
{load_word("class", "ptr", "%row", 40)}
  %known_class = icmp eq ptr %type, %class
  br i1 %known_class, label %attributes, label %return
attributes:
{load_word("inside", "i64", "%row", 48)}
{load_word("flag", "i64", "%row", 56)}
{load_word("right_value", "i64", "%row", 64)}
  %flag_place = getelementptr i8, ptr %given, i64 %flag
  %value = load i64, ptr %flag_place
  %right_flag = icmp eq i64 %value, %right_value
  br i1 %right_flag, label %opened, label %return
opened:
  %held_place = getelementptr i8, ptr %given, i64 %inside
  %held = load ptr, ptr %held_place
  %whole = icmp eq i64 %inside, 0
  %none = icmp eq ptr %held, null
  %itself = or i1 %whole, %none
  %x = select i1 %itself, ptr %given, ptr %held
{load_word("held_type", "ptr", "%x", TYPE)}
  %is_array = icmp eq ptr %held_type, @tinygrad_relu_ndarray
  br i1 %is_array, label %array, label %return
array:
{load_word("varies", "i64", "%row", 0)}
{load_word("home", "ptr", "%row", 8)}
{load_word("bytes", "i64", "%row", 16)}
{load_word("dtype", "i64", "%row", 24)}
{load_word("axes", "i32", "%row", 32)}
  %fits = call i1 @fits(ptr %x, i32 %axes, i64 %dtype)
  br i1 %fits, label %kind, label %return
kind:
{load_word("shape", "ptr", "%x", SHAPE)}
{load_word("data", "ptr", "%x", DATA)}
  %known = getelementptr i64, ptr %row, i64 9
  %many = zext i32 %axes to i64
  %end = getelementptr i64, ptr %known, i64 %many
  %size = mul i64 %many, 8
  %other = call i32 @memcmp(ptr %shape, ptr %known, i64 %size)
  %same = icmp eq i32 %other, 0
  br i1 %same, label %numbers, label %return
numbers:
  %free = icmp ne i64 %varies, 0
  br i1 %free, label %copy, label %compare
compare:
  %differs = call i32 @memcmp(ptr %data, ptr %home, i64 %bytes)
  %equal = icmp eq i32 %differs, 0
  br i1 %equal, label %next, label %return
copy:
  %at_home = icmp eq ptr %data, %home
  %length = select i1 %at_home, i64 0, i64 %bytes
  %done = call ptr @memcpy(ptr %home, ptr %data, i64 %length)
  br label %next
slots:
  %slot = phi ptr [%row, %next], [%following, %slots]
  %following = getelementptr i64, ptr %slot, i64 2
{load_word("address", "ptr", "%slot", 0)}
{load_word("expected", "i64", "%slot", 8)}
  %now = load i64, ptr %address
  %unchanged = icmp eq i64 %now, %expected
  br i1 %unchanged, label %slots, label %last
last:
  %all = icmp eq ptr %address, %words
  br label %return
return:
  %found = phi i1 [%all, %last], [false, %0], [false, %input], [false, %attributes], [false, %opened], [false, %array],
    [false, %kind], [false, %compare]
  %result = zext i1 %found to i64
  %truth = call ptr @PyBool_FromLong(i64 %result)
  ret ptr %truth
}}
"""


class Inputs:
    """``take(*inputs)`` copies arrays into their `homes`, in 0.2 us, where Python takes 1.5.

    It returns False if one is no C-contiguous array of the dtype and shape of its home, or differs from its home although it does
    not vary; then some may have been copied. And if an attribute is no longer what it was: `slots` are objects, names in the
    ``__slots__`` of their class, and values. `holders`: for an input that is no array but holds it in such an attribute, its
    class, the name, and the name and value of another attribute, which it must have; None for others.

    >>> home = np.zeros(2)
    >>> inputs = Inputs([home], [False])
    >>> inputs.take(np.ones(2)), inputs.take(np.zeros(2)), inputs.take(np.zeros(3))
    (False, True, False)
    >>> inputs.may_vary(0)
    >>> inputs.take(np.ones(2)), home
    (True, array([1., 1.]))
    """

    def __init__(self, homes: Sequence[Any], varies: Sequence[bool], slots: Sequence[tuple[Any, str, Any]] = (),
                 holders: Sequence[tuple[type, str, str, Any] | None] = ()) -> None:
        rows = [[int(varied), home.ctypes.data, home.nbytes, dtype_bytes(home.dtype),
                 home.ndim if home.dtype.kind in "biufc" else -1, *_where(holder), *home.shape]
                for home, varied, holder in zip(homes, varies, holders or [None] * len(homes))]
        self._places = np.cumsum([1, *map(len, rows)])
        rows += [[id(x) + offset(getattr(type(x), name)), id(value)] for x, name, value in slots]
        self._words, self.homes, self.slots = np.array([len(homes), *chain.from_iterable(rows), 0, -1], _WORD), homes, slots
        self._words[-2] = self._words.ctypes.data
        self.take: Callable[..., bool] = python_function(_definition("take", _TAKE, METH_FASTCALL), self._words.ctypes.data)

    def may_vary(self, i: int) -> None:
        """Input i may have other numbers from now on."""
        self._words[self._places[i]] = 1


def _where(holder: tuple[type, str, str, Any] | None) -> tuple[int, int, int, int]:
    """The words of a row from the class on. An array has its type as the other attribute."""
    if holder is None:
        return id(np.ndarray), 0, TYPE, id(np.ndarray)
    kind, name, other, known = holder
    return id(kind), offset(getattr(kind, name)), offset(getattr(kind, other)), id(known)
