"""The compile policy: every option that Numba is given is in this file.

``scalar``   marks a plain function of numbers (a formula). Python can still call it; a kernel that calls it inlines it.
``kernel``   makes a `Kernel` of a loop over arrays. It is compiled on its first call with each dtype, and kept on disk.

A kernel declares the types of its arguments in its annotations, once for float32 and float64::

    @kernel
    def add_rows(g: Array3, rows: Integers, add: bool, out: Array3):
        ...

Measured reasons for these choices:

- The types are declared because Numba's own dispatch looks at every argument of every call: 0.3 us, where a layer of a small
  network takes 1. `door.launch` calls the machine code directly. In return callers must pass exactly the declared types:
  C-contiguous arrays of the right dtype and number of axes. Set TINYGRAD_RELU_CHECK=1 to have every call checked.
- ``scalar`` is ``register_jitable``, not ``njit``: a kernel that closes over a *jitted* function misses the disk cache
  in every process; one that closes over a plain function hits it. It is inlined by force: LLVM would leave the longer
  formulas as calls, and then cannot vectorise the loop around them (softplus: 13.7 ns a number; inlined 0.8).
- Numba's own cache notices edits only in the file in which a kernel is defined, and not in the formulas of other files. In ours
  (`cache.KernelCache`) the name of the folder is a digest of all kernel sources.
- ``contract`` (fused multiply-add) is the only freedom given to floating-point arithmetic. Sums along rows may also be
  reordered (``reordered``, for one formula or for a whole kernel), so that LLVM can vectorise them: 0.19 ns a
  number instead of 1.8. The compiled code fixes the order, so results are reproducible to the bit. ``fastmath=True`` would
  assume that there is no NaN.
"""
from __future__ import annotations

import hashlib
import inspect
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property
from numbers import Real
from types import FunctionType
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numba import types
from numba.extending import register_jitable

from .cache import KernelCache, cache_folder, fingerprint, is_ours, used

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound="Kernel | tuple[Any, ...]")
Code = Callable[..., None]      # the machine code of a kernel for one dtype

# What a kernel's arguments may be, by the word in its annotations; and float, int, bool. All arrays are C-contiguous.
Vector: TypeAlias = Any         # arrays of 1 to 4 axes, of the dtype that the kernel is compiled for
Matrix: TypeAlias = Any
Array3: TypeAlias = Any
Array4: TypeAlias = Any
Doubles: TypeAlias = Any        # vectors of float64, int64 and bool, whatever that dtype is
Integers: TypeAlias = Any
Booleans: TypeAlias = Any
Parameters: TypeAlias = Any     # a tuple of floats: the parameters of an activation

_AXES = {"Vector": 1, "Matrix": 2, "Array3": 3, "Array4": 4}
_VECTORS = {"Doubles": types.float64, "Integers": types.int64, "Booleans": types.boolean}
_NUMBERS = {"float": types.float64, "int": types.int64, "bool": types.boolean}
DTYPES = tuple(np.dtype(name) for name in ("float32", "float64"))

CHECKED = os.environ.get("TINYGRAD_RELU_CHECK", "0") not in ("", "0")      # the tests run with it

_ANY_ORDER = {"contract", "reassoc", "nsz"}
FACTORIES: list[tuple[Callable[[Any], Kernel | tuple[Any, ...]], Iterable[Any]]] = []


def scalar(function: F) -> F:
    """Mark a plain Python function of numbers as one that kernels may call."""
    return register_jitable(forceinline=True)(function)


def reordered(function: F) -> F:
    """A `scalar` that sums along a row, in whatever order is fastest; the rest of the kernel keeps its order.

    It must not write to arrays: where LLVM cannot rule out that two arrays overlap, it checks at run time and adds one number
    at a time if they are close. That is another order, and so gives other bits.
    """
    return register_jitable(forceinline=True, fastmath=_ANY_ORDER)(function)


def user_scalar(function: F) -> F:
    """`scalar` for a formula of a user, and for the plain Python functions that it calls."""
    for found in [function, *used(function).values()]:
        if isinstance(found, FunctionType) and not is_ours(found) and found not in _user_scalars:
            _user_scalars.add(found)
            scalar(found)
            if found is not function:
                user_scalar(found)
    return function


_user_scalars: weakref.WeakSet[FunctionType] = weakref.WeakSet()


class Kernel:
    """A loop over arrays that writes its results into arrays among its arguments.

    Attributes
    ----------
    function : callable
        The loop, in Python.
    words : dict
        The declared type of each argument (see `Vector` and the names after it).
    key : int
        The position of the array whose dtype selects the machine code.
    dtypes : tuple of dtype
        The dtypes that it can be compiled for: float32 and float64, unless its arrays are all of fixed types.
    code : dict
        The machine code by dtype, as far as it has been compiled or loaded.
    """

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
        self.dtypes = DTYPES if generic else (np.dtype(_VECTORS[words[self.key]].name),)
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
        made, folder = numba.njit(**self.options)(self.function), cache_folder()
        if folder is not None:
            made._cache = KernelCache(self.function.__qualname__, folder)
        return made

    @property
    def compiled(self) -> int:
        """How often this process has compiled it (for one dtype)."""
        return sum(self.dispatcher.stats.cache_misses.values())

    @property
    def loaded(self) -> int:
        """How often this process has loaded it from the cache."""
        return sum(self.dispatcher.stats.cache_hits.values())

    def signature(self, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """Numba's types of the arguments."""
        return tuple(map(self._type, self.words.values(), [numba.from_dtype(dtype)] * len(self.words)))

    def _type(self, word: str, number: Any) -> Any:
        if word in _AXES:
            return types.Array(number, _AXES[word], "C")
        if word in _VECTORS:
            return types.Array(_VECTORS[word], 1, "C")
        return _NUMBERS[word] if word in _NUMBERS else numba.typeof((1.0,) * self.parameters)

    def compile(self, dtype: Any) -> Code:
        """The machine code for one dtype, from the cache if it is there."""
        dtype = np.dtype(dtype)
        if dtype not in self.dtypes:
            raise TypeError(f"kernel {self.__name__}: got an array of {dtype}; expected {' or '.join(map(str, self.dtypes))}")
        found = self.signature(dtype)
        self.dispatcher.compile(found)
        code = self.dispatcher.get_overload(found)
        self.code[dtype] = code = self._checked(dtype, code) if CHECKED else code
        return code

    def _checked(self, dtype: np.dtype[Any], code: Code) -> Code:
        def run(*arguments: Any) -> None:
            if len(arguments) != len(self.words):
                raise TypeError(f"kernel {self.__name__}: got {len(arguments)} arguments, expected {len(self.words)}")
            for (name, word), argument in zip(self.words.items(), arguments):
                expected = self._type(word, numba.from_dtype(dtype))
                if not _fits(argument, expected):
                    shape = f" of shape {argument.shape} and {argument.dtype}" if isinstance(argument, np.ndarray) else ""
                    raise TypeError(f"kernel {self.__name__}: {name} is a {type(argument).__name__}{shape}; expected {word}, "
                                    f"as {expected}")
            code(*arguments)

        return run


def _fits(argument: Any, expected: Any) -> bool:
    if isinstance(expected, types.Array):
        return (isinstance(argument, np.ndarray) and argument.ndim == expected.ndim and argument.flags.c_contiguous
                and argument.flags.aligned and numba.from_dtype(argument.dtype) == expected.dtype)
    if isinstance(expected, types.BaseTuple):
        return isinstance(argument, tuple) and len(argument) == len(expected) and all(isinstance(n, Real) for n in argument)
    return isinstance(argument, (int, np.integer, bool, np.bool_) if expected == types.int64 else (Real, np.bool_))


def kernel(function: Callable[..., None], *, name: str | None = None, formulas: Sequence[Callable[..., Any]] = (),
           parameters: int = 0, reordered: bool = False) -> Kernel:
    """A `Kernel` of a loop over arrays.

    Parameters
    ----------
    function : callable
        The loop: arrays in, results written into arrays that the caller passes. A kernel returns nothing.
    name : str, optional
        Its name on disk and in a trace. Needed where one factory makes many kernels.
    formulas : sequence of callable
        The formulas that the loop closes over. Their `fingerprint` becomes part of the name on disk, as they may come from a
        user's file, which the digest of our sources does not cover.
    parameters : int
        The length of an argument declared as `Parameters`.
    reordered : bool
        Whether sums may be reordered.
    """
    if name is not None:
        code = "|".join(map(fingerprint, formulas))
        tail = f"_{hashlib.sha256(code.encode()).hexdigest()[:8]}" if formulas else ""
        function.__name__, function.__qualname__ = name, name + tail
    return Kernel(function, reordered, parameters)


def factory(records: Iterable[Any]) -> Callable[[Callable[[Any], K]], Callable[[Any], K]]:
    """Mark a function that makes the kernels of a record, once for each record.

    `records` are those of the package; `every_kernel` calls it for each of them.
    """
    def mark(make: Callable[[Any], K]) -> Callable[[Any], K]:
        made = cache(make)
        FACTORIES.append((made, records))
        return made

    return mark
