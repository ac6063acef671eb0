"""Run every benchmark once, in one process, without asv: ``python -m benchmarks [PART OF A NAME]``.

The times are not measurements. This checks in seconds that all benchmarks work, where a quick pass of asv starts a process for
each of their hundreds of cases.
"""
from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from typing import Any

import benchmarks

KINDS = ("time_", "timeraw_", "peakmem_", "track_")


def cases(benchmark: type[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The methods of a benchmark, each with every combination of its parameters."""
    params = getattr(benchmark, "params", ())
    if params and not isinstance(params[0], (tuple, list)):
        params = (params,)
    return product([name for name in dir(benchmark) if name.startswith(KINDS)], product(*params))


def run(benchmark: type[Any], method: str, params: tuple[Any, ...]) -> None:
    made = benchmark()
    try:
        getattr(made, "setup", lambda *_: None)(*params)
    except NotImplementedError:         # for asv, a case that is left out
        return
    result = getattr(made, method)(*params)
    if method.startswith("timeraw_"):   # a script for a process of its own
        subprocess.run([sys.executable, "-c", result], check=True)
    getattr(made, "teardown", lambda *_: None)(*params)


def main(parts: list[str]) -> None:
    ran = False
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if not module.name.startswith("bench_"):
            continue
        for name, benchmark in inspect.getmembers(import_module(f"benchmarks.{module.name}"), inspect.isclass):
            full = f"{module.name}.{name}"
            if benchmark.__module__ == f"benchmarks.{module.name}" and any(part in full for part in parts or [""]):
                found, start = list(cases(benchmark)), time.perf_counter()
                for method, params in found:
                    run(benchmark, method, params)
                print(f"{full}: {len(found)} cases in {time.perf_counter() - start:.1f} s", flush=True)
                ran = True
    if not ran:
        sys.exit(f"benchmarks: no name contains {' or '.join(parts)}; names are like bench_fit.Fit")


if __name__ == "__main__":
    main(sys.argv[1:])
