"""Matrix products inside kernels, by our own copy of OpenBLAS.

NumPy's copy can be called only through NumPy's dispatch (1 us a call). This copy comes from the package ``scipy-openblas32``.
Kernels call its ``sgemm`` and ``dgemm`` directly, as symbols known to LLVM, so that compiled kernels can be kept on disk and a
product can be fused with the operations around it. It runs on one thread; `matmul` shares larger products among the threads of
`pool` (docs/kernels.md says why).
"""
from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .native import SYMBOLS, assembled
from .policy import overload


@cache
def library() -> ctypes.CDLL:
    """OpenBLAS, loaded for one thread: it reads the variable on loading. NumPy's copy has already read it.

    Only the file of the package is used: importing the package would take 15 ms.
    """
    variable = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        package = find_spec("scipy_openblas32")
        if package is None or package.origin is None:
            raise ModuleNotFoundError("No module named 'scipy_openblas32'", name="scipy_openblas32")
        found = ctypes.CDLL(str(next((Path(package.origin).parent / "lib").glob("libscipy_openblas*"))))
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
    found.scipy_openblas_set_num_threads(1)     # if it had been loaded before
    found.scipy_openblas_get_corename.restype = ctypes.c_char_p
    return found


ROW_MAJOR, AS_IS, TRANSPOSED = 101, 111, 112      # the constants of cblas.h


# Kernels reach OpenBLAS through this gate. While `counts[0]` is not 0, it adds the operations of each product to `counts[1]`.
# OpenBLAS computes a small a @ b.T as dot products, which take twice as long as necessary if the rows are short. Then the gate
# transposes b first: 32 x 64 by 64 x 64 in float32 takes 2.1 us instead of 3.6. If the result has few columns, but more than 1200
# numbers, OpenBLAS copies a and b, unless b is transposed: 200 x 100 by 100 x 10 in float64 takes 14 us instead of 23.
counts = np.zeros(2, np.int64)
# `turn` transposes b (n, k), n >= 4 and k >= 1, four rows at a time, some of the last ones twice. OpenBLAS's own omatcopy takes
# longer in float64: a layer of 200 x 64 by 64 x 100 takes 43 us instead of 47.
_TURN = """
define internal void @turn(ptr %b, i64 %width, i64 %n, i64 %k, ptr %turned) {
    %last = sub i64 %n, 4
    br label %rows
rows:
    %i = phi i64 [0, %0], [%below, %next]
    %below = add i64 %i, 4
    %past = icmp sgt i64 %i, %last
    %top = select i1 %past, i64 %last, i64 %i
    %start = mul i64 %top, %width
    %row0 = getelementptr NUMBER, ptr %b, i64 %start
    %row1 = getelementptr NUMBER, ptr %row0, i64 %width
    %row2 = getelementptr NUMBER, ptr %row1, i64 %width
    %row3 = getelementptr NUMBER, ptr %row2, i64 %width
    %into = getelementptr NUMBER, ptr %turned, i64 %top
    br label %column
column:
    %j = phi i64 [0, %rows], [%right, %column]
    %right = add i64 %j, 1""" + "".join(f"""
    %at{r} = getelementptr NUMBER, ptr %row{r}, i64 %j
    %x{r} = load NUMBER, ptr %at{r}
    %four{r} = insertelement <4 x NUMBER> {f"%four{r - 1}" if r else "poison"}, NUMBER %x{r}, i32 {r}""" for r in range(4)) + """
    %line = mul i64 %j, %n
    %place = getelementptr NUMBER, ptr %into, i64 %line
    store <4 x NUMBER> %four3, ptr %place, align 4
    %more_columns = icmp slt i64 %right, %k
    br i1 %more_columns, label %column, label %next
next:
    %more_rows = icmp slt i64 %below, %n
    br i1 %more_rows, label %rows, label %end
end:
    ret void
}
"""
_COUNT = """
define void @count(i64 %operations) {
    %asked = load i64, ptr inttoptr (i64 COUNTS to ptr)
    %counts = icmp ne i64 %asked, 0
    br i1 %counts, label %add, label %leave
add:
    %sum = getelementptr i64, ptr inttoptr (i64 COUNTS to ptr), i64 1
    %before = atomicrmw add ptr %sum, i64 %operations monotonic
    br label %leave
leave:
    ret void
}
"""
_GATE = """
define void @gate(i32 %order, i32 %of_a, i32 %of_b, i32 %m, i32 %n, i32 %k, NUMBER %alpha, ptr %a, i32 %width_a, ptr %b,
                  i32 %width_b, NUMBER %beta, ptr %c, i32 %width_c) {
    %rows = sext i32 %m to i64
    %columns = sext i32 %n to i64
    %inner = sext i32 %k to i64
    %entries = mul i64 %rows, %columns
    %products = mul i64 %entries, %inner
    %operations = shl i64 %products, 1
    call void @count(i64 %operations)
    %dots_a = icmp eq i32 %of_a, AS_IS
    %dots_b = icmp eq i32 %of_b, TRANSPOSED
    %last = sub i32 %k, 1
    %short = icmp ult i32 %last, 127
    %tall = icmp sge i32 %m, 32
    %past = sub i32 %n, 1
    %few = icmp ult i32 %past, 128
    %many = icmp sge i32 %n, 16
    %tiny = icmp sle i32 %k, 32
    %pays = or i1 %many, %tiny
    %dots = and i1 %dots_a, %dots_b
    %shape = and i1 %tall, %few
    %lines = and i1 %short, %pays
    %small = and i1 %shape, %lines
    %long = icmp sgt i64 %entries, 1200
    %some = icmp sgt i64 %products, 0
    %unpacked = icmp sle i64 %products, 1000000
    %narrow = xor i1 %many, true
    %column = and i1 %narrow, %long
    %filled = and i1 %some, %unpacked
    %thin = and i1 %column, %filled
    %worth = or i1 %small, %thin
    %turns = and i1 %dots, %worth
    br i1 %turns, label %turn, label %leave
turn:
    %size = mul i32 %n, %k
    %turned = alloca NUMBER, i32 %size, align 64
    %quick = icmp sge i32 %n, FEWEST
    br i1 %quick, label %fours, label %ones
fours:
    %width = sext i32 %width_b to i64
    call void @turn(ptr %b, i64 %width, i64 %columns, i64 %inner, ptr %turned)
    br label %multiply
ones:
    call void inttoptr (i64 OMATCOPY to ptr)(i32 %order, i32 TRANSPOSED, i32 %n, i32 %k, NUMBER 1.0, ptr %b, i32 %width_b,
        ptr %turned, i32 %n)
    br label %multiply
multiply:
    call void inttoptr (i64 GEMM to ptr)(i32 %order, i32 AS_IS, i32 AS_IS, i32 %m, i32 %n, i32 %k, NUMBER %alpha, ptr %a,
        i32 %width_a, ptr %turned, i32 %n, NUMBER %beta, ptr %c, i32 %width_c)
    ret void
leave:
    musttail call void inttoptr (i64 GEMM to ptr)(i32 %order, i32 %of_a, i32 %of_b, i32 %m, i32 %n, i32 %k, NUMBER %alpha, ptr %a,
        i32 %width_a, ptr %b, i32 %width_b, NUMBER %beta, ptr %c, i32 %width_c)
    ret void
}
"""


def _gates() -> dict[str, int]:
    made = {"tinygrad_relu_count": assembled(_COUNT.replace("COUNTS", str(counts.ctypes.data)), "count")}
    for bits, name in GEMMS.items():
        gemm, omatcopy = (ctypes.cast(getattr(library(), f"scipy_cblas_{f}"), ctypes.c_void_p).value
                          for f in (name, f"{name[0]}omatcopy"))
        code = _COUNT.replace("define", "define internal") + _TURN + _GATE
        for word, meaning in (("GEMM", gemm), ("OMATCOPY", omatcopy), ("COUNTS", counts.ctypes.data), ("AS_IS", AS_IS),
                              ("TRANSPOSED", TRANSPOSED), ("NUMBER", "float" if bits == 32 else "double"),
                              ("FEWEST", 4 if bits == 64 else 1 << 30)):
            code = code.replace(word, str(meaning))
        made[f"tinygrad_relu_{name}"] = assembled(code, "gate")
    return made


GEMMS = {32: "sgemm", 64: "dgemm"}      # by the bits of a number
SYMBOLS.append(_gates)


def gemm_block(transpose_a: bool, transpose_b: bool, a: Any, b: Any, beta: float, c: Any, top: int, bottom: int, left: int,
               right: int) -> None:
    """``c[top:bottom, left:right] = (op(a) @ op(b) + beta * c)[top:bottom, left:right]``, called from kernels.

    Matrices are C-contiguous and of one dtype; ``op`` transposes if its flag is set. With ``beta`` 0, `c` is not read.
    """
    rows, columns = (a.T if transpose_a else a)[top:bottom], (b.T if transpose_b else b)[:, left:right]
    block = c[top:bottom, left:right]
    block[...] = rows @ columns + (beta * block if beta else 0.0)


@overload(gemm_block)
def _compiled_gemm_block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right):
    from numba import types
    from numba.core.errors import TypingError

    if any(matrix.layout != "C" or matrix.dtype != c.dtype for matrix in (a, b, c)):
        raise TypingError(f"gemm got {a}, {b} and {c}; expected C-contiguous matrices of one dtype")    # else reads out of bounds
    i, p, number = types.int32, types.voidptr, c.dtype
    signature = types.void(i, i, i, i, i, i, number, p, i, p, i, number, p, i)
    product = types.ExternalFunction(f"tinygrad_relu_{GEMMS[number.bitwidth]}", signature)

    def body(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right):
        T, size = c.dtype.type, c.itemsize
        width_a, width_b, width_c = max(1, a.shape[1]), max(1, b.shape[1]), max(1, c.shape[1])
        inner = a.shape[0] if transpose_a else a.shape[1]
        product(ROW_MAJOR, TRANSPOSED if transpose_a else AS_IS, TRANSPOSED if transpose_b else AS_IS, bottom - top,
                right - left, inner, T(1), a.ctypes.data + size * (top if transpose_a else top * width_a), width_a,
                b.ctypes.data + size * (left * width_b if transpose_b else left), width_b, T(beta),
                c.ctypes.data + size * (top * width_c + left), width_c)

    return body


def count(operations: int) -> None:
    """Count the operations of a product that OpenBLAS does not compute. For kernels."""
    if counts[0]:
        counts[1] += operations


@overload(count)
def _compiled_count(operations):
    from numba import types

    add = types.ExternalFunction("tinygrad_relu_count", types.void(types.int64))
    return lambda operations: add(operations)


def core_name() -> str:
    """The processor family whose kernels OpenBLAS uses, such as ``SkylakeX`` (AVX-512) or ``Haswell`` (AVX2)."""
    return library().scipy_openblas_get_corename().decode()
