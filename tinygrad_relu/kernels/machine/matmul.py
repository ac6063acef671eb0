"""Matrix products of any size: in one launch, on as many threads as are worth it (see `panels`)."""
from __future__ import annotations

from typing import Any

from .door import launch
from .panels import SHARED, gemm
from .parallel import parallel
from .policy import Array3, Integers, Matrix, kernel, scalar


@kernel
def product(transpose_a: bool, transpose_b: bool, a: Matrix, b: Matrix, beta: float, c: Matrix):
    """See `gemm`."""
    gemm(transpose_a, transpose_b, a, b, beta, c)


def matmul(transpose_a: bool, transpose_b: bool, a: Any, b: Any, beta: float, c: Any) -> None:
    """See `gemm`."""
    launch(product, transpose_a, transpose_b, a, b, beta, c)


@scalar
def multiply_each(start, stop, transpose_a, transpose_b, a, b, of_a, of_b, out):
    for i in range(start, stop):
        gemm(transpose_a, transpose_b, a[of_a[i]], b[of_b[i]], 0.0, out[i])


@kernel
def stack_product(transpose_a: bool, transpose_b: bool, a: Array3, b: Array3, of_a: Integers, of_b: Integers, out: Array3):
    """``out[i] = op(a[of_a[i]]) @ op(b[of_b[i]])`` for every i. Products too small to be shared are dealt out as a whole."""
    count, m, n = out.shape
    work = m * n * (a.shape[1] if transpose_a else a.shape[2])
    each = count if work >= SHARED else 1 + SHARED // (4 * max(1, work))
    parallel(multiply_each, count, each, (transpose_a, transpose_b, a, b, of_a, of_b, out))


def matmul_stacks(transpose_a: bool, transpose_b: bool, a: Any, b: Any, of_a: Any, of_b: Any, out: Any) -> None:
    """See `stack_product`."""
    launch(stack_product, transpose_a, transpose_b, a, b, of_a, of_b, out)
