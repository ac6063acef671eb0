"""What the compiler is told about the processor: fused multiply-add, and the width of vectors.

On Intel processors with AVX-512 LLVM takes vectors of 256 bits, because the first of them (up to Cooper Lake) lower the clock
for 512. Later ones hardly do. On a Xeon of 2023 (emeraldrapids), 16,384 float32, one thread, ns per element at 256 and 512 bits:
exp 0.55 and 0.39, tanh 0.66 and 0.50, gelu 1.7 and 1.2, relu 0.13 and 0.14; on a Rocket Lake the ratios are the same. So there
kernels take 512. The results are the same to the bit, except for sums in any order (`policy.reordered`).

This file changes the code of kernels like those that use numba.extending, so its text counts for every `fingerprint`. The choice
follows from the name and features of the processor, which are in the name of a kernel's file too.
"""
from __future__ import annotations

import os
import platform
from functools import cache
from typing import Any

LOWER_THE_CLOCK = {"skylake-avx512", "cascadelake", "cooperlake", "cannonlake"}
WIDE = '"prefer-vector-width"="512"'        # LLVM's attribute of a function


def processor() -> str:
    """LLVM's name of the processor, such as ``znver5`` or ``skylake-avx512`` (or the value of NUMBA_CPU_NAME)."""
    from llvmlite import binding as llvm

    return os.environ.get("NUMBA_CPU_NAME") or str(llvm.get_host_cpu_name())


@cache
def features() -> tuple[str, ...]:
    """LLVM's names of its instruction sets, such as ``+fma`` (or those of NUMBA_CPU_FEATURES)."""
    from numba.core.codegen import get_host_cpu_features

    return tuple(os.environ.get("NUMBA_CPU_FEATURES", get_host_cpu_features()).split(","))


def has_fma() -> bool:
    """Whether a fused multiply-add is one instruction."""
    return "+fma" in features() or platform.machine() in ("aarch64", "arm64")


def is_wide() -> bool:
    """Whether kernels ask for 512 bits. A choice of the user (NUMBA_CPU_FEATURES) stands."""
    return "NUMBA_CPU_FEATURES" not in os.environ and "+avx512f" in features() and processor() not in LOWER_THE_CLOCK


def widen(function: Any) -> None:
    """Ask for 512 bits in a function of llvmlite, if kernels do."""
    if is_wide():
        set.add(function.attributes, WIDE)      # its own `add` knows no attributes with a value
