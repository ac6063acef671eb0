"""Long sums are as exact over a million rows as over a hundred: in `sum`, `mean` and gradients."""
from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.loops.reduce import BLOCK, LANES
from tinygrad_relu.kernels.machine.pool import num_threads

ROWS = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 1_000_003]


def ulps(got: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(abs(got - exact) / np.spacing(abs(exact).astype(got.dtype)), initial=0.0))


def bias_gradient(g: np.ndarray, before: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """The gradient of the bias by the kernel of the affine layer, added to an earlier gradient."""
    weight, bias = tg.Tensor(np.ones((g.shape[1], 1), g.dtype)), tg.Tensor(np.ones(g.shape[1], g.dtype), requires_grad=True)
    with num_threads(threads):
        for part in (g,) if before is None else (before, g):
            F.linear(np.ones((len(part), 1), g.dtype), weight, bias).backward(part)
    return bias.grad


@pytest.mark.parametrize("rows", ROWS)
def test_the_gradient_of_a_bias_is_exact_for_any_number_of_rows(rows):
    """For numbers around 1, which do not cancel: the sum of a block of 128 rows is off by a few ulps, and so is the whole sum.
    (One long float32 sum of a million numbers is off by hundreds of ulps.)"""
    g = np.random.default_rng(0).uniform(0.5, 1.5, (rows, 5)).astype(np.float32)
    exact = g.sum(axis=0, dtype=np.float64)
    assert ulps(bias_gradient(g), exact) <= 4
    assert ulps(bias_gradient(g, before=g[:7]), exact + g[:7].sum(axis=0, dtype=np.float64)) <= 5


def test_the_sum_of_a_few_rows_is_that_of_the_rows_one_by_one():
    """Sums of at most one block of rows are plain float32 additions in order."""
    g = np.random.default_rng(0).standard_normal((BLOCK, 7)).astype(np.float32)
    expected = np.zeros(7, np.float32)
    for row in g:
        expected += row
    np.testing.assert_array_equal(bias_gradient(g), expected)


def test_threads_do_not_change_a_bit():
    g = np.random.default_rng(0).standard_normal((100_000, 256)).astype(np.float32)        # large enough to be shared
    np.testing.assert_array_equal(bias_gradient(g, threads=1), bias_gradient(g, threads=4))


@pytest.mark.parametrize("shape, slopes", [
    ((1_000_003, 3), 3), ((1_000_003,), 1), ((LANES - 1,), 1), ((LANES + 1,), 1), ((3, 5, 50_001), 5), ((0, 4), 4), ((2, 3, 0), 3)])
def test_the_gradient_of_slopes_is_exact_for_any_number_of_rows(shape, slopes):
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(shape).astype(np.float32), rng.uniform(0.5, 1.5, shape).astype(np.float32)
    weight = tg.Tensor(np.full(slopes, 0.25, np.float32), requires_grad=True)
    F.prelu(x, weight).backward(g)
    products = np.minimum(x, 0) * g                     # in float32, as the kernel has them
    axes = tuple(i for i in range(len(shape)) if i != 1)
    exact = products.sum(axis=axes, dtype=np.float64) if slopes > 1 else np.array([products.sum(dtype=np.float64)])
    assert ulps(weight.grad, exact) <= 1


def numbers(*shape, seed=0):
    """Around 1, so that nothing cancels."""
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("f, weight", [(lambda x: x.sum(axis=0), 1), (lambda x: x.mean(axis=0), None), (lambda x: x.sum(axis=0)[:1], 1),
                                       (lambda x: x.T.sum(axis=1), 1)], ids=["sum", "mean", "cut", "lines"])
def test_the_sum_of_rows_is_exact_for_any_number_of_them(f, weight, rows):
    if rows == 0 and weight is None:
        return
    x = numbers(rows, 3)
    exact = x.sum(axis=0, dtype=np.float64) * (weight or 1 / rows)
    got = f(tg.Tensor(x)).data
    assert got.dtype == np.float32 and ulps(got, exact[:len(got)]) <= 4


@pytest.mark.parametrize("shape", [(1_000_003,), (1_000_003, 1), (1, 1_000_003), (3, 300_001), (300_001, 2, 1), (2, 150_001, 3), (0, 3), ()])
def test_what_was_repeated_is_summed_exactly(shape):
    """The gradient of an input that was broadcast, to every shape that broadcasts."""
    g = numbers(*shape)
    for axes in (axes for n in range(g.ndim + 1) for axes in combinations(range(g.ndim), n)):
        exact = g.sum(axis=axes, keepdims=True, dtype=np.float64)
        for like in (exact.shape, exact.shape[1:] if axes[:1] == (0,) else exact.shape):
            b = tg.Tensor(np.zeros(like), requires_grad=True, dtype="float32")
            (b + np.zeros(shape)).backward(g)
            assert b.grad.shape == like and b.grad.flags.c_contiguous
            assert ulps(b.grad, exact.reshape(like)) <= 5
        np.testing.assert_array_equal(tg.Tensor(g).sum(axis=axes).data.ravel(), b.grad.ravel())


def test_sums_of_float64_are_nearly_exact():
    """A million tenths: added one after the other, their roundings would add up, because all have the same sign."""
    for shape, axis in (((1_000_000,), None), ((2, 1_000_000), 1), ((1_000_000, 2), 0)):
        total = tg.Tensor(np.full(shape, 0.1)).sum(axis=axis).data
        assert np.all(abs(total - 100_000.0) <= 2e-13 * 100_000)


def test_the_parameters_of_a_layer_norm_get_exact_sums():
    rows = 300_001
    x, g = numbers(rows, 4), numbers(rows, 4, seed=1)
    weight, bias = (tg.Tensor(np.full(4, n), requires_grad=True, dtype="float32") for n in (1.0, 0.0))
    unit = F.layer_norm(x, 4, weight, bias)
    (unit + 3.0 * g).backward(g)                # the second term does not matter here
    assert ulps(bias.grad, g.sum(axis=0, dtype=np.float64)) <= 4
    products = unit.data.astype(np.float64) * g
    assert np.all(abs(weight.grad - products.sum(axis=0)) <= 1e-6 * abs(products).sum(axis=0))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_comes_through(value):
    """NaN and infinity pass through the sums of blocks and lanes too."""
    g = np.ones((3 * BLOCK, 2), np.float32)
    g[BLOCK + 5, 0] = value
    np.testing.assert_array_equal(bias_gradient(g), [value, 3 * BLOCK])
