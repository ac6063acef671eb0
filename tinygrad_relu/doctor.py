"""``tinygrad-relu doctor``: the versions, settings and speed of this installation, and the speed that this machine allows.

If variables for OpenBLAS, OpenMP or Numba are set, the speed is measured once more in a process without them: that is what the
machine allows.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .files import check_writable, write_json
from .kernels.formulas import ACTIVATIONS
from .kernels.loops.pointwise import loops
from .kernels.machine import blas, host
from .kernels.machine.cache import Contents, cache_folder, contents
from .kernels.machine.cost import fastest
from .kernels.machine.door import launch
from .kernels.machine.host import cores
from .kernels.machine.matmul import matmul
from .kernels.machine.pool import get_num_threads
from .kernels.machine.processor import processor
from .text import Table, print_parts

PACKAGES = ("numpy", "numba", "llvmlite", "scipy-openblas32")
PREFIXES = ("TINYGRAD_RELU_", "OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "NUMBA_")      # they affect speed or threads
KEPT = "NUMBA_CACHE_DIR"        # does not affect speed, and the other process needs the same kernels
FAIR = 0.85                     # a speed below this share of the possible one is reported; smaller losses may be noise
SIDE = 1024                     # of the square matrices that are multiplied
COPIED = 1 << 25                # float32 numbers, 128 MB: more than caches hold
WIDTHS = {"Haswell": "AVX2", "Zen": "AVX2"} | dict.fromkeys(blas.AVX512, "AVX-512")
FAMILIES = {core: f"{core} ({width})" for core, width in WIDTHS.items()}


def diagnose() -> dict[str, Any]:
    """Versions, settings and measured speeds, as ``--json`` writes and `show` prints them. Takes a few seconds.

    `blas_kernels` is the processor family whose kernels OpenBLAS runs, `blas_kernels_possible` the one that it would choose by
    itself; `environment` has the variables that affect speed or threads; the `folder` of the cache is None if it cannot be
    written. A measurement has the speed of this process (`here`) and the best speed measured (`possible`), both in `unit`.
    """
    environment = {name: value for name, value in sorted(os.environ.items()) if name.startswith(PREFIXES)}
    here = measure()
    free = _measure_without_settings() if environment.keys() - {KEPT} else here
    available, threads, possible = cores(), get_num_threads(), FAMILIES.get(free["core"], free["core"])
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "processor": processor(), "simd_bits": host.simd_bits(),
        "blas_kernels": here["core"], "blas_kernels_possible": free["core"],
        "blas_verdict": "the kernels that OpenBLAS chooses for this processor" if here["core"] == free["core"] else
        f"OPENBLAS_CORETYPE is set; without it, OpenBLAS would choose {possible}; for the cost see below",
        "cores": available, "blas_threads": threads,
        "threads_verdict": "matrix products use every core" if threads >= available else
        f"matrix products use {threads} of {available} cores" + _because(environment, "_NUM_THREADS"),
        "environment": environment, "cache": _look_at_cache(),
        "measurements": {name: _gemm(name, here, free, environment) for name in ("sgemm", "dgemm")} | {"copy": _copy(here, free)}}


def measure() -> dict[str, Any]:
    """The speeds of this process: matrix products in GFLOP/s, the others in GB/s (read and written)."""
    found: dict[str, Any] = {"core": blas.core_name()}
    for name, dtype in (("sgemm", np.float32), ("dgemm", np.float64)):
        a = np.random.default_rng(0).random((SIDE, SIDE), dtype)
        (seconds,) = fastest([partial(matmul, False, False, a, a, 0.0, np.empty_like(a))], 11)
        found[name] = 2e-9 * SIDE**3 / seconds
    source, target, workers = np.ones(COPIED, np.float32), np.zeros(COPIED, np.float32), cores()
    parts = [np.s_[i * COPIED // workers:(i + 1) * COPIED // workers] for i in range(workers)]
    relu = partial(launch, loops(ACTIVATIONS["relu"]).forward, source, ACTIVATIONS["relu"].defaults, target)
    with ThreadPoolExecutor(workers) as pool:         # NumPy releases the interpreter lock while it copies
        times = fastest([relu, partial(np.maximum, source, np.float32(0), target), partial(np.copyto, target, source),
                         lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))], 7)
    names = "relu", "maximum", "copy", "copy_all_threads"
    return found | {name: 2e-9 * source.nbytes / seconds for name, seconds in zip(names, times)}


def _measure_without_settings() -> dict[str, Any]:
    """`measure` in a process that has none of the variables."""
    environment = {name: value for name, value in os.environ.items() if name == KEPT or not name.startswith(PREFIXES)}
    ours = str(Path(__file__).parents[1])           # an installation or a checkout
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
    script = "import json; from tinygrad_relu.doctor import measure; print(json.dumps(measure()))"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ChildProcessError(f"the measurement in a process of its own failed:\n{done.stderr.strip()}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _because(environment: dict[str, str], *endings: str) -> str:
    causes = [f"{name}={value}" for name, value in environment.items() if name.endswith(endings) and name[:6] != "NUMBA_"]
    return f", because of {', '.join(causes)}" if causes else ""


def _gemm(name: str, here: dict[str, Any], free: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    share = here[name] / free[name]
    why = (_because(environment, "_CORETYPE", "_L2_SIZE", "_NUM_THREADS")
           or "; no variable explains it, so the machine may be busy")
    verdict = "as fast as this machine allows" if share >= FAIR else f"{share:.0%} of what this machine allows{why}"
    return {"unit": "GFLOP/s", "here": here[name], "possible": max(here[name], free[name]), "verdict": verdict}


def _copy(here: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
    """Compare relu with NumPy's maximum, which moves the same bytes. (A copy moves fewer: it writes past the caches.)"""
    found = "as fast as" if here["relu"] >= FAIR * here["maximum"] else "slower than"
    verdict = (f"relu of {COPIED >> 20} million numbers on one thread is {found} NumPy's maximum ({here['maximum']:.1f} GB/s; "
               f"a copy on one thread: {here['copy']:.1f}, on all {cores()}: {here['copy_all_threads']:.1f})")
    possible = max(here["relu"], here["maximum"], free["maximum"])
    return {"unit": "GB/s", "here": here["relu"], "possible": possible, "verdict": verdict}


def _look_at_cache() -> dict[str, Any]:
    folder = cache_folder()
    found = Contents(0, 0.0, []) if folder is None else contents(folder)
    verdict = ("cannot be written, so every process recompiles: set NUMBA_CACHE_DIR" if folder is None
               else f"damaged, and recompiled when used: {', '.join(found.damaged)}" if found.damaged
               else "loaded by later processes; `tinygrad-relu warmup` compiles in advance what is missing")
    return {"folder": folder and str(folder), "writable": folder is not None, "kernels": found.kernels,
            "megabytes": found.megabytes, "verdict": verdict}


# -- the command ------------------------------------------------------------------------------------------------------


def show(report: dict[str, Any]) -> None:
    table, kept = Table("", ["what", "found", "details"]), report["cache"]
    table.add("versions", "", ", ".join(map(" ".join, report["versions"].items())))
    table.add("compiled kernels", f"{report['simd_bits']}-bit vectors", f"LLVM compiles for {report['processor']}")
    table.add("OpenBLAS kernels", FAMILIES.get(report["blas_kernels"], report["blas_kernels"]), report["blas_verdict"])
    table.add("threads", f"{report['blas_threads']} for large products", report["threads_verdict"])
    table.add("environment", "", ", ".join(map("=".join, report["environment"].items())) or "nothing is set")
    where = "\n".join(filter(None, [kept["folder"], kept["verdict"]]))
    table.add("cache", f"{kept['kernels']} kernels, {kept['megabytes']:.1f} MB", where)
    for name, found in report["measurements"].items():
        table.add(name, f"{found['here']:.0f} of {found['possible']:.0f} {found['unit']}", found["verdict"])
    print_parts(table)


def main(arguments: argparse.Namespace) -> int:
    """Run ``tinygrad-relu doctor``."""
    if arguments.json is not None:
        check_writable(arguments.json, "--json")
    report = diagnose()
    if arguments.json:
        write_json(arguments.json, report)
    show(report)
    return 0
