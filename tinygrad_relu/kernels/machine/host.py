"""Freed memory stays with the process for a while.

By default glibc hands every freed block of more than 128 kB back to the system, and a training step, which frees and asks
for the same blocks again and again, then pays for fresh pages each time: touching them costs more than the arithmetic on
them. Measured, a step of a 64-64-64-10 MLP on 1,797 rows of float64: 2.6 ms with the default, 1.3 ms with what is set here.
"""
from __future__ import annotations

import ctypes
import os
import sys

from llvmlite import binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features

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

# -- the processor -------------------------------------------------------------------------------------------------------
# What LLVM knows about the processor that kernels are compiled for: questions that `doctor` asks.


# One sum over more numbers than a register holds: LLVM splits it into the widest registers that it would use by itself.
# (The attribute says that no particular width is asked for. Without it LLVM would take 512 bits even on processors
# where it avoids them, because they lower the clock.)
_SUM = """
define void @sum(ptr %a) "min-legal-vector-width"="0" {
  %x = load <32 x float>, ptr %a
  %y = fadd <32 x float> %x, %x
  store <32 x float> %y, ptr %a
  ret void
}
"""
_REGISTERS = {"%zmm": 512, "%ymm": 256}


def processor() -> str:
    """LLVM's name of the processor, such as ``znver5`` or ``skylake-avx512`` (or what NUMBA_CPU_NAME says)."""
    return str(config.CPU_NAME or llvm.get_host_cpu_name())


def simd_bits() -> int:
    """The width of the vector registers that compiled kernels use: 512 (AVX-512), 256 (AVX2), or 128 (SSE, NEON)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    target = llvm.Target.from_default_triple().create_target_machine(cpu=processor(), features=features, opt=3)
    assembly = target.emit_assembly(llvm.parse_assembly(_SUM))
    return next((bits for register, bits in _REGISTERS.items() if register in assembly), 128)
