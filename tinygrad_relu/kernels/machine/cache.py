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
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

KEPT_FOLDERS = 4    # of other versions of Python, Numba, LLVM or NumPy
KEPT_FILES = 32     # of one kernel: both dtypes, several processors, and older formulas, for switching between two versions
OPTIONS = "OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "USING_SVML"    # of Numba, process-wide
SUFFIX = ".nbc"
CHECKSUM = 32       # bytes of SHA-256 before the code in each file


class KernelCache(NullCache):
    """The compiled code of one kernel on disk, one file for each dtype, kind of processor and `fingerprint`.

    In Numba's own cache one damaged file makes every later run fail, and two processes that compile at once can lose an entry of
    their common index. Here a damaged file is recompiled and overwritten.
    """

    def __init__(self, name: str, fingerprint: str, folder: Path) -> None:
        self.name, self.fingerprint, self.folder = name, fingerprint, folder

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
            files = self.folder.glob(f"{escape(self.name)}.*{SUFFIX}")
            for old in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[KEPT_FILES:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            part.unlink(missing_ok=True)
            warn_once(f"compiled kernels cannot be kept in {self.folder}: {error.strerror or error}")

    def _file(self, signature: Any, codegen: Any) -> Path:
        options = [getattr(config, option, None) for option in OPTIONS]
        key = repr((self.fingerprint, signature, codegen.magic_tuple(), options))
        return self.folder / f"{self.name}.{hashlib.sha256(key.encode()).hexdigest()[:16]}{SUFFIX}"


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

    It is a subfolder of ``NUMBA_CACHE_DIR`` or of the user's cache folder, named by the digest of the versions.
    """
    folder: Path | str = "of the user"
    try:
        base = Path(config.CACHE_DIR or _user_cache_folder()) / "tinygrad_relu"
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
    """Sixteen hexadecimal digits that change whenever Python, Numba, LLVM or NumPy does."""
    found = str(sys.implementation.cache_tag), numba.__version__, llvmlite.__version__, np.__version__
    return hashlib.sha256("|".join(found).encode()).hexdigest()[:16]
