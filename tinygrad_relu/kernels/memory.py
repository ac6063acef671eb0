"""Freed memory stays with the process for a while.

By default glibc hands every freed block of more than 128 kB back to the system, and a training step, which frees and asks
for the same blocks again and again, then pays for fresh pages each time: touching them costs more than the arithmetic on
them. Measured, a step of a 64-64-64-10 MLP on 1,797 rows of float64: 2.6 ms with the default, 1.3 ms with what is set here.
"""
from __future__ import annotations

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # of glibc's malloc.h
KEPT = 256 << 20                                # bytes at most that are kept when everything has been freed
MAPPED = 64 << 20                               # blocks from here on still go back at once


def keep_freed_memory() -> bool:
    """Ask the C library to keep up to 256 MB of freed memory; whether it agreed.

    Does nothing where the user has settings of his own (``MALLOC_..._`` or ``GLIBC_TUNABLES``), or elsewhere than on glibc.
    """
    own = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if own or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
