"""Clipping: in place, over flat buffers in one launch, more exact than float32, and defined for NaN and infinity."""
from __future__ import annotations

import numpy as np
import pytest
from common import launches

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.nn.utils import clip_grad_norm_, clip_grad_value_

inf, nan = float("inf"), float("nan")


def parameters(*gradients, dtype="float64"):
    found = []
    for g in gradients:
        p = nn.Parameter(np.zeros(np.shape(g)), dtype=dtype)
        p.grad = None if g is None else np.array(g, dtype)
        found.append(p)
    return found


@pytest.mark.parametrize("p, norm", [(2.0, 5.0), (1.0, 7.0), (inf, 4.0), (3.0, 91 ** (1 / 3)), (0.5, 7 + 2 * 12**0.5)])
def test_norm(p, norm):
    """The norm of all gradients as one long vector; parameters without a gradient are skipped."""
    ps = parameters([3.0], None, [[0.0, -4.0]])
    assert clip_grad_norm_(ps, 100.0, p) == pytest.approx(norm, rel=1e-15)
    assert ps[0].grad == 3 and ps[1].grad is None
    assert clip_grad_norm_(iter(ps), 1.0, p) == pytest.approx(norm, rel=1e-15)
    np.testing.assert_allclose(ps[2].grad, np.array([[0.0, -4.0]]) / (norm + 1e-6), rtol=1e-15)
    assert clip_grad_norm_(ps, 1.0, p) <= 1.0
    assert clip_grad_norm_(nn.Parameter([1.0]), 1.0) == clip_grad_norm_([], 1.0) == 0.0


@pytest.mark.parametrize("p", [2.0, 1.0, inf, 50.0])
@pytest.mark.parametrize("dtype, size", [("float32", 1e38), ("float32", 1e-44), ("float64", 1e300), ("float64", 1e-320)])
def test_the_norm_neither_overflows_nor_underflows(dtype, size, p):
    """Where the squares of float64 would be infinite or zero."""
    g = np.full(9, size, dtype)
    expected = float(g[0]) * (1 if p == inf else 9 ** (1 / p))
    assert clip_grad_norm_(parameters(g, dtype=dtype), inf, p) == pytest.approx(expected, rel=1e-14, abs=5e-324)


def test_the_norm_of_a_million_float32_is_exact():
    g = np.random.default_rng(0).uniform(0.5, 1.5, 1_000_003).astype(np.float32)
    exact = float(np.sqrt(np.sum(g.astype(np.longdouble) ** 2)))
    assert clip_grad_norm_(parameters(g, dtype="float32"), inf) == pytest.approx(exact, rel=1e-13)


def test_what_is_not_finite():
    """As in PyTorch: an infinite norm gives zeros and NaN, a NaN gives only NaN; `error_if_nonfinite` raises an error."""
    ps = parameters([1.0, inf])
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf; nothing has been changed"):
        clip_grad_norm_(ps, 1.0, error_if_nonfinite=True)
    assert ps[0].grad.tolist() == [1.0, inf]
    assert clip_grad_norm_(ps, 1.0) == inf
    np.testing.assert_array_equal(ps[0].grad, [0, nan])
    for p in (2.0, inf):
        ps = parameters([1.0, 2.0], [nan, inf])
        assert np.isnan(clip_grad_norm_(ps, 1.0, p))
        assert np.isnan([x.grad for x in ps]).all()


def test_values():
    ps = parameters([1.0, -3.0, nan, inf, -inf], None, 7.0)
    clip_grad_value_(ps, 2.0)
    np.testing.assert_array_equal(ps[0].grad, [1, -2, nan, 2, -2])
    assert ps[2].grad == 2 and ps[1].grad is None


def settled_model():
    model = nn.MLP([4, 6, 3], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(np.random.default_rng(0).standard_normal((8, 4))), np.arange(8) % 3).backward()
    return model, opt


@pytest.mark.parametrize("clip, kernels", [
    (lambda ps: clip_grad_norm_(ps, 0.1), ["_clip", "power_sum", "multiply"]), (lambda ps: clip_grad_norm_(ps, 1e6), ["_clip", "power_sum"]),
    (lambda ps: clip_grad_value_(ps, 0.01), ["clip"])])
def test_one_launch_over_a_flat_buffer(clip, kernels):
    """If the gradients are in flat buffers, each `.grad` has the same values as without them, and stays in the same memory."""
    model, _ = settled_model()
    alone = parameters(*(p.grad for p in model.parameters()), dtype="float32")
    homes, result = [p.grad for p in model.parameters()], []
    assert launches(lambda: result.append(clip(model.parameters()))) == kernels
    assert clip(alone) == (result[0] and pytest.approx(result[0], rel=1e-14))
    for p, q, home in zip(model.parameters(), alone, homes):
        assert p.grad is home
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-6)


def test_a_gradient_between_others_that_is_missing_or_elsewhere():
    """The neighbours of a gradient outside the flat buffer are clipped, and its place in the buffer is unchanged."""
    model, _ = settled_model()
    a, b, c, d = model.parameters()
    place, b.grad, d.grad = b.home.copy(), None, np.asfortranarray(np.ones(d.shape, np.float64))
    norm = np.sqrt(sum(np.sum(p.grad.astype(float) ** 2) for p in (a, c, d)))
    assert clip_grad_norm_(model.parameters(), 0.5) == pytest.approx(float(norm), rel=1e-14)
    assert clip_grad_norm_(model.parameters(), inf) == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_array_equal(b.home, place)
    strided = np.zeros(2 * d.size, np.float32)[::2]
    strided[:], d.grad = 4.0, strided
    clip_grad_value_(model.parameters(), 1.0)
    assert d.grad is strided and (strided == 1).all()


@pytest.mark.parametrize("clip", [lambda ps: clip_grad_norm_(ps, 1.0), lambda ps: clip_grad_value_(ps, 0.1)])
def test_a_gradient_of_another_shape_is_refused(clip):
    p = nn.Parameter([1.0, 2.0])
    p.grad = np.ones(3)
    with pytest.raises(ValueError, match=r"the gradient of a parameter of shape \(2,\) has shape \(3,\); expected the same"):
        clip([p])
    assert (p.grad == 1).all()


def test_the_optimizer_moves_by_what_is_left():
    model, opt = settled_model()
    before = [p.data.copy() for p in model.parameters()]
    clip_grad_norm_(model.parameters(), 0.1)
    opt.step()
    moved = np.sqrt(sum(np.sum((p.data - q) ** 2) for p, q in zip(model.parameters(), before)))
    assert moved == pytest.approx(0.1 * 0.1, rel=1e-4)
