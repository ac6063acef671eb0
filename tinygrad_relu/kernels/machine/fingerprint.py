"""What the machine code of a kernel depends on, as a digest: an edit that can change the code changes the digest.

The loop is followed into every function that it uses, at any depth: their bytecode, default values, compile options, and the
constants, arrays and closure variables that they read. Comments, docstrings and annotations of formulas do not count. (Those of a
kernel are the types of its arguments, which are in the name of its file, with the processor.)

What a file tells the compiler with ``overload`` and ``intrinsic`` (a body that replaces a function in kernels, an instruction of
LLVM) cannot be found from the functions. So the text of such a file counts as a whole: for every kernel if it is in this package,
and otherwise for the kernels that use a function of it. A kernel that uses something whose content is not known has no
fingerprint.
"""
from __future__ import annotations

import dis
import hashlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1]
EXTENDS = re.compile(rb"overload|intrinsic|extending|imputils|templates")      # files that match add to what the compiler knows

# A digest of the versions of these is in the name of the cache folder, so their functions count by name.
VERSIONED = {"builtins", "llvmlite", "numba", "numpy"}
PLAIN = (type(None), type(Ellipsis), bool, int, float, complex, str, bytes, slice, np.dtype, np.generic)
HAS_DOCSTRING = 0x4000000       # a flag of code since Python 3.14


class Apart:
    """A thing with machine code of its own, such as a kernel: its name and the types of its arguments count, and not its code."""

    __slots__ = ()
    __name__: str
    words: dict[str, str]       # the type of each argument


class Unknown(TypeError):
    """A kernel uses a thing whose content is not known, such as an object of a class of the user."""


def fingerprint(function: Any, options: Callable[[Any], Any] = lambda function: None) -> str | None:
    """Sixteen hexadecimal digits; None if the function uses something of unknown content.

    ``options(function)`` has the compile options of a function, its own or those of one that it uses.

    >>> def twice(x):
    ...     return 2.0 * x
    >>> def thrice(x):
    ...     '''The bytecode is that of `twice`; the constant is not.'''
    ...     return 3.0 * x
    >>> before = fingerprint(twice)
    >>> before == fingerprint(thrice), len(before)
    (False, 16)
    """
    found = [function]                          # grows while it is read: a function is followed once, so recursion ends

    def described(thing: Any, names: frozenset[str] = frozenset()) -> Any:
        if isinstance(thing, PLAIN) and _root(type(thing)) in VERSIONED:
            return type(thing).__qualname__, repr(thing)
        if isinstance(thing, np.ndarray):       # the repr of a long array leaves out its middle
            return repr(thing.dtype), thing.shape, thing.strides, thing.tobytes()
        if isinstance(thing, dict):
            return [(described(key), described(value, names)) for key, value in thing.items()]
        if isinstance(thing, (tuple, list, set, frozenset)):
            parts = [described(part, names) for part in thing]
            return type(thing).__qualname__, parts if isinstance(thing, (tuple, list)) else sorted(parts, key=repr)
        if isinstance(thing, Apart):
            return thing.__name__, list(thing.words.items())
        if _root(type(thing)) == "numba":
            return _of_numba(thing, described)
        if isinstance(thing, CodeType):
            fields, constants = _code(thing)
            return fields, [described(constant) for constant in constants]
        if _counts_by_name(thing):
            return thing.__name__
        if isinstance(thing, ModuleType):       # of the user: as far as it is used
            return {name: described(getattr(thing, name), names) for name in sorted(names) if hasattr(thing, name)}
        if not isinstance(thing, FunctionType):
            raise Unknown(f"{type(thing).__name__} {thing!r}")
        if thing not in found:
            found.append(thing)
        return found.index(thing)

    digest = hashlib.sha256(_extensions_here().encode())
    try:
        for each in found:
            names = frozenset(_names(each.__code__))
            values = {name: described(value, names) for name, value in sorted(used(each).items())}
            defaults = described((each.__defaults__ or (), *sorted((each.__kwdefaults__ or {}).items())))
            parts = described(each.__code__), defaults, values, described(options(each)), _extension(each.__code__.co_filename)
            digest.update(repr(parts).encode())
    except Unknown:
        return None
    return digest.hexdigest()[:16]


def used(function: Any) -> dict[str, Any]:
    """The globals and closure variables that a function uses, by name."""
    if not isinstance(function, FunctionType):
        return {}
    around = zip(function.__code__.co_freevars, function.__closure__ or ())
    found = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    return found | {name: cell.cell_contents for name, cell in around}


def _names(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in the code of a function, and of the functions defined inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _counts_by_name(thing: Any) -> bool:
    if isinstance(thing, BuiltinFunctionType):
        return thing.__self__ is None or isinstance(thing.__self__, ModuleType)
    if isinstance(thing, np.ufunc):
        return getattr(np, thing.__name__, None) is thing
    return isinstance(thing, (FunctionType, ModuleType, type)) and _root(thing) in VERSIONED


def _root(thing: Any) -> str:
    """The package in which a function, class or module is defined."""
    return str(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__).partition(".")[0]


def _of_numba(thing: Any, described: Callable[[Any], Any]) -> Any:
    if hasattr(thing, "py_func"):                                   # compiled by numba.jit
        return described(thing.targetoptions), described(thing.py_func)
    if hasattr(thing, "_defn"):                                     # an intrinsic
        return described(thing._defn)
    if hasattr(thing, "symbol") and hasattr(thing, "sig"):          # an external function, whose body is not in the machine code
        return thing.symbol, str(thing.sig)
    raise Unknown(f"{type(thing).__name__} {thing!r}")


def _code(code: CodeType) -> tuple[tuple[Any, ...], list[Any]]:
    """What code does, without the places of constants, and the constants that it loads. A docstring is none of them."""
    numbers, arguments, constants, high = code.co_code[::2], bytearray(code.co_code[1::2]), [], 0
    for i, number in enumerate(numbers):
        if number in dis.hasconst:
            constants.append(code.co_consts[high + arguments[i]])
            arguments[i] = 0
        high = high + arguments[i] << 8 if number == dis.EXTENDED_ARG else 0
    return (numbers, bytes(arguments), code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount,
            code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~HAS_DOCSTRING, code.co_exceptiontable), constants


@cache
def _extension(file: str) -> str:
    """A digest of the text of a file that extends the compiler; empty for another, and for one that cannot be read."""
    try:
        text = Path(file).read_bytes()
    except OSError:         # code typed into a console has no file
        return ""
    return hashlib.sha256(text).hexdigest() if EXTENDS.search(text) else ""


@cache
def _extensions_here() -> str:
    return "".join(_extension(str(file)) for file in sorted(PACKAGE.rglob("*.py")))
