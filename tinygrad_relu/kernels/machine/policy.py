"""The compile policy: every option that Numba is given is in this file. docs/kernels.md gives the reasons.

`scalar` marks a plain function of numbers (a formula), which kernels inline. `kernel` makes a `Kernel` of a loop over arrays; it
is compiled on its first call with each dtype, and kept on disk. Its annotations declare the types of the arguments, once for
float32 and float64: ``def add_rows(g: Array3, rows: Integers, add: bool, out: Array3)``. Launches check these types only with
TINYGRAD_RELU_CHECK=1 in the environment: Numba's own dispatch examines the arguments in 0.15 to 0.3 us, and a layer of a small
network takes 1.
"""
from __future__ import annotations

import ctypes
import inspect
import os
import re
import weakref
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from numbers import Real
from types import FunctionType
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numba
import numpy as np
from llvmlite import binding as llvm
from numba import types
from numba.extending import register_jitable

from .cache import KernelCache, cache_folder
from .fingerprint import fingerprint, used
from .processor import Compiler

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound="Kernel | tuple[Any, ...]")
Code = Callable[..., None]      # the machine code of a kernel for one dtype

# The types of a kernel's arguments, by the words in its annotations; and float, int, bool. All arrays are C-contiguous.
Vector: TypeAlias = Any         # arrays of 1 to 4 axes, of the dtype that the kernel is compiled for
Matrix: TypeAlias = Any
Array3: TypeAlias = Any
Array4: TypeAlias = Any
Doubles: TypeAlias = Any        # vectors of float64, int64 and bool, whatever that dtype is
Integers: TypeAlias = Any
Booleans: TypeAlias = Any
Parameters: TypeAlias = Any     # a tuple of floats: the parameters of an activation

_AXES = {"Vector": 1, "Matrix": 2, "Array3": 3, "Array4": 4}
_VECTORS = {"Doubles": types.float64[::1], "Integers": types.int64[::1], "Booleans": types.boolean[::1]}
_NUMBERS = {"float": types.float64, "int": types.int64, "bool": types.boolean}
DTYPES = tuple(np.dtype(name) for name in ("float32", "float64"))

CHECKED = os.environ.get("TINYGRAD_RELU_CHECK", "0") not in ("", "0")      # the tests run with it

_ANY_ORDER = {"contract", "reassoc", "nsz"}
FACTORIES: list[tuple[Callable[[Any], Kernel | tuple[Any, ...]], Iterable[Any]]] = []


def scalar(function: F) -> F:
    """Mark a plain Python function of numbers, and the functions of a user that it calls, as ones that kernels inline.

    Inlining is forced: LLVM would leave the longer formulas as calls, and could not vectorise the loop around them.
    """
    if function not in _options:
        _inlined(function)
        for found in used(function).values():
            if isinstance(found, FunctionType) and not found.__module__.startswith(_HERE):
                scalar(found)
    return function


_HERE = __name__.removesuffix("machine.policy")
_options: weakref.WeakKeyDictionary[Any, dict[str, Any]] = weakref.WeakKeyDictionary()      # of the functions that are inlined


def _inlined(function: F, **options: Any) -> F:
    _options[function] = options
    register_jitable(forceinline=True, **options)(function)
    return function


def reordered(function: F) -> F:
    """A `scalar` that sums along a row in the fastest order. It must not write to arrays (docs/kernels.md says why)."""
    return _inlined(function, fastmath=_ANY_ORDER)


def rounded(function: F) -> F:
    """A `scalar` whose products are rounded before they are used: LLVM does not fuse them into a sum.

    Of the two products in ``a * b + c * d`` it may fuse either one, in each kernel another. `rounded` settles which.
    """
    return _inlined(function, fastmath={"nsz"})


def assembled(code: str, name: str) -> int:
    """The address of the function `name` of a text in LLVM's language, which is compiled and kept as long as the process.

    It may call functions of Python's C interface.
    """
    for known in re.findall(r"declare .*@(Py\w+)", code):
        llvm.add_symbol(known, ctypes.cast(getattr(ctypes.pythonapi, known), ctypes.c_void_p).value)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(code)
    module.verify()
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine(opt=1))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(name))


_engines: list[Any] = []


class Kernel:
    """A loop over arrays that writes its results into arrays among its arguments.

    `function` is the loop in Python, and `words` has the declared type of each argument. `key` is the position of the array whose
    dtype selects the machine code, and `code` has the machine code by dtype, as far as it has been compiled or loaded. `dtypes`
    are those that it can be compiled for: float32 and float64, unless its arrays are all of fixed types.
    """

    __slots__ = ("__dict__", "__weakref__", "code", "key")      # every launch reads the last two, which slots make faster

    def __init__(self, function: Callable[..., None], reordered: bool, parameters: int) -> None:
        self.function, self.parameters = function, parameters
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.options: dict[str, Any] = dict(error_model="numpy", nogil=True, fastmath=_ANY_ORDER if reordered else {"contract"})
        self.words = {name: function.__annotations__.get(name, "nothing") for name in inspect.signature(function).parameters}
        for name, word in self.words.items():
            if word not in {*_AXES, *_VECTORS, *_NUMBERS, "Parameters"}:
                raise TypeError(f"kernel {self.__name__}: {name} is declared as {word}; expected one of the types of the policy")
        words = list(self.words.values())
        generic = [i for i, word in enumerate(words) if word in _AXES]
        self.key = generic[0] if generic else next(i for i, word in enumerate(words) if word in _VECTORS)
        self.dtypes = DTYPES if generic else (np.dtype(_VECTORS[words[self.key]].dtype.name),)
        self.code: dict[np.dtype[Any], Code] = {}

    def __call__(self, *arguments: Any) -> None:
        """As `door.launch`, but unseen by watchers."""
        dtype = arguments[self.key].dtype
        (self.code.get(dtype) or self.compile(dtype))(*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}>"

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's object of this kernel. It is made on first use, as that takes longer than defining the function."""
        self.function.__qualname__ = f"{self.__name__}_{self.content()}"        # symbols of the machine code contain it
        return numba.njit(pipeline_class=Compiler, **self.options)(self.function)

    def content(self) -> str | None:
        """The `fingerprint` of the loop, as the formulas and constants that it uses are now."""
        return fingerprint(self.function, lambda used: self.options if used is self.function else _options.get(used))

    @property
    def compiled(self) -> int:
        """How often this process has compiled it; each dtype counts."""
        return sum(self.dispatcher.stats.cache_misses.values())

    @property
    def loaded(self) -> int:
        """How often this process has loaded it from the cache."""
        return sum(self.dispatcher.stats.cache_hits.values())

    def signature(self, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """Numba's types of the arguments."""
        number = numba.from_dtype(dtype)
        known = {word: types.Array(number, axes, "C") for word, axes in _AXES.items()} | _VECTORS | _NUMBERS
        return tuple(known.get(word) or numba.typeof((1.0,) * self.parameters) for word in self.words.values())

    def compile(self, dtype: Any) -> Code:
        """The machine code for one dtype, from the cache if it is there."""
        dtype = np.dtype(dtype)
        if dtype not in self.dtypes:
            raise TypeError(f"kernel {self.__name__}: got an array of {dtype}; expected {' or '.join(map(str, self.dtypes))}")
        found, folder, content = self.signature(dtype), cache_folder(), self.content()
        if folder is not None and content is not None:
            self.dispatcher._cache = KernelCache(self.__name__, content, folder)
        self.dispatcher.compile(found)
        code = self.dispatcher.get_overload(found)
        self.code[dtype] = code = self._checked(dtype, code) if CHECKED else code
        return code

    def address(self, dtype: np.dtype[Any]) -> int:
        """Where the machine code for one dtype begins, for other native code to call.

        It takes two addresses, of its result (None) and of an error, and then the arguments; and returns a status, 0 if nothing
        was raised. An array is two addresses (its owner, which no kernel asks for), its size, the size of a number, its address,
        shape and strides.
        """
        if dtype not in self.code:
            self.compile(dtype)
        found = self.dispatcher.overloads[self.signature(dtype)]
        return int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))

    def check(self, arguments: tuple[Any, ...], dtype: np.dtype[Any]) -> None:
        """Raise if the arguments are not exactly of the types for this dtype."""
        if len(arguments) != len(self.words):
            raise TypeError(f"kernel {self.__name__}: got {len(arguments)} arguments, expected {len(self.words)}")
        for (name, word), argument, expected in zip(self.words.items(), arguments, self.signature(dtype)):
            if not _fits(argument, expected):
                shape = f" of shape {argument.shape} and {argument.dtype}" if isinstance(argument, np.ndarray) else ""
                raise TypeError(f"kernel {self.__name__}: {name} is a {type(argument).__name__}{shape}; expected {word}, "
                                f"as {expected}")

    def _checked(self, dtype: np.dtype[Any], code: Code) -> Code:
        def run(*arguments: Any) -> None:
            self.check(arguments, dtype)
            code(*arguments)

        return run


def _fits(argument: Any, expected: Any) -> bool:
    if isinstance(expected, types.Array):
        return (isinstance(argument, np.ndarray) and argument.ndim == expected.ndim and argument.flags.c_contiguous
                and argument.flags.aligned and numba.from_dtype(argument.dtype) == expected.dtype)
    if isinstance(expected, types.BaseTuple):
        return isinstance(argument, tuple) and len(argument) == len(expected) and all(isinstance(n, Real) for n in argument)
    return isinstance(argument, (int, np.integer, bool, np.bool_) if expected == types.int64 else (Real, np.bool_))


def kernel(function: Callable[..., None], *, name: str | None = None, record: Any = None, reordered: bool = False) -> Kernel:
    """A `Kernel` of a loop over arrays: inputs, then the arrays that the results are written into. It returns nothing.

    - `name` is the name in a trace and on disk; a factory, which makes many kernels of one loop, gives each its own.
    - `record` has the parameters that an argument declared as `Parameters` stands for.
    - `reordered` allows sums in any order, as the decorator of this name does for one formula.
    """
    function.__name__ = function.__qualname__ = name or function.__name__
    return Kernel(function, reordered, len(record.parameters) if record else 0)


class Pair(NamedTuple):
    """The two kernels of an operation."""

    forward: Kernel
    pullback: Kernel


def pair(name: str, record: Any, forward: Callable[..., None], pullback: Callable[..., None]) -> Pair:
    """The kernels ``name_forward`` and ``name_pullback``, which close over formulas of a record."""
    return Pair(kernel(forward, name=f"{name}_forward", record=record), kernel(pullback, name=f"{name}_pullback", record=record))


def factory(records: Iterable[Any]) -> Callable[[Callable[[Any], K]], Callable[[Any], K]]:
    """Mark a function that makes the kernels of a record, once for each; `every_kernel` calls it for those of `records`."""
    def mark(make: Callable[[Any], K]) -> Callable[[Any], K]:
        made = cache(make)
        FACTORIES.append((made, records))
        return made

    return mark
