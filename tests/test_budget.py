"""How much there is to read: lines and files of the package, which may not grow by accident."""
from __future__ import annotations

from pathlib import Path

import tinygrad_relu

# Growth is a decision: who raises one of these says in the commit what the new lines are for. Of these, about 1,400 lines and one
# file came with what a newcomer misses (names of PyTorch, casts, functional_call, derivatives, rows of data sets, the cache).
LINES, FILES = 37_099, 241


def test_the_package_stays_within_its_budget():
    files = list(Path(tinygrad_relu.__file__).parent.rglob("*.py"))
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    found = f"tinygrad_relu has {lines:,} lines in {len(files)} files"
    assert lines <= LINES and len(files) <= FILES, f"{found}; the budget (in tests/test_budget.py) is {LINES:,} in {FILES}"
