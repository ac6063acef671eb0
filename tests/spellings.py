"""The tables of docs/coming-from.md: two columns of code, one in another library and one here."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8")
SETUP = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]


def spellings(library: str) -> list[tuple[str, str]]:
    """The rows for a library: (code there, code here)."""
    section = re.search(rf"## From {library}\n(.*?)(\n## |\Z)", PAGE, re.S)[1]
    return re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", section, re.M)


def names_here() -> dict[str, Any]:
    """Names that the code on the page may use."""
    names: dict[str, Any] = {}
    exec(SETUP, names)
    return names


def result(code: str, names: dict[str, Any]) -> Any:
    """The numbers that a piece of code returns; None if it returns other objects, which cannot be compared across libraries."""
    try:
        value = eval(code, names)
    except SyntaxError:         # an assignment
        return exec(code, names)
    for as_array in ("detach", "numpy"):
        value = getattr(value, as_array, lambda value=value: value)()
    array = np.asarray(value) if np.isscalar(value) or isinstance(value, (np.ndarray, tuple)) else None
    return array if array is not None and array.dtype.kind in "fiu" else None


def differ(there: Any, here: Any) -> bool:
    """Whether both are numbers and differ."""
    return there is not None and here is not None and (there.shape != here.shape or not np.allclose(there, here))
