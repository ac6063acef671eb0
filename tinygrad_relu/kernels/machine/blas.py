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


AVX512 = {"SkylakeX", "Cooperlake", "SapphireRapids"}       # OpenBLAS's names of processors
UNPACKED = 1_000_000        # multiplications up to which it has kernels there that copy nothing
ROW_MAJOR, AS_IS, TRANSPOSED = 101, 111, 112      # the constants of cblas.h


# Kernels reach OpenBLAS through this gate. While `counts[0]` is not 0, it adds the operations of each product to `counts[1]`.
# With AVX-512, OpenBLAS has kernels for small products, which copy nothing. But it does not use them for a @ b.T if b has less
# than 32 columns, or the result more than 1200 numbers. Then the gate transposes b first: 8 x 8 by 8 x 128 in float32 takes 0.22
# us instead of 0.51. It also does so for blocks of 32 x 16 and more, where the kernel for a @ b.T is slower. The gap between
# rows of b.T keeps them out of the same lines of the cache.
counts = np.zeros(2, np.int64)
# `turn` transposes b (n, k), n >= 4 and k >= 4, in blocks of 4 x 4, of which the last ones lie over others. OpenBLAS's omatcopy
# is slower in float64: with it, 8 x 64 by 64 x 256 takes 5.5 us instead of 4.3.
_TURN = """
define internal void @turn(ptr %b, i64 %width, i64 %n, i64 %k, ptr %turned, i64 %width_turned) {
    %last = sub i64 %n, 4
    %last_column = sub i64 %k, 4
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
    br label %block
block:
    %j = phi i64 [0, %rows], [%right, %block]
    %right = add i64 %j, 4
    %beyond = icmp sgt i64 %j, %last_column
    %left = select i1 %beyond, i64 %last_column, i64 %j
    %line = mul i64 %left, %width_turned
    %line0 = getelementptr NUMBER, ptr %into, i64 %line
""" + "".join(f"""
    %at{r} = getelementptr NUMBER, ptr %row{r}, i64 %left
    %x{r} = load <4 x NUMBER>, ptr %at{r}, align 4""" for r in range(4)) + "".join(f"""
    %{name} = shufflevector <4 x NUMBER> %{a}, <4 x NUMBER> %{b}, <4 x i32> <{", ".join(f"i32 {i}" for i in places)}>"""
    for name, a, b, places in map(str.split, (
        "s0 x0 x1 0426", "s1 x0 x1 1537", "s2 x2 x3 0426", "s3 x2 x3 1537",
        "y0 s0 s2 0145", "y1 s1 s3 0145", "y2 s0 s2 2367", "y3 s1 s3 2367"))) + "".join(f"""
    %line{r + 1} = getelementptr NUMBER, ptr %line{r}, i64 %width_turned
    store <4 x NUMBER> %y{r}, ptr %line{r}, align 4""" for r in range(4)) + """
    %more_columns = icmp slt i64 %right, %k
    br i1 %more_columns, label %block, label %next
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
declare i32 @llvm.smin.i32(i32, i32)
define void @gate(i32 %order, i32 %of_a, i32 %of_b, i32 %m, i32 %n, i32 %k, NUMBER %alpha, ptr %a, i32 %width_a, ptr %b,
                  i32 %width_b, NUMBER %beta, ptr %c, i32 %width_c) {
    %rows = sext i32 %m to i64
    %columns = sext i32 %n to i64
    %inner = sext i32 %k to i64
    %entries = mul i64 %rows, %columns
    %products = mul i64 %entries, %inner
    %operations = shl i64 %products, 1
    call void @count(i64 %operations)
    %numbers = mul i64 %columns, %inner
    %size = mul i64 %numbers, BYTES
    %dots_a = icmp eq i32 %of_a, AS_IS
    %dots_b = icmp eq i32 %of_b, TRANSPOSED
    %some = icmp sgt i64 %products, 0
    %small = icmp sle i64 %products, SMALL
    %room = icmp sle i64 %size, 262144
    %dots = and i1 %dots_a, %dots_b
    %filled = and i1 %some, %small
    %fits = and i1 %filled, %room
    %may = and i1 %dots, %fits
    %brief = icmp slt i32 %k, 32
    %large = icmp sgt i64 %entries, 1200
    %refused = or i1 %brief, %large
    %tall = icmp sge i32 %m, 32
    %wide = icmp sge i32 %n, 16
    %short = icmp slt i32 %k, 128
    %block = and i1 %tall, %wide
    %slow = and i1 %block, %short
    %pays = or i1 %refused, %slow
    %turns = and i1 %may, %pays
    br i1 %turns, label %turn, label %leave
turn:
    %bytes = mul i64 %columns, BYTES
    %aliases = and i64 %bytes, 1023
    %aligned = icmp eq i64 %aliases, 0
    %gap = select i1 %aligned, i64 LINE, i64 0
    %apart = add i64 %columns, %gap
    %width_turned = trunc i64 %apart to i32
    %all = mul i64 %apart, %inner
    %turned = alloca NUMBER, i64 %all, align 64
    %least = call i32 @llvm.smin.i32(i32 %n, i32 %k)
    %quick = icmp sge i32 %least, FEWEST
    br i1 %quick, label %fours, label %ones
fours:
    %width = sext i32 %width_b to i64
    call void @turn(ptr %b, i64 %width, i64 %columns, i64 %inner, ptr %turned, i64 %apart)
    br label %multiply
ones:
    call void inttoptr (i64 OMATCOPY to ptr)(i32 %order, i32 TRANSPOSED, i32 %n, i32 %k, NUMBER 1.0, ptr %b, i32 %width_b,
        ptr %turned, i32 %width_turned)
    br label %multiply
multiply:
    call void inttoptr (i64 GEMM to ptr)(i32 %order, i32 AS_IS, i32 AS_IS, i32 %m, i32 %n, i32 %k, NUMBER %alpha, ptr %a,
        i32 %width_a, ptr %turned, i32 %width_turned, NUMBER %beta, ptr %c, i32 %width_c)
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
                              ("FEWEST", 4 if bits == 64 else 1 << 30), ("BYTES", bits // 8), ("LINE", 512 // bits),
                              ("SMALL", UNPACKED if core_name() in AVX512 else 0)):
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
