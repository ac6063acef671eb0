"""Checks of a saved state: of a module, an optimizer, a schedule, or a whole training run.

Every value is checked before the first one is used, and one error names all that do not fit.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, TypeVar

import numpy as np

from .checks import Array, as_numbers

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value")

TAKES = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}     # for each kind of number, the kinds that are converted to it


def fit(rules: Mapping[Name, Callable[[Any, str], Value]], state: Any, complaints: list[str], where: str = "",
        optional: Collection[Name] = ()) -> dict[Name, Value]:
    """The values of a state, each converted by the rule for its name.

    A rule is called with the value and its name. Names that are missing or unexpected, and the errors of the rules, are added to
    `complaints`, with `where` before each. A state that is not a dict is a complaint, too.

    >>> complaints = []
    >>> rule = lambda value, name: float(value)
    >>> fit({"rate": rule, "steps": rule}, {"rate": 1, "speed": 2}, complaints)
    {'rate': 1.0}
    >>> complaints
    ['missing steps', 'unexpected speed']
    """
    if not isinstance(state, Mapping):
        complaints.append(f"{where}the state is {type(state).__name__}, expected a dict")
        return {}
    missing = [name for name in rules if name not in state and name not in optional]
    unexpected = [name for name in state if name not in rules]
    complaints += [f"{where}{problem} {', '.join(map(shown, names))}"
                   for problem, names in (("missing", missing), ("unexpected", unexpected)) if names]
    found = {}
    for name in (name for name in rules if name in state):
        try:
            found[name] = rules[name](state[name], shown(name))
        except (TypeError, ValueError, OverflowError) as error:
            complaints.append(where + " ".join(str(error).split()))
    return found


def refuse(who: str, complaints: list[str]) -> None:
    """Raise a ValueError with all complaints, if there are any."""
    if complaints:
        raise ValueError(f"{who}: the state does not fit: {'; '.join(complaints)}")


def fitted(values: Any, name: str, like: Array) -> Array:
    """A copy of the values in the dtype of `like`, if they are real numbers of its shape.

    As in PyTorch's ``copy_``, any real number is rounded to a float. Unlike in PyTorch, a float is refused for an integer, and so
    is a number that the type cannot hold (1e300 in float32).
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
    """Real numbers as an ndarray; a tensor of PyTorch is detached, moved to the CPU, and bfloat16 becomes float32."""
    if hasattr(values, "detach"):
        try:
            values = values.detach()
            values = values.cpu() if hasattr(values, "cpu") else values
            values = np.asarray(values.float() if str(values.dtype) == "torch.bfloat16" else values)
        except (TypeError, NotImplementedError, RuntimeError) as error:
            raise TypeError(f"{name} is not a plain array: {str(error).splitlines()[0]}") from error
    return as_numbers(values, name)


def shown(name: Any) -> str:
    """A name for an error message: printable, on one line, and at most 80 characters."""
    text = name if isinstance(name, str) and name.isprintable() else repr(name)
    return text if len(text) < 80 else f"{text[:77]}..."
