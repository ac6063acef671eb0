"""The number of threads changes speed, and no more than rounding; our OpenBLAS and NumPy's leave each other alone."""
from __future__ import annotations

import threading

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels import linear as linear_kernels

TYPES = [np.float32, np.float64]
every_type = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
# rows, columns, inner: one number, around the edges of the vector kernels, the layers of an MLP, long and thin, and
# large enough for several threads whichever way they share the work.
SHAPES = [(1, 1, 1), (1, 10, 64), (7, 5, 3), (16, 16, 16), (17, 33, 65), (64, 64, 64), (100, 10, 64), (128, 784, 10),
          (333, 222, 111), (1797, 64, 64), (1797, 10, 64), (64, 64, 1797), (10, 64, 1797), (1, 1000, 1000),
          (1000, 1, 1000), (1000, 1000, 1), (2, 3, 20000), (512, 512, 512), (1024, 100, 784), (100, 784, 1024),
          (999, 501, 257)]

ONE_THREAD = 2**18      # multiplications up to which OpenBLAS uses one thread whatever it is allowed


@pytest.fixture(autouse=True)
def threads_as_before():
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


def product(a, b, left, right):
    out = np.empty((a.shape[1] if left else a.shape[0], b.shape[0] if right else b.shape[1]), a.dtype)
    linear_kernels.matmul(a, b, left, right, out)
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
    """The same bits every time for the same number of threads; for different numbers, what a sum of `inner` products
    may be off by when it is added up in another order; the same bits if the product is too small for more than one."""
    a, b = operands(shape, left, right, dtype)
    tg.set_num_threads(1)
    alone = product(a, b, left, right)
    rounding = (shape[2] + 1) * np.finfo(dtype).eps * (abs(a.T if left else a) @ abs(b.T if right else b))
    for n in (2, 3):
        tg.set_num_threads(n)
        together = product(a, b, left, right)
        np.testing.assert_array_equal(product(a, b, left, right), together)
        assert (abs(together - alone) <= (rounding if np.prod(shape) > ONE_THREAD else 0)).all()


@every_type
@pytest.mark.parametrize("widths, rows", [([2, 16, 16, 2], 64), ([64, 64, 64, 10], 1797), ([100, 300, 10], 128)],
                         ids=str)
def test_training_with_any_number_of_threads(widths, rows, dtype):
    """Ten steps of SGD with momentum: losses and weights, bit for bit with the same number of threads, and close with
    another: rounding that ten steps carry on, of sums of up to 1797 products."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((rows, widths[0])).astype(dtype), rng.integers(0, widths[-1], rows)

    def train(threads):
        tg.set_num_threads(threads)
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

    small = rows * max(n * m for n, m in zip(widths, widths[1:])) <= ONE_THREAD
    for alone, together, again in zip(train(1), train(2), train(2)):
        np.testing.assert_array_equal(together, again)
        assert abs(together - alone).max() <= (0 if small else 2000 * np.finfo(dtype).eps)


@every_type
def test_ours_and_numpys_alternate(dtype):
    """Two copies of OpenBLAS with a thread pool each: neither disturbs the other's numbers."""
    tg.set_num_threads(2)
    a, b = operands((300, 300, 300), False, False, dtype)
    ours, theirs = product(a, b, False, False), a @ b
    bound = 301 * np.finfo(dtype).eps * (abs(a) @ abs(b))
    assert (abs(ours - theirs) <= bound).all()
    for _ in range(50):
        np.testing.assert_array_equal(a @ b, theirs)
        np.testing.assert_array_equal(product(a, b, False, False), ours)


def test_products_from_several_python_threads():
    """Kernels let go of the interpreter lock, so these do run at once."""
    cases = [operands(shape, False, False, np.float32)
             for shape in ((64, 64, 64), (300, 200, 100), (100, 784, 128), (500, 500, 500))]
    expected = [product(*case, False, False) for case in cases]
    wrong = []

    def work(k):
        for _ in range(20):
            if (product(*cases[k], False, False) != expected[k]).any():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in (0, 1, 2, 3) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_number_of_threads_is_set_and_read():
    for n in (1, 2):
        tg.set_num_threads(n)
        assert tg.get_num_threads() == n
