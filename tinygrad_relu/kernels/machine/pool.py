"""The threads that share the work inside a kernel (see `parallel`), and their number.

The slices are dealt out in equal parts to the thread that calls the kernel and its helpers. Each takes the slices of its own part
one by one, and then those that are left in the parts of the others. So the same thread sees the same piece of an array again and
again, and finds it in the cache of its core; and on a busy machine a helper that gets no core delays nobody.

One group of slices is shared at a time. Another thread's kernel, and a kernel's loop inside a slice, run alone meanwhile.

A helper looks for work for 50 us after its last slice, and then sleeps. Waking it takes 5 to 50 us. (Threads of OpenMP and
OpenBLAS look far longer, and hinder those of other libraries in the same process.) The helpers are Python threads that never hold
the interpreter's lock while they wait or work: they run the native code of `sharing`, and so does the caller.

If NumPy's threads spin on the other cores, Linux may wake a helper on the core of the caller, which makes both half as fast. So
before it is woken, a helper is told to keep off that core (`part`).
"""
from __future__ import annotations

import atexit
import ctypes
import os
import sys
from _thread import get_native_id, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from time import perf_counter
from typing import Any

from ...checks import check_count
from .host import cores
from .native import SYMBOLS
from .parallel import RUN
from .sharing import CODE

MOST_THREADS = 1024
SPIN = 50e-6            # seconds for which a helper looks for work before it sleeps
VARIABLES = "TINYGRAD_RELU_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"

_limit = ctypes.c_int64(1)      # how many threads may work; the native code reads it


class _Native:
    """The native code, compiled when the first kernel is loaded, and its variables. Helpers run in it as long as the process."""

    def __init__(self) -> None:
        from llvmlite import binding as llvm

        python = ctypes.pythonapi
        for name, place in (("limit", ctypes.addressof(_limit)), ("acquire", _address(python.PyThread_acquire_lock)),
                            ("release", _address(python.PyThread_release_lock))):
            llvm.add_symbol(f"tinygrad_relu_{name}", place)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(CODE),
                                                 llvm.Target.from_default_triple().create_target_machine(opt=2))
        self.engine.finalize_object()
        self.run = self.engine.get_function_address("run")
        self.pauses, self.wake, self.help = (ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.engine.get_function_address(name))
                                             for name in ("pauses", "wake", "help"))
        self.state, self.busy, self.started, self.spins = map(self._number, ("state", "busy", "started", "spins"))
        self.asleep = self._number("asleep", ctypes.c_int64 * MOST_THREADS)
        self.locks = self._number("locks", ctypes.c_void_p * MOST_THREADS)
        self.threads, self.apart = (self._number(name, ctypes.c_int32 * MOST_THREADS) for name in ("threads", "apart"))
        if sys.platform == "linux":
            for name in ("getcpu", "getaffinity", "setaffinity"):
                self._number(name).value = _address(getattr(ctypes.CDLL(None), f"sched_{name}"))
        self.start = ctypes.CFUNCTYPE(None)(self.hire)
        self._number("start").value = _address(self.start)

    def _number(self, name: str, kind: Any = ctypes.c_int64) -> Any:
        return kind.from_address(self.engine.get_global_value_address(name))

    def hire(self) -> None:
        """Start the helpers that are missing: on the first use, after a fork or a higher limit. The native code calls this."""
        new_lock, acquire = ctypes.pythonapi.PyThread_allocate_lock, ctypes.pythonapi.PyThread_acquire_lock
        new_lock.restype, new_lock.argtypes, acquire.argtypes = ctypes.c_void_p, (), (ctypes.c_void_p, ctypes.c_int)
        if not self.spins.value:
            begin = perf_counter()
            self.pauses(1000)
            self.spins.value = max(1, int(1000 * SPIN / (perf_counter() - begin)))
        for who in range(self.started.value, _limit.value):
            self.locks[who] = new_lock()
            acquire(self.locks[who], 1)
            if who:
                with suppress(RuntimeError):    # the system allows no more threads: those that there are do the work
                    start_new_thread(self.live, (who,))
            self.started.value = who + 1

    def live(self, who: int) -> None:
        """A helper's life. It keeps off the caller's core where every thread can have a core of its own."""
        self.threads[who] = get_native_id() if sys.platform == "linux" and _limit.value <= cores() else 0
        self.help(who)

    def dismiss(self) -> None:
        """At exit: the helpers leave the native code, which is about to go."""
        _limit.value = 0
        for who in range(self.started.value):
            self.wake(who)

    def forget(self) -> None:
        """A forked child has a copy of the pool, but none of its threads."""
        self.started.value = self.busy.value = 0
        self.state.value &= -1 << 32
        for each in (self.asleep, self.apart):
            ctypes.memset(each, 0, ctypes.sizeof(each))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def _native() -> _Native:
    native = _Native()
    atexit.register(native.dismiss)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=native.forget)
    return native


SYMBOLS.append(lambda: {RUN: _native().run})
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: set_num_threads(1))          # a child is usually one of several


# -- the number of threads -----------------------------------------------------------------------------------------------


def set_num_threads(n: int) -> None:
    """Let large operations use up to `n` threads. The results are the same to the bit for every n.

    The default is the value of ``TINYGRAD_RELU_NUM_THREADS``, ``OPENBLAS_NUM_THREADS`` or ``OMP_NUM_THREADS``, or else the number
    of cores; and 1 in a worker process of ``multiprocessing``, and after a fork, so that workers do not compete for the cores.

    >>> before = tg.get_num_threads()
    >>> tg.set_num_threads(1)
    >>> tg.get_num_threads()
    1
    >>> tg.set_num_threads(before)
    """
    n = check_count(n, "set_num_threads: n")
    if n > MOST_THREADS:
        raise ValueError(f"set_num_threads: n is {n}, expected at most {MOST_THREADS}")
    _limit.value = n


def get_num_threads() -> int:
    """How many threads large operations may use (see `set_num_threads`).

    >>> tg.get_num_threads() >= 1
    True
    """
    return int(_limit.value)


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """`set_num_threads(n)` inside a with block; the previous number is restored at its end, unless another thread has."""
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        if get_num_threads() == n:
            set_num_threads(before)


def _default() -> int:
    given = (os.environ.get(name, "") for name in VARIABLES)
    found = next((min(int(value), MOST_THREADS) for value in given if value.isdigit() and int(value) > 0), cores())
    started_by = sys.modules.get("multiprocessing.process")     # a worker has imported it, and has a name before it has a parent
    return 1 if started_by and (started_by.parent_process() or started_by.current_process().name != "MainProcess") else found


_limit.value = _default()
