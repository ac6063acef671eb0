"""How functions of arrays and nodes become functions of anything: Tensors as they are, all else converted."""
from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from ..checks import as_floats
from ..kernels.formulas.record import Elementwise
from ..ops.activation import activation_op
from ..tensor import Tensor

Input = Any     # a Tensor, or anything that NumPy can make an array of

P = ParamSpec("P")
R = TypeVar("R")


def as_tensor(x: Input) -> Tensor:
    """A Tensor as it is; anything else as a Tensor without gradient, sharing memory where it can.

    >>> x = F.as_tensor([1, 2])
    >>> x, F.as_tensor(x) is x
    (Tensor([1., 2.]), True)
    """
    return x if isinstance(x, Tensor) else Tensor.leaf(as_floats(x, name="x"))


def lift(f: Callable[Concatenate[Tensor, P], R]) -> Callable[Concatenate[Input, P], R]:
    """A function of `ops` for users: its first argument may be anything array_like. Name, signature and docstring are those of f.

    >>> lift(lambda x: x * 2)([1, 2])
    Tensor([2., 4.])
    """

    def lifted(x: Input, *args: P.args, **options: P.kwargs) -> R:
        return f(x if isinstance(x, Tensor) else as_tensor(x), *args, **options)

    update_wrapper(lifted, f)
    lifted.__module__ = __package__     # where pickle finds it
    return lifted   # type: ignore[return-value]      # for mypy x is positional only; at run time x=... works too


def elementwise(record: Elementwise[P]) -> Callable[Concatenate[Input, P], Tensor]:
    """The function of a record, for users. Parameters, signature and docstring are those of the record."""
    op, usual = activation_op(record), record.defaults

    def function(x: Input, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        p = usual if not args and not kwargs else record.bind(record.name, args, kwargs)
        return op(x if isinstance(x, Tensor) else as_tensor(x), p=p)

    function.__name__ = function.__qualname__ = record.name
    function.__module__ = __package__
    function.__doc__ = record.docstring(f"F.{record.name}([[-2.0, 0.0, 2.0]])")
    function.__signature__ = record.signature("x")      # type: ignore[attr-defined]
    return function     # type: ignore[return-value]      # as in `lift`


CPU_DEVICES = {1: "CPU", 3: "CUDA host", 11: "ROCm host", 13: "CUDA managed"}       # kDLCPU ...: what a CPU can read


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> Tensor:
    """A Tensor over the memory of an array of another library (NumPy, PyTorch, JAX, ...): what one writes the other sees.

    The memory lives as long as the Tensor, which is a leaf that requires no gradient. The array holds float32 or float64, on the
    CPU.

    Parameters
    ----------
    copy : bool, optional
        True: always copy. None: only if the array is not C-contiguous or not writable, as every array in a graph is. False: raise
        ValueError instead.

    Raises
    ------
    BufferError
        If x does not share its memory: a Tensor that requires a gradient, of this library or of PyTorch.

    Examples
    --------
    >>> array = np.array([1.0, 2.0])
    >>> x = tg.from_dlpack(array)
    >>> array[0] = 5.0
    >>> x
    Tensor([5., 2.])
    """
    kind = type(x).__name__
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: got {kind}; expected an array of a library that speaks DLPack")
    device = tuple(map(int, x.__dlpack_device__()))
    if device[0] not in CPU_DEVICES:
        raise ValueError(f"from_dlpack: the {kind} lies on the DLPack device {device}; expected (1, 0), the CPU: copy it there "
                         "first")
    try:
        array = np.from_dlpack(x)
    except RuntimeError:                    # NumPy has no such numbers: bfloat16, say
        array = None
    if array is None or array.dtype not in (np.float32, np.float64):
        raise TypeError(f"from_dlpack: the {kind} holds {getattr(x, 'dtype', 'other')} numbers, expected float32 or float64, as "
                        "memory is shared; for a converted copy use Tensor(...)")
    if copy or not array.flags.carray:      # carray: C-contiguous, aligned, writable
        if copy is False:
            why = "read-only" if not array.flags.writeable else "not C-contiguous"
            raise ValueError(f"from_dlpack: the {kind} of shape {array.shape} is {why}, and every array in a graph is writable "
                             "and C-contiguous, so it has to be copied; got copy=False")
        array = np.array(array, order="C")
    return Tensor.leaf(array)
