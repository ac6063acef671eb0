"""How matrix products are cut into panels that threads share: for kernels.

How a product is cut depends on its shape alone, so the bits of the result do not depend on the number of threads. Each panel is
computed on one thread, by `slabs` or by our OpenBLAS.
"""
from __future__ import annotations

from .blas import UNPACKED, gemm_block
from .parallel import parallel
from .policy import scalar
from .slabs import ROWS, has_slabs, slabs_of

SHARED = 1 << 20        # multiplications from which a product is cut: 8 us of one core in float32
LARGE = 1 << 25         # from here on OpenBLAS copies the operands of each panel, and panels are few

# Panels of up to `UNPACKED` multiplications run at 130 to 170 GFLOP/s (those of a @ b.T only if the result has at most 1200
# numbers); a product of 64 x 784 x 256 as a whole at 110.
DEPTH = 96              # the longest sum of a panel of a.T @ b (half as long over 64 columns): 24 kB of b stay in the first cache
SMALL = 1 << 19         # numbers of such a result up to which this pays: in wider matrices the rows are too far apart
NARROW = 64             # the columns of a slab
LOW, TALL = 66, 516     # the fewest rows of a slab that has been cut, because each copies its columns of b anew; and the most
RESULT = 1 << 13        # numbers of a result from which slabs pay; a smaller one makes too few of them for two threads
SHORT, LONG = 128, 640  # of a @ b.T: no such panels for inner lengths below the first; of 8 rows from the second on


@scalar
def panel_shape(m, n, inner, transpose_a, transpose_b):
    """The rows and columns of the panels into which a product of this shape is cut."""
    work = m * n * inner
    if work < SHARED:
        return m, n
    if in_slabs(m, n, inner, transpose_a, transpose_b):
        return even(m, max(LOW, min(TALL, m * n // (4 * NARROW))), ROWS), NARROW
    if in_pieces(m, n, inner, transpose_a, transpose_b):
        columns = n if n <= 128 else even(n, 64, 16)
        return even(m, max(8, min(128, m * n // (4 * columns))), 8), columns
    dots = transpose_b and not transpose_a
    if work < LARGE and dots and inner >= SHORT:
        if inner < LONG:
            return 16, 64
        columns = even(n, min(128, UNPACKED // (min(m, 8) * inner)), 16)
        if columns:
            return 8, columns
    if work < LARGE and not dots:
        columns = even(n, 128, 64)
        rows = even(m, min(UNPACKED, work // 4) // (inner * columns), 8)
        if rows:
            return rows, columns
    rows, columns, cuts = m, n, 1 if work < LARGE else 2 if work < LARGE << 4 else 3 if work < LARGE << 6 else 4
    for _ in range(cuts):
        if columns > rows:
            columns = (columns + 1) // 2
        else:
            rows = (rows + 1) // 2
    return rows, columns


@scalar
def in_slabs(m, n, inner, transpose_a, transpose_b):
    """Whether a product is made of `slabs`: not if it has too few rows to pay for the copies."""
    if transpose_a and (transpose_b or m * n <= SMALL or m < 2 * LOW or inner <= DEPTH):
        return False
    return has_slabs() and m >= 12 and n >= NARROW and m * n >= RESULT and m * n * inner >= SHARED


@scalar
def in_pieces(m, n, inner, transpose_a, transpose_b):
    """Whether panels sum up to `DEPTH` products at a time. So OpenBLAS copies nothing, and rows of b stay in the cache."""
    return transpose_a and not transpose_b and inner > DEPTH and m * n <= SMALL and m * n * inner >= SHARED


@scalar
def sum_pieces(a, b, beta, c, top, bottom, left, right):
    """``c = a.T @ b + beta * c`` within a panel."""
    most = DEPTH if right - left <= 64 else DEPTH // 2
    pieces = (len(a) + most - 1) // most
    depth = (len(a) + pieces - 1) // pieces
    for first in range(0, len(a), depth):
        last = first + depth
        gemm_block(True, False, a[first:last], b[first:last], 1.0 if first else beta, c, top, bottom, left, right)


@scalar
def block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right):
    """As `gemm_block`, for a panel of a product."""
    m, n = c.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    if in_slabs(m, n, inner, transpose_a, transpose_b):
        slabs_of(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right)
    elif in_pieces(m, n, inner, transpose_a, transpose_b):
        sum_pieces(a, b, beta, c, top, bottom, left, right)
    else:
        gemm_block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right)


@scalar
def even(length, most, unit):
    """The length of equal pieces of at most `most`, a multiple of `unit`; 0 if `most` is less than a unit and than the length."""
    if length <= most:
        return length
    most -= most % unit
    if most == 0:
        return 0
    pieces = (length + most - 1) // most
    return (length + pieces * unit - 1) // (pieces * unit) * unit


@scalar
def panel_count(c, rows, columns):
    if rows >= c.shape[0] and columns >= c.shape[1]:
        return 1
    return ((c.shape[0] + rows - 1) // rows) * ((c.shape[1] + columns - 1) // columns)


@scalar
def panel(i, c, rows, columns, across):
    """The first and the last row, the first and the last column of panel i of c, in the manner of slices.

    They are numbered down the columns, or across the rows. The weights of a layer are the columns of the product forward,
    and the rows of the product that is their gradient: so a thread always has the same part of them in the cache of its core.
    """
    m, n = c.shape
    if rows >= m and columns >= n:
        return 0, m, 0, n
    high, wide = (m + rows - 1) // rows, (n + columns - 1) // columns
    top, left = (i // wide * rows, i % wide * columns) if across else (i % high * rows, i // high * columns)
    return top, min(top + rows, m), left, min(left + columns, n)


@scalar
def multiply(start, stop, transpose_a, transpose_b, a, b, beta, c, rows, columns):
    """The panels from `start` up to `stop`."""
    for i in range(start, stop):
        top, bottom, left, right = panel(i, c, rows, columns, transpose_a)
        block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right)


@scalar
def gemm(transpose_a, transpose_b, a, b, beta, c):
    """``c = op(a) @ op(b) + beta * c``, on as many threads as are worth it; `op` transposes if its flag is set."""
    inner = a.shape[0] if transpose_a else a.shape[1]
    rows, columns = panel_shape(c.shape[0], c.shape[1], inner, transpose_a, transpose_b)
    parallel(multiply, panel_count(c, rows, columns), 1, (transpose_a, transpose_b, a, b, beta, c, rows, columns))
