"""All 2^32 float32 numbers through every activation and its pullback: no error exceeds the bound, or the figure in the table.

Half a minute to two minutes each, so this file is collected only when it is named:

    python -m pytest tests/exhaustive.py
    python -m pytest tests/exhaustive.py -k gelu
"""
from __future__ import annotations

import pytest
from accuracy import ACTIVATIONS, BOUND, EVERYTHING, PAGE, measure, read_table, row


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_inputs(name):
    value, slope, _ = row(*measure(name, EVERYTHING), "all")
    table = read_table(PAGE.read_text(encoding="utf-8"))[name]
    assert value.ulps <= min(BOUND, table.value.ulps), f"{name} of {value.x!r} is {value.ulps} ulp off"
    assert slope.ulps <= min(BOUND, table.slope.ulps), f"the slope of {name} at {slope.x!r} is {slope.ulps} ulp off"
