"""benchmarks/compare.py times equal steps: in float64 the weights of all peers agree within its bound, and mistakes exceed it."""
from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
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


def test_the_page_is_written_from_the_figures(compare, monkeypatch, tmp_path):
    page, figure = tmp_path / "performance.md", compare.Figure
    page.write_text(f"before\n{compare.BEGIN}\nold\n{compare.END}\nafter\n")
    monkeypatch.setattr(compare, "PAGE", page)
    found = {"tiny": {"captured": figure(5.0, 0.01), "tinygrad_relu": figure(35.0, 0.1), "jax": figure(20.0, 0.0)},
             "64 x deep": {"captured": figure(50.0, 0.0), "jax": figure(100.0, 0.0)}}
    compare.write(found, ["captured", "tinygrad_relu", "jax"], sys.executable)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith(f"{compare.END}\nafter\n") and "old" not in text
    assert "| tiny: 2-16-16-2, batch 32 | **5** | 35 (+10%) | 20 |" in text
    assert "| 64 x deep: 30 layers of 32, batch 64, 64 networks | **50** | - | 100 |" in text
    assert "- Captured, times as fast as the fastest other library: faster on tiny 4.00 (JAX, compiled), 64 x deep 2.00" in text
    assert "- Eager, times as fast as the fastest other library: **slower** on tiny 0.57 (JAX, compiled)." in text
    assert (tmp_path / "peers.png").read_bytes()[:4] == b"\x89PNG" and "numpy 2" in text


def test_our_steps_are_equal_and_a_population_learns_the_same_as_its_members(compare):
    x, y, weights = compare.problem("tiny", "float64")
    many = [np.stack([w, 0.5 * w]) for w in weights]
    alone = [compare.our_step(x, y, [scale * w for w in weights]) for scale in (1.0, 0.5)]
    (together, theirs), (captured, same) = (make(x, y, many) for make in (compare.our_step, compare.our_captured_step))
    for _ in range(5):
        for step in (together, captured, *(step for step, _ in alone)):
            step()
    np.testing.assert_array_equal(np.stack([weight() for _, weight in alone]), theirs())
    np.testing.assert_array_equal(theirs(), same())


def test_every_benchmark_can_be_imported():
    """In a process of its own, because the folder sets the environment of its benchmarks."""
    done = subprocess.run([sys.executable, "-m", "benchmarks", "bench_init"], cwd=PLACE.parents[1], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("bench_init.Networks: 1 cases"), done.stderr


def test_asv_installs_what_benchmarks_import():
    """One that cannot be imported stops asv before all of them; the checkout's own environment has everything."""
    root = PLACE.parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"wheel_file}\[(\w+)\]", (root / "asv.conf.json").read_text(encoding="utf-8"))
    installed = {re.match(r"[\w-]+", needed)[0] for needed in project["dependencies"] + project["optional-dependencies"][extras[0]]}
    text = "\n".join(path.read_text(encoding="utf-8") for path in PLACE.parent.glob("bench_*.py"))
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - sys.stdlib_module_names - {"tinygrad_relu"}
    assert "sklearn" in imported
    assert {packages_distributions()[name][0] for name in imported} <= installed
