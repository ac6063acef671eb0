"""PyTorch's names of arguments (dim, keepdim), which the functions of this folder accept as well."""
from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from ..checks import said

F = TypeVar("F", bound=Callable[..., Any])

SPELLINGS = {"dim": ("axis",), "dims": ("axis", "axes"), "keepdim": ("keepdims",), "start_dim": ("start_axis",),
             "end_dim": ("end_axis",), "dim0": ("axis1",), "dim1": ("axis2",), "correction": ("ddof",)}


def spelled(but: str = "") -> Callable[[F], F]:
    """A decorator: accept PyTorch's names of arguments, or refuse them and say how PyTorch's function differs (`but`)."""

    def decorated(f: F) -> F:
        parameters = list(signature(f).parameters)
        names = {theirs: name for theirs, ours in SPELLINGS.items() for name in ours if name in parameters}
        last = parameters.index("keepdims") if "keepdims" in parameters else len(parameters)

        @wraps(f)
        def function(*args: Any, **options: Any) -> Any:
            if not options and len(args) <= last:
                return f(*args)
            for key in options.keys() & names.keys():
                ours = names[key]
                if ours in options or (but and ours == "axis"):
                    raise TypeError(f"{f.__name__}: got {key}=; {but or f'{ours} is the same and was given, too'}")
                options[ours] = options.pop(key)
            keepdims = args[last] if len(args) > last else options.get("keepdims")
            if not isinstance(keepdims, (bool, int, np.bool_, NoneType)):
                raise TypeError(f"{f.__name__}: keepdims is {said(keepdims)}, expected True or False")
            return f(*args, **options)

        function.__signature__ = signature(f)       # type: ignore[attr-defined]
        del function.__wrapped__                    # f is not a second definition
        return function     # type: ignore[return-value]

    return decorated
