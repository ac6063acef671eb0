"""Matrix products of our own, where kernels have vectors of 512 bits. Only b is copied, and only once.

The result is cut into slabs, four vectors wide. The columns of b that a slab needs are copied side by side, transposed on the way
if need be, into memory that the cache of a core holds. Then

    c[6 rows, 4 vectors] = sum over p of a[6 rows, p] * copy[p, 4 vectors]

runs in 24 registers, from the top of the slab to its bottom. Numbers of a are read where they are, one by one. OpenBLAS copies
both operands, for each panel anew, and first writes zeros into c.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from .blas import count
from .calling import called
from .policy import Matrix, intrinsic, kernel, overload, scalar
from .processor import is_wide

LINE = 64                   # bytes of a vector, and of a line of the cache
ROWS, VECTORS = 6, 4        # of a tile: 24 sums, 4 vectors of b and a number of a take 29 of 32 registers
DEPTH = 1024                # the most rows of b in a copy: 256 kB. Half as many of a.T, so that 1 MB holds the columns of a panel


def has_slabs() -> bool:
    """Whether kernels use `slabs` on this processor; for them a constant. Plain Python has no vectors."""
    return False


@overload(has_slabs)
def _has_slabs():
    found = is_wide()
    return lambda: found


@scalar
def room(rows, columns, like):
    """A matrix that begins at a line of the cache. With vectors of 512 bits a thin product is nearly twice as fast as if its
    rows crossed these lines."""
    buffer = np.empty(rows * columns + LINE // like.itemsize, like.dtype)
    start = -buffer.ctypes.data % LINE // like.itemsize
    return buffer[start:start + rows * columns].reshape(rows, columns)


# -- instructions for LLVM: addresses and distances are in bytes ---------------------------------------------------------------


def vector(number: Any) -> Any:
    """The type of a vector of numbers of a type of Numba's."""
    from llvmlite import ir

    return ir.VectorType(ir.FloatType() if number.bitwidth == 32 else ir.DoubleType(), 8 * LINE // number.bitwidth)


def call(builder: Any, name: str, kind: Any, *arguments: Any) -> Any:
    """A function of LLVM's, one of those for vectors of this type, which it returns, or nothing if it stores."""
    from llvmlite import ir
    from numba.core import cgutils

    result = ir.VoidType() if name.endswith("store") else kind
    signature = ir.FunctionType(result, [x.type for x in arguments])
    full = f"llvm.{name}.v{kind.count}f{8 * LINE // kind.count}{'.p0' if name.startswith('masked') else ''}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, full), arguments)


def at(builder: Any, kind: Any, address: Any, *steps: Any) -> Any:
    """A pointer to what is at the sum of an address and steps."""
    for step in steps:
        address = builder.add(address, address.type(step) if isinstance(step, int) else step)
    return builder.inttoptr(address, kind.as_pointer())


def repeated(builder: Any, x: Any, lanes: int) -> Any:
    """The vector (x, x, ...)."""
    from llvmlite import ir

    kind, i = ir.VectorType(x.type, lanes), ir.IntType(32)
    first = builder.insert_element(kind(ir.Undefined), x, i(0))
    return builder.shuffle_vector(first, kind(ir.Undefined), ir.VectorType(i, lanes)(None))


def mask_of(builder: Any, n: Any, lanes: int) -> Any:
    """The mask of the first n numbers of a vector."""
    from llvmlite import ir

    return builder.icmp_signed("<", ir.VectorType(n.type, lanes)(list(range(lanes))), repeated(builder, n, lanes))


def load(builder: Any, kind: Any, mask: Any, *place: Any) -> Any:
    """A vector, with zeros outside the mask, where it is not read. Without a mask, all of it."""
    from llvmlite import ir

    source, size = at(builder, kind, *place), LINE // kind.count
    return (builder.load(source, align=size) if mask is None else
            call(builder, "masked.load", kind, source, ir.IntType(32)(size), mask, kind(None)))


def store(builder: Any, x: Any, mask: Any, *place: Any) -> None:
    """Write a vector, or the part of it inside the mask."""
    from llvmlite import ir

    target, size = at(builder, x.type, *place), LINE // x.type.count
    if mask is None:
        builder.store(x, target, align=size)
    else:
        call(builder, "masked.store", x.type, x, target, ir.IntType(32)(size), mask)


def distance(builder: Any, i: int, rows: Any, step: Any) -> Any:
    """From row 0 to row i of those that are `step` apart; to the last one of `rows` if there are fewer."""
    row, last = rows.type(i), builder.sub(rows, rows.type(1))
    return builder.mul(step, builder.select(builder.icmp_signed("<", row, last), row, last))


@intrinsic
def move(typing_context, number, source, columns, target):
    """Copy the first numbers of a row of b into a row of a slab, and zeros after them."""
    from numba import types

    def generate(context, builder, signature, values):
        _, source, columns, target = values
        kind = vector(number)
        for i in range(VECTORS):
            mask = mask_of(builder, builder.sub(columns, columns.type(i * kind.count)), kind.count)
            store(builder, load(builder, kind, mask, source, LINE * i), None, target, LINE * i)
        return context.get_dummy_value()

    return types.void(number, types.int64, types.int64, types.int64), generate


@intrinsic
def turn(typing_context, number, source, step, rows, columns, target):
    """Transpose a square of as many rows as a vector has numbers, which are `step` apart, into a slab.

    Of fewer rows the last one is repeated; of fewer columns the rest are zeros. A round interleaves row i with row i + half of
    all. After log2 of their number, columns have become rows.
    """
    from llvmlite import ir
    from numba import types

    def generate(context, builder, signature, values):
        _, source, step, rows, columns, target = values
        kind = vector(number)
        n, half, order = kind.count, kind.count // 2, ir.VectorType(ir.IntType(32), kind.count)
        mask = mask_of(builder, columns, n)
        lines = [load(builder, kind, mask, source, distance(builder, i, rows, step)) for i in range(n)]
        halves = [order([first + i // 2 + i % 2 * n for i in range(n)]) for first in (0, half)]
        for _ in range(n.bit_length() - 1):
            lines = [builder.shuffle_vector(lines[i], lines[i + half], each) for i in range(half) for each in halves]
        for i, line in enumerate(lines):
            store(builder, line, None, target, LINE * VECTORS * i)
        return context.get_dummy_value()

    i = types.int64
    return types.void(number, i, i, i, i, i), generate


@intrinsic
def tile(typing_context, number, inner, a, step_a, next_a, b, beta, c, step_c, rows, columns):
    """``c[:rows, :columns] = a @ b + beta * c`` for up to `ROWS` rows of a slab, which are `step_a` and `step_c` apart.

    Numbers of a row of a are `next_a` apart. b is a copy. Of fewer rows, the last one is computed again. With `beta` 0, c is not
    read.
    """
    from numba import types
    from numba.core import cgutils

    def generate(context, builder, signature, values):
        _, inner, a, step_a, next_a, b, beta, c, step_c, rows, columns = values
        kind = vector(number)
        n = kind.count

        def emit(vectors: int) -> None:
            last = mask_of(builder, builder.sub(columns, columns.type((vectors - 1) * n)), n)
            places = [(last if i == vectors - 1 else None, c, distance(builder, r, rows, step_c), LINE * i)
                      for r in range(ROWS) for i in range(vectors)]
            sums = [cgutils.alloca_once(builder, kind) for _ in places]
            for each in sums:
                builder.store(kind(None), each)
            lines = [builder.add(a, distance(builder, r, rows, step_a)) for r in range(ROWS)]
            with cgutils.for_range(builder, inner) as loop:
                p = loop.index
                of_b = [load(builder, kind, None, b, builder.mul(p, p.type(LINE * VECTORS)), LINE * i) for i in range(vectors)]
                for r, line in enumerate(lines):
                    of_a = builder.load(at(builder, kind.element, line, builder.mul(p, next_a)))
                    x = repeated(builder, of_a, n)
                    for y, each in zip(of_b, sums[r * vectors:]):
                        builder.store(call(builder, "fma", kind, x, y, builder.load(each)), each)
            with builder.if_then(builder.fcmp_unordered("!=", beta, beta.type(0.0))):
                x = repeated(builder, beta, n)
                for place, each in zip(places, sums):
                    builder.store(call(builder, "fma", kind, x, load(builder, kind, *place), builder.load(each)), each)
            for place, each in zip(places, sums):
                store(builder, builder.load(each), *place)

        needed = builder.sdiv(builder.add(columns, columns.type(n - 1)), columns.type(n))
        for vectors in range(1, VECTORS + 1):
            with builder.if_then(builder.icmp_signed("==", needed, needed.type(vectors))):
                emit(vectors)
        return context.get_dummy_value()

    i = types.int64
    return types.void(number, i, i, i, i, i, number, i, i, i, i), generate


# -- the product -----------------------------------------------------------------------------------------------------------


@scalar
def slab(transpose_b, b, start, inner, first, columns, copy):
    """``copy = op(b)[start:start + inner, first:first + columns]``."""
    T, size, square = b.dtype.type, b.itemsize, LINE // b.itemsize
    step, width = size * b.shape[1], size * copy.shape[1]
    if transpose_b:
        for j in range(0, columns, square):
            for p in range(0, inner, square):
                turn(T(0), b.ctypes.data + step * (first + j) + size * (start + p), step, columns - j, inner - p,
                     copy.ctypes.data + width * p + size * j)
    else:
        for p in range(inner):
            move(T(0), b.ctypes.data + step * (start + p) + size * first, columns, copy.ctypes.data + width * p)


@scalar
def tiles(inner, a, step_a, next_a, copy, beta, c, top, bottom, first, columns):
    """``c[top:bottom, first:first + columns] = a @ copy + beta * c``. `a` is an address; see `tile`."""
    T, size = c.dtype.type, c.itemsize
    step_c = size * c.shape[1]
    for r in range(top, bottom, ROWS):
        tile(T(0), inner, a + step_a * (r - top), step_a, next_a, copy.ctypes.data, T(beta),
             c.ctypes.data + step_c * r + size * first, step_c, bottom - r, columns)


@kernel
def slabs(transpose_a: bool, transpose_b: bool, a: Matrix, b: Matrix, beta: float, c: Matrix, top: int, bottom: int, left: int,
          right: int):
    """``c[top:bottom, left:right] = (op(a) @ op(b) + beta * c)[top:bottom, left:right]``, as `gemm_block`."""
    size, line = a.itemsize, a.itemsize * a.shape[1]
    inner, step_a, next_a = (len(a), size, line) if transpose_a else (a.shape[1], line, size)
    most, square = DEPTH // 2 if transpose_a else DEPTH, LINE // size
    pieces = (inner + most - 1) // most
    depth = (inner + pieces * square - 1) // (pieces * square) * square
    copy = room(depth, VECTORS * square, b)
    for first in range(left, right, copy.shape[1]):
        columns = min(copy.shape[1], right - first)
        for start in range(0, inner, depth):
            deep = min(depth, inner - start)
            slab(transpose_b, b, start, deep, first, columns, copy)
            tiles(deep, a.ctypes.data + step_a * top + next_a * start, step_a, next_a, copy, 1.0 if start else beta, c,
                  top, bottom, first, columns)
    count(2 * (bottom - top) * (right - left) * inner)


slabs_of = called(slabs)
