"""A first evening: the files that ``y = F.relu(x @ w); y.sum().backward()`` runs, and how much there is to read."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_relu

HOUSE = Path(tinygrad_relu.__file__).parent
PAGE = HOUSE.parent / "docs" / "architecture.md"
FILES, LINES = 12, 1500

# Prints the files in which a Python function is called, in the order of the first call, on the second run: the first compiles.
# Compiled loops are not Python functions.
SCRIPT = """
import sys
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu import functional as F

x, w = tg.Tensor(np.ones((2, 3))), tg.Tensor(np.ones((3, 2)), requires_grad=True)
found = {}

def note(frame, event, argument):
    found.setdefault(frame.f_code.co_filename)

for trace in (None, note):
    w.grad = None
    sys.settrace(trace)
    y = F.relu(x @ w); y.sum().backward()
    sys.settrace(None)
print(*found, sep="\\n")
"""


@pytest.fixture(scope="module")
def entered():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, cwd=HOUSE.parent)
    return [path.relative_to(HOUSE).as_posix() for path in map(Path, done.stdout.splitlines()) if path.is_relative_to(HOUSE)]


def test_a_first_evening_is_short(entered):
    lengths = {name: len((HOUSE / name).read_text(encoding="utf-8").splitlines()) for name in entered}
    report = f"{len(lengths)} files with {sum(lengths.values())} lines: {lengths}"
    print(report)
    assert len(lengths) <= FILES and sum(lengths.values()) <= LINES, report


def test_the_page_leads_through_these_files_and_no_others(entered):
    listed = PAGE.read_text(encoding="utf-8").split("<!-- first evening -->")[1].split("<!-- end -->")[0]
    assert re.findall(r"^\d+\. \[([\w/.]+)\]", listed, re.M) == entered
