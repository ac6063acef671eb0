"""Before the tests: compile the kernels once for all of them, and distribute the tests over the cores."""
from __future__ import annotations

import os
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import strength

import tinygrad_relu as tg
from tinygrad_relu import data, functional, kernels, lab, nn, optim, warmup
from tinygrad_relu.kernels.machine.cache import cache_folder
from tinygrad_relu.kernels.machine.host import cores

# The names that every example in a docstring may use without importing them (docs/index.md says so).
CUSTOMARY = {"np": np, "tg": tg, "data": data, "F": functional, "lab": lab, "nn": nn, "optim": optim, "Tensor": tg.Tensor}
MOST_WORKERS = 8        # each collects all tests, which takes seconds and 300 MB


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="every case at full strength, not a sample of them")


def whole_suite(config: pytest.Config) -> bool:
    """Whether no test was named."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process per core for the whole suite; named tests run in this one."""
    return min(cores(), MOST_WORKERS) if whole_suite(config) and cores() > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sample(every): an ordinary run takes one in `every` cases of this test")
    config.addinivalue_line("markers", "thorough: only in a thorough run")
    strength.THOROUGH = config.getoption("thorough")
    controller = not hasattr(config, "workerinput")
    if controller and whole_suite(config) and not config.option.collectonly:
        if config.option.numprocesses:      # one thread in each of several processes: pools that spin would fight for the cores
            for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
                os.environ.setdefault(name, "1")
        compile_kernels()


def compile_kernels() -> None:
    """Compile all kernels in parallel, unless that was done for these sources: their digest is the first line of `warm`.

    The other lines list the compiled kernels.
    """
    folder, package = cache_folder(), Path(kernels.__file__).parent
    sources = sha256(b"".join(path.read_bytes() for path in sorted(package.rglob("*.py")))).hexdigest()
    if folder is not None and not ((warm := folder / "warm").exists() and warm.read_text().startswith(sources)):
        done = warmup.warmup()
        warm.write_text("\n".join([sources, *sorted(path.name for path in folder.glob("*.nbc"))]))
        print(f"{done.compiled} kernels compiled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the cases that are not in the sample. A test that is named on the command line always runs."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: an address is another one in each process; give this case an id")
    if config.getoption("thorough"):
        return
    seen: Counter[str] = Counter()
    chosen, left_out = [], []
    for item in items:
        sample, name = item.get_closest_marker("sample"), item.nodeid.partition("[")[0]
        takes = strength.in_sample(seen[name], *sample.args) if sample else not item.get_closest_marker("thorough")
        seen[name] += 1
        (chosen if takes else left_out).append(item)
    if left_out and len(items) > 1:
        items[:] = chosen
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Define the customary names for the examples in docstrings. A name that the module itself defines wins."""
    example = getattr(item, "dtest", None)
    if example is not None:
        for name, value in CUSTOMARY.items():
            example.globs.setdefault(name, value)
