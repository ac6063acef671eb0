"""Matrix products of any size. Large ones are cut into panels that threads share, and stacks are multiplied one by one.

A product is cut along the longer side of its result, into panels whose size depends on the shapes alone, so the bits of the
result do not depend on the number of threads.
"""
from __future__ import annotations

from functools import partial
from typing import Any

from .blas import gemm, gemm_block
from .door import launch
from .policy import Array3, Integers, Matrix, kernel
from .pool import share

LARGE = 1 << 24         # multiplications from which a product is worth sharing: 0.3 ms of one core in float32
PANEL, PANELS = 128, 8  # minimum rows (or columns) per panel, to keep packing cheap; maximum panels


@kernel
def product_block(transpose_a: bool, transpose_b: bool, a: Matrix, b: Matrix, beta: float, c: Matrix, top: int, bottom: int,
                  left: int, right: int):
    """See `blas.gemm_block`."""
    gemm_block(transpose_a, transpose_b, a, b, beta, c, top, bottom, left, right)


def matmul(transpose_a: bool, transpose_b: bool, a: Any, b: Any, beta: float, c: Any) -> None:
    """``c = op(a) @ op(b) + beta * c``, on as many threads as are worth it; `op` transposes if its flag is set."""
    m, n = c.shape
    inner = a.shape[0] if transpose_a else a.shape[1]
    if c.size * inner < LARGE:
        launch(product_block, transpose_a, transpose_b, a, b, beta, c, 0, m, 0, n)
        return
    length = max(m, n)
    width = max(PANEL, -(-length // PANELS))
    share([partial(launch, product_block, transpose_a, transpose_b, a, b, beta, c,
                   *((start, min(start + width, m), 0, n) if m >= n else (0, m, start, min(start + width, n))))
           for start in range(0, length, width)])


@kernel
def stack_product(transpose_a: bool, transpose_b: bool, a: Array3, b: Array3, of_a: Integers, of_b: Integers, out: Array3,
                  first: int, last: int):
    """The products from `first` up to `last`."""
    for i in range(first, last):
        gemm(transpose_a, transpose_b, a[of_a[i]], b[of_b[i]], 0.0, out[i])


def matmul_stacks(transpose_a: bool, transpose_b: bool, a: Any, b: Any, of_a: Any, of_b: Any, out: Any) -> None:
    """``out[i] = op(a[of_a[i]]) @ op(b[of_b[i]])`` for every i, on as many threads as are worth it."""
    count = len(out)
    inner = a.shape[1] if transpose_a else a.shape[2]
    if count and out[0].size * inner >= LARGE:
        for i in range(count):
            matmul(transpose_a, transpose_b, a[of_a[i]], b[of_b[i]], 0.0, out[i])
    elif out.size * inner >= LARGE:
        width = -(-count // PANELS)
        share([partial(launch, stack_product, transpose_a, transpose_b, a, b, of_a, of_b, out, first,
                       min(first + width, count)) for first in range(0, count, width)])
    else:
        launch(stack_product, transpose_a, transpose_b, a, b, of_a, of_b, out, 0, count)
