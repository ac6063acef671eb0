"""What fits into a state: every array is checked before the first one is written.

A module is here no more than its parameters and buffers by name, so this file knows none of them.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..autodiff.node import Array
from ..checks import as_numbers

TAKES = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}     # what is converted: nothing but rounding may be lost


class Entry(Protocol):
    """A Parameter or a Buffer."""

    @property
    def data(self) -> Array: ...


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` has passed over.

    Attributes
    ----------
    missing_keys : list of str
        Names of the module that the state lacks (optional buffers among them).
    unexpected_keys : list of str
        Names of the state that the module lacks.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(entries: Mapping[str, Entry], state: Mapping[str, Any], strict: bool, who: str) -> IncompatibleKeys:
    """Copy a state into parameters and buffers, in place; `Module.load_state_dict` says what fits."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{who}: the state is {type(state).__name__}, expected a dict of arrays by name")
    given = {id(entry) for name, entry in entries.items() if name in state}       # shared ones may come under any name
    missing = [name for name, entry in entries.items() if id(entry) not in given]
    unexpected = [name for name in state if name not in entries]
    complaints = []
    if strict:
        needed = [name for name in missing if not getattr(entries[name], "optional", False)]
        complaints += [f"{what} {', '.join(map(shown, names))}" for what, names in (("missing", needed),
                                                                                    ("unexpected", unexpected)) if names]
    fitting: dict[int, tuple[str, Array, Array]] = {}
    for name in (name for name in entries if name in state):
        target = entries[name].data
        try:
            source = fitted(state[name], target, shown(name))
        except (TypeError, ValueError) as error:
            complaints.append(str(error))
            continue
        other, _, first = fitting.setdefault(id(entries[name]), (name, target, source))
        if not np.array_equal(first, source, equal_nan=source.dtype.kind == "f"):
            complaints.append(f"{shown(other)} and {shown(name)} hold different numbers, but are one and the same here")
    if complaints:
        raise ValueError(f"{who}: the state does not fit: {'; '.join(complaints)}")
    for _, target, source in fitting.values():
        target[...] = source            # in place: an optimizer's flat buffer stays the parameter's home
    return IncompatibleKeys(missing, unexpected)


def fitted(values: Any, like: Array, name: str) -> Array:
    """A copy of the values in the dtype of `like`, if they are real numbers of its shape.

    As in PyTorch's ``copy_``, any real number goes into a float and is rounded. Otherwise than there, a float does not go
    into an integer, and no number into a type that cannot hold it (1e300 into float32).

    Raises
    ------
    TypeError, ValueError

    Examples
    --------
    >>> fitted([1, 2], np.zeros(2, "float32"), "bias")
    array([1., 2.], dtype=float32)
    >>> fitted([1.0, 2.0], np.zeros(3), "bias")
    Traceback (most recent call last):
    ValueError: bias has shape (2,), expected (3,)
    """
    array = as_array(values, name)
    if array.shape != like.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {like.shape}")
    if array.dtype.kind not in TAKES[like.dtype.kind]:
        raise TypeError(f"{name} holds {array.dtype} numbers, expected {like.dtype}")
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype=like.dtype, order="C")
    lost = np.isinf(copy) & ~np.isinf(array) if like.dtype.kind == "f" else copy != array
    if lost.any():
        raise ValueError(f"{name} holds {array[lost][0]}, which {like.dtype} cannot hold")
    return copy


def as_array(values: Any, name: str) -> Array:
    """Real numbers as an ndarray: what NumPy knows, and a tensor of PyTorch by its own methods (bfloat16 as float32)."""
    if hasattr(values, "detach"):           # a Parameter of PyTorch wants a gradient, and a tensor may lie elsewhere
        try:
            values = values.detach()
            values = values.cpu() if hasattr(values, "cpu") else values
            values = np.asarray(values.float() if str(values.dtype) == "torch.bfloat16" else values)
        except (TypeError, NotImplementedError, RuntimeError) as error:
            raise TypeError(f"{name} is no plain array: {str(error).splitlines()[0]}") from error
    return as_numbers(values, name)


def shown(name: Any) -> str:
    """A name as it stands in an error: in one line, and not too long."""
    text = name if isinstance(name, str) and name.isprintable() else repr(name)
    return text if len(text) < 80 else f"{text[:77]}..."
