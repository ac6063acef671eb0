"""Memory does not grow over many training steps, and is bounded per node of a large graph. Measured in separate processes."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from strength import strength

from tinygrad_relu.kernels.machine import host


def in_a_process_of_its_own(script: str, *arguments: object) -> dict:
    """Run a script that prints JSON, in a process of its own, so that memory of other tests does not count."""
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=1800,
                          cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TRAINING = """
import gc, json, sys
import numpy as np
import psutil
from tinygrad_relu import functional as F, nn, optim

collector, steps = sys.argv[1] == "on", int(sys.argv[2])
model = nn.MLP([2, 4, 2], rng=0)
opt = optim.Adam(model.parameters())
x, y = np.random.default_rng(0).standard_normal((4, 2)).astype("float32"), np.arange(4) % 2

def train(steps):
    for _ in range(steps):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()

def now():
    if collector:
        gc.collect()
    objects = len(gc.get_objects())     # first: the list itself takes a megabyte
    return psutil.Process().memory_info().rss, objects

gc.collect()
if not collector:
    gc.disable()
train(5000)
bytes_before, objects_before = now()
train(steps)
bytes_after, objects_after = now()
print(json.dumps(dict(bytes=bytes_after - bytes_before, objects=objects_after - objects_before)))
"""


@pytest.mark.parametrize("collector", ["on", "off"])
def test_memory_is_flat_over_many_steps(collector):
    """Leaking one object of 100 bytes per step would take two megabytes; one object per hundred steps would leave two hundred."""
    grown = in_a_process_of_its_own(TRAINING, collector, strength(20_000, thorough=100_000))
    assert grown["bytes"] < 2**18 and grown["objects"] < 50


GRAPHS = """
import gc, json, resource, sys
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu.autodiff.node import Op
gc.disable()            # so that only what is let go of is freed

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def chain(x, n):
    y = x
    for _ in range(n):
        y = -y
    return y

def fan_in_of_a_leaf(x, n):
    "One leaf to which n gradients flow."
    y = x
    for _ in range(n // 2):
        y = (-y) - x
    return y

def every(g, y, saved, into, add, *values):
    for place in into:
        place[...] = g

def fan_in_of_a_node(x, n):
    "One node of n parents."
    total = Op("total", lambda *values: np.asarray(np.sum(values)), fused=every)
    return total(*[-x for _ in range(n)])

graphs = dict(chain=chain, leaf=fan_in_of_a_leaf, node=fan_in_of_a_node)
x = tg.Tensor(0.5, requires_grad=True)
graphs[sys.argv[1]](x, 10).backward()
x.grad, before, n = None, peak(), int(sys.argv[2])
y = graphs[sys.argv[1]](x, n)
forward = peak()
y.backward()
backward = peak()
print(json.dumps(dict(value=y.item(), gradient=x.grad.item(), forward=(forward - before) / n, backward=(backward - before) / n)))
"""
NODES = strength(200_000, thorough=1_000_000)


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process is asked for by resource")
@pytest.mark.parametrize("graph, value, gradient", [("chain", 0.5, 1.0), ("leaf", 0.5, 1.0), ("node", -0.5 * NODES, -NODES)])
def test_memory_of_a_large_graph(graph, value, gradient):
    """In a chain, into one leaf, into one node. Measured: 471 to 573 bytes for a node of one number. The backward pass takes up
    to 146 more, for a list of all nodes and for the table of gradients."""
    found = in_a_process_of_its_own(GRAPHS, graph, NODES)
    assert (found["value"], found["gradient"]) == (value, gradient)
    assert found["forward"] < 768 and found["backward"] < 1024      # bytes per node


@pytest.mark.parametrize("name, value", [("TINYGRAD_RELU_KEEP_MEMORY", "0"), ("MALLOC_ARENA_MAX", "2"),
                                         ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")])
def test_a_variable_switches_the_keeping_of_freed_memory_off(monkeypatch, name, value):
    """Our own variable, or any malloc variable that the user has set."""
    asked = []

    class Library:
        def __init__(self, name):
            self.mallopt = lambda option, value: asked.append(option) or 1

    monkeypatch.setattr(host.ctypes, "CDLL", Library)
    monkeypatch.setattr(host.sys, "platform", "linux")
    for variable in [v for v in host.os.environ if v.startswith("MALLOC_") or v in ("GLIBC_TUNABLES", host.SWITCH)]:
        monkeypatch.delenv(variable)
    assert host.keep_freed_memory() and asked == [host.M_MMAP_THRESHOLD, host.M_TRIM_THRESHOLD]
    monkeypatch.setenv(name, value)
    assert not host.keep_freed_memory() and len(asked) == 2
