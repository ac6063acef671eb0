"""How a Tensor meets NumPy and other libraries: operators with arrays, NumPy's functions, shared memory, copies."""
from __future__ import annotations

import copy
from typing import Any

import numpy as np

from .autodiff.guard import guarded, refuse_while_recording
from .autodiff.node import Array, Node, is_grad_enabled

# For an operator between an array and a Tensor: the method if the Tensor is on the left, and if it is on the right.
_OPERATORS: dict[Any, tuple[str, str]] = {
    np.add: ("__add__", "__radd__"), np.subtract: ("__sub__", "__rsub__"), np.multiply: ("__mul__", "__rmul__"),
    np.divide: ("__truediv__", "__rtruediv__"), np.power: ("__pow__", "__rpow__"), np.matmul: ("__matmul__", "__rmatmul__"),
    np.less: ("__lt__", "__gt__"), np.less_equal: ("__le__", "__ge__"), np.equal: ("__eq__", "__eq__"),
    np.not_equal: ("__ne__", "__ne__"), np.greater: ("__gt__", "__lt__"), np.greater_equal: ("__ge__", "__le__"),
}

# Functions whose results have no gradient.
_HARMLESS: set[Any] = {
    np.isnan, np.isinf, np.isfinite, np.signbit, np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.isclose,
    np.allclose, np.array_equal, np.count_nonzero, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.array_repr,
    np.array_str, np.array2string, np.save, np.savez, np.savez_compressed, np.savetxt, np.shares_memory, np.may_share_memory,
}


class Interoperable(Node):
    """The methods of a Tensor that other libraries call."""

    __slots__ = ()

    # -- NumPy --------------------------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The values, for ``np.asarray``: shared memory unless a copy is asked for or needed; no gradient flows through."""
        refuse_while_recording("reads the numbers of a Tensor (np.asarray), which a replay would not read again")
        return np.array(self.array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """An operator with an array on its left gives a Tensor; any other ufunc sees the numbers, if no gradient is lost."""
        if ufunc in _OPERATORS and method == "__call__" and not options:
            left, right = _OPERATORS[ufunc]
            a, b = inputs
            return getattr(a, left)(b) if isinstance(a, Interoperable) else getattr(b, right)(a)
        name = f"np.{ufunc.__name__}" if method == "__call__" else f"np.{ufunc.__name__}.{method}"
        return getattr(ufunc, method)(*_numbers(inputs, ufunc, name), **_numbers(options, ufunc, name))

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        """NumPy's other functions (``np.mean``, ``np.concatenate``) see the numbers too, if no gradient is lost."""
        name = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
        return function(*_numbers(arguments, function, name), **_numbers(options, function, name))

    # -- notebooks ----------------------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        """As a notebook shows it: the values and the gradient, with histograms."""
        from .notebook import numbers, paragraph  # here, because only notebooks need it

        what = f", a result of {self.op.name}" if self.op else ", requires_grad=True" if self.requires_grad else ""
        grad = "" if self.grad is None else paragraph("grad:") + numbers(self.grad)
        return paragraph(f"{type(self).__name__} of shape {self.shape}, {self.dtype}{what}") + numbers(self.array) + grad

    # -- DLPack: one memory for several libraries -----------------------------------------------------------------------

    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
        """The values as a capsule, for ``np.from_dlpack``, ``torch.from_dlpack`` and the like, which share their memory.

        A Tensor that requires a gradient raises a BufferError, since another library would not record operations on it.
        """
        if self.requires_grad:
            raise BufferError("__dlpack__: this Tensor requires a gradient, which another library does not record; export "
                              "x.detach(), which shares its memory")
        return guarded(self.array).__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The device of the values: (1, 0), the CPU."""
        return self.array.__dlpack_device__()

    # -- copy and pickle ------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """How a leaf is copied and pickled: its values, not its gradient. A result carries its graph and cannot be copied."""
        if self.op is not None:
            raise TypeError(f"a Tensor that {self.op.name} made cannot be copied or pickled with its history; use detach() first")
        return type(self), (self.array,), (getattr(self, "__dict__", None), self._state())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A new leaf with a copy of the gradient, so that training continues from the copy as from the original."""
        twin = copy.copy(self)      # by __reduce__
        twin.grad = None if self.grad is None else self.grad.copy()
        return twin

    def _state(self) -> dict[str, Any]:
        return {"requires_grad": self.requires_grad}


def _numbers(x: Any, function: Any, name: str) -> Any:
    """The arguments of a NumPy function with arrays in place of Tensors. Raises an error if that would lose a gradient."""
    if isinstance(x, Node):
        if x.requires_grad and is_grad_enabled() and function not in _HARMLESS:
            method = name.rpartition(".")[2]
            instead = f"x.{method}(...)" if hasattr(x, method) else "the operators, methods and functions of tinygrad_relu"
            raise TypeError(f"{name}: got a Tensor that requires a gradient, which NumPy does not record; use {instead}, or hand "
                            "over the numbers alone, x.data")
        return guarded(x.array)
    if isinstance(x, dict):
        return {key: _numbers(entry, function, name) for key, entry in x.items()}
    if type(x) in (list, tuple):
        return type(x)(_numbers(entry, function, name) for entry in x)
    return x
