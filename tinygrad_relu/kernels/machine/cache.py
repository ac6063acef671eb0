"""Compiled kernels on disk: their folder and their files."""
from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from glob import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import native
from .native import Code, target

KEPT_FOLDERS = 4    # of other versions of Python, Numba, LLVM or NumPy
KEPT_FILES = 32     # of one kernel: both dtypes, several processors, and older formulas, for switching between two versions
OTHER_VARIABLES = "NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_DISABLE_PERFORMANCE_WARNINGS"      # do not change the code
SUFFIX = ".nbc"
CHECKSUM = 32       # bytes of SHA-256 before the code in each file


def kept(name: str, arguments: Any) -> Code | None:
    """The compiled code of the kernel of this name, which ends with its `fingerprint`; None if it is not there, or damaged."""
    file = _file(name, arguments)
    try:
        return Code(*pickle.loads(read(file))) if file else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        warn_once(f"compiled kernels in {cache_folder()} are damaged; those in use are recompiled")
        return None


def keep(name: str, arguments: Any, code: Code) -> None:
    """Write the compiled code of a kernel. Of one kernel, the newest `KEPT_FILES` stay."""
    file = _file(name, arguments)
    if file is None:
        return
    content = pickle.dumps(tuple(code))
    part = file.with_suffix(f".{secrets.token_hex(4)}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)      # it may have been cleared meanwhile
        part.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(part, file)
        files = file.parent.glob(f"{escape(name.rpartition('_')[0])}.*{SUFFIX}")
        for old in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT_FILES:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        part.unlink(missing_ok=True)
        warn_once(f"compiled kernels cannot be kept in {file.parent}: {error.strerror or error}")


def _file(name: str, arguments: Any) -> Path | None:
    """The file for one dtype, kind of processor, fingerprint, and setting of Numba."""
    folder = cache_folder()
    settings = sorted((variable, value) for variable, value in os.environ.items()
                      if variable.startswith("NUMBA_") and variable not in OTHER_VARIABLES)
    key = hashlib.sha256(repr((name, [tuple(map(str, argument)) for argument in arguments], target(), settings)).encode())
    return folder and folder / f"{name.rpartition('_')[0]}.{key.hexdigest()[:16]}{SUFFIX}"


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
        except FileNotFoundError:       # another process has removed it meanwhile
            pass
        except (OSError, ValueError):
            damaged.append(file.name)
    return Contents(len(files), megabytes(files), damaged)


def megabytes(files: Iterable[Path]) -> float:
    """The size of the files that are there: another process may rename or remove some meanwhile."""
    size = 0
    for file in files:
        with suppress(FileNotFoundError):
            size += file.stat().st_size if file.is_file() else 0
    return size / 1e6


@cache
def cache_folder() -> Path | None:
    """The folder of compiled kernels; None, after one warning, if it cannot be written.

    It is a subfolder of ``NUMBA_CACHE_DIR`` or of the user's cache folder, named by the digest of the versions.
    """
    folder: Path | str = "of the user"
    try:
        base = Path(os.environ.get("NUMBA_CACHE_DIR") or _user_cache_folder()) / "tinygrad_relu"
        folder = base / versions()
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
        for old in siblings[KEPT_FOLDERS:]:
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
def versions() -> str:
    """Sixteen hexadecimal digits that change whenever Python, Numba, LLVM or NumPy does, or the form of the files."""
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {np.__version__}".encode() + Path(native.__file__).read_bytes())
    for package in ("numba", "llvmlite"):       # neither imported, nor asked for with importlib.metadata: 10 ms
        if (spec := find_spec(package)) is None:
            raise ModuleNotFoundError(f"No module named {package!r}, which tinygrad_relu needs", name=package)
        digest.update(Path(str(spec.origin)).with_name("_version.py").read_bytes())
    return digest.hexdigest()[:16]
