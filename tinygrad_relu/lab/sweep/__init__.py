"""Sweeps: a grid of settings times seeds, of a training or of experiments, on one machine or many.

Each run has a key, and its row is kept in a database: a sweep goes on where it stopped, takes only the new runs of a larger grid,
and runs nothing twice.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from ...checks import check_bool, check_count, check_name
from ...files import AnyPath
from ...text import progress
from .executors import EXECUTORS
from .results import Sweep as Sweep
from .settings import Run, naming, read_plan
from .store import Store
from .training import carry_out, code, prepare, shape_of, size_of


def sweep(source: AnyPath | Mapping[str, Any], *, out: AnyPath | None = None, executor: str = "local", jobs: int | None = None,
          scheduler: str | None = None, renew: bool = False, quiet: bool = False) -> Sweep:
    """Run all runs of a TOML file, or of a dict like it, that are not in the database `out` yet. Returns the database.

    - `out`: by default the name of the TOML file with .sqlite; of a dict, nowhere: in memory.
    - `executor`: "local", in `jobs` processes of this machine (by default one per core); "joblib", on its current backend;
      "dask", on the cluster whose scheduler has this address.
    - `renew`: whether runs that another version of the code has computed are run again.

    Small networks of one shape train together. A run has the same bits in any company, on any executor. Runs that fail are kept
    with their errors, and run again next time.

    >>> plan = {"seeds": 10, "training": {"data": "moons", "widths": [16], "steps": 50}, "grid": {"lr": [0.01, 0.1, 1]}}
    >>> print(lab.sweep(plan, jobs=1).table(of=["accuracy"]))
    30 runs: mean ± standard error
      lr  runs  accuracy
    ─────────────────────────
    0.01    10  0.73 ± 0.05
     0.1    10  0.871 ± 0.003
       1    10  0.930 ± 0.006
    """
    plan = read_plan(source)
    check_name(executor, EXECUTORS, "the executor")
    if scheduler is not None and executor != "dask":
        raise ValueError(f"got the scheduler {scheduler} for the executor {executor}, expected the executor dask")
    jobs = None if jobs is None else check_count(jobs, "jobs")
    with naming(source):
        runs = {run.key: run for run in plan.runs()}
        for _, group in groupby(runs.values(), shape_of):
            prepare(next(group))
    if out is None and not isinstance(source, Mapping):
        out = Path(source).with_suffix(".sqlite")
    store = Store(out, write=True)
    try:
        store.note(plan, runs)
        for key in store.done(code() if check_bool(renew, "renew") else None):
            runs.pop(key, None)
        with EXECUTORS[executor](jobs, scheduler) as (at_once, carry_out_on), progress(len(runs), "runs", quiet=quiet) as tick:
            for rows in carry_out_on(carry_out, _tasks(list(runs.values()), at_once)):
                store.add(rows, runs)
                tick("runs", len(rows))
    except BaseException:
        store.close()
        raise
    if out is not None:
        store.close()
        store = Store(out)
    return Sweep(store, new=len(runs))


def _tasks(runs: list[Run], at_once: int) -> Iterator[list[Run]]:
    """Runs of one shape, as many as share a population, and no more than give every process a part."""
    for _, group in groupby(runs, shape_of):
        same = list(group)
        size = min(size_of(same[0]), -(-len(same) // at_once))
        yield from (same[i:i + size] for i in range(0, len(same), size))
