"""The options of a group of parameters."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import check_name


class Group(dict[str, Any]):
    """The options of a group of parameters; what is assigned to one of them is checked at once."""

    def __init__(self, check: Callable[[dict[str, Any]], None], options: dict[str, Any]) -> None:
        check(options)
        super().__init__({key: tuple(value) if key == "params" else plain(value) for key, value in options.items()})
        self._check = check

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "params":
            raise ValueError("the params of a group were laid into flat buffers when the optimizer was made, and stay as they "
                             "are; make a new optimizer for other parameters")
        check_name(key, [name for name in self if name != "params"], "an option of a parameter group")
        self._check({**self, key: value})
        super().__setitem__(key, plain(value))

    def update(self, *others: Any, **options: Any) -> None:
        for key, value in dict(*others, **options).items():
            self[key] = value


def plain(value: Any) -> Any:
    """Numbers as Python floats: one type, and so one compiled kernel, whether a rate is 1, 1.0 or np.float32(1)."""
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return float(value) if isinstance(value, (int, np.number)) and not isinstance(value, bool) else value
