"""Compiled kernels on disk: their folder, their files, and how an edited formula is noticed."""
from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import shutil
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

KEPT_DIGESTS = 4    # cache folders of older sources to keep, for switching between two versions
SUFFIX = ".nbc"
CHECKSUM = 32       # bytes of SHA-256 before the code in each file


class KernelCache(NullCache):
    """The compiled code of one kernel on disk, one file for each dtype and kind of processor.

    In Numba's own cache one damaged file makes every later run fail, and two processes that compile at once can lose an entry of
    their common index. Here a damaged file is recompiled and overwritten.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        try:
            code = pickle.loads(read(self._file(sig, target_context.codegen())))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            warn_once(f"compiled kernels in {self.folder} are damaged; those in use are recompiled")
            return None
        return CompileResult._rebuild(target_context, *code)

    def save_overload(self, sig: Any, data: Any) -> None:
        if data.library.has_dynamic_globals:        # such as a pointer, which means nothing to another process
            return
        file, code = self._file(sig, data.codegen), dumps(data._reduce())
        part = file.with_suffix(f".{secrets.token_hex(4)}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)      # it may have been cleared meanwhile
            part.write_bytes(hashlib.sha256(code).digest() + code)
            os.replace(part, file)
        except OSError as error:
            part.unlink(missing_ok=True)
            warn_once(f"compiled kernels cannot be kept in {self.folder}: {error.strerror or error}")

    def _file(self, signature: Any, codegen: Any) -> Path:
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:12]
        return self.folder / f"{self.name}.{key}{SUFFIX}"


def read(file: Path) -> bytes:
    """The code in a file of the cache; a ValueError if the file is damaged."""
    found = file.read_bytes()
    code = found[CHECKSUM:]
    if hashlib.sha256(code).digest() != found[:CHECKSUM]:
        raise ValueError(f"{file.name} has another checksum than when it was written")
    return code


@cache
def warn_once(sentence: str) -> None:
    warnings.warn(f"tinygrad_relu: {sentence}", RuntimeWarning, stacklevel=2)


class Contents(NamedTuple):
    """The contents of a cache folder."""

    kernels: int            # each dtype counts
    megabytes: float
    damaged: list[str]      # names of files


def contents(folder: Path) -> Contents:
    """Look through a cache folder, and verify every checksum."""
    files, damaged = sorted(folder.glob(f"*{SUFFIX}")), []
    for file in files:
        try:
            read(file)
        except (OSError, ValueError):
            damaged.append(file.name)
    return Contents(len(files), sum(file.stat().st_size for file in files) / 1e6, damaged)


@cache
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
        warn_once(f"the cache folder {folder} cannot be written ({why}), so kernels are compiled "
                  "again in every process; set NUMBA_CACHE_DIR to a writable folder")
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
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"     # the XDG specification ignores a relative one


@cache
def source_digest() -> str:
    """Sixteen hexadecimal digits that change whenever a kernel source, Python, Numba, LLVM or NumPy does."""
    versions = str(sys.implementation.cache_tag), numba.__version__, llvmlite.__version__, np.__version__
    digest = hashlib.sha256("|".join(versions).encode())
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
    if isinstance(thing, np.ndarray):       # the repr of a long array leaves out its middle
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
