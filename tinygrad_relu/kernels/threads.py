"""How many threads the kernels may use."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..checks import check_count
from . import blas


def set_num_threads(n: int) -> None:
    """Let matrix products use up to `n` threads.

    With the same `n`, the same bits come out in every run. With another, OpenBLAS may add up in another order, and a large
    product differs by rounding; small ones (up to 2^18 multiplications) never use more than one thread.

    Examples
    --------
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    """
    blas.set_num_threads(check_count(n, "set_num_threads: n"))


def get_num_threads() -> int:
    """How many threads matrix products may use."""
    return blas.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """`set_num_threads(n)` for a while: the number that was set before comes back at the end."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
