"""A loop inside a kernel, run in slices on as many threads as are worth it.

    @scalar
    def doubled(start, stop, x, out):
        x, out = x[start:stop], out[start:stop]
        for i in range(out.size):
            out[i] = x[i] + x[i]

    @kernel
    def double(x: Vector, out: Vector):
        parallel(doubled, x.size, 1 << 14, (x, out))

Each number is computed by one thread, in the same way in any slice, so the bits of a result do not depend on the number of
threads. (A body that sums must sum in pieces of fixed length.)
"""
from __future__ import annotations

from typing import Any

from .policy import intrinsic, overload
from .processor import widen

RUN = "tinygrad_relu_run"       # the symbol of the function in pool.py that shares a loop


def parallel(body: Any, count: int, grain: int, arguments: tuple[Any, ...]) -> None:
    """Call ``body(start, stop, *arguments)`` for slices of range(count) of length `grain`, the last one shorter. For kernels.

    `body` is a `scalar`. It must be right for any start and stop: on one thread it is called once, for the whole range. A loop is
    vectorised over ``x[start:stop]`` with indices from 0 (from `start` on, Numba would test each index for being negative).
    """
    body(0, count, *arguments)


@overload(parallel)
def _overloaded(body, count, grain, arguments):
    def compiled(body, count, grain, arguments):
        _parallel(body, count, grain, arguments)

    return compiled


@intrinsic
def _parallel(typing_context: Any, body: Any, count: Any, grain: Any, arguments: Any) -> Any:
    """The body is compiled once, as a function of a record of the arguments, whose address `run` gets."""
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    inner = typing_context.resolve_function_type(body, (types.int64, types.int64, *arguments.types), {})
    signature = types.void(body, types.int64, types.int64, arguments)

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        pointer, word, status = cgutils.voidptr_t, ir.IntType(64), ir.IntType(32)
        excuse = builder.function.args[1]       # Numba's place for an error
        packed = cgutils.alloca_once_value(builder, values[3])
        sliced = ir.Function(builder.module, ir.FunctionType(status, [pointer, excuse.type, word, word]),
                             builder.module.get_unique_name(f"{builder.function.name}_slice"))
        sliced.linkage = "internal"
        sliced.attributes.add("noinline")
        widen(sliced)
        inside = ir.IRBuilder(sliced.append_basic_block())
        record = inside.load(inside.bitcast(sliced.args[0], packed.type))
        given = [context.cast(inside, inside.extract_value(record, i), kind, wanted)
                 for i, (kind, wanted) in enumerate(zip(arguments.types, inner.args[2:]))]
        context.get_function(body, inner)(inside, [*sliced.args[2:], *given])
        inside.ret(status(0))
        kind = ir.FunctionType(status, [sliced.type, pointer, excuse.type, word, word])
        run = cgutils.get_or_insert_function(builder.module, kind, RUN)
        code = builder.call(builder.bitcast(run, kind.as_pointer()),
                            [sliced, builder.bitcast(packed, pointer), excuse, values[1], values[2]])
        with builder.if_then(builder.icmp_signed("!=", code, status(0)), likely=False):
            builder.ret(code)
        return context.get_dummy_value()

    return signature, generate
