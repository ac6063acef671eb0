"""``tinygrad-relu warmup`` compiles every kernel in advance; ``tinygrad-relu cache`` shows, checks and clears those on disk.

Nothing is listed here: every kernel declares its types, and `kernels.every_kernel` knows all of them.
"""
from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from .checks import check_count, check_name, counted
from .kernels import every_kernel
from .kernels.machine.cache import cache_folder, contents, megabytes
from .kernels.machine.policy import DTYPES
from .lab.experiments.running import in_processes
from .text import progress

NAMES = tuple(dtype.name for dtype in DTYPES)
JOBS = min(4, os.cpu_count() or 1)      # processes, as LLVM holds a lock while it compiles


class Tally(NamedTuple):
    """How many kernels were compiled, and how many came from the cache. (One loop in two dtypes is two kernels.)"""

    compiled: int
    cached: int


def warmup(dtypes: Iterable[str] = NAMES, names: Iterable[str] | None = None, jobs: int = JOBS,
           progress: Callable[[str, Tally], None] = lambda name, tally: None) -> Tally:
    """Compile every kernel that the cache does not hold yet, or only those of these names.

    `jobs` processes compile side by side; 1 compiles in this process, and leaves it ready to use. `progress` is called after each
    kernel.
    """
    dtypes = [check_name(dtype, NAMES, "warmup: dtype") for dtype in dtypes]
    known = _kernels()
    chosen = list(known if names is None else dict.fromkeys(check_name(name, known, "warmup: name") for name in names))
    compiled = cached = 0
    groups = _alike(chosen) if jobs > 1 else [[name] for name in chosen]
    work = partial(_compile, dtypes=dtypes)
    with in_processes(jobs) if jobs > 1 else nullcontext() as pool:
        tallies = (task.result() for task in [pool.submit(work, group) for group in groups]) if pool else map(work, groups)
        for name, tally in zip(chain(*groups), chain.from_iterable(tallies)):
            compiled, cached = compiled + tally.compiled, cached + tally.cached
            progress(name, tally)
    return Tally(compiled, cached)


_kernels = cache(every_kernel)


def _alike(names: Sequence[str]) -> list[list[str]]:
    """Kernels of one activation, or of one file, are a group for one process: what they share is examined there once."""
    groups: dict[str, list[str]] = {}
    for name in names:
        kernel = _kernels()[name]
        groups.setdefault(kernel.record.name if kernel.record else kernel.function.__module__, []).append(name)
    return list(groups.values())


def _compile(names: Sequence[str], dtypes: Sequence[str]) -> list[Tally]:
    """Compile kernels for the given dtypes. (One without float arrays has one dtype, and is always compiled.)"""
    tallies = []
    for kernel in map(_kernels().__getitem__, names):
        before = kernel.compiled, kernel.loaded
        for dtype in kernel.dtypes:
            if dtype.name in dtypes or dtype not in DTYPES:
                kernel.compile(dtype)
        tallies.append(Tally(kernel.compiled - before[0], kernel.loaded - before[1]))
    return tallies


# -- the commands -----------------------------------------------------------------------------------------------------


def _folder() -> Path:
    folder = cache_folder()
    if folder is None:
        raise OSError("the cache folder cannot be written, so compiled kernels cannot be kept; set NUMBA_CACHE_DIR to a "
                      "writable folder")
    return folder


def main(arguments: argparse.Namespace) -> int:
    """Run ``tinygrad-relu warmup``."""
    folder, start = _folder(), time.perf_counter()
    jobs = check_count(JOBS if arguments.jobs is None else arguments.jobs, "--jobs")
    dtypes = NAMES if arguments.dtype == "both" else (arguments.dtype,)
    with progress(len(_kernels()), "compiling") as tick:
        def show(name: str, tally: Tally) -> None:
            tick(name, 1)
            if sys.stdout is None or not sys.stdout.isatty():
                print(f"{name}: {tally.compiled} compiled, {tally.cached} cached", flush=True)

        done = warmup(dtypes, jobs=jobs, progress=show)
    print(f"{done.compiled} kernels compiled, {done.cached} from the cache, in {time.perf_counter() - start:.1f} s")
    print(f"They are kept in {folder}")
    return 0


def cache_main(arguments: argparse.Namespace) -> int:
    """Run ``tinygrad-relu cache``. Exit status 1 if files are damaged."""
    folder = _folder()
    found = contents(folder)
    older = [other for other in folder.parent.iterdir() if other != folder]
    size = megabytes(folder.parent.rglob("*"))
    others = f" and {counted(len(older), 'folder')} of other versions" if older else ""
    kept = counted(found.kernels, "compiled kernel") + others
    if arguments.clear:
        for path in (folder, *older):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        print(f"Removed {kept}, {size:.1f} MB, from {folder.parent}")
        return 0
    print(f"{folder.parent} keeps {kept}, {size:.1f} MB")
    if found.damaged:
        print(f"{counted(len(found.damaged), 'damaged file')} in {folder}, recompiled when used:", *found.damaged, sep="\n  ")
    else:
        print("Every checksum is right")
    return 1 if found.damaged else 0
