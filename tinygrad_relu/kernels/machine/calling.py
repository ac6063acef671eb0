"""A kernel inside another kernel: called, where the function of a `scalar` would be inlined.

    one = called(linear)

    @kernel
    def both(x: Matrix, weight: Matrix, bias: Vector, out: Matrix, again: Matrix):
        one(x, weight, bias, out)
        one(x, weight, bias, again)

The machine code of `linear` is compiled once, whatever calls it. (A hundred kernels end with the gradients of an affine layer,
which take a second to compile.) A call takes some 40 ns more than inlined code.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from .policy import Kernel, overload


def called(kernel: Kernel) -> Callable[..., None]:
    """What other kernels write in place of `kernel`: a function that calls it, for the dtype of the arrays that it gets."""
    @wraps(kernel.function)
    def call(*arguments: Any) -> None:
        kernel.function(*arguments)

    @overload(call)
    def typed(*arguments):
        enter = _entry(kernel)

        def compiled(*arguments):
            enter(arguments)

        return compiled

    return call


@cache
def _entry(kernel: Kernel) -> Any:
    """An instruction for Numba: call the kernel with a tuple of arguments, and pass on its error."""
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np.numpy_support import as_dtype

    @intrinsic
    def enter(typing_context, arguments):
        dtype = as_dtype(arguments[kernel.key].dtype)
        wanted = kernel.signature(dtype)

        def generate(context, builder, _, values):
            kind = context.call_conv.get_function_type(types.none, wanted)
            function = cgutils.get_or_insert_function(builder.module, kind, kernel.symbol(dtype))
            given = [context.cast(builder, builder.extract_value(values[0], i), has, wants)
                     for i, (has, wants) in enumerate(zip(arguments, wanted, strict=True))]
            status, _ = context.call_conv.call_function(builder, function, types.none, wanted, given)
            with builder.if_then(status.is_error, likely=False):
                context.call_conv.return_status_propagate(builder, status)
            return context.get_dummy_value()

        return types.void(arguments), generate

    return enter
