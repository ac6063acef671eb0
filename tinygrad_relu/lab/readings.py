"""The base of what instruments return: tables, data and pictures."""
from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..text import Shown


class Reading(Shown):
    """What an instrument found. Printing it gives tables; `to_dict` and `to_json` give data, and `plot` a matplotlib Figure."""

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN and infinities become None."""
        raise NotImplementedError

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)


def plain(value: Any) -> Any:
    """A value made of dicts, lists, arrays and numbers in the form that JSON holds: NaN and infinities become None.

    >>> plain({"rates": np.array([0.5, np.inf]), "units": np.int64(3)})
    {'rates': [0.5, None], 'units': 3}
    """
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
