"""Fixtures that several test files use."""
from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from browser import CHROMIUM, PAGES

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:       # as a shell starts its background jobs: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore_glob = [] if CHROMIUM else [PAGES]


def pytest_terminal_summary(terminalreporter):
    if not CHROMIUM:
        terminalreporter.write_line(f"There is no Chromium (or no Playwright) on this machine: {PAGES} are not collected.")


@pytest.fixture(scope="module")
def poisoned_memory():
    """Make np.empty return NaN (and invalid indices for integers), so that tests see an entry that a kernel does not write.

    Only in our Python modules, and not in kernels: Numba, which may compile during a test, needs the real np.empty.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("tinygrad_relu.") and not name.startswith("tinygrad_relu.kernels") and hasattr(module, "np"):
                patch.setattr(module, "np", NumPy())
        yield


class NumPy:
    """NumPy, but for `empty`."""

    def __getattr__(self, name):
        return poisoned if name == "empty" else getattr(np, name)


def poisoned(shape, dtype=float, **options):
    dtype = np.dtype(dtype)
    fill = np.nan if dtype.kind == "f" else np.iinfo(dtype).max if dtype.kind in "iu" else None
    return np.full(shape, fill, dtype, **options)
