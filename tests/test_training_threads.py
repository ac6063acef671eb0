"""Python threads that each train a model, or evaluate one model at the same time, get the same bits as one after the other."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from common import at_once
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.kernels.machine.pool import num_threads

# Widths, rows, activation, dtype, optimizer of eight threads; the layers of two are shared among threads themselves.
WORK = [
    ([2, 16, 16, 2], 64, "relu", "float32", optim.SGD), ([2, 16, 16, 2], 64, "tanh", "float64", optim.Adam),
    ([20, 30, 30, 5], 100, "gelu", "float32", optim.AdamW), ([20, 30, 5], 100, "maxout", "float64", optim.SGD),
    ([8, 8, 8, 3], 33, "prelu", "float32", optim.Adam), ([8, 8, 8, 3], 33, "rrelu", "float64", optim.SGD),
    ([784, 512, 10], 512, "leaky_relu", "float32", optim.SGD), ([400, 300, 10], 256, "relu", "float64", optim.Adam),
]


def train(widths, rows, activation, dtype, kind, seed, steps=25):
    """Losses and weights of a training run."""
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal((rows, widths[0])).astype(dtype), rng.integers(0, widths[-1], rows)
    model = nn.MLP(widths, activation=activation, dtype=dtype, rng=seed)
    opt = kind(model.parameters(), lr=0.01, weight_decay=1e-3)
    losses = []
    for step in range(steps):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        if step % 5 == 0:
            with tg.no_grad():
                losses.append(model(x).data.sum())
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return [np.array(losses), *(p.data for p in model.parameters())]


@pytest.mark.parametrize("n", [1, 3])
def test_eight_models_in_eight_threads(n):
    works = [lambda work=work, k=k: train(*work, seed=k) for k, work in enumerate(WORK)]
    with num_threads(n):
        alone = [work() for work in works]
        for together, expected in zip(at_once(works), alone):
            for a, b in zip(together, expected):
                np.testing.assert_array_equal(a, b)


def test_the_same_small_model_in_eight_threads():
    """A thousand steps each: any array shared by mistake (a buffer, a cache) would be corrupted."""
    work = lambda: train([2, 8, 2], 16, "relu", "float32", optim.SGD, seed=0, steps=1000)
    alone = work()
    for together in at_once([work] * 8):
        for a, b in zip(together, alone):
            np.testing.assert_array_equal(a, b)


def test_each_thread_captures_a_step_of_its_own():
    """Recordings of several threads take turns: each replaces a method of all optimizers."""
    def work(k):
        rng = np.random.default_rng(k)
        x, labels, model = rng.standard_normal((16, 4)), rng.integers(0, 3, 16), nn.MLP([4, 8, 3], dtype="float64", rng=k)
        opt = (optim.SGD, optim.Adam)[k % 2](model.parameters(), lr=0.1)

        @tg.capture
        def step(x, labels):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            opt.step()
            return loss

        return [step(x, labels).item() for _ in range(20)]

    works = [lambda k=k: work(k) for k in range(4)]
    alone = [one() for one in works]
    for _ in range(5):
        assert at_once(works) == alone


def test_one_model_is_evaluated_by_eight_threads():
    """Inference, recorded or not: each thread gets the result for its own input."""
    for widths, activation in (([6, 16, 16, 3], "relu"), ([6, 16, 16, 3], "gelu"), ([300, 400, 10], "relu")):
        model = nn.MLP(widths, activation=activation, rng=0)
        questions = [np.random.default_rng(k).standard_normal((32 + 100 * (k % 3), widths[0])).astype("float32") for k in range(8)]
        alone = [model(x).data for x in questions]

        def ask(k, model=model, questions=questions):
            if k % 2:
                return [model(questions[k]).data for _ in range(50)]
            with tg.no_grad():
                return [model(questions[k]).data for _ in range(50)]

        for k, answers in enumerate(at_once([lambda k=k: ask(k) for k in range(8)])):
            assert all((answer == alone[k]).all() for answer in answers)


def test_gradients_of_one_model_by_grad():
    """tg.grad touches no .grad, so eight threads may differentiate through one model."""
    model = nn.MLP([6, 16, 3], activation="tanh", dtype="float64", rng=0)
    questions = [np.random.default_rng(k).standard_normal((32, 6)) for k in range(8)]
    work = [lambda x=x: [g.data for g in tg.grad(model(x).sum(), model.parameters())] for x in questions]
    alone = [f() for f in work]
    for together, expected in zip(at_once([lambda f=f: [f() for _ in range(50)] for f in work]), alone):
        assert all((a == b).all() for once in together for a, b in zip(once, expected))
    assert all(p.grad is None for p in model.parameters())


def test_watch_is_local_to_its_thread():
    seen, gate = [], threading.Barrier(2)
    x = np.array([-1.0, 2.0])

    def watched():
        def note(kernel, arguments):
            seen.append(kernel.__name__)
            kernel(*arguments)

        with watch(note):
            gate.wait(60)       # the other computes while we watch ...
            gate.wait(60)
            F.tanh(x)

    def unwatched():
        gate.wait(60)
        for _ in range(100):
            F.relu(x)
        gate.wait(60)

    at_once([watched, unwatched])
    assert seen == ["tanh_forward"]


def test_a_change_in_one_thread_is_no_change_in_another():
    """Steps in other threads do not outdate a graph, and an outdated graph is detected while other threads step."""
    def steps():
        p = nn.Parameter([1.0])
        opt = optim.SGD([p], lr=1e-3)
        for _ in range(2000):
            opt.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            opt.step()
        loss = (p * p).sum()
        opt.step()
        with pytest.raises(RuntimeError, match="was changed after"):
            loss.backward()
        return p.item()

    assert len(set(at_once([steps] * 4))) == 1


FRESH = """
import json, sys, threading
sys.path.insert(0, {tests!r})
from test_training_threads import F, at_once, np, optim, tg, train
sys.setswitchinterval(1e-5)         # so that threads meet in the middle of everything
model = lambda: train([3, 4, 4, 2], 8, "softplus", "float32", optim.SGD, seed=0, steps=3)

def few_kernels():
    x = tg.Tensor([[-1.0, 2.0], [0.5, 3.0]], requires_grad=True)
    y = F.tanh(F.leaky_relu(x).T)
    y.backward(np.ones((2, 2)))
    return [y.data, x.grad]

work = dict(few_kernels=few_kernels, model=model)[sys.argv[2]]
results = at_once([work] * 8) if sys.argv[1] == "together" else [work()]
print(json.dumps([[a.tolist() for a in result] for result in results]))
"""


def test_eight_threads_compile_at_once(tmp_path):
    """A fresh process and an empty cache: every kernel, op and table is made for the first time, by eight threads at once.
    What they leave in the cache is whole: a second process runs on it, and adds nothing."""
    script = FRESH.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}

    def start(how):
        done = subprocess.run([sys.executable, "-c", script, how, strength("few_kernels", thorough="model")], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    together = start("together")
    kept = {path.name for path in tmp_path.rglob("*.nb?")}
    alone, = start("alone")
    assert len(together) == 8 and all(result == alone for result in together)
    assert {path.name for path in tmp_path.rglob("*.nb?")} == kept
    assert len({path.parent.parent for path in tmp_path.rglob("*.nb?")}) == 1       # one folder: no half-set options


FIRST_CAPTURES = """
import threading
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu import functional as F, nn, optim

def work():
    model = nn.MLP([2, 4, 2], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1)

    @tg.capture
    def step(x, y):
        opt.zero_grad()
        F.cross_entropy(model(x), y).backward()
        opt.step()

    ready.wait()
    for _ in range(20):
        step(np.ones((3, 2), np.float32), np.zeros(3, int))

ready = threading.Barrier(3)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_make_the_first_captures_of_a_process_at_once():
    """The native functions that replay are made by whoever comes first, and must live as long as those of all."""
    done = subprocess.run([sys.executable, "-c", FIRST_CAPTURES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
