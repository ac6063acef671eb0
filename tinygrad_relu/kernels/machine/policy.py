"""The compile policy: every option that Numba is given is in this file. docs/kernels.md gives the reasons.

`scalar` marks a plain function of numbers (a formula), which kernels inline. `kernel` makes a `Kernel` of a loop over arrays; it
is compiled on its first call with each dtype, and kept on disk. Its annotations declare the types of the arguments, once for
float32 and float64: ``def add_rows(g: Array3, rows: Integers, add: bool, out: Array3)``. `native` calls it without Numba, which
is imported only to compile.
"""
from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable
from functools import cache, partial
from secrets import token_hex
from threading import RLock
from types import FunctionType
from typing import Annotated, Any, NamedTuple, NoReturn, TypeAlias, TypeVar

import numpy as np

from .cache import keep, kept
from .compiler import compilers
from .fingerprint import Apart, fingerprint, used
from .native import ARGUMENT, COUNT, RAISED, Argument, Code, Loaded, compiled, know, load, reason, target

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound="Kernel | tuple[Any, ...]")

# The types of a kernel's arguments, by the words in its annotations; and float, int, bool. All arrays are C-contiguous.
Vector: TypeAlias = Annotated[Any, "Vector"]        # arrays of 1 to 4 axes, of the dtype that the kernel is compiled for
Matrix: TypeAlias = Annotated[Any, "Matrix"]
Array3: TypeAlias = Annotated[Any, "Array3"]
Array4: TypeAlias = Annotated[Any, "Array4"]
Doubles: TypeAlias = Annotated[Any, "Doubles"]      # vectors of float64, int64 and bool, whatever that dtype is
Integers: TypeAlias = Annotated[Any, "Integers"]
Booleans: TypeAlias = Annotated[Any, "Booleans"]
Parameters: TypeAlias = Annotated[Any, "Parameters"]        # a tuple of floats: the parameters of an activation

_AXES = {"Vector": 1, "Matrix": 2, "Array3": 3, "Array4": 4}
_VECTORS = {"Doubles": np.dtype("float64"), "Integers": np.dtype("int64"), "Booleans": np.dtype("bool")}
_NUMBERS = {"float": np.dtype("float64"), "int": np.dtype("int64"), "bool": np.dtype("bool")}
DTYPES = tuple(np.dtype(name) for name in ("float32", "float64"))

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
_waiting: list[Callable[[], None]] = []     # what Numba has not been told yet
_compiling = RLock()


def _inlined(function: F, **options: Any) -> F:
    _options[function] = options

    def register() -> None:
        from numba.extending import register_jitable

        register_jitable(forceinline=True, **_of_parts(), **options)(function)

    _waiting.append(register)
    return function


def _of_parts() -> dict[str, Any]:
    """Numba's options for what kernels inline."""
    return dict(pipeline_class=compilers().of_parts, no_cfunc_wrapper=True)


def tell_numba() -> None:
    """Import Numba and tell it all that kernels need."""
    with _compiling:
        while _waiting:
            _waiting.pop()()


def overload(function: Callable[..., Any]) -> Callable[[F], F]:
    """``numba.extending.overload``, applied when Numba is needed: what is marked gives the body of `function` in kernels."""
    def mark(body: F) -> F:
        def register() -> None:
            from numba import extending

            extending.overload(function, jit_options=_of_parts())(body)

        _waiting.append(register)
        return body

    return mark


def intrinsic(function: F) -> F:
    """``numba.extending.intrinsic``, applied when Numba is needed: until then the name stands for the bare function."""
    def register() -> None:
        from numba import extending

        function.__globals__[function.__name__] = extending.intrinsic(function)

    _waiting.append(register)
    return function


def reordered(function: F) -> F:
    """A `scalar` that sums along a row in the fastest order. It must not write to arrays (docs/kernels.md says why)."""
    return _inlined(function, fastmath=_ANY_ORDER)


def in_turns(function: F) -> F:
    """A `scalar` with a loop over numbers. Four vectors are computed in turns: with one, a long formula mostly waits for its own
    results, as a processor looks only some hundred operations ahead. (The bits are the same.)"""
    function.vectors_in_flight = 4
    _options[_inlined(function)] = dict(vectors=4)
    return function


def rounded(function: F) -> F:
    """A `scalar` whose products are rounded before they are used: LLVM does not fuse them into a sum.

    Of the two products in ``a * b + c * d`` it may fuse either one, in each kernel another. `rounded` settles which.
    """
    return _inlined(function, fastmath={"nsz"})


def _word(annotation: Any) -> str:
    """The word in an annotation, which is a string in modules with ``from __future__ import annotations``."""
    if isinstance(annotation, str):
        return annotation
    return str(getattr(annotation, "__metadata__", (getattr(annotation, "__name__", annotation),))[0])


class _Code(dict[np.dtype[Any], Callable[..., None]]):
    """The machine code of a kernel by dtype, as Python calls it; compiled, or loaded, when it is first needed."""

    def __init__(self, make: Callable[[Any], Callable[..., None]]) -> None:
        self._make = make

    def __missing__(self, dtype: Any) -> Callable[..., None]:
        return self._make(dtype)


class Kernel(Apart):
    """A loop over arrays that writes its results into arrays among its arguments.

    `function` is the loop in Python, and `words` has the declared type of each argument. `key` is the position of the array whose
    dtype selects the machine code, and `code` has the machine code by dtype, as far as it has been compiled or loaded. `dtypes`
    are those that it can be compiled for: float32 and float64, unless its arrays are all of fixed types.
    """

    __slots__ = ("__dict__", "__weakref__", "code", "key")      # every launch reads the last two, which slots make faster

    def __init__(self, function: Callable[..., None], reordered: bool, parameters: int, vectors: int) -> None:
        self.function, self.parameters, self.vectors = function, parameters, vectors
        self.record = self.formula = None       # see `kernel`
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.options: dict[str, Any] = dict(error_model="numpy", nogil=True, fastmath=_ANY_ORDER if reordered else {"contract"})
        self.words: dict[str, str] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            word = _word(function.__annotations__.get(name, "nothing"))
            several = parameter.kind is inspect.Parameter.VAR_POSITIONAL        # ``*arrays: Vector``
            self.words |= {f"{name}{k}": word for k in range(vectors)} if several else {name: word}
        for name, word in self.words.items():
            if word not in {*_AXES, *_VECTORS, *_NUMBERS, "Parameters"}:
                raise TypeError(f"kernel {self.__name__}: {name} is declared as {word}; expected one of the types of the policy")
        words = list(self.words.values())
        generic = [i for i, word in enumerate(words) if word in _AXES]
        self.key = generic[0] if generic else next(i for i, word in enumerate(words) if word in _VECTORS)
        self.dtypes = DTYPES if generic else (_VECTORS[words[self.key]],)
        self.code = _Code(self.compile)
        self._addresses: dict[np.dtype[Any], int] = {}
        self.compiled = self.loaded = 0                     # how often this process has done so; each dtype counts

    def __call__(self, *arguments: Any) -> None:
        """As `door.launch`, but unseen by watchers."""
        self.code[arguments[self.key].dtype](*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self.__name__}>"

    def content(self) -> str | None:
        """The `fingerprint` of the loop, as the formulas and constants that it uses are now."""
        return fingerprint(self.function, lambda used: self.options if used is self.function else _options.get(used))

    def arguments(self, dtype: np.dtype[Any]) -> tuple[Argument, ...]:
        """The types of the arguments."""
        known = ({word: Argument(word, dtype, axes) for word, axes in _AXES.items()}
                 | {word: Argument(word, own, 1) for word, own in _VECTORS.items()}
                 | {word: Argument(word, own, 0) for word, own in _NUMBERS.items()}
                 | {"Parameters": Argument("Parameters", np.dtype("float64"), 0, self.parameters)})
        return tuple(known[word] for word in self.words.values())

    def signature(self, dtype: np.dtype[Any]) -> tuple[Any, ...]:
        """Numba's types of the arguments."""
        import numba

        def of(argument: Argument) -> Any:
            number = numba.from_dtype(argument.dtype)
            if argument.word == "Parameters":
                return numba.types.UniTuple(number, argument.numbers) if argument.numbers else numba.types.Tuple(())
            return numba.types.Array(number, argument.axes, "C") if argument.axes else number

        found = tuple(map(of, self.arguments(dtype)))
        return (*found[:-self.vectors], numba.types.StarArgUniTuple(found[-1], self.vectors)) if self.vectors else found

    def compile(self, dtype: Any) -> Callable[..., None]:
        """The machine code for one dtype, from the cache if it is there, as Python calls it."""
        dtype = np.dtype(dtype)
        if dtype not in self.dtypes:
            raise TypeError(f"kernel {self.__name__}: got an array of {dtype}; expected {' or '.join(map(str, self.dtypes))}")
        with _compiling:
            if dtype not in self.code:
                loaded = self._find(dtype)
                self._addresses[dtype], self.code[dtype] = loaded.address, loaded.call
        return self.code[dtype]

    def address(self, dtype: np.dtype[Any]) -> int:
        """Where the machine code for one dtype begins, for other machine code to call (see `native.Loaded`)."""
        self.compile(dtype)
        return self._addresses[dtype]

    def symbol(self, dtype: np.dtype[Any]) -> str:
        """The name under which other kernels call its machine code for one dtype (see `calling`)."""
        return f"tinygrad_relu_{self.__name__}_{dtype}"

    def calls(self) -> list[Kernel]:
        """The kernels that this one calls."""
        found: list[Any] = [self.function]          # grows while it is read
        for each in found:
            found += [one for one in used(each).values() if isinstance(one, FunctionType | Kernel) and one not in found]
        return [one for one in found if isinstance(one, Kernel)]

    def _find(self, dtype: np.dtype[Any]) -> Loaded:
        """Load the machine code from the cache, or compile and keep it."""
        for other in self.calls():
            know(other.symbol(dtype), other.address(dtype))
        arguments, content = self.arguments(dtype), self.content()
        name = f"{self.__name__}_{content or token_hex(8)}"
        fail = partial(self._fail, arguments)
        found = kept(name, arguments) if content else None
        loaded = load(found, fail) if found else None
        if loaded is not None:
            self.loaded += 1
            return loaded
        code = self._compile(name, dtype)
        if content:
            keep(name, arguments, code)
        loaded = load(code, fail)
        assert loaded is not None, f"kernel {self.__name__} calls unknown functions: {code.needs}"
        self.compiled += 1
        return loaded

    def _compile(self, name: str, dtype: np.dtype[Any]) -> Code:
        tell_numba()
        target()                                    # it adds the symbols that kernels call, without which LLVM aborts
        import numba

        self.function.__qualname__ = name           # the names in the object code contain it
        options = self.options | dict(pipeline_class=compilers().of_kernels, no_cpython_wrapper=True, no_cfunc_wrapper=True)
        found = numba.njit(**options)(self.function)._compiler.compile(self.signature(dtype), None)
        return compiled(found, self.arguments(dtype))

    def check(self, arguments: tuple[Any, ...], dtype: np.dtype[Any]) -> None:
        """Raise if the arguments are not exactly of the types for this dtype. (Each call checks them, too.)"""
        expected = self.arguments(dtype)
        if len(arguments) != len(expected):
            self._fail(expected, COUNT, len(arguments), None)
        for i, (each, argument) in enumerate(zip(expected, arguments)):
            if not each.fits(argument):
                self._fail(expected, ARGUMENT, i, argument)

    def _fail(self, expected: tuple[Argument, ...], what: int, number: int, given: Any) -> NoReturn:
        """Raise the error of a failed call (see `native.caller`)."""
        if what == RAISED:
            raise reason(number, self.__name__)
        if what == COUNT:
            raise TypeError(f"kernel {self.__name__}: got {number} arguments, expected {len(expected)}")
        shape = f" of shape {given.shape} and {given.dtype}" if isinstance(given, np.ndarray) else ""
        raise TypeError(f"kernel {self.__name__}: {list(self.words)[number]} is a {type(given).__name__}{shape}; expected "
                        f"{expected[number].word}, {expected[number]}")


def exact(function: F) -> F:
    """A `scalar` whose operations are rounded one by one. (Elsewhere a product and a sum may be rounded once: `contract`.)"""
    return function if function in _options else _inlined(function, fastmath=False)


def kernel(function: Callable[..., None], *, name: str | None = None, record: Any = None, formula: Any = None,
           reordered: bool = False, parameters: int = 0, vectors: int = 0) -> Kernel:
    """A `Kernel` of a loop over arrays: inputs, then the arrays that the results are written into. It returns nothing.

    - `name` is the name in a trace and on disk; a factory, which makes many kernels of one loop, gives each its own.
    - `record` has the parameters that an argument declared as `Parameters` stands for; without one, `parameters` is their number.
    - `formula` is what the kernel computes for each number of its vectors, if that is all it does: `chain` takes it.
    - `vectors` is the number of arrays that a last argument ``*arrays: Vector`` stands for.
    - `reordered` allows sums in any order, as the decorator of this name does for one formula.
    """
    function.__name__ = function.__qualname__ = name or function.__name__
    made = Kernel(function, reordered, len(record.parameters) if record else parameters, vectors)
    made.record, made.formula = record, formula
    return made


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
