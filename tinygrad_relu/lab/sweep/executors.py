"""Where the runs of a sweep are carried out: in processes of this machine, by joblib, or on a cluster of dask."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any

from ...missing import needing
from ..experiments.running import in_processes

Rows = list[dict[str, Any]]
CarryOut = Callable[[Callable[[Any], Rows], Iterable[Any]], Iterable[Rows]]
AHEAD = 2               # tasks for each process: one under way, one waiting
PATIENCE = 60           # seconds that a cluster may be without a worker


@contextmanager
def _local(jobs: int | None, scheduler: str | None) -> Iterator[Any]:
    jobs = jobs or os.cpu_count() or 1
    if jobs == 1:
        yield 1, map            # here, with the threads of the caller
        return
    with in_processes(jobs) as pool:
        yield jobs, lambda task, tasks: _as_finished(lambda one: pool.submit(task, one), wait, tasks, lambda: jobs)


@contextmanager
def _joblib(jobs: int | None, scheduler: str | None) -> Iterator[Any]:
    """Under ``joblib.parallel_config`` on any backend of joblib."""
    with needing("the executor joblib needs", "lab"):
        from joblib import Parallel, delayed, effective_n_jobs
    parallel = Parallel(n_jobs=jobs or -1, return_as="generator_unordered")
    yield effective_n_jobs(jobs or -1), lambda task, tasks: parallel(delayed(task)(one) for one in tasks)


@contextmanager
def _dask(jobs: int | None, scheduler: str | None) -> Iterator[Any]:
    """A task whose worker dies is given to another one."""
    with needing("the executor dask needs", "cluster"):
        import distributed
    with distributed.Client(scheduler) as client:

        def threads() -> int:
            return sum(client.nthreads().values()) or 1

        def workers() -> None:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as error:
                raise OSError(f"the cluster of {client.scheduler.address} has had no worker for {PATIENCE} seconds; start one by "
                              f"`dask worker {client.scheduler.address}`, and the same sweep again") from error

        def wait(under_way: set[Any], return_when: str) -> Any:
            while True:
                try:
                    return distributed.wait(under_way, PATIENCE, return_when)
                except TimeoutError:        # long tasks, or nobody who carries them out
                    workers()

        workers()
        yield threads(), lambda task, tasks: _as_finished(lambda one: client.submit(task, one, pure=False), wait, tasks, threads)


def _as_finished(submit: Callable[[Any], Any], wait: Callable[..., Any], tasks: Iterable[Any],
                 at_once: Callable[[], int]) -> Iterator[Rows]:
    """The rows of tasks as they are finished, with few of them under way: a million need no memory."""
    waiting, under_way = iter(tasks), set[Any]()
    while True:
        under_way |= {submit(task) for task in islice(waiting, max(0, AHEAD * at_once() - len(under_way)))}
        if not under_way:
            return
        done, under_way = map(set, wait(under_way, return_when="FIRST_COMPLETED"))
        for future in done:
            yield future.result()


# From the number of jobs and the address of a scheduler to the number of tasks that are carried out at once, and a function of
# what carries out a task and of the tasks, which yields their rows as they are finished.
EXECUTORS: Mapping[str, Callable[[int | None, str | None], AbstractContextManager[tuple[int, CarryOut]]]] = {
    "local": _local, "joblib": _joblib, "dask": _dask}
