"""Kernels over rows, shared among threads: the same bits for any number of threads, long and short rows, and gradients that are
added to those that are there."""
from __future__ import annotations

import numpy as np
import pytest
from common import every_type, on_threads

import tinygrad_relu as tg
from tinygrad_relu import Tensor, nn
from tinygrad_relu import functional as F

SHAPES = [(1, 1), (3, 2), (301, 10), (513, 37), (70, 513), (5, 3000), (700, 700), (2, 150_000)]


def labels_of(x):
    return np.arange(len(x)) % x.shape[1]


ROWS = {
    "softmax": lambda x: F.softmax(x),
    "log_softmax": lambda x: F.log_softmax(x),
    "cross_entropy": lambda x: F.cross_entropy(x, labels_of(x)),
    "cross_entropy, each": lambda x: F.cross_entropy(x, labels_of(x), reduction="none"),
    "cross_entropy, smoothed": lambda x: F.cross_entropy(x, labels_of(x), label_smoothing=0.1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True) if len(x) > 1 else x * 1.0,
    "sum": lambda x: x.sum(), "sum of rows": lambda x: x.sum(axis=0), "sum of lines": lambda x: x.sum(axis=1)}


def run(f, x, g_seed=1):
    leaf = Tensor(x, requires_grad=True)
    y = f(leaf)
    y.backward(np.random.default_rng(g_seed).standard_normal(y.shape).astype(x.dtype))
    return y.data, leaf.grad


@every_type
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_any_number_of_threads_gives_the_same_bits(name, shape, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    on_threads(lambda: run(ROWS[name], x))


@every_type
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_of_long_and_short_rows_against_float64(shape, dtype):
    x = 3 * np.random.default_rng(0).standard_normal(shape).astype(dtype)
    e = np.exp(x.astype(np.longdouble) - x.max(axis=1, keepdims=True))
    exact = e / e.sum(axis=1, keepdims=True)
    rounding = (4 + shape[1] / 8) * np.finfo(dtype).eps         # of a sum in lanes of 8 or more
    below = (x.max(axis=1, keepdims=True) - x) * np.finfo(dtype).eps        # of the differences, which exp multiplies
    assert (abs(F.softmax(x).data - exact) <= (rounding + below) * exact).all()
    losses = F.cross_entropy(x, labels_of(x), reduction="none").data
    want = -np.log(exact[np.arange(len(x)), labels_of(x)])
    assert (abs(losses - want) <= rounding * (1 + abs(want) + abs(x).max())).all()


@every_type
@pytest.mark.parametrize("top", [np.inf, -np.inf, np.nan, -np.nan, 0.0, -0.0])
@pytest.mark.parametrize("columns", [3, 700])
def test_special_numbers_stay_in_their_row(columns, top, dtype):
    x = np.zeros((4, columns), dtype)
    x[1, columns // 2] = top
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        want = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(F.softmax(x).data, want, rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(F.log_softmax(x).data), np.isnan(want))


@every_type
@pytest.mark.parametrize("axis", [None, 0, 1, 2, (0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 3, 5), (2, 140_000, 1), (3, 1000, 70)], ids=str)
def test_sums_and_their_gradients(shape, axis, dtype):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    y = Tensor(x).sum(axis=axis)
    exact = x.sum(axis=axis, dtype=np.longdouble)
    assert (abs(y.data - exact) <= 128 * np.finfo(dtype).eps * abs(x).sum(axis=axis, dtype=float)).all()
    leaf, g = Tensor(x, requires_grad=True), np.random.default_rng(1).standard_normal(exact.shape).astype(dtype)
    leaf.sum(axis=axis).backward(g)
    spread = np.broadcast_to(g if axis is None else np.expand_dims(g, axis), shape)
    np.testing.assert_array_equal(leaf.grad, spread)
    first = leaf.grad
    leaf.sum(axis=axis).backward(g)
    assert leaf.grad is first
    np.testing.assert_array_equal(first, spread + spread)


@every_type
@pytest.mark.parametrize("name", ROWS)
def test_gradients_are_added(name, dtype):
    """To the gradient of an earlier backward, and to one that has come along another path."""
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(dtype)
    f, leaf = ROWS[name], Tensor(x, requires_grad=True)
    once = run(f, x)[1]
    for _ in range(2):
        y = f(leaf)
        y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(dtype))
    np.testing.assert_allclose(leaf.grad, 2 * once, rtol=1e-5, atol=1e-6)
    leaf.grad = None
    inner = leaf * 1.0
    y = f(inner)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    ((y * weights).sum() + (inner * 3.0).sum()).backward()
    np.testing.assert_allclose(leaf.grad, once + 3, rtol=1e-5, atol=1e-6)


@every_type
def test_a_grad_that_a_kernel_cannot_add_to(dtype):
    """Read-only, of strides, or of another dtype: NumPy's rules hold."""
    x = Tensor(np.ones((4, 3)), requires_grad=True, dtype=dtype)
    x.grad = np.zeros((3, 4), dtype).T
    strided = x.grad
    F.softmax(x).sum().backward()
    assert x.grad is strided
    x.grad = np.zeros((4, 3))
    x.sum().backward()
    assert x.grad.dtype == float and (x.grad == 1).all()
    x.grad.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        x.sum().backward()


def test_one_leaf_as_weight_and_bias():
    x, w = np.random.default_rng(0).standard_normal((6, 4)), Tensor(np.ones(4), requires_grad=True)
    layer = nn.LayerNorm(4, dtype="float64")
    layer.weight = layer.bias = w = nn.Parameter(np.ones(4))
    tg.optim.SGD([w], lr=0.1)
    for _ in range(2):
        w.grad = None
        layer(x).sum().backward()
        np.testing.assert_allclose(w.grad, layer(x).data.sum(axis=0) - 6 + 6, rtol=1e-12)


@every_type
@pytest.mark.parametrize("steps, rows, size", [(2, 9, 5), (5, 20, 200)])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_on_threads(kind, steps, rows, size, dtype):
    """More rows than go together, weights that are cut, and few steps, for which they are not copied: the same bits for any number
    of threads, and the numbers of the layer row by row."""
    layer = getattr(nn, kind)(3, size, rng=0, dtype=dtype)
    x = np.random.default_rng(0).standard_normal((steps, rows, 3)).astype(dtype)

    def gradients(x):
        leaf = Tensor(x, requires_grad=True)
        y, _ = layer(leaf)
        layer.zero_grad()
        (y * y).sum().backward()
        return [y.data, leaf.grad, *(p.grad.copy() for p in layer.parameters())]

    alone = on_threads(lambda: gradients(x), (1, 2, 3))
    each = [gradients(x[:, r:r + 1]) for r in range(rows)]
    close = dict(rtol=1e-3, atol=1e-4) if dtype is np.float32 else dict(rtol=1e-9, atol=1e-11)
    for found, parts in zip(alone[:2], zip(*each)):
        np.testing.assert_allclose(found, np.concatenate(parts, axis=1), **close)
    for found, *parts in zip(alone[2:], *(gs[2:] for gs in each)):
        np.testing.assert_allclose(found, sum(parts), **close)
