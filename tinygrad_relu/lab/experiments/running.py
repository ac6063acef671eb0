"""Many experiments at once, each in a process of one thread; and the page of claims, made from the records."""
from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from ...kernels.machine.host import deaf
from ...kernels.machine.pool import num_threads, set_num_threads
from ...text import progress
from . import CHAPTERS, find, names
from .record import Claim, Experiment, Result

KINDS = {"A": "Dying ReLU", "B": "Variants", "C": "Depth", "D": "Learning with a zero derivative",
         "N": "Newer results"}         # of claims, by letter


def run_all(chosen: Sequence[str], *, seed: int = 0, fast: bool = False, figures: Path | None = None, jobs: int | None = None,
            quiet: bool = False) -> list[Result]:
    """Run experiments in `jobs` processes (by default one per core), and return their results in the given order.

    With `figures`, each process writes the figure of its experiment into this folder, as NAME.svg. A terminal and a notebook show
    a progress bar, unless `quiet`.
    """
    jobs = min(jobs or os.cpu_count() or 1, len(chosen))
    if jobs <= 1:
        with num_threads(1), progress(len(chosen), "begins", quiet=quiet) as tick:
            return [_done(name, tick, *_run(name, seed, fast, figures)) for name in chosen]
    with in_processes(jobs) as pool, progress(len(chosen), "begins", quiet=quiet) as tick:
        running = {pool.submit(_run, name, seed, fast, figures): name for name in chosen}
        found = {running[one]: _done(running[one], tick, *one.result()) for one in as_completed(running)}
    return [found[name] for name in chosen]


class _Pool(ProcessPoolExecutor):
    """Its processes do not hear Ctrl-C before they can end without a traceback."""

    def submit(self, *task: Any, **options: Any) -> Future[Any]:        # starts processes
        with deaf():
            return super().submit(*task, **options)


@contextmanager
def in_processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes of one thread each, spawned, as a fork would copy the locks of thread pools, but not their threads.
    After an error or Ctrl-C, tasks that wait are not begun."""
    with _Pool(jobs, get_context("spawn"), _begin) as pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            raise OSError("a process ended without a result: it was killed, or there was no memory left, or the script that calls"
                          " this lacks `if __name__ == '__main__':`, which it needs as its processes import it") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)        # ends this process without a traceback, also if it came while it was deaf
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    Thread(target=_end_with_parent, daemon=True).start()
    set_num_threads(1)


def _end_with_parent() -> None:
    """A process of the pool would wait for ever for the next task of a parent that was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(name: str, seed: int, fast: bool, figures: Path | None) -> tuple[Any, ...]:
    """The fields of a Result, apart from the experiment, whose functions another process may be unable to unpickle."""
    result = find(name)(seed, fast)
    if figures is not None:
        result.plot(figures / f"{name}.svg")
    return result.seed, result.fast, result.findings, result.series, result.seconds


def _done(name: str, tick: Callable[[str, int], None], *fields: Any) -> Result:
    tick(name, 1)
    return Result(find(name), *fields)


def claims() -> list[tuple[Claim, Experiment]]:
    """All claims with the experiments that state them, from A1 to D18."""
    found = [(claim, experiment) for experiment in map(find, names()) for claim in experiment.claims]
    return sorted(found, key=lambda one: one[0].place)


def claims_page() -> str:
    """The text of docs/claims.md."""
    stated = claims()
    corrected = sum(bool(claim.correction) for claim, _ in stated)
    lines = [INTRODUCTION.format(claims=len(stated), experiments=len(names()), corrected=corrected)]
    for letter, title in KINDS.items():
        lines += [f"## {title}", "", "| | claim | source | correction | experiment |", "|---|---|---|---|---|"]
        for claim, one in stated:
            if claim.key[0] == letter:
                file = f"../tinygrad_relu/lab/experiments/{one.chapter}/{one.name.replace('-', '_')}.py"
                cells = (claim.key, claim.says, claim.source, claim.correction, f"[{one.name}]({file})")
                lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        lines.append("")
    lines += ["## The experiments", "", "| | experiment | speaks to |", "|---|---|---|"]
    for name in names():
        one = find(name)
        keys = [*(claim.key for claim in one.claims), *one.also]
        lines.append(f"| {CHAPTERS[one.chapter]} | `{name}`: {one.title} | {' '.join(keys)} |")
    return "\n".join([*lines, ""])


INTRODUCTION = """# The claims of the literature, and the experiments that check them

{claims} claims about dead ReLU units and vanishing gradients, and {experiments} experiments. Each experiment trains networks
on the spot and compares measured numbers with expected ones. {corrected} claims hold only with a correction. The tests run every
experiment in its fast form, and each number must agree.

```sh
tinygrad-relu experiment list           # all names
tinygrad-relu experiment batch-size     # run one, and print what it claims, expects and finds
tinygrad-relu report                    # run all, and write report.html, with every figure
```

This page is made from the records of the experiments: `tinygrad-relu report --claims docs/claims.md` writes it.
"""
