"""benchmarks/compare.py times equal steps: in float64 the weights of all peers agree within its bound, and mistakes exceed it."""
from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PLACE = Path(__file__).parents[1] / "benchmarks" / "compare.py"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def learned(compare, peer, size):
    step, weights = compare.PEERS[peer](*compare.problem(size, "float64"))
    for _ in range(compare.CHECKED):
        step()
    return np.array(weights())


@pytest.mark.parametrize("size", ["tiny", "deep"])
def test_a_peer_learns_the_same_and_a_mistake_shows(compare, monkeypatch, size):
    ours, theirs = learned(compare, "tinygrad_relu", size), learned(compare, "numpy", size)
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    total = np.abs(ours).sum()
    assert abs(np.abs(theirs).sum() - total) <= compare.BOUND * total / 1000
    for setting, wrong in (("DECAY", 0.0), ("MOMENTUM", 0.899), ("LR", 0.01001)):
        with monkeypatch.context() as changed:
            changed.setattr(compare, setting, wrong)
            assert abs(np.abs(learned(compare, "numpy", size)).sum() - total) > 1000 * compare.BOUND * total, setting


def test_every_benchmark_can_be_imported():
    """In a process of its own, because the folder sets the environment of its benchmarks."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", "bench_init"], cwd=PLACE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("bench_init.Networks: 1 cases"), done.stderr
