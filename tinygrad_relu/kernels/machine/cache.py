"""The folder of compiled kernels, and how an edited formula is noticed."""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config

KEPT_DIGESTS = 4    # cache folders of older sources to keep, for switching between two versions


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """The folder of compiled kernels; None, after one warning, if it cannot be written.

    It is a subfolder of ``NUMBA_CACHE_DIR`` or of the user's cache folder, named by the digest of the kernel sources.
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


def fingerprint(function: Any) -> str:
    """A text that changes whenever a user's formula does, or any function, constant or closure variable that it uses."""
    return repr(_described(function, []))


def _described(thing: Any, above: list[Any]) -> Any:
    if isinstance(thing, FunctionType) and not is_ours(thing) and thing not in above:
        parts = {name: _described(value, [*above, thing]) for name, value in sorted(used(thing).items())}
        return _code(thing.__code__), thing.__defaults__, parts
    if isinstance(thing, np.ndarray):       # whose repr leaves out the middle of a long one
        return thing.dtype.str, thing.shape, thing.tobytes()
    return getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or repr(thing)


def _code(code: CodeType) -> Any:
    constants = [_code(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code.hex(), code.co_names, constants


def used(function: Any) -> dict[str, Any]:
    """The globals and closure variables that a function uses, by name."""
    if not isinstance(function, FunctionType):
        return {}
    around = zip(function.__code__.co_freevars, function.__closure__ or ())
    found = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    return found | {name: cell.cell_contents for name, cell in around}


def is_ours(function: Any) -> bool:
    """Whether the digest of our sources covers this function."""
    return str(function.__module__).startswith(f"{__package__.split('.')[0]}.kernels")
