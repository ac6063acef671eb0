"""Checks of arguments: each returns its argument in the form that the caller needs, or raises an error of one sentence.

The sentence names the argument, the value found (with its row and column), and the values expected. Wrong shapes and values are a
ValueError, wrong kinds a TypeError.
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_KINDS = {"c": "complex numbers", "O": "Python objects", "U": "text", "S": "bytes", "M": "dates", "m": "time spans",
          "V": "records", "T": "text"}
LABELS = "integer labels, such as np.unique(names, return_inverse=True)[1] for names"


def said(value: Any) -> str:
    """A value as an error message names it: on one line, and short; an array by its shape.

    >>> said("relu"), said(np.ones((2, 3)))
    ("'relu'", 'ndarray of shape (2, 3)')
    """
    shape = getattr(value, "shape", ())
    text = f"{type(value).__name__} of shape {shape}" if shape else " ".join(repr(value).split())
    return text if len(text) < 80 else f"{text[:77]}..."


def owner_of(x: Array) -> Array:
    """The array that owns the memory of x."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def check_samples(x: npt.ArrayLike, name: str = "x") -> Array:
    """Samples to learn from: a matrix (samples, features) of finite numbers, C-contiguous.

    float32 stays float32, everything else becomes float64. A copy is made only where needed.

    >>> check_samples([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]])
    >>> check_samples([[0.0, 1.0], [2.0, float("nan")]])
    Traceback (most recent call last):
    ValueError: x holds nan at row 1, column 1; expected finite numbers
    """
    array = as_numbers(x, name)
    if array.ndim != 2:
        hint = f"; one feature only? pass {name}.reshape(-1, 1)" if array.ndim == 1 and array.size else ""
        hint = f"; images? pass {name}.reshape(len({name}), -1)" if array.ndim > 2 else hint
        raise ValueError(f"{name} has shape {array.shape}, expected two axes: (samples, features){hint}")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape} and is empty; expected at least one sample and one feature")
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.dtype.kind == "f" and array.dtype.itemsize == 4    # in either byte order
        array = np.ascontiguousarray(array, dtype=np.float32 if single else np.float64)
        # A sum with NaN or infinity in it is never finite, so only an array with such a sum is searched.
        bad: Any = () if np.isfinite(array.sum()) else np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        more = f" (and {len(bad) - 1} more such values)" if len(bad) > 1 else ""
        raise ValueError(f"{name} holds {array[row, column]} at row {row}, column {column}{more}; expected finite numbers")
    return array


def check_labels(y: npt.ArrayLike, n: int | None = None, classes: int | None = None, name: str = "y") -> Array:
    """Class labels: n integers from 0 to classes - 1 (without `classes`, from 0 on), as a C-contiguous array of int64.

    Booleans count as 0 and 1. Floats are refused even when they are whole: they are more often the targets of a regression. A
    copy is made only where needed.

    >>> check_labels([True, False, True])
    array([1, 0, 1])
    >>> check_labels([0, 1, 3], n=3, classes=3)
    Traceback (most recent call last):
    ValueError: y holds 3 at row 2; expected labels from 0 to 2
    """
    array = valid_labels(y, n, classes, name)
    return copied(array, np.ascontiguousarray(array, dtype=np.int64))


def valid_labels(y: npt.ArrayLike, n: int | None = None, classes: int | None = None, name: str = "y") -> Array:
    """`check_labels` without the conversion."""
    array = as_numbers(y, name, LABELS)
    if array.ndim != 1:
        hint = "; one-hot? pass {0}.argmax(axis=1)" if array.ndim == 2 and array.shape[1] > 1 else "; pass {0}.ravel()"
        raise ValueError(f"{name} has shape {array.shape}, expected one axis: (samples,)"
                         + (hint.format(name.split()[-1]) if array.ndim > 1 else ""))
    if array.size == 0:
        raise ValueError(f"{name} is empty; expected at least one label")
    if array.dtype.kind == "f":
        whole = bool(np.all(array == np.floor(array)) and np.all(np.isfinite(array)))
        hint = f'; they are whole numbers: pass np.asarray({name.split()[-1]}).astype("int64")' if whole else ""
        raise TypeError(f"{name} holds {array.dtype} numbers, expected integer labels{hint}")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} holds {counted(len(array), 'label')} for {counted(n, 'sample')}; expected one label per sample")
    # Compared before the conversion, which makes a uint64 label that is too large for int64 negative.
    highest = np.iinfo(np.int64).max if classes is None else classes - 1
    bad = np.flatnonzero((array < 0) | (array > highest))
    if len(bad):
        more = f" (and {len(bad) - 1} more such labels)" if len(bad) > 1 else ""
        span = "0 on" if classes is None else f"0 to {highest}"
        raise ValueError(f"{name} holds {array[bad[0]]} at row {bad[0]}{more}; expected labels from {span}")
    return array


def check_rng(rng: int | np.random.Generator | None, who: str) -> np.random.Generator:
    """A new generator for a seed; a Generator as it is, so that its state advances.

    None is an error: randomness is an argument, and there is no hidden state to fall back on.

    >>> check_rng(0, "spirals").integers(100)
    np.int64(85)
    >>> check_rng(None, "spirals")
    Traceback (most recent call last):
    TypeError: spirals needs rng: an integer seed or a numpy Generator, e.g. rng=0; got None
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, (bool, np.bool_)) or not isinstance(rng, (int, np.integer)):
        got = "None" if rng is None else type(rng).__name__
        raise TypeError(f"{who} needs rng: an integer seed or a numpy Generator, e.g. rng=0; got {got}")
    if rng < 0:
        raise ValueError(f"{who} got the seed rng={rng}, expected 0 or more")
    return np.random.default_rng(int(rng))


def counted(n: int, noun: str, plural: str = "s") -> str:
    """The number with its noun: "1 file", "2,000 files"."""
    return f"{n:,} {noun}{plural * (n != 1)}"


def check_bool(value: bool, name: str) -> bool:
    """True or False."""
    if type(value) is not bool and not isinstance(value, np.bool_):
        raise TypeError(f"{name} is {said(value)}, expected True or False")
    return bool(value)


def check_count(value: int, name: str, least: int = 1) -> int:
    """A whole number, at least `least`, as an int.

    >>> check_count(0, "size")
    Traceback (most recent call last):
    ValueError: size is 0, expected at least 1
    """
    try:
        if isinstance(value, (bool, np.bool_)):     # an index for Python, but hardly meant as a number
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {said(value)}, expected a whole number") from None
    if count < least:
        raise ValueError(f"{name} is {count}, expected at least {least}")
    return count


def check_real(value: float, name: str, fits: Callable[[float], bool] = lambda value: True, expected: str = "a number") -> float:
    """A number, as a float: of any sign and size, or one that fits."""
    if type(value) is not float and (
            isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating))):
        raise TypeError(f"{name} is {said(value)}, expected a number")
    if not fits(value):
        raise ValueError(f"{name} is {value}, expected {expected}")
    return float(value)


def check_number(value: float, name: str) -> float:
    """A finite number that is not negative, as a float."""
    if type(value) is float and 0 <= value < math.inf:      # at each step of a schedule, for each option
        return value
    return check_real(value, name, lambda value: 0 <= value < math.inf, "a finite number, 0 or more")


def check_probability(p: float, name: str) -> float:
    """A number from 0 to 1, as a float."""
    return check_real(p, name, lambda p: 0 <= p <= 1, "a probability, from 0 to 1")


def check_below_one(value: float, name: str) -> float:
    """A number from 0 up to, but not including, 1, as a float."""
    return value if type(value) is float and 0 <= value < 1 else check_real(
        value, name, lambda value: 0 <= value < 1, "a number from 0 up to, but not including, 1")


def check_dtype(dtype: npt.DTypeLike, hint: str = "") -> np.dtype[Any]:
    """float32 or float64, in the machine's byte order: the two dtypes that kernels are compiled for."""
    try:
        found = np.dtype(dtype) if dtype is not None else None    # np.dtype(None) would be float64
    except TypeError:
        found = None
    if found != np.float32 and found != np.float64:
        raise ValueError(f"dtype is {said(dtype)}, expected 'float32' or 'float64'{hint}")
    assert found is not None
    return found


def as_numbers(values: npt.ArrayLike, name: str, expected: str = "real numbers") -> Array:
    """The values as an ndarray of real numbers. Objects and masks, which NumPy accepts silently, are refused.

    >>> as_numbers([1, None], "y")
    Traceback (most recent call last):
    TypeError: y holds Python objects (dtype object), expected real numbers
    """
    hint = "; a recurrent layer returns a tuple: pass its first entry" if isinstance(values, tuple) else ""
    if isinstance(values, (list, tuple)) and _holds_gradient(values):
        raise TypeError(f"{name} is a {type(values).__name__} that holds a Tensor which requires a gradient, and would lose it; "
                        f"join Tensors with tg.stack or tg.concatenate, or detach() them{hint}")
    if np.ma.is_masked(values):
        raise TypeError(f"{name} is a masked array with masked values, expected plain numbers; fill or drop them first")
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} is ragged: its rows differ in length; expected rows of one length{hint}") from None
    if array.dtype.kind not in "biuf":
        if array.dtype.kind == "O" and not array.ndim and not isinstance(values, int):
            raise TypeError(f"{name} is {said(values)}, expected {expected}")
        found = _KINDS.get(array.dtype.kind, "something else")
        if any(isinstance(v, int) and v.bit_length() > 63 for v in array.flat):
            found, expected = "integers of more than 64 bits", expected.replace("real numbers", "real numbers: pass floats")
        elif array.size and all(isinstance(v, (int, float, np.float32, np.bool_)) for v in array.flat):  # pandas: mixed columns
            expected = expected.replace("real numbers", "real numbers: convert these with .astype(float)")
        raise TypeError(f"{name} holds {found} (dtype {array.dtype}), expected {expected}")
    return array


def _holds_gradient(values: Sequence[Any]) -> bool:
    """Whether a Tensor that requires a gradient is among the values, or in a list among them."""
    kinds = set(map(type, values))      # one look per type, so that a long list of numbers costs little
    if any(hasattr(kind, "requires_grad") for kind in kinds) and any(getattr(v, "requires_grad", False) for v in values):
        return True
    return not kinds.isdisjoint((list, tuple)) and any(_holds_gradient(v) for v in values if isinstance(v, (list, tuple)))


def check_name(name: Any, known: Collection[str], what: str) -> str:
    """One of the `known` names; the error suggests the nearest.

    >>> check_name("rleu", ["relu", "tanh"], "activation")
    Traceback (most recent call last):
    ValueError: activation is 'rleu', expected one of: relu, tanh; did you mean 'relu'?
    """
    if isinstance(name, str) and name in known:
        return name
    import difflib

    near = [one for one in known if one.lower() == str(name).lower()] or difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    names = ", ".join(repr(one) if "," in one else one for one in known)
    raise ValueError(f"{what} is {said(name)}, expected one of: {names}{hint}")


on_copy: ContextVar[Callable[[Array, Array], None] | None] = ContextVar("on_copy", default=None)


def copied(source: Array, copy: Array) -> Array:
    """`copy`, the numbers of `source` in another dtype or layout, unless it is `source` itself. `tg.capture` notes copies."""
    if source.size and copy is not source and (note := on_copy.get()) is not None:
        note(source, copy)
    return copy


def as_floats(values: Any, dtype: Any = None, name: str = "Tensor") -> Array:
    """The values as a writable C-contiguous array of float32 or float64, which kernels need. Shares memory where it can.

    Floats keep their type (float16 widens to float32), integers and booleans become float64, unless `dtype` says otherwise.

    >>> as_floats([1, 2])
    array([1., 2.])
    """
    if type(values) is np.ndarray and values.flags.carray:
        own = values.dtype
        if (dtype is None or dtype is own) and own.char in "fd" and own.isnative:
            return values       # nothing to do, found out in a tenth of the time
    array = as_numbers(values, name)
    if dtype is None:
        size = array.dtype.itemsize if array.dtype.kind == "f" else 8
        dtype = np.float32 if size <= 4 else np.float64
    else:
        dtype = check_dtype(dtype)
    found = np.asarray(array, dtype=dtype, order="C")
    found = found if found.flags.behaved else found.copy()      # not read-only, not unaligned
    return found if found is array else copied(array, found)


def as_finite_floats(values: Any, dtype: Any, name: str) -> Array:
    """As `as_floats`; a number that would become infinite in this dtype is refused."""
    try:
        with np.errstate(over="raise"):
            return as_floats(values, dtype, name)
    except FloatingPointError:
        most = np.finfo(dtype).max
        raise ValueError(f"{name} holds a number that is infinite in {dtype}; expected at most {most:.2g}") from None
