"""Values, gradients and second derivatives of every activation, loss and layer are PyTorch's, at kinks too."""
from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from common import every_type
from parity.peer import FUNCTIONS, SLOPE_OF_FLOAT32, TYPES, WITHOUT_SECOND
from table import activation

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import ACTIVATIONS

LABELS = np.array([0, 2, 1, 1, 0])
THEIR_LABELS = torch.from_numpy(LABELS)
RNG = np.random.default_rng(0)


def kinks(name):
    record = ACTIVATIONS[name]
    return [kink for kink, _ in record.kinks(*record.parameters.values())]


def ours_and_theirs(f, g, arrays, dtype, order=1):
    """Value, gradients, and (order 2) gradients of the gradients' sum, from here and from PyTorch."""
    x = [tg.Tensor(a, requires_grad=True, dtype=dtype) for a in arrays]
    t = [torch.tensor(a, dtype=TYPES[dtype], requires_grad=True) for a in arrays]
    y, u = f(*x), g(*t)
    weights = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    first = tg.grad(y, x, weights, create_graph=order == 2)
    firsts = torch.autograd.grad(u, t, torch.from_numpy(weights), create_graph=order == 2)
    pairs = [(y.data, u), *((a.data, b) for a, b in zip(first, firsts))]
    if order == 2:
        total, totals = (sum((v * v).sum() for v in vs) for vs in (first, firsts))
        second = tg.grad(total, x)
        seconds = torch.autograd.grad(totals, t, allow_unused=True)
        pairs += [(a.data, b if b is not None else torch.zeros_like(c)) for a, b, c in zip(second, seconds, t)]
    return [(a, b.detach().numpy()) for a, b in pairs]


def agree(pairs, dtype, ulps=64):
    """Both are exact to some ulps of the largest input or output."""
    for ours, theirs in pairs:
        assert ours.dtype == theirs.dtype == dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=ulps * np.finfo(dtype).eps,
                                   atol=ulps * np.finfo(dtype).eps * max(1.0, abs(theirs).max(initial=0.0)))


@every_type
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activation(name, dtype):
    x = np.linspace(-12, 12, 97) + 0.013
    if name in ("log", "log1p"):
        x = abs(x) if name == "log" else x[x > -0.9]
    pairs = ours_and_theirs(activation(name), FUNCTIONS[name], [x], dtype)
    if name in SLOPE_OF_FLOAT32:
        np.testing.assert_allclose(*pairs.pop(), rtol=2**-22)         # two roundings in float32, one of them in 1/6
    agree(pairs, dtype)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in WITHOUT_SECOND])
def test_second_derivative(name):
    """(The terms of mish and gelu cancel a little near their minima: `agree` allows 64 ulps for the errors of both.)"""
    x = np.linspace(-5, 5, 41) + 0.013
    if name in ("log", "log1p"):
        x = abs(x) if name == "log" else x[x > -0.9]
    agree(ours_and_theirs(activation(name), FUNCTIONS[name], [x], np.float64, order=2), np.float64)


@every_type
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if kinks(name)])
def test_slope_at_every_kink(name, dtype):
    """Exactly on the kink, and on both zeros, PyTorch takes the same piece."""
    points = kinks(name)
    points += [0.0, -0.0] if 0.0 in points else []
    pairs = ours_and_theirs(activation(name), FUNCTIONS[name], [np.array(points)], dtype)
    agree(pairs, dtype, ulps=2)


LOSSES = {
    **{f"cross_entropy, {how}": (lambda x, how=how: F.cross_entropy(x, LABELS, reduction=how),
                                 lambda x, how=how: TF.cross_entropy(x, THEIR_LABELS, reduction=how), [(5, 3)])
       for how in F.REDUCTIONS},
    **{f"mse_loss, {how}": (lambda x, t, how=how: F.mse_loss(x, t, reduction=how),
                            lambda x, t, how=how: TF.mse_loss(x, t, reduction=how), [(5, 3), (5, 3)])
       for how in F.REDUCTIONS},
    **{f"{name}, axis {axis}": (lambda x, n=name, a=axis: getattr(F, n)(x, axis=a),
                                lambda x, n=name, a=axis: getattr(TF, n)(x, dim=a), [(2, 5, 3)])
       for name in ("softmax", "log_softmax") for axis in (0, 1, -1)},
    "linear": (F.linear, TF.linear, [(2, 5, 3), (4, 3), (4,)]),
    "linear without bias": (F.linear, TF.linear, [(5, 3), (4, 3)]),
    "matmul": (lambda a, b: a @ b, lambda a, b: a @ b, [(2, 5, 3), (3, 4)]),
    "prelu": (F.prelu, TF.prelu, [(4, 3, 2), (3,)]),
    "power": (lambda a, b: (a * a + 1) ** b, lambda a, b: (a * a + 1) ** b, [(4, 3), (3,)]),
}


@every_type
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_layers(name, dtype):
    f, g, shapes = LOSSES[name]
    arrays = [3 * RNG.standard_normal(shape) for shape in shapes]
    agree(ours_and_theirs(f, g, arrays, dtype, order=2), dtype, ulps=256)       # sums of 15 squares of up to 10


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_a_number(name, axis):
    x, t = tg.Tensor(3.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    y, u = getattr(F, name)(x, axis), getattr(TF, name)(t, dim=axis)
    y.backward()
    u.backward()
    assert y.shape == u.shape and y.item() == u.item() and x.grad.item() == t.grad.item() == 0


@every_type
def test_maxout(dtype):
    """First order only: the gradient does not depend on x, in PyTorch as here."""
    x = 3 * RNG.standard_normal((5, 6))
    agree(ours_and_theirs(lambda x: F.maxout(x, 3), lambda x: x.reshape(5, 2, 3).max(dim=-1).values, [x], dtype), dtype)


def test_extreme_logits():
    """Where exp alone would overflow; PyTorch and this engine agree on what is infinite."""
    x = np.array([[1e4, 0, -1e4], [-np.inf, 0, 3], [200, 200, 200]])
    f, g = (lambda x: F.cross_entropy(x, [1, 2, 0], reduction="none")), (
        lambda x: TF.cross_entropy(x, torch.tensor([1, 2, 0]), reduction="none"))
    for dtype in TYPES:
        agree(ours_and_theirs(f, g, [x], dtype), dtype)


def test_where_the_two_differ_on_purpose():
    """NaN: PyTorch's pullbacks of pieces give g or 0 there; here it stays NaN, in the gradient too."""
    x, t = tg.Tensor([np.nan], requires_grad=True), torch.tensor([np.nan], requires_grad=True)
    F.relu(x).sum().backward()
    torch.relu(t).sum().backward()
    assert np.isnan(x.grad[0]) and not torch.isnan(t.grad[0])
    far = np.array([30.0])                      # softplus: PyTorch's threshold, and the option that does the same here
    theirs = TF.softplus(torch.from_numpy(far)).numpy()
    assert F.softplus(far).item() > theirs.item() == F.softplus(far, 1.0, 20.0).item() == 30.0
    low = tg.Tensor([-np.inf])                  # hardswish(-inf) is 0 here
    assert F.hardswish(low).item() == 0 and torch.isnan(TF.hardswish(torch.tensor([-np.inf])))


@every_type
@pytest.mark.parametrize("bound", [0.0, 1.0, -0.5])
def test_hardtanh_whose_bounds_are_one(bound, dtype):
    x = np.array([-2.0, bound, 0.25, 2.0])
    agree(ours_and_theirs(lambda x: F.hardtanh(x, bound, bound), lambda x: TF.hardtanh(x, bound, bound), [x], dtype), dtype, ulps=0)
