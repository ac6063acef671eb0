"""The number of threads changes only the speed; our OpenBLAS and NumPy's do not affect each other."""
from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from common import at_once, every_type, launches, on_threads

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.loops import update
from tinygrad_relu.kernels.machine import matmul, panels
from tinygrad_relu.kernels.machine.pool import num_threads
from tinygrad_relu.nn.activations import MODULES

# rows, columns, inner: one number, around the edges of the vector kernels, the layers of an MLP, long and thin, and
# large enough for several threads whichever way they share the work; sums of nothing.
SHAPES = [(1, 1, 1), (1, 10, 64), (7, 5, 3), (16, 16, 16), (17, 33, 65), (64, 64, 64), (100, 10, 64), (128, 784, 10),
          (333, 222, 111), (1797, 64, 64), (1797, 10, 64), (64, 64, 1797), (10, 64, 1797), (1, 1000, 1000),
          (1000, 1, 1000), (1000, 1000, 1), (2, 3, 20000), (512, 512, 512), (1024, 100, 784), (100, 784, 1024),
          (999, 501, 257), (1030, 515, 600), (150, 70, 2053), (9, 65, 2053), (400, 8, 0), (400, 40, 0)]

def product(a, b, left, right):
    out = np.full((a.shape[1] if left else a.shape[0], b.shape[0] if right else b.shape[1]), np.nan, a.dtype)
    matmul.matmul(left, right, a, b, 0.0, out)
    return out


def operands(shape, left, right, dtype):
    m, n, inner = shape
    rng = np.random.default_rng(sum(shape))
    return (rng.standard_normal((inner, m) if left else (m, inner)).astype(dtype),
            rng.standard_normal((n, inner) if right else (inner, n)).astype(dtype))


@every_type
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gemm_with_any_number_of_threads(shape, left, right, dtype):
    """The same bits for any number, and no further from NumPy's product than sums in another order may be."""
    a, b = operands(shape, left, right, dtype)
    (ours,) = on_threads(lambda: [product(a, b, left, right)])
    theirs = (a.T if left else a) @ (b.T if right else b)
    rounding = (shape[2] + 1) * np.finfo(dtype).eps * (abs(a.T if left else a) @ abs(b.T if right else b))
    assert (abs(ours - theirs) <= rounding).all()


@every_type
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_a_product_is_added_to_what_is_there(left, right, dtype):
    """Whether its sum is computed at once or in pieces: of whole numbers, so exactly."""
    a, b = (np.round(x) for x in operands((150, 70, 1797), left, right, dtype))
    out = np.full((150, 70), 2, dtype)
    matmul.matmul(left, right, a, b, 0.5, out)
    assert (out == (a.T if left else a) @ (b.T if right else b) + 1).all()


@every_type
@pytest.mark.parametrize("widths, rows", [([2, 16, 16, 2], 64), ([64, 64, 64, 10], 1797), ([100, 300, 10], 128), ([784, 512, 10], 512)],
                         ids=str)
def test_training_with_any_number_of_threads(widths, rows, dtype):
    """Ten steps of SGD with momentum: losses and weights, bit for bit, whatever the number of threads."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((rows, widths[0])).astype(dtype), rng.integers(0, widths[-1], rows)

    def train():
        model = nn.MLP(widths, dtype=dtype, rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        losses = []
        for _ in range(10):
            opt.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            opt.step()
            losses.append(loss.item())
        return [np.array(losses), *(p.data for p in model.parameters())]

    on_threads(train, (1, 3))


@every_type
@pytest.mark.parametrize("cuts", [[], [40_000], [1, 33_000, 99_999]], ids=str)
def test_an_update_moves_each_number_once(cuts, dtype):
    g, cuts = np.arange(1, 100_001).astype(dtype), np.array(cuts, np.int64)
    for n in (1, 2, 3):
        v, p, m = np.zeros((3, g.size), dtype)
        with num_threads(n):
            update.sgd(p, g, v[:0], cuts, 0.5, 0.0, True, 1.0, 0.0, False, False)
            update.sgd(p, g, v, cuts, 0.5, 0.5, False, 1.0, 0.0, False, False)
            assert (p == -g).all() and (v == g).all()
            update.adam(p, g, v, m, cuts, 0.5, 0.5, 0.0, 0.0, 1.0, 1.0, 0.0, False)
        assert (v == g).all() and (m == g * g).all() and (p == -g - 0.5).all()


def test_threads_share_each_large_layer():
    sizes = [784, 256, 128, 10], [784, 256, 256, 256, 10]
    found = [optim.SGD(nn.MLP(widths, rng=0).parameters())._segments[0][0].cuts.tolist() for widths in sizes]
    assert found == [[], [785 * 256, 785 * 256 + 257 * 256]]


LARGE = {
    **{name: getattr(F, name) for name in MODULES if name != "prelu"}, "a sum": lambda x: x.sum(), "a mean": lambda x: x.mean(axis=0),
    "a deviation": lambda x: x.std(axis=1), "the largest": lambda x: x.max(axis=1), "softmax": lambda x: F.softmax(x, axis=1),
    "log_softmax": lambda x: F.log_softmax(x, axis=0), "logsumexp": lambda x: F.logsumexp(x, axis=1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]), "batch_norm": lambda x: nn.BatchNorm1d(211, dtype=str(x.dtype))(x),
    "cross_entropy": lambda x: F.cross_entropy(x, np.arange(len(x)) % 211), "mse_loss": lambda x: F.mse_loss(x, x * 0.5),
    "dropout": lambda x: F.dropout(x, 0.3, rng=0), "cumsum": lambda x: x.cumsum(axis=1), "a chain": lambda x: (x * 2 + 1) * x / 3 - x,
    "rows": lambda x: x[np.arange(500) % 7], "einsum": lambda x: tg.einsum("ij,kj->ik", x, x[:200]),
    **{kind.__name__: lambda x, kind=kind: kind(211, 64, rng=0, dtype=str(x.dtype))(x.reshape(16, 61, 211))[0]
       for kind in (nn.LSTM, nn.GRU, nn.RNN)}}


@every_type
@pytest.mark.parametrize("name", LARGE)
def test_large_operations_with_any_number_of_threads(name, dtype):
    """Results and gradients, bit for bit: README promises them."""
    data = np.random.default_rng(0).standard_normal((61 * 16, 211)).astype(dtype)

    def run():
        x = tg.Tensor(data, requires_grad=True)
        y = LARGE[name](x)
        (y * np.cos(np.arange(y.size, dtype=dtype)).reshape(y.shape)).sum().backward()
        return [y.data, x.grad]

    on_threads(run, (1, 2, 3, 7))


def test_a_product_is_one_launch():
    a, b = operands((512, 512, 784), False, False, np.float32)
    assert launches(lambda: product(a, b, False, False)) == ["product"]


@pytest.mark.parametrize("shape", [*SHAPES, (0, 5, 3), (5, 0, 3), (5, 3, 0), (64, 256, 784), (4096, 512, 784), (513, 5, 100_000)], ids=str)
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False)], ids=["nn", "nt", "tn"])
@pytest.mark.parametrize("slabs", [False, True])
def test_panels_cover_the_result_once(shape, transposed, slabs, monkeypatch):
    monkeypatch.setattr(panels, "has_slabs", lambda: slabs)
    m, n, inner = shape
    rows, columns = panels.panel_shape(m, n, inner, *transposed)
    covered = np.zeros((m, n), int)
    for i in range(panels.panel_count(covered, rows, columns)):
        top, bottom, left, right = panels.panel(i, covered, rows, columns, transposed[0])
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("shape", [(8, 128, 2048), (24, 64, 1024), (60, 64, 512), (128, 64, 512), (333, 64, 512), (512, 64, 1024)], ids=str)
@pytest.mark.parametrize("right", [False, True])
def test_products_of_few_columns_are_shared(shape, right, monkeypatch):
    monkeypatch.setattr(panels, "has_slabs", lambda: True)
    rows, columns = panels.panel_shape(*shape, False, right)
    assert panels.panel_count(np.empty(shape[:2]), rows, columns) >= 2


FORK = """
import os
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu.kernels.machine.matmul import matmul
tg.set_num_threads(2)
a, b, parent, child = np.ones((512, 784)), np.ones((784, 512)), np.empty((512, 512)), np.empty((512, 512))
matmul(False, False, a, b, 0.0, parent)
pid = os.fork()
matmul(False, False, a, b, 0.0, child)
right = bool((child == 784).all() and (parent == 784).all())
if pid == 0:
    os._exit(0 if right else 1)
raise SystemExit(os.waitpid(pid, 0)[1] or not right)
"""


def test_a_forked_child_computes_too():
    """The child of a fork has the pool of its parent, but not its threads."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0


@every_type
def test_ours_and_numpys_alternate(dtype):
    """Two copies of OpenBLAS with a thread pool each: neither disturbs the other's numbers."""
    a, b = operands((300, 300, 300), False, False, dtype)
    with num_threads(2):
        ours, theirs = product(a, b, False, False), a @ b
        bound = 301 * np.finfo(dtype).eps * (abs(a) @ abs(b))
        assert (abs(ours - theirs) <= bound).all()
        for _ in range(50):
            np.testing.assert_array_equal(a @ b, theirs)
            np.testing.assert_array_equal(product(a, b, False, False), ours)


def test_products_from_several_python_threads():
    """Kernels release the interpreter lock, so these products run at the same time."""
    cases = [operands(shape, False, False, np.float32)
             for shape in ((64, 64, 64), (300, 200, 100), (100, 784, 128), (500, 500, 500))]
    expected = [product(*case, False, False) for case in cases]

    def work(k):
        return all((product(*cases[k], False, False) == expected[k]).all() for _ in range(20))

    assert at_once([partial(work, k) for k in (0, 1, 2, 3) * 2]) == [True] * 8


def test_number_of_threads_is_set_and_read():
    before = tg.get_num_threads()
    for n in (1, 2, before):
        tg.set_num_threads(n)
        assert tg.get_num_threads() == n
