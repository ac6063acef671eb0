"""The machine: its processor, how its C library treats freed memory, and threads that share work."""
from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from llvmlite import binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features

from ...checks import check_count
from .door import is_watched

# A sum of more numbers than a register holds: LLVM splits it into the widest registers that it uses by default. (Without the
# attribute it would take 512 bits even on processors where it avoids them, because they lower the clock.)
_SUM = """
define void @sum(ptr %a) "min-legal-vector-width"="0" {
  %x = load <32 x float>, ptr %a
  %y = fadd <32 x float> %x, %x
  store <32 x float> %y, ptr %a
  ret void
}
"""
_REGISTERS = {"%zmm": 512, "%ymm": 256}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # of glibc's malloc.h
KEPT = 256 << 20                                # limit on the bytes that the process keeps when all have been freed
MAPPED = 64 << 20                               # larger blocks are still returned at once
SWITCH = "TINYGRAD_RELU_KEEP_MEMORY"
MOST_THREADS = 1024


def processor() -> str:
    """LLVM's name of the processor, such as ``znver5`` or ``skylake-avx512`` (or the value of NUMBA_CPU_NAME)."""
    return str(config.CPU_NAME or llvm.get_host_cpu_name())


def simd_bits() -> int:
    """The width of the vector registers that compiled kernels use: 512 (AVX-512), 256 (AVX2), or 128 (SSE, NEON)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    target = llvm.Target.from_default_triple().create_target_machine(cpu=processor(), features=features, opt=3)
    assembly = target.emit_assembly(llvm.parse_assembly(_SUM))
    return next((bits for register, bits in _REGISTERS.items() if register in assembly), 128)


def keep_freed_memory() -> bool:
    """Ask the C library to keep up to 256 MB of freed memory for the process; True if it agreed. Called on import.

    By default glibc returns every freed block of more than 128 kB to the system. A training step frees and requests the same
    blocks again and again, and would touch fresh pages each time, which takes longer than the arithmetic on them. The setting is
    process-wide. ``TINYGRAD_RELU_KEEP_MEMORY=0`` in the environment switches it off, and so does a malloc setting of your own
    (``MALLOC_..._`` or ``GLIBC_TUNABLES``). Without glibc nothing happens.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if own or os.environ.get(SWITCH) == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))


# -- threads -------------------------------------------------------------------------------------------------------------


def cores() -> int:
    """The number of cores that this process may use: containers and batch systems often grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_given = (os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
_limit = next((min(int(value), MOST_THREADS) for value in _given if value.isdigit() and int(value) > 0), cores())
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
    if n > MOST_THREADS:
        raise ValueError(f"set_num_threads: n is {n}, expected at most {MOST_THREADS}")
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
    before = _limit
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def share(tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task once; this thread and helpers take them one by one from a common queue.

    Helpers that have not started when the queue is empty are cancelled. So on a busy machine this is no slower than one thread.
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
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):     # a forked child has a copy of the pool, but not its threads
    os.register_at_fork(after_in_child=_forget_pool)
