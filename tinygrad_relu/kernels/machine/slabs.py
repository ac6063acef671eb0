"""Matrix products a @ b and a @ b.T of our own, where kernels have vectors of 512 bits. Only b is copied, and only once.

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
DEPTH = 1024                # the most rows of b in a copy: 256 kB


def has_slabs() -> bool:
    """Whether this processor runs `slabs`; for kernels a constant."""
    return is_wide()


@overload(has_slabs)
def _has_slabs():
    found = is_wide()
    return lambda: found


@scalar
def room(rows, columns, like):
    """A matrix that begins at a line of the cache. With vectors of 512 bits a thin product is nearly twice as fast than if its
    rows cross these lines."""
    buffer = np.empty(rows * columns + LINE // like.itemsize, like.dtype)
    start = -buffer.ctypes.data % LINE // like.itemsize
    return buffer[start:start + rows * columns].reshape(rows, columns)


# -- instructions: addresses and distances are in bytes ----------------------------------------------------------------------


class Vectors:
    """Vectors of numbers of Numba's type `number`, in LLVM's language."""

    def __init__(self, builder: Any, number: Any) -> None:
        from llvmlite import ir

        self.builder, self.bytes = builder, number.bitwidth // 8
        self.count = LINE // self.bytes         # numbers in a vector
        self.kind = ir.VectorType(ir.FloatType() if number.bitwidth == 32 else ir.DoubleType(), self.count)
        self.name = f"v{self.count}f{number.bitwidth}"

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        from llvmlite import ir
        from numba.core import cgutils

        signature = ir.FunctionType(result, [x.type for x in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, f"llvm.{name}"), arguments)

    def at(self, kind: Any, address: Any, *steps: Any) -> Any:
        """A pointer to what is at the sum of an address and steps."""
        for step in steps:
            address = self.builder.add(address, address.type(step) if isinstance(step, int) else step)
        return self.builder.inttoptr(address, kind.as_pointer())

    def repeated(self, x: Any) -> Any:
        """The vector (x, x, ...)."""
        from llvmlite import ir

        kind, lane = ir.VectorType(x.type, self.count), ir.IntType(32)
        first = self.builder.insert_element(kind(ir.Undefined), x, lane(0))
        return self.builder.shuffle_vector(first, kind(ir.Undefined), ir.VectorType(lane, self.count)(None))

    def mask(self, n: Any) -> Any:
        """Of the first n numbers of a vector."""
        from llvmlite import ir

        return self.builder.icmp_signed("<", ir.VectorType(n.type, self.count)(list(range(self.count))), self.repeated(n))

    def load(self, mask: Any, *place: Any) -> Any:
        """A vector, with zeros outside the mask, where it is not read. Without a mask, all of it."""
        from llvmlite import ir

        at = self.at(self.kind, *place)
        return (self.builder.load(at, align=self.bytes) if mask is None else
                self.call(f"masked.load.{self.name}.p0", self.kind, at, ir.IntType(32)(self.bytes), mask, self.kind(None)))

    def store(self, x: Any, mask: Any, *place: Any) -> None:
        from llvmlite import ir

        at = self.at(self.kind, *place)
        if mask is None:
            self.builder.store(x, at, align=self.bytes)
        else:
            self.call(f"masked.store.{self.name}.p0", ir.VoidType(), x, at, ir.IntType(32)(self.bytes), mask)

    def distance(self, i: int, rows: Any, step: Any) -> Any:
        """From row 0 to row i of those that are `step` apart; to the last one of `rows` if there are fewer."""
        row, last = rows.type(i), self.builder.sub(rows, rows.type(1))
        return self.builder.mul(step, self.builder.select(self.builder.icmp_signed("<", row, last), row, last))


@intrinsic
def move(typing_context, number, source, columns, target):
    """Copy the first numbers of a row of b into a row of a slab, and zeros after them."""
    from numba import types

    def generate(context, builder, signature, values):
        _, source, columns, target = values
        v = Vectors(builder, number)
        for i in range(VECTORS):
            mask = v.mask(builder.sub(columns, columns.type(i * v.count)))
            v.store(v.load(mask, source, LINE * i), None, target, LINE * i)
        return context.get_dummy_value()

    return types.void(number, types.int64, types.int64, types.int64), generate


@intrinsic
def turn(typing_context, number, source, step, rows, columns, target):
    """Transpose a square of as many rows as a vector has numbers, which are `step` apart, into a slab.

    Of fewer rows the last one is repeated; of fewer columns the rest are zeros.

    A round interleaves row i with row i + half of all. After log2 of their number, columns have become rows.
    """
    from llvmlite import ir
    from numba import types

    def generate(context, builder, signature, values):
        _, source, step, rows, columns, target = values
        v = Vectors(builder, number)
        half, mask, order = v.count // 2, v.mask(columns), ir.VectorType(ir.IntType(32), v.count)
        lines = [v.load(mask, source, v.distance(i, rows, step)) for i in range(v.count)]
        halves = [order([first + i // 2 + i % 2 * v.count for i in range(v.count)]) for first in (0, half)]
        for _ in range(v.count.bit_length() - 1):
            lines = [builder.shuffle_vector(lines[i], lines[i + half], each) for i in range(half) for each in halves]
        for i, line in enumerate(lines):
            v.store(line, None, target, LINE * VECTORS * i)
        return context.get_dummy_value()

    i = types.int64
    return types.void(number, i, i, i, i, i), generate


@intrinsic
def tile(typing_context, number, inner, a, step_a, b, beta, c, step_c, rows, columns):
    """``c[:rows, :columns] = a @ b + beta * c`` for up to `ROWS` rows of a slab, which are `step_a` and `step_c` apart.

    b is a copy. Of fewer rows, the last one is computed again. With `beta` 0, c is not read.
    """
    from numba import types
    from numba.core import cgutils

    def generate(context, builder, signature, values):
        _, inner, a, step_a, b, beta, c, step_c, rows, columns = values
        v = Vectors(builder, number)

        def emit(vectors: int) -> None:
            last = v.mask(builder.sub(columns, columns.type((vectors - 1) * v.count)))
            places = [(last if i == vectors - 1 else None, c, v.distance(r, rows, step_c), LINE * i)
                      for r in range(ROWS) for i in range(vectors)]
            sums = [cgutils.alloca_once(builder, v.kind) for _ in places]
            for each in sums:
                builder.store(v.kind(None), each)
            lines = [builder.add(a, v.distance(r, rows, step_a)) for r in range(ROWS)]
            with cgutils.for_range(builder, inner) as loop:
                p = loop.index
                of_b = [v.load(None, b, builder.mul(p, p.type(LINE * VECTORS)), LINE * i) for i in range(vectors)]
                for r, line in enumerate(lines):
                    x = v.repeated(builder.load(v.at(v.kind.element, line, builder.mul(p, p.type(v.bytes)))))
                    for column, each in zip(of_b, sums[r * vectors:]):
                        builder.store(v.call(f"fma.{v.name}", v.kind, x, column, builder.load(each)), each)
            with builder.if_then(builder.fcmp_unordered("!=", beta, beta.type(0.0))):
                for place, each in zip(places, sums):
                    builder.store(v.call(f"fma.{v.name}", v.kind, v.repeated(beta), v.load(*place), builder.load(each)), each)
            for place, each in zip(places, sums):
                v.store(builder.load(each), *place)

        for vectors in range(1, VECTORS + 1):
            needed = builder.sdiv(builder.add(columns, columns.type(v.count - 1)), columns.type(v.count))
            with builder.if_then(builder.icmp_signed("==", needed, needed.type(vectors))):
                emit(vectors)
        return context.get_dummy_value()

    i = types.int64
    return types.void(number, i, i, i, i, number, i, i, i, i), generate


# -- the product -----------------------------------------------------------------------------------------------------------


@kernel
def slabs(transpose_b: bool, a: Matrix, b: Matrix, beta: float, c: Matrix, top: int, bottom: int, left: int, right: int):
    """``c[top:bottom, left:right] = (a @ op(b) + beta * c)[top:bottom, left:right]``, as `gemm_block`."""
    T, size, inner = c.dtype.type, c.itemsize, a.shape[1]
    step_a, step_b, step_c = size * inner, size * b.shape[1], size * c.shape[1]
    square, width = LINE // size, VECTORS * LINE // size
    pieces = (inner + DEPTH - 1) // DEPTH
    depth = (inner + pieces * square - 1) // (pieces * square) * square
    copy = room(depth, width, c)
    for first in range(left, right, width):
        columns = min(width, right - first)
        for start in range(0, inner, depth):
            deep = min(depth, inner - start)
            if transpose_b:
                for j in range(0, columns, square):
                    for p in range(0, deep, square):
                        turn(T(0), b.ctypes.data + step_b * (first + j) + size * (start + p), step_b, columns - j, deep - p,
                             copy.ctypes.data + size * (width * p + j))
            else:
                for p in range(deep):
                    move(T(0), b.ctypes.data + step_b * (start + p) + size * first, columns, copy.ctypes.data + size * width * p)
            for r in range(top, bottom, ROWS):
                tile(T(0), deep, a.ctypes.data + step_a * r + size * start, step_a, copy.ctypes.data, T(1) if start else T(beta),
                     c.ctypes.data + step_c * r + size * first, step_c, bottom - r, columns)
    count(2 * (bottom - top) * (right - left) * inner)


slabs_of = called(slabs)
