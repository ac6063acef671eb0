"""Products of stacks of matrices, one gemm after the other.

np.matmul would hand each of them to NumPy's OpenBLAS, whose threads wait for each other: measured, 16 products of 128 x 128
took 0.5 ms on two free cores, and 250 ms while another process had one of them. Here they take 0.7 ms on one.
"""
from __future__ import annotations

from functools import partial
from typing import Any

from . import panels
from .blas import gemm
from .door import launch
from .policy import kernel
from .threads import share


@kernel
def stack_product(transpose_a, transpose_b, a, b, of_a, of_b, out, first, last):
    """``out[i] = op(a[of_a[i]]) @ op(b[of_b[i]])`` for i from `first` up to `last`."""
    for i in range(first, last):
        gemm(transpose_a, transpose_b, a[of_a[i]], b[of_b[i]], 0.0, out[i])


def product(transpose_a: bool, transpose_b: bool, a: Any, b: Any, of_a: Any, of_b: Any, out: Any) -> None:
    """All the products of `stack_product`, on as many threads as are worth it.

    As in `panels`, who does what depends on the shapes alone, and so do the bits of the result.
    """
    count = len(out)
    inner = a.shape[1] if transpose_a else a.shape[2]
    if count and out[0].size * inner >= panels.LARGE:
        for i in range(count):
            panels.product(transpose_a, transpose_b, a[of_a[i]], b[of_b[i]], 0.0, out[i])
    elif out.size * inner >= panels.LARGE:
        width = -(-count // panels.PANELS)
        share([partial(launch, stack_product, transpose_a, transpose_b, a, b, of_a, of_b, out, first,
                       min(first + width, count)) for first in range(0, count, width)])
    else:
        launch(stack_product, transpose_a, transpose_b, a, b, of_a, of_b, out, 0, count)
