"""The names that every example in a docstring may use without importing them (docs/index.md says so)."""
from __future__ import annotations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import data, functional, lab, nn, optim

CUSTOMARY = {"np": np, "tg": tg, "data": data, "F": functional, "lab": lab, "nn": nn, "optim": optim, "Tensor": tg.Tensor}


@pytest.fixture(autouse=True)
def _customary_names(request: pytest.FixtureRequest) -> None:
    """Where a module has such a name of its own, that one holds."""
    example = getattr(request.node, "dtest", None)
    if example is not None:
        for name, value in CUSTOMARY.items():
            example.globs.setdefault(name, value)
