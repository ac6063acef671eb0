"""What comes in: Tensors as they are, everything else through a gate."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import as_floats
from ..tensor import Tensor

Input = Any     # a Tensor, or whatever NumPy can make an array of


def as_tensor(x: Input) -> Tensor:
    """A Tensor as it is; anything else as a Tensor without gradient, sharing memory where it can.

    >>> x = as_tensor([1, 2])
    >>> x, as_tensor(x) is x
    (Tensor([1., 2.]), True)
    """
    return x if isinstance(x, Tensor) else Tensor.leaf(as_floats(x, name="x"))


CPU_DEVICES = {1: "CPU", 3: "CUDA host", 11: "ROCm host", 13: "CUDA managed"}       # kDLCPU ...: what a CPU can read


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> Tensor:
    """A Tensor over the memory of an array of another library (NumPy, PyTorch, JAX, ...): what one writes the other sees.

    The memory lives as long as the Tensor does. Every array in a graph is C-contiguous and writable, so what is not (a
    transposed or strided view, a read-only array) has to be copied.

    Parameters
    ----------
    x : object with ``__dlpack__``
        Of float32 or float64, on the CPU.
    copy : bool, optional
        True: always. False: never; where it must be, that is an error. None: only where it must be.

    Returns
    -------
    Tensor, a leaf that requires no gradient

    Raises
    ------
    TypeError
        If x has no ``__dlpack__``, or holds anything but float32 or float64.
    ValueError
        If it lies on another device than the CPU, or ``copy=False`` and it is not contiguous, or read-only.
    BufferError
        If x does not let its memory go, as a Tensor that requires a gradient, of this library or of PyTorch.

    Examples
    --------
    >>> array = np.array([1.0, 2.0])
    >>> x = from_dlpack(array)
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
    except RuntimeError:                    # so NumPy says that it has no such numbers: bfloat16, say
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
