"""``tinygrad-relu doctor``: what this machine runs with, how fast that is, and what it could be.

Speed is measured twice: here, as everything is set, and in a process of its own from whose environment every setting of
OpenBLAS, OpenMP and Numba has been taken. The second is what this machine could do.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from .files import check_writable, write_through
from .kernels.formulas import ACTIVATIONS
from .kernels.loops.pointwise import loops
from .kernels.machine import blas, host
from .kernels.machine.door import launch
from .kernels.machine.matmul import matmul
from .kernels.machine.policy import cache_folder
from .kernels.machine.threads import cores, get_num_threads
from .text import Table, terminal_width

PACKAGES = ("numpy", "numba", "llvmlite", "scipy-openblas32")
PREFIXES = ("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "NUMBA_")    # variables that shape speed or threads
KEPT = "NUMBA_CACHE_DIR"        # shapes no speed, and the other process shall find the same kernels
FAIR = 0.85                     # below this share of what was possible, something is said; noise explains the rest
SIDE = 1024                     # of the square matrices that are multiplied
COPIED = 1 << 25                # float32 numbers, 128 MB: more than caches hold
WIDTHS = {"Haswell": "AVX2", "Zen": "AVX2", "SkylakeX": "AVX-512", "Cooperlake": "AVX-512", "SapphireRapids": "AVX-512"}


@dataclass(frozen=True)
class Measurement:
    """One speed as it is here, beside what this machine could do (both in `unit`), and what to think of it."""

    unit: str
    here: float
    possible: float
    verdict: str


@dataclass(frozen=True)
class Cache:
    """The folder of compiled kernels; `folder` is None where nothing can be kept."""

    folder: str | None
    writable: bool
    kernels: int
    megabytes: float
    verdict: str


@dataclass(frozen=True)
class Report:
    """What `diagnose` found.

    Attributes
    ----------
    versions : dict
    processor : str
        As LLVM calls it.
    simd_bits : int
        Width of the vector registers that compiled kernels use.
    blas_kernels, blas_kernels_possible : str
        The processor family whose kernels OpenBLAS runs, and whose it would choose by itself.
    cores, blas_threads : int
    environment : dict
        Variables in force that shape speed or threads.
    cache : Cache
    measurements : dict of Measurement
    """

    versions: dict[str, str]
    processor: str
    simd_bits: int
    blas_kernels: str
    blas_kernels_possible: str
    blas_verdict: str
    cores: int
    blas_threads: int
    threads_verdict: str
    environment: dict[str, str]
    cache: Cache
    measurements: dict[str, Measurement]


def diagnose() -> Report:
    """Look around and measure; takes a few seconds."""
    environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(PREFIXES)}
    here, free = measure(), _measure_unhindered()
    available, threads = cores(), get_num_threads()
    return Report(
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        processor=host.processor(), simd_bits=host.simd_bits(),
        blas_kernels=here["core"], blas_kernels_possible=free["core"], blas_verdict=_blas_verdict(here, free),
        cores=available, blas_threads=threads,
        threads_verdict="matrix products use every core" if threads >= available else
        f"matrix products use {threads} of {available} cores" + _because(environment, "_NUM_THREADS"),
        environment=environment, cache=_look_at_cache(),
        measurements={name: _gemm(name, here, free, environment) for name in ("sgemm", "dgemm")}
        | {"copy": _copy(here, free)})


# -- measuring --------------------------------------------------------------------------------------------------------


def measure() -> dict[str, Any]:
    """The speeds of this process: matrix products in GFLOP/s, the others in GB/s (read and written)."""
    found: dict[str, Any] = {"core": blas.core_name()}
    for name, dtype in (("sgemm", np.float32), ("dgemm", np.float64)):
        a = np.random.default_rng(0).random((SIDE, SIDE), dtype)
        out = np.empty_like(a)
        found[name] = 2e-9 * SIDE**3 / _seconds(partial(matmul, False, False, a, a, 0.0, out), 9)
    source, target = np.ones(COPIED, np.float32), np.zeros(COPIED, np.float32)
    relu = loops(ACTIVATIONS["relu"]).forward
    moved = 2e-9 * source.nbytes
    found["relu"] = moved / _seconds(partial(launch, relu, source, (0.0,), target), 5)
    found["copy"] = moved / _seconds(partial(np.copyto, target, source), 5)
    workers = cores()
    parts = [np.s_[i * COPIED // workers:(i + 1) * COPIED // workers] for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:         # NumPy lets go of the interpreter while it copies
        found["copy_all_threads"] = moved / _seconds(
            lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)), 5)
    return found


def _measure_unhindered() -> dict[str, Any]:
    """`measure` in a process that none of the variables in force reaches."""
    environment = {name: value for name, value in os.environ.items() if name == KEPT or not name.startswith(PREFIXES)}
    ours = str(Path(__file__).parents[1])           # found there whether it is installed or a checkout
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
    script = "import json; from tinygrad_relu.doctor import measure; print(json.dumps(measure()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"the measurement in a process of its own failed:\n{done.stderr.strip()}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _seconds(action: Callable[[], Any], times: int) -> float:
    """The median of several runs, after one that warms up (compiles, touches the pages, wakes the threads)."""
    action()
    runs = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        runs.append(time.perf_counter() - start)
    return median(runs)


# -- verdicts ---------------------------------------------------------------------------------------------------------


def _because(environment: dict[str, str], *endings: str) -> str:
    causes = [f"{name}={value}" for name, value in environment.items()
              if name.endswith(endings) and not name.startswith("NUMBA_")]
    return f", because of {', '.join(causes)}" if causes else ""


def _family(core: str) -> str:
    return f"{core} ({WIDTHS[core]})" if core in WIDTHS else core


def _blas_verdict(here: dict[str, Any], free: dict[str, Any]) -> str:
    if here["core"] == free["core"]:
        return "the kernels that OpenBLAS chooses for this processor"
    return f"OPENBLAS_CORETYPE is set; left alone, OpenBLAS would choose {_family(free['core'])}; the cost stands below"


def _gemm(name: str, here: dict[str, Any], free: dict[str, Any], environment: dict[str, str]) -> Measurement:
    share = here[name] / free[name]
    why = (_because(environment, "_CORETYPE", "_L2_SIZE", "_NUM_THREADS")
           or "; nothing in the environment explains it: is the machine busy?")
    verdict = "as fast as this machine goes" if share >= FAIR else f"{share:.0%} of what this machine could do{why}"
    return Measurement("GFLOP/s", here[name], max(here[name], free[name]), verdict)     # it can do what it has just done


def _copy(here: dict[str, Any], free: dict[str, Any]) -> Measurement:
    beside = f"NumPy's copy on one thread: {here['copy']:.1f} GB/s, on all {cores()}: {here['copy_all_threads']:.1f}"
    found = "as fast as" if here["relu"] >= FAIR * here["copy"] else "slower than"
    verdict = f"relu of {COPIED >> 20} million numbers on one thread is {found} a copy ({beside})"
    return Measurement("GB/s", here["relu"], max(here["relu"], here["copy"], free["copy"]), verdict)


def _look_at_cache() -> Cache:
    folder = cache_folder()
    if folder is None:
        return Cache(None, False, 0, 0.0, "cannot be written, so every process compiles anew: set NUMBA_CACHE_DIR")
    sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    kernels = sum(file.suffix == ".nbc" for file in sizes)
    return Cache(str(folder), True, kernels, sum(sizes.values()) / 1e6,
                 "loaded by later processes; `tinygrad-relu warmup` compiles what is missing ahead")


# -- the command ------------------------------------------------------------------------------------------------------


def show(report: Report) -> None:
    """Print a report as a table."""
    table = Table("", ["what", "found", "verdict"], width=terminal_width())
    table.add("versions", "\n".join(map(" ".join, report.versions.items())), "")
    table.add("compiled kernels", f"{report.simd_bits}-bit vectors", f"LLVM compiles for {report.processor}")
    table.add("OpenBLAS kernels", _family(report.blas_kernels), report.blas_verdict)
    table.add("threads", f"{report.blas_threads} for large products", report.threads_verdict)
    table.add("environment", "\n".join(map("=".join, report.environment.items())) or "nothing is set", "")
    kept = report.cache
    where = f"{kept.folder}\n" if kept.folder else ""
    table.add("cache", f"{kept.kernels} kernels, {kept.megabytes:.1f} MB", where + kept.verdict)
    for name, found in report.measurements.items():
        table.add(name, f"{found.here:.0f} of {found.possible:.0f} {found.unit}", found.verdict)
    print(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tinygrad-relu doctor``."""
    parser.add_argument("--json", metavar="FILE", help="write the report to this file too")


def main(arguments: argparse.Namespace) -> int:
    """Run ``tinygrad-relu doctor``."""
    if arguments.json is not None:
        check_writable(arguments.json, "--json")
    report = diagnose()
    if arguments.json:
        write_through(arguments.json, lambda file: file.write((json.dumps(asdict(report), indent=1) + "\n").encode()))
    show(report)
    return 0
