"""`launch` calls kernels, and its calls can be watched: recorded, timed, checked for NaN."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .policy import Kernel

Watcher = Callable[[Any, tuple[Any, ...]], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
current_watcher = _watcher.get      # of this thread, or None; whatever calls a kernel without `launch` asks first


def launch(kernel: Callable[..., Any], *arguments: Any) -> None:
    """Run ``kernel(*arguments)``: inputs first, then the arrays that the results are written into.

    The machine code of a `Kernel` is called directly, so the arguments must have exactly the types that it declares (see
    `policy`). A NumPy ufunc, or any function that writes into its last argument, can be launched too.
    """
    watcher = current_watcher()
    if watcher is not None:
        watcher(kernel, arguments)
    elif type(kernel) is Kernel:
        kernel.code[arguments[kernel.key].dtype](*arguments)
    else:
        kernel(*arguments)


def copy(x: Any, out: Any) -> None:
    """``out[...] = x``, for any strides. (``np.positive`` takes two to eight times as long.)"""
    np.copyto(out, x)


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Pass every launch of this thread to ``watcher(kernel, arguments)``, which must run the kernel itself.

    >>> seen = []
    >>> def note(kernel, arguments):
    ...     seen.append(kernel.__name__)
    ...     kernel(*arguments)
    >>> with watch(note):
    ...     launch(np.add, 1.0, 2.0, np.empty(()))
    >>> seen
    ['add']
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
