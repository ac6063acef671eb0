"""The one door through which every kernel is called.

A call that passes here can be watched: recorded, timed, checked for the first NaN. Watching is off unless somebody is
inside `watch`, and then costs nothing but one look at a context variable.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Kernel = Callable[..., Any]
Watcher = Callable[[Kernel, tuple[Any, ...]], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)
_current_watcher = _watcher.get


def launch(kernel: Kernel, *arguments: Any) -> None:
    """Run ``kernel(*arguments)``. Results are written into arrays among the arguments; nothing is returned.

    Parameters
    ----------
    kernel : callable
        A kernel of this package, or a NumPy ufunc (whose last argument is then ``out``).
    *arguments : ndarray or number
        Inputs first, outputs last.

    Examples
    --------
    >>> import numpy as np
    >>> out = np.empty(2)
    >>> launch(np.multiply, np.array([1.0, 2.0]), 3.0, out)
    >>> out
    array([3., 6.])
    """
    watcher = _current_watcher()
    if watcher is None:
        kernel(*arguments)
    else:
        watcher(kernel, arguments)


def launch_typed(kernels: Any, dtype: Any, *arguments: Any) -> None:
    """`launch` for a kernel whose machine code is called directly (`policy.ByType`). A watcher is handed the kernel itself.

    Parameters
    ----------
    kernels : ByType
    dtype : dtype
        The type of the numbers.
    *arguments : ndarray or number
        Exactly of the types for which the machine code is: nobody looks any more.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_relu.kernels.linear import linear
    >>> out = np.empty((1, 1))
    >>> launch_typed(linear, out.dtype, np.array([[2.0]]), np.array([[3.0]]), np.array([1.0]), out)
    >>> out
    array([[7.]])
    """
    watcher = _current_watcher()
    if watcher is None:
        kernels[dtype](*arguments)
    else:
        watcher(kernels.kernel, arguments)


def is_watched() -> bool:
    """Whether somebody watches the launches of this thread."""
    return _current_watcher() is not None


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Hand every launch of this thread to ``watcher(kernel, arguments)``, which must run the kernel itself.

    Examples
    --------
    >>> import numpy as np
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
