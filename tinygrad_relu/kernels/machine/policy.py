"""The compile policy: every option that Numba is ever given stands in this file.

Two decorators stand between a Python function and the machine:

``scalar``   a plain function of numbers (a formula). It stays callable from Python, and is inlined where a kernel calls it.
``kernel``   a loop over arrays. It is compiled on its first call for each dtype and kept on disk for the next process.

A third, ``by_type``, takes the look at the types out of the calls of the few kernels that small networks live on.

Measured reasons for what is chosen here:

- ``scalar`` is ``register_jitable``, not ``njit``: a kernel that closes over a *jitted* function misses the disk cache
  in every process; one that closes over a plain function hits it. And it is inlined by force: left to LLVM, the longer
  formulas stay calls, one per number, and the loop around them is no longer vectorised (softplus: 13.7 ns, inlined 0.8).
- Numba's cache looks at the file in which a kernel stands, and would go on running a formula that was edited in another
  file. So the cache folder carries a digest of all kernel sources: an edit is a new folder.
- ``contract`` (fused multiply-add) is the only liberty taken with floating point; a kernel whose time goes into sums along
  rows may also take them in another order (``reductions``; or ``reduction`` for a formula of its own, and then the rest of the
  kernel keeps the order that is written), which is what lets LLVM vectorise them: 1.8 ns a number, then
  0.19. Which order that is, the machine code fixes, so the bits repeat. ``fastmath=True`` would assume that there is no NaN.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import threading
import uuid
import warnings
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TypeVar

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])

_decorating = threading.Lock()      # kernels are made when they are first asked for, by whichever thread

ANY_ORDER = {"contract", "reassoc", "nsz"}      # the liberties of sums

KEPT_DIGESTS = 4    # cache folders of older sources that are kept, for those who go back and forth between two versions


def scalar(function: F) -> F:
    """Mark a plain Python function of numbers as one that kernels may call."""
    return register_jitable(forceinline=True)(function)


def reduction(function: F) -> F:
    """A `scalar` that sums along a row, in whatever order is fastest; the rest of the kernel keeps its own.

    It has to write to no array. Where LLVM cannot tell how two arrays lie to each other, it asks when the loop runs, and takes
    the numbers one by one if they are too close: another order, and so other bits.
    """
    return register_jitable(forceinline=True, fastmath=ANY_ORDER)(function)


def user_scalar(function: F) -> F:
    """`scalar` for a formula of a user, and for the plain Python functions that it calls."""
    for found in [function, *_used(function).values()]:
        if isinstance(found, FunctionType) and not _is_ours(found) and found not in _user_scalars:
            _user_scalars.add(found)
            scalar(found)
            if found is not function:
                user_scalar(found)
    return function


_user_scalars: weakref.WeakSet[FunctionType] = weakref.WeakSet()


def fingerprint(function: Any) -> str:
    """A text that changes whenever the code of a formula does, or anything that it uses: functions, constants, closures."""
    return repr(_described(function, []))


def _described(thing: Any, above: list[Any]) -> Any:
    if isinstance(thing, FunctionType) and not _is_ours(thing) and thing not in above:
        used = {name: _described(value, [*above, thing]) for name, value in sorted(_used(thing).items())}
        return _code(thing.__code__), thing.__defaults__, used
    return getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or repr(thing)


def _code(code: CodeType) -> Any:
    constants = [_code(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code.hex(), code.co_names, constants


def _used(function: Any) -> dict[str, Any]:
    """The globals and the variables around a function that its code names."""
    if not isinstance(function, FunctionType):
        return {}
    around = zip(function.__code__.co_freevars, function.__closure__ or ())
    used = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    return used | {name: cell.cell_contents for name, cell in around}


def _is_ours(function: Any) -> bool:
    """Whether the digest of our sources covers this function."""
    return str(function.__module__).startswith(f"{__package__.split('.')[0]}.kernels")


def kernel(function: Callable[..., None], *, name: str | None = None, formulas: Sequence[Callable[..., Any]] = (),
           reductions: bool = False) -> Callable[..., None]:
    """Compile a loop over arrays on its first call, and keep the machine code on disk.

    Parameters
    ----------
    function : callable
        The loop. Arrays in, results written into arrays that the caller passes: a kernel returns nothing.
    name : str, optional
        What the kernel is called on disk and in a trace. Needed where one factory makes many kernels.
    formulas : sequence of callable
        What the loop closes over. Their `fingerprint` becomes part of the name, because they may come from a user's file, which
        the digest of our sources does not cover.
    reductions : bool
        Whether sums may be taken in another order.
    """
    if name is not None:
        code = "|".join(map(fingerprint, formulas))
        tail = f"_{hashlib.sha256(code.encode()).hexdigest()[:8]}" if formulas else ""
        function.__name__, function.__qualname__ = name, name + tail
    options: dict[str, Any] = dict(error_model="numpy", nogil=True, fastmath=ANY_ORDER if reductions else {"contract"})
    folder = cache_folder()
    if folder is None:
        return numba.njit(**options)(function)
    with _decorating:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(folder)      # read while the decorator runs, and put back: other people's kernels keep theirs
        try:
            compiled = numba.njit(cache=True, **options)(function)
        finally:
            config.CACHE_DIR = before
    # Two processes that compile float32 and float64 at the same moment would both choose the file number 1.
    files = compiled._cache._cache_file
    files._data_name_pattern = files._data_name_pattern.replace("{number:d}", f"{uuid.uuid4().hex[:12]}.{{number:d}}")
    return compiled


class ByType(dict[np.dtype[Any], Callable[..., None]]):
    """The machine code of a kernel, by the dtype of its numbers.

    A kernel looks at the type of each argument when it is called: 0.3 us, where the layer of a small network takes 1. Its
    machine code does not look. So the caller answers for what the arrays are: of that dtype, C-contiguous, and of as many
    axes as `examples` has. (See `door.launch_typed`.)

    Attributes
    ----------
    kernel : callable
        The kernel itself, which takes whatever comes. Like the code it is made when it is first asked for.
    """

    def __init__(self, make: Callable[[], Any], examples: Callable[[Any, Any], tuple[Any, ...]]) -> None:
        self.make, self.examples = make, examples

    @cached_property
    def kernel(self) -> Any:
        return self.make()

    def __missing__(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        types = tuple(numba.typeof(x) for x in self.examples(np.empty(0, dtype), np.empty((0, 0), dtype)))
        kernel = self.kernel        # once: a second thread that asks at the same moment may make another one
        kernel.compile(types)
        self[dtype] = code = kernel.get_overload(types)
        return code


def by_type(examples: Callable[[Any, Any], tuple[Any, ...]]) -> Callable[[Any], ByType]:
    """Mark a kernel whose machine code is to be called directly; ``examples(vector, matrix)`` are arguments of its types."""
    return lambda kernel: ByType(lambda: kernel, examples)


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Where compiled kernels are kept; None, after one warning, where nothing can be written.

    ``NUMBA_CACHE_DIR`` is respected; otherwise it is the user's cache folder. Below it there is one folder per digest
    of the kernel sources.
    """
    folder: Path | str = "of the user"
    try:
        base = Path(config.CACHE_DIR or _user_cache_folder()) / "tinygrad_relu"
        folder = base / source_digest()
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:        # RuntimeError: a user without a home
        why = getattr(error, "strerror", None) or error
        warnings.warn(f"tinygrad_relu: the cache folder {folder} cannot be written ({why}), so kernels are compiled "
                      "anew in every process; set NUMBA_CACHE_DIR to a folder that can", RuntimeWarning, stacklevel=2)
        return None
    if fresh:
        siblings = sorted((p for p in base.iterdir() if p != folder), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in siblings[KEPT_DIGESTS:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _user_cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Sixteen hexadecimal digits that change whenever a kernel source, Numba, LLVM or NumPy does."""
    digest = hashlib.sha256("|".join((numba.__version__, llvmlite.__version__, np.__version__)).encode())
    kernels = Path(__file__).parents[1]
    for source in sorted(kernels.rglob("*.py")):
        digest.update(source.relative_to(kernels).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
