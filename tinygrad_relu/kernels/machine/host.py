"""The machine: its processor and cores, how its C library treats freed memory, and the interrupts of its user."""
from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

import numpy as np

from .processor import WIDE, features, is_wide, processor

# A sum of more numbers than a register holds: LLVM splits it into the widest registers that it uses in kernels. (Without the
# first attribute it would take 512 bits even on processors where it avoids them.)
_SUM = """
define void @sum(ptr %a) "min-legal-vector-width"="0" WIDE {
  %x = load <32 x float>, ptr %a
  %y = fadd <32 x float> %x, %x
  store <32 x float> %y, ptr %a
  ret void
}
"""
_REGISTERS = {"%zmm": 512, "%ymm": 256}

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # of glibc's malloc.h
KEPT = 256 << 20                                # limit on the bytes that the process keeps when all have been freed
MAPPED = 128 << 20                              # larger blocks are still returned at once
LINE = 64                                       # bytes of a line of the cache
SWITCH = "TINYGRAD_RELU_KEEP_MEMORY"


def simd_bits() -> int:
    """The width of the vector registers that compiled kernels use: 512 (AVX-512), 256 (AVX2), or 128 (SSE, NEON)."""
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    chosen = ",".join(features())
    target = llvm.Target.from_default_triple().create_target_machine(cpu=processor(), features=chosen, opt=3)
    assembly = target.emit_assembly(llvm.parse_assembly(_SUM.replace("WIDE", WIDE if is_wide() else "")))
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


def zeros(size: int, dtype: Any = np.uint8) -> Any:
    """A vector that begins at a line of the processor's cache, where NumPy's begin at any multiple of 16 bytes.

    Wide loads that cross a line cost double: an update of 8,970 parameters takes 2.5 us instead of 2.0.
    """
    memory = memoryview(bytearray(size * np.dtype(dtype).itemsize + LINE))      # not an array, which would be the owner
    return np.ndarray(size, dtype, memory, -np.frombuffer(memory, np.uint8).ctypes.data % LINE)


def aligned(x: Any) -> Any:
    """A C-contiguous copy of x that begins at a line of the cache."""
    copy = zeros(x.size, x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def cores() -> int:
    """The number of cores that this process may use: containers and batch systems often grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def interruptions() -> Iterator[list[int]]:
    """Inside, Ctrl-C is noted in the list, so that a step is not cut in two. Pressed again, it raises a KeyboardInterrupt."""
    pressed: list[int] = []

    def note(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    usual = signal.getsignal(signal.SIGINT)
    ours = usual is signal.default_int_handler and current_thread() is main_thread()    # else somebody else takes care of it
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        if ours:
            signal.signal(signal.SIGINT, usual)


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that start here do not hear Ctrl-C, which a terminal sends to all, before they unblock it; this one, after it."""
    if not hasattr(signal, "pthread_sigmask"):      # Windows has no such masks
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with interruptions() as pressed:
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pressed:
        raise KeyboardInterrupt
