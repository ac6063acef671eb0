"""How many cases the suite runs: a sample, or with `python -m pytest --thorough` all of them.

The sample is the same in every run and in every process of a run.
"""
from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
THOROUGH = False        # conftest.py sets it before any test file is imported


def strength(ordinary: T, *, thorough: T) -> T:
    """A number of cases: the first in an ordinary run, the second in a thorough one."""
    return thorough if THOROUGH else ordinary


def in_sample(i: int, every: int) -> bool:
    """Whether case `i` belongs to a sample of one in `every`: its digits in base `every` sum to a multiple of `every`.

    So each run of `every` cases has one, at changing places. (A fixed stride would test only float32 where the types alternate.)
    """
    digits = 0
    while i:
        i, digit = divmod(i, every)
        digits += digit
    return THOROUGH or digits % every == 0
