"""NumPy's functions on Tensors against PyTorch's: values, first and second derivatives; ties and kinks."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.peer import TYPES
from parity.test_functions import agree, every_type, ours_and_theirs

import tinygrad_relu as tg
from tinygrad_relu import functional as F

RNG = np.random.default_rng(0)
AXES = {"all": (None, (0, 1, 2)), "one": (1, 1), "two": ((0, -1), (0, -1))}


def plus(*shape):
    return np.abs(RNG.standard_normal(shape)) + 0.5


ELEMENTWISE = {
    "abs": (tg.abs, torch.abs, [(4, 3)]), "sqrt": (tg.sqrt, torch.sqrt, [plus(4, 3)]), "sin": (tg.sin, torch.sin, [(4, 3)]),
    "square": (tg.square, torch.square, [(4, 3)]), "cos": (tg.cos, torch.cos, [(4, 3)]),
    "maximum": (tg.maximum, torch.maximum, [(4, 3), (3,)]), "minimum": (tg.minimum, torch.minimum, [(4, 1), (1, 3)]),
    "clip": (lambda x: x.clip(-0.5, 0.5), lambda x: x.clamp(-0.5, 0.5), [(4, 3)]),
    "clip from below": (lambda x: x.clip(min=0), lambda x: x.clamp(min=0), [(4, 3)]),
    "clip between Tensors": (tg.clip, torch.clamp, [(4, 3), (4, 1), (3,)]),
    "where": (lambda a, b: tg.where([True, False, True], a * b, b), lambda a, b: torch.where(
        torch.tensor([True, False, True]), a * b, b), [(4, 3), (3,)]),
    "power": (lambda a, b: a**b, lambda a, b: a**b, [plus(4, 3), (4, 1)]),
    "2 ** x": (lambda x: 2**x, lambda x: 2**x, [(4, 3)]), "x ** 2.5": (lambda x: x**2.5, lambda x: x**2.5, [plus(4, 3)]),
    **{f"cumsum, axis {axis}": (lambda x, a=axis: x.cumsum(a), lambda x, a=axis: x.cumsum(a), [(2, 3, 4)]) for axis in (0, 1, -1)},
    **{f"prod, axis {axis}": (lambda x, a=axis: x.prod(a), lambda x, a=axis: x.prod(a), [(2, 3, 4)]) for axis in (0, 1, -1)},
}
REDUCTIONS = {
    "sum": (tg.sum, torch.sum), "mean": (tg.mean, torch.mean), "max": (tg.max, torch.amax), "min": (tg.min, torch.amin),
    "logsumexp": (tg.logsumexp, torch.logsumexp), "var": (tg.var, lambda x, d: x.var(d, correction=0)),
    "var, ddof 1": (lambda x, axis: x.var(axis, ddof=1), torch.var), "std": (tg.std, lambda x, d: x.std(d, correction=0)),
    "std, ddof 1": (lambda x, axis: x.std(axis, ddof=1), torch.std),
}


@every_type
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name, dtype):
    f, g, given = ELEMENTWISE[name]
    arrays = [np.float32(RNG.standard_normal(a) if isinstance(a, tuple) else a) for a in given]
    agree(ours_and_theirs(f, g, arrays, dtype), dtype)
    agree(ours_and_theirs(lambda *x: f(*x) ** 2, lambda *x: g(*x) ** 2, arrays, dtype, order=2), dtype, ulps=256)


@every_type
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axes", AXES)
def test_reduction(name, axes, dtype):
    (f, g), (ours, theirs) = REDUCTIONS[name], AXES[axes]
    x = RNG.standard_normal((2, 3, 4))
    agree(ours_and_theirs(lambda x: f(x, axis=ours), lambda x: g(x, theirs), [x], dtype), dtype)
    agree(ours_and_theirs(lambda x: f(x, axis=ours) ** 2, lambda x: g(x, theirs) ** 2, [x], dtype, order=2), dtype, ulps=256)


TIES = {
    "abs": (abs, torch.abs, [[0.0, -0.0]]),
    "max": (lambda x: x.max(axis=1), lambda x: x.max(1).values, [[[3.0, 3, 1], [2, 2, 2]]]),
    "min": (lambda x: x.min(axis=0), lambda x: x.min(0).values, [[[3.0, 3, 1], [3, 2, 2]]]),
    "max of NaN": (lambda x: x.max(axis=0), lambda x: x.max(0).values, [[1.0, np.nan, np.nan]]),
    "maxout": (lambda x: F.maxout(x, 3), lambda x: x.max(-1, keepdim=True).values, [[[3.0, 3, 1], [2, 2, 2]]]),
    "clip at a number": (lambda x: x.clip(-1, 1), torch.nn.functional.hardtanh, [[-1.0, 0.0, 1.0]]),
    "std of equal numbers": (tg.std, lambda x: x.std(correction=0), [[2.0, 2.0]]),
    "prod of zeros": (lambda x: x.prod(axis=1), lambda x: x.prod(1), [[[0.0, 2, 3], [0, 0, 3], [1, 2, 3]]]),
    "power at base 0": (lambda a, b: a**b, lambda a, b: a**b, [np.zeros(6), [-1.0, 0, 0.5, 1, 2, 3]]),
    "power of a negative base": (lambda a, b: a**b, lambda a, b: a**b, [[-2.0, -2.0], [3.0, 0.0]]),
    "sqrt at 0": (tg.sqrt, torch.sqrt, [[0.0, -0.0]]),
    "logsumexp of large numbers": (lambda x: x.logsumexp(axis=1), lambda x: x.logsumexp(1), [[[1e4, 0], [-np.inf, 1], [np.nan, 1]]]),
}


@every_type
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("name", TIES)
def test_choices_are_those_of_pytorch(name, dtype):
    f, g, arrays = TIES[name]
    for ours, theirs in ours_and_theirs(f, g, arrays, dtype):
        np.testing.assert_allclose(ours, theirs, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name, base, exponent", [
    (f"{a}^{b}", a, b) for a, b in ((0.0, 1.5), (0.0, 2.0), (0.0, 3.0), (0.0, 2.5), (0.0, -0.5), (0.0, -1.0), (0.0, -2.0), (2.0, 3.0),
                                   (2.0, -1.5))])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_second_derivatives_of_powers(name, base, exponent):
    """By both arguments, at base 0 too; torch has NaN in the row of the exponent, where the limits are 0. (At exponent 0 torch
    omits the mixed derivative, which is 1 / base: see test_power_of_zero_to_the_zero. For exponents from 0 to 1 it has NaN
    in place of an infinity.)"""
    ours = tg.hessian(lambda a, b: a**b, (tg.Tensor(base), tg.Tensor(exponent)))
    theirs = torch.autograd.functional.hessian(lambda a, b: a**b, tuple(torch.tensor(v, dtype=torch.float64) for v in (base, exponent)))
    for i in range(2):
        for j in range(2):
            expected = theirs[i][j].item()
            if np.isnan(expected):
                assert base == 0
                expected = 0.0
            np.testing.assert_allclose(ours[i][j].item(), expected, rtol=1e-14)


def mixed(sin, tanh):
    return lambda x, y: (sin(x @ y) * (x * x).sum()).sum() + tanh(y).sum()


def test_jacobian_hessian_and_hvp():
    """Shapes and values for several inputs, including one that the function does not depend on."""
    arrays = [RNG.standard_normal((2, 3)), RNG.standard_normal(3), RNG.standard_normal(2)]
    x, t = [tg.Tensor(a) for a in arrays], tuple(torch.from_numpy(a) for a in arrays)
    f, g = (lambda x, y, z, h=h: h(x, y) for h in (mixed(tg.sin, F.tanh), mixed(torch.sin, torch.tanh)))
    theirs = torch.autograd.functional
    for ours, other in ((tg.hessian(f, x), theirs.hessian(g, t)), ([tg.jacobian(f, x)], [theirs.jacobian(g, t)]),
                        ([tg.hvp(f, x, arrays)], [theirs.hvp(g, t, t)[1]])):
        for row, other_row in zip(ours, other, strict=True):
            agree([(a.data, b.numpy()) for a, b in zip(row, other_row, strict=True)], np.float64)
    one, two = tg.jacobian(lambda x: x @ x.T, x[0]), theirs.jacobian(lambda x: x @ x.T, t[0])
    agree([(one.data, two.numpy())], np.float64)


def test_jacobian_hessian_and_hvp_with_a_history():
    """The gradients of their results, by the inputs and by the vectors."""
    arrays = [RNG.standard_normal((2, 3)), RNG.standard_normal(3)]
    f, g = mixed(tg.sin, tg.cos), mixed(torch.sin, torch.cos)
    theirs = torch.autograd.functional
    for name in ("jacobian", "hessian", "hvp"):
        x, t = [tg.Tensor(a, requires_grad=True) for a in arrays], tuple(torch.tensor(a, requires_grad=True) for a in arrays)
        v, u = [tg.Tensor(a, requires_grad=True) for a in arrays], tuple(torch.tensor(a, requires_grad=True) for a in arrays)
        more, others = ([v], [u]) if name == "hvp" else ([], [])
        found = getattr(tg, name)(f, x, *more, create_graph=True)
        other = getattr(theirs, name)(g, t, *others, create_graph=True)
        if name == "hessian":
            found, other = sum(found, ()), sum(other, ())
        other = other[1] if name == "hvp" else other
        total, totals = (sum((part * part).sum() for part in parts) for parts in (found, other))
        wanted, wanteds = ([*x, *v], [*t, *u]) if name == "hvp" else (x, t)
        agree([(a.data, b.numpy()) for a, b in zip(tg.grad(total, wanted), torch.autograd.grad(totals, wanteds))], np.float64)


@pytest.mark.parametrize("dtype", TYPES)
def test_where_the_two_differ_on_purpose(dtype):
    """In PyTorch, clamp has slope 1 at its bounds and hardtanh, the same function, has slope 0; max along an axis gives the whole
    gradient to one index, while amax and maximum share it. Here these agree: slope 0, and one winner."""
    x, t = tg.Tensor([-1.0, 1.0], requires_grad=True), torch.tensor([-1.0, 1.0], requires_grad=True)
    x.clip(-1, 1).sum().backward(), t.clamp(-1, 1).sum().backward()
    assert x.grad.tolist() == [0, 0] and t.grad.tolist() == [1, 1]
    x, t = tg.Tensor([3.0, 3.0], requires_grad=True), torch.tensor([3.0, 3.0], requires_grad=True)
    x.max(axis=0).backward(), t.amax(dim=0).backward()
    assert x.grad.tolist() == [1, 0] and t.grad.tolist() == [0.5, 0.5]
    x, t = tg.Tensor([np.nan], requires_grad=True), torch.tensor([np.nan], requires_grad=True)
    abs(x).backward(), abs(t).sum().backward()
    assert np.isnan(x.grad[0]) and t.grad[0] == 0       # NaN stays NaN
