"""The number of threads, and how they share work."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ...checks import check_count
from .door import is_watched


def cores() -> int:
    """The number of cores that this process may use; containers and batch systems often grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _default() -> int:
    """The value of the usual variables, or else all cores."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return cores()


_limit = _default()
_pool: ThreadPoolExecutor | None = None


def set_num_threads(n: int) -> None:
    """Let large matrix products use up to `n` threads. The results are the same to the bit for every n.

    The default is the value of ``OPENBLAS_NUM_THREADS`` or ``OMP_NUM_THREADS``, or else the number of cores.

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _limit, _pool
    n = check_count(n, "set_num_threads: n")
    if n != _limit:
        _limit, _pool = n, None         # the old pool ends when its last work is done


def get_num_threads() -> int:
    """How many threads large matrix products may use (see `set_num_threads`).

    >>> get_num_threads() >= 1
    True
    """
    return _limit


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """`set_num_threads(n)` inside a with block; the previous number is restored at its end."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def share(tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once; this thread and helpers take them one by one from a common queue.

    Helpers that have not started when the queue is empty are cancelled. So on a busy machine this is as slow as one thread, but
    no slower.
    """
    helpers = min(_limit, len(tasks)) - 1
    if helpers < 1 or is_watched():     # a watcher sees only the launches of its own thread
        for task in tasks:
            task()
        return
    queue = iter(tasks)                 # taking the next one is atomic under the interpreter's lock

    def work() -> None:
        for task in queue:
            task()

    called = [_helpers().submit(work) for _ in range(helpers)]
    work()
    for helper in called:
        if not helper.cancel():
            helper.result()


def _helpers() -> ThreadPoolExecutor:
    global _pool
    pool = _pool        # read once: another thread may replace it
    if pool is None:
        _pool = pool = ThreadPoolExecutor(max(1, _limit - 1), thread_name_prefix="tinygrad_relu")
    return pool


def _forget_pool() -> None:
    """A forked child has a copy of the pool, but not its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
