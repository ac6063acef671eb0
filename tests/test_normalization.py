"""Batch and layer norm: running statistics, accuracy where the mean is large, and what is refused. (Values: table.py.)"""
from __future__ import annotations

import naive
import numpy as np
import pytest
import table
from common import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn

nan, inf = float("nan"), float("inf")
every_shape = pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (1, 3, 2), (2, 3)], ids=str)
RNG = np.random.default_rng(0)


def batches(shape, dtype, n=4):
    return [(3 * RNG.standard_normal(shape) + np.arange(3).reshape(-1, *[1] * (len(shape) - 2))).astype(dtype) for _ in range(n)]


def moments(x):
    axes = (0, *range(2, x.ndim))
    x = x.astype(float)
    return x.mean(axis=axes), x.var(axis=axes, ddof=1)


# -- running statistics ----------------------------------------------------------------------------------------------

@every_type
@every_shape
@pytest.mark.parametrize("momentum", [0.1, 0.0, 1.0, None])
def test_running_statistics(momentum, shape, dtype):
    """They track the mean and unbiased variance of the batches; with momentum None they are the averages over all batches."""
    layer = nn.BatchNorm1d(3, momentum=momentum, dtype=dtype)
    arrays = layer.running_mean.data, layer.running_var.data, layer.num_batches_tracked.data
    mean, var, seen = np.zeros(3), np.ones(3), batches(shape, dtype)
    for i, x in enumerate(seen):
        rate = 1 / (i + 1) if momentum is None else momentum
        mean, var = (r + rate * (b - r) for r, b in zip((mean, var), moments(x)))
        layer(x)
        table.close(arrays[0], mean), table.close(arrays[1], var)
        assert arrays[2] == i + 1
    if momentum is None:
        table.close(arrays[0], np.mean([moments(x)[0] for x in seen], axis=0))
    assert all(a is b.data for a, b in zip(arrays, (layer.running_mean, layer.running_var, layer.num_batches_tracked)))
    assert [a.dtype for a in arrays] == [dtype, dtype, np.int64] and arrays[2].shape == ()
    before = [a.copy() for a in arrays]
    y = layer.eval()(seen[0])
    table.close(y.data, naive.batch_norm_by(seen[0].astype(float), arrays[0].astype(float), arrays[1].astype(float)))
    for a, b in zip(arrays, before):
        np.testing.assert_array_equal(a, b)


def test_statistics_are_followed_once_for_each_forward_in_training():
    """A backward pass does not update them, not even one of second order; a forward pass does, even without a graph."""
    layer = nn.BatchNorm1d(3, dtype="float64")
    x = tg.Tensor(RNG.standard_normal((5, 3)), requires_grad=True)
    (slope,) = tg.grad((layer(x) ** 2).sum(), x, create_graph=True)
    tg.grad((slope * slope).sum(), [x, layer.weight])
    assert layer.num_batches_tracked.data == 1
    with tg.no_grad():
        layer(x)
    assert layer.num_batches_tracked.data == 2


def test_without_running_statistics_each_batch_uses_its_own():
    layer = nn.BatchNorm1d(3, affine=False, track_running_stats=False)
    x = np.float32(RNG.standard_normal((5, 3)))
    np.testing.assert_array_equal(layer(x).data, layer.eval()(x).data)
    assert layer.parameters() == [] and not list(layer.named_buffers())
    table.close(layer(x).data, naive.batch_norm(x.astype(float)))


def test_names_kinds_and_repr():
    layer = nn.BatchNorm1d(3)
    assert [(n, p.kind, p.shape) for n, p in layer.named_parameters()] == [("weight", "weight", (3,)), ("bias", "bias", (3,))]
    assert [n for n, _ in layer.named_buffers()] == ["running_mean", "running_var", "num_batches_tracked"]
    assert repr(nn.BatchNorm1d(3, eps=0.1, momentum=None, affine=False, track_running_stats=False)) == (
        "BatchNorm1d(3, eps=0.1, momentum=None, affine=False, track_running_stats=False, bias=False)")
    assert [n for n, _ in nn.BatchNorm1d(3, bias=False).named_parameters()] == ["weight"]
    assert nn.BatchNorm1d(3, affine=False).parameters() == []
    assert repr(nn.BatchNorm1d(3, bias=False)) == "BatchNorm1d(3, bias=False)"
    assert [n for n, _ in nn.LayerNorm((2, 3)).named_parameters()] == ["weight", "bias"]
    assert [n for n, _ in nn.LayerNorm(3, bias=False).named_parameters()] == ["weight"]
    assert nn.LayerNorm(3, elementwise_affine=False).parameters() == []
    assert repr(nn.LayerNorm((2, 3), eps=0.1)) == "LayerNorm((2, 3), eps=0.1)" and repr(nn.LayerNorm(3)) == "LayerNorm((3,))"
    assert repr(nn.LayerNorm(3, elementwise_affine=False)) == "LayerNorm((3,), elementwise_affine=False, bias=False)"
    assert repr(nn.LayerNorm(3, bias=False)) == "LayerNorm((3,), bias=False)"


# -- accuracy --------------------------------------------------------------------------------------------------------

def exact(x, axis):
    """x normalised, computed from the same numbers with 11 bits more than float64 has."""
    return naive.normalised(x.astype(np.longdouble), axis, np.longdouble(1e-5)).astype(float)


@every_type
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6, -1e6])
@pytest.mark.parametrize("first", [0.0, 1e4], ids=["", "a stray first value"])
@pytest.mark.parametrize("shape", [(700, 3), (7, 3, 100), (1, 3, 700)], ids=str)
def test_a_large_mean_costs_no_digits(shape, first, offset, dtype):
    """Float32: exact to the last bit of the largest entry, because statistics and differences are float64 (measured: 0.46 eps).
    In float64 a sum of 700 is off by some ulps, as in NumPy (measured: 3 eps), and the mean by half an ulp of itself. (A first
    value at four standard deviations would cost a digit more, so the numbers do not depend on the tests before.)"""
    x = np.random.default_rng(0).standard_normal(shape)
    x[(0, slice(None), 0)[:x.ndim]] += first
    x = (x + offset).astype(dtype)
    for got, axis in ((F.batch_norm(x, None, None, training=True), (0, *range(2, x.ndim))),
                      (F.layer_norm(x.reshape(3, -1), x.size // 3), None)):
        expected = exact(x, axis) if axis is not None else exact(x.reshape(3, -1), -1)
        bound = abs(expected).max() if dtype == np.float32 else 16 * abs(expected).max() + 2 * abs(offset)
        assert abs(got.data - expected).max() <= bound * np.finfo(dtype).eps


@every_type
@pytest.mark.parametrize("value", [0.1, 1e6, -3.0])
def test_a_constant_channel_is_the_bias(value, dtype):
    """Its variance is exactly 0, whatever the value; the gradient is finite."""
    x = tg.Tensor(np.full((7, 3), value), requires_grad=True, dtype=dtype)
    layer = nn.BatchNorm1d(3, dtype=dtype)
    layer.bias.data = [1, 2, 3]
    y = layer(x)
    y.backward(np.ones(y.shape))
    assert abs(y.data - [1, 2, 3]).max() <= 4e2 * np.finfo(dtype).eps * (abs(value) if dtype == np.float64 else 1)
    assert np.isfinite(x.grad).all()
    np.testing.assert_array_equal(layer.running_var.data, np.full(3, 0.9, dtype))


@every_type
def test_gradients_of_a_long_batch(dtype):
    """Sums over 20,000 rows are float64 too, with an error of at most sqrt(20,000) eps of float64, or about 1e-13."""
    x, g = (RNG.standard_normal((20_000, 2)).astype(dtype) + dtype(100) for _ in range(2))
    weight, bias = (tg.Tensor(np.ones(2), requires_grad=True, dtype=dtype) for _ in range(2))
    for y in (F.batch_norm(x, None, None, weight, bias, training=True), F.layer_norm(x, 2, weight, bias)):
        y.backward(g)
    expected = (exact(x, 0) + exact(x, 1)) * g
    eps = np.finfo(dtype).eps if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(bias.grad, 2 * g.sum(axis=0, dtype=np.longdouble).astype(float), rtol=4 * eps)
    np.testing.assert_allclose(weight.grad, expected.sum(axis=0), rtol=0, atol=4 * eps * abs(expected).sum(axis=0).max())


@every_type
def test_the_same_bits_again_and_anywhere(dtype):
    """A layer norm depends on one row only, and a second run gives the same bits."""
    x, g = RNG.standard_normal((2, 9, 37)).astype(dtype)
    rows = F.layer_norm(x, 37).data
    np.testing.assert_array_equal(F.layer_norm(x[4:5], 37).data, rows[4:5])
    np.testing.assert_array_equal(F.layer_norm(x[::-1], 37).data, rows[::-1])

    def run():
        t, w, b = tg.Tensor(x, True), tg.Tensor(x[0], True), tg.Tensor(x[1], True)
        for y in (F.layer_norm(t, 37, w, b), F.batch_norm(t, None, None, w, b, training=True)):
            y.backward(g)
        return y.data, t.grad, w.grad, b.grad

    for one, other in zip(run(), run()):
        np.testing.assert_array_equal(one, other)


@every_type
def test_the_bits_do_not_depend_on_where_arrays_lie(dtype):
    """Eight features are one vector of float64: LLVM would add them one by one if the loop also wrote to an array close by."""
    rng = np.random.default_rng(0)
    x, g, weight = (rng.standard_normal(shape).astype(dtype) for shape in ((5, 8), (5, 8), 8))
    seen = set()
    for _ in range(300):
        elsewhere = [np.empty(n) for n in rng.integers(1, 400, 3)]
        inputs = [tg.Tensor(array, requires_grad=True) for array in (x, weight, weight)]
        F.layer_norm(inputs[0], 8, *inputs[1:]).backward(g.copy())
        seen.add(b"".join(t.grad.tobytes() for t in inputs))
        del elsewhere
    assert len(seen) == 1


# -- special numbers -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("row", [0, 2])
def test_nan_stays_in_its_channel_or_row(row, bad):
    x = tg.Tensor(RNG.standard_normal((4, 3)), requires_grad=True)
    x.array[row, 1] = bad
    for y, axis, rest in ((F.batch_norm(x, None, None, training=True), 0, [0, 2]),
                          (F.layer_norm(x, 3), 1, [i for i in range(4) if i != row])):
        x.grad = None
        y.backward(np.ones((4, 3)))
        for result in (y.data, x.grad):
            np.testing.assert_array_equal(np.flatnonzero(np.isfinite(result).all(axis=axis)), rest)


@pytest.mark.parametrize("f", [lambda x: F.layer_norm(x, 3, np.ones(3)), lambda x: F.batch_norm(x, np.zeros(3), np.ones(3))])
def test_empty_batch(f):
    x = tg.Tensor(np.zeros((0, 3)), requires_grad=True)
    y = f(x)
    y.backward(np.zeros((0, 3)))
    assert y.shape == x.grad.shape == (0, 3)


def test_float32_stays_float32():
    """A plain array takes the dtype of the parameters; so do running statistics."""
    for layer in (nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval(), nn.LayerNorm(3)):
        y = layer(RNG.standard_normal((4, 3)))
        y.sum().backward()
        assert y.dtype == layer.weight.grad.dtype == np.float32


def ones(*shape):
    return tg.Tensor(np.ones(shape))


@pytest.mark.parametrize("call, error, message", [
    (lambda: nn.BatchNorm1d(3, dtype="float64")(ones(1, 3)), ValueError, "x has shape (1, 3); expected more than one value per channel"),
    (lambda: F.batch_norm(ones(1, 3, 1), None, None, training=True), ValueError, "more than one value per channel in training"),
    (lambda: F.batch_norm(ones(0, 3), None, None, training=True), ValueError, "x has shape (0, 3); expected more than one"),
    (lambda: nn.BatchNorm1d(3)(ones(4, 2)), ValueError, "x has shape (4, 2), expected (batch, 3) or (batch, 3, length)"),
    (lambda: nn.BatchNorm1d(3)(ones(3)), ValueError, "BatchNorm1d: x has shape (3,)"),
    (lambda: nn.BatchNorm1d(3)(ones(2, 3, 4, 5)), ValueError, "BatchNorm1d: x has shape (2, 3, 4, 5)"),
    (lambda: nn.BatchNorm1d(0), ValueError, "BatchNorm1d: num_features is 0, expected at least 1"),
    (lambda: nn.BatchNorm1d(3, eps=-1), ValueError, "BatchNorm1d: eps is -1, expected a finite number, 0 or more"),
    (lambda: nn.BatchNorm1d(3, momentum="a"), TypeError, "BatchNorm1d: momentum is 'a', expected a number"),
    (lambda: F.layer_norm(tg.Tensor(np.ones((4, 3))), 3, tg.Tensor(np.ones(3), dtype="float32")), TypeError,
     "layer_norm: x is float64, the weight float32, the bias float64; expected one dtype (x.astype(...) converts)"),
    (lambda: F.batch_norm(ones(3), None, None, training=True), ValueError, "x has shape (3,), expected (batch, channels)"),
    (lambda: F.batch_norm(ones(4, 3), None, None), ValueError, "no running statistics; expected both in evaluation"),
    (lambda: F.batch_norm(ones(4, 3), np.zeros(3), None), ValueError, "got one running statistic, expected both, or neither"),
    (lambda: F.batch_norm(ones(4, 3), np.zeros(2), np.ones(2)), ValueError, "a running statistic (2,); expected (3,)"),
    (lambda: F.batch_norm(ones(4, 3), np.zeros(2), np.ones(2), training=True), ValueError, "a running statistic (2,)"),
    (lambda: F.batch_norm(ones(4, 3), [0, 0, 0], [1, 1, 1], training=True), TypeError, "cannot be changed in place"),
    (lambda: F.batch_norm(ones(4, 3), np.zeros(6)[::2], np.ones(3), training=True), TypeError, "cannot be changed in place"),
    (lambda: F.batch_norm(ones(4, 3), np.zeros(3), np.ones(3), np.ones(4)), ValueError, "the weight (4,), the bias (3,)"),
    (lambda: F.layer_norm(ones(4, 3), 4), ValueError, "layer_norm: x has shape (4, 3), expected (..., 4)"),
    (lambda: F.layer_norm(ones(3), (2, 3)), ValueError, "layer_norm: x has shape (3,), expected (..., 2, 3)"),
    (lambda: F.layer_norm(ones(4, 3), ()), ValueError, "normalized_shape is empty"),
    (lambda: nn.LayerNorm(0), ValueError, "LayerNorm: a size of normalized_shape is 0, expected at least 1"),
    (lambda: nn.LayerNorm(2.5), TypeError, "LayerNorm: a size of normalized_shape is 2.5, expected a whole number"),
    (lambda: F.layer_norm(ones(4, 3), 3, np.ones(3), np.ones(2)), ValueError, "the bias (2,); expected (3,)"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
