"""Matrix products inside kernels: our own copy of OpenBLAS.

NumPy carries an OpenBLAS too, but its gemm can be reached only through NumPy's dispatch (1 us a call). This copy comes
from the package ``scipy-openblas32``; kernels call its ``sgemm`` and ``dgemm`` directly, as symbols known to LLVM, so
that compiled kernels can be kept on disk and a product can be fused with what stands around it.

Two spinning thread pools fight for the same cores (NumPy's matmul alternating with ours took 70 times as long), so our
threads spin only briefly and then sleep. OpenBLAS reads that setting once, while it is loaded.
"""
from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from llvmlite import binding as llvm
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

SPIN = "OPENBLAS_THREAD_TIMEOUT"        # threads wait actively for 2^value cycles, then sleep


def _load() -> ctypes.CDLL:
    mine = SPIN not in os.environ       # a value that the user has set stands
    if mine:
        os.environ[SPIN] = "16"
    try:
        import scipy_openblas32  # importing it loads the library

        folder = Path(scipy_openblas32.get_lib_dir())
        return ctypes.CDLL(str(next(folder.glob("libscipy_openblas*"))))
    finally:
        if mine:
            del os.environ[SPIN]


library = _load()
library.scipy_openblas_get_config.restype = ctypes.c_char_p
library.scipy_openblas_get_corename.restype = ctypes.c_char_p

ROW_MAJOR, AS_IS, TRANSPOSED = 101, 111, 112      # the constants of cblas.h


def _external(name: str, number: types.Float) -> types.ExternalFunction:
    address = ctypes.cast(getattr(library, f"scipy_cblas_{name}"), ctypes.c_void_p).value
    symbol = f"tinygrad_relu_{name}"
    llvm.add_symbol(symbol, address)
    i, p = types.int32, types.voidptr
    return types.ExternalFunction(symbol, types.void(i, i, i, i, i, i, number, p, i, p, i, number, p, i))


_gemms = {types.float32: _external("sgemm", types.float32), types.float64: _external("dgemm", types.float64)}


def gemm(transpose_a: bool, transpose_b: bool, a: Any, b: Any, beta: float, c: Any) -> None:
    """``c = op(a) @ op(b) + beta * c`` for C-contiguous matrices of one dtype, called from kernels.

    ``op`` transposes where the flag says so. With ``beta`` 0 what was in `c` is not read.
    """
    left, right = (a.T if transpose_a else a), (b.T if transpose_b else b)
    c[...] = left @ right + (beta * c if beta else 0.0)


@overload(gemm)
def _compiled_gemm(transpose_a, transpose_b, a, b, beta, c):
    if any(matrix.layout != "C" or matrix.dtype != c.dtype for matrix in (a, b, c)):
        raise TypingError(f"gemm got {a}, {b} and {c}; expected C-contiguous matrices of one dtype")    # else: foreign memory
    product = _gemms[c.dtype]

    def body(transpose_a, transpose_b, a, b, beta, c):
        T = c.dtype.type
        m, n = c.shape
        inner = a.shape[0] if transpose_a else a.shape[1]
        product(ROW_MAJOR, TRANSPOSED if transpose_a else AS_IS, TRANSPOSED if transpose_b else AS_IS, m, n, inner, T(1),
                a.ctypes.data, max(1, a.shape[1]), b.ctypes.data, max(1, b.shape[1]), T(beta), c.ctypes.data, max(1, n))

    return body


def core_name() -> str:
    """The processor family whose kernels OpenBLAS has chosen, such as ``SkylakeX`` (AVX-512) or ``Haswell`` (AVX2)."""
    return library.scipy_openblas_get_corename().decode()


def get_num_threads() -> int:
    return int(library.scipy_openblas_get_num_threads())


def set_num_threads(n: int) -> None:
    library.scipy_openblas_set_num_threads(int(n))
