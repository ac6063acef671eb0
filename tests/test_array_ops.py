"""NumPy's functions on Tensors, in cases that the table leaves out: kinks, ties, zeros, NaN, infinity, comparisons."""
from __future__ import annotations

import inspect
import operator
from itertools import combinations
from math import prod

import numpy as np
import pytest
import table
from common import launches
from test_ops import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.formulas import ACTIVATIONS

nan, inf = float("nan"), float("inf")
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def slopes(f, *arrays, g=1.0, dtype=np.float64):
    """The gradients of all inputs, computed on arrays; a recorded backward pass must give the same bits."""
    inputs = [tg.Tensor(x, requires_grad=True, dtype=dtype) for x in arrays]
    y = f(*inputs)
    seed = np.full(y.shape, g)
    found = [x.data for x in tg.grad(y, inputs, seed, retain_graph=True)]
    for one, other in zip(found, tg.grad(y, inputs, seed, create_graph=True)):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(one, other.data)
    return found


def curvature(f, x):
    """The sum of each row of the Hessian."""
    x = tg.Tensor(x, requires_grad=True)
    (first,) = tg.grad(f(x), x, np.ones(f(x).shape), create_graph=True)
    return tg.grad(first, x, np.ones(first.shape))[0].data if first.requires_grad else np.zeros(x.shape)


# -- the first wins a tie; at a kink the slope is the smallest -----------------------------------------------------------

CHOICES = {     # functions of two equal numbers, all of them a maximum of the two, or minus a minimum
    "maximum": tg.maximum, "minimum": lambda a, b: -tg.minimum(-a, -b),
    "max": lambda a, b: tg.max(tg.where([True, False], a, b), axis=-1, keepdims=True),
    "min": lambda a, b: -tg.min(tg.where([True, False], -a, -b), axis=-1, keepdims=True),
    "maxout": lambda a, b: F.maxout(tg.where([True, False], a, b), 2),
    "clip from below": lambda a, b: tg.clip(a, min=b), "clip from above": lambda a, b: -tg.clip(-a, max=-b),
}


@every_type
@pytest.mark.parametrize("name", CHOICES)
def test_a_tie_goes_to_the_first_in_every_operation(name, dtype):
    """The winner gets the whole gradient, even an infinite one, and the loser exactly 0."""
    for g in (1.0, inf):
        for a, b, share in ((2, 2, (1, 0)), (0.0, -0.0, (1, 0)), (-0.0, 0.0, (1, 0)), (inf, inf, (1, 0)),
                            (2 + 1e-6, 2, (1, 0)), (2, 2 + 1e-6, (0, 1))):
            found = np.ravel(slopes(CHOICES[name], [a], [b], g=g, dtype=dtype))
            np.testing.assert_array_equal(abs(found), [g * s if s else 0.0 for s in share])


@every_type
@pytest.mark.parametrize("function, f", [
    ("relu", lambda x: tg.maximum(x, 0)), ("relu", lambda x: tg.maximum(0.0, x)), ("relu", lambda x: x.clip(0)),
    ("relu", lambda x: -tg.minimum(-x, 0)), ("hardtanh", lambda x: tg.clip(x, -1, 1)),
    ("relu6", lambda x: x.clip(min=0, max=6))])
def test_against_a_number_it_is_the_activation(function, f, dtype):
    """Values and slopes, at both kinks and both zeros, bit for bit."""
    x = np.array([-inf, -1.5, -1, -0.5, -0.0, 0.0, 0.5, 1, 6, 7, inf])
    np.testing.assert_array_equal(f(tg.Tensor(x, dtype=dtype)), getattr(F, function)(x.astype(dtype)))
    for g in (1.0, inf):
        np.testing.assert_array_equal(slopes(f, x, g=g, dtype=dtype), slopes(getattr(F, function), x, g=g, dtype=dtype))


@pytest.mark.parametrize("name", [name for name, record in ACTIVATIONS.items() if record.kinks(*record.parameters.values())])
def test_activations_take_the_shortest_slope_too(name):
    """The smaller of the two slopes at a kink; but selu takes the left one, 1.76 (the right one is 1.05), as in PyTorch."""
    f, record = table.activation(name), ACTIVATIONS[name]
    for kink, _ in record.kinks(*record.parameters.values()):
        left, at, right = slopes(f, [kink - 1e-9, kink, kink + 1e-9])[0]
        shortest = 0.0 if left * right <= 0 else min(left, right, key=abs)
        assert at == pytest.approx(left if name == "selu" else shortest, abs=1e-8)


@every_type
def test_max_and_min_give_all_to_the_first_that_ties(dtype):
    x = [[1, 3, 3, 3], [2, 0, 0, 2], [-0.0, 0.0, -1, 0.0], [-inf, -inf, -inf, -inf], [5, 1, 1, 1]]
    np.testing.assert_array_equal(slopes(lambda x: x.max(axis=1), x, dtype=dtype)[0], [
        [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(slopes(lambda x: x.min(axis=0), np.transpose(x), g=inf, dtype=dtype)[0].T, [
        [inf, 0, 0, 0], [0, inf, 0, 0], [0, 0, inf, 0], [inf, 0, 0, 0], [0, inf, 0, 0]])
    np.testing.assert_array_equal(slopes(lambda x: x.max(), np.full((2, 2), 7.0), dtype=dtype)[0], [[1, 0], [0, 0]])
    first = np.zeros((2, 3, 2))
    first[0, :, 0] = 1
    for axis in ((0, 2), (2, 0), (-1, 0)):
        np.testing.assert_array_equal(slopes(lambda x: x.max(axis=axis, keepdims=True), np.ones((2, 3, 2)), dtype=dtype)[0], first)


SHAPES = [(7,), (3, 4), (1, 9), (9, 1), (2, 3, 4), (3, 1, 5), (2, 2, 3, 2), (40, 33), (4, 0), ()]


@every_type
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions_over_every_axis(shape, dtype):
    """Arrays with few different numbers, NaN and infinity among them, over all sets of axes. The first winner (NumPy's argmax)
    gets the whole gradient of an extreme. Running sums have NumPy's bits, and so have their gradients, summed from the end."""
    rng = np.random.default_rng(len(shape))
    x = rng.choice([nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 2.5], shape, p=[0.02, 0.02, 0.02, *[0.94 / 5] * 5]).astype(dtype)
    plain = rng.standard_normal(shape).astype(dtype)
    for axes in (axes for n in range(1, len(shape) + 1) for axes in combinations(range(len(shape)), n)):
        rest = [i for i in range(len(shape)) if i not in axes]
        if 0 in [shape[i] for i in axes]:
            continue
        lines = x.transpose([*rest, *axes]).reshape([*(shape[i] for i in rest), prod(shape[i] for i in axes)])
        for f, winner in ((tg.max, np.argmax), (tg.min, np.argmin)):
            g = rng.choice([1.0, -2.0, inf], lines.shape[:-1])
            expected = np.zeros(lines.shape)
            np.put_along_axis(expected, winner(lines, axis=-1)[..., None], g[..., None], axis=-1)
            expected = expected.reshape([shape[i] for i in [*rest, *axes]]).transpose(np.argsort([*rest, *axes]))
            np.testing.assert_array_equal(slopes(lambda x: f(x, axis=axes), x, g=g, dtype=dtype)[0], expected)
    for axis in range(len(shape)):
        np.testing.assert_array_equal(tg.cumsum(tg.Tensor(plain, dtype=dtype), axis).data, plain.cumsum(axis), strict=True)
        np.testing.assert_array_equal(slopes(lambda x: x.cumsum(axis), plain, g=plain, dtype=dtype)[0],
                                      np.flip(np.flip(plain, axis).cumsum(axis), axis), strict=True)


@every_type
def test_products_of_many_factors(dtype):
    """Factors that are mostly 1, so that nothing is rounded; one or two zeros in some rows. And products whose intermediate
    results exceed the range of float32."""
    rng = np.random.default_rng(0)
    x = rng.choice([1.0, -1.0, 2.0, 0.5], (6, 50))
    x[1, 7] = x[2, 3] = x[2, 40] = 0
    for axis, factors in ((1, x), (0, x.T), (None, x[:1])):
        y = tg.prod(tg.Tensor(factors, dtype=dtype), axis=axis)
        np.testing.assert_array_equal(y.data, np.prod(factors, axis=axis))
        lines = factors if axis is None else np.moveaxis(factors, axis, -1)
        others = np.stack([np.prod(np.delete(lines, k, axis=-1), axis=-1) for k in range(50)], axis=-1)
        np.testing.assert_array_equal(slopes(lambda f: f.prod(axis=axis), factors, g=3.0, dtype=dtype)[0],
                                      3 * (others if axis is None else np.moveaxis(others, -1, axis)))
    assert tg.prod(tg.Tensor([1e30, 1e30, 1e-30, 1e-30], dtype=dtype)).item() == pytest.approx(1)


@every_type
@pytest.mark.parametrize("g", [1.0, inf])
def test_abs_at_its_kink(g, dtype):
    np.testing.assert_array_equal(slopes(abs, [-2, -1e-30, -0.0, 0.0, 1e-30, inf], g=g, dtype=dtype)[0], [-g, -g, 0, 0, g, g])


@every_type
def test_std_at_its_tip(dtype):
    """At equal numbers the standard deviation has a kink, as |x| has at 0; the smallest generalized gradient is 0."""
    np.testing.assert_array_equal(slopes(lambda x: x.std(axis=1), [[2, 2, 2], [0, 0, 0]], dtype=dtype)[0], np.zeros((2, 3)))
    for size in range(1, 60):       # the rounded mean of many tenths is often not a tenth
        tenths = tg.Tensor(np.full((2, size), 0.1), requires_grad=True, dtype=dtype)
        tenths.std(axis=1).sum().backward()
        assert not tenths.grad.any(), size
    x = tg.Tensor([2.0, 2.0], requires_grad=True)
    assert tg.hvp(tg.std, x, [1.0, 0.0]).data.tolist() == [0, 0]


@pytest.mark.parametrize("f", [abs, lambda x: tg.maximum(x, 0), lambda x: tg.maximum(x, [0.0, 0.0]), lambda x: x.clip(0, 1),
                               lambda x: x.max(), lambda x: F.maxout(x, 2)])
def test_no_curvature_at_a_kink(f):
    """The second derivative at a kink is that of the pieces: 0."""
    np.testing.assert_array_equal(curvature(f, [0.0, 0.0]), [0, 0])
    np.testing.assert_array_equal(curvature(f, [-0.5, 0.5]), [0, 0])


# -- NaN, infinity, zero ---------------------------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("n", [0, 1, 7, 1003])
def test_choices_among_many_numbers(n, dtype):
    """Any mixture of NaN, infinities, zeros and ties: the choice is NumPy's, and the whole gradient, infinite or not, goes to the
    chosen entry. The condition may be strided, read-only, or broadcast."""
    rng = np.random.default_rng(n)
    values = np.array([nan, inf, -inf, 0.0, -0.0, 1.0, -1.0, 0.5])
    a, b, g = (rng.choice(values, (3, n)).astype(dtype) for _ in range(3))
    conditions = [a > 0, (a > 0)[:, ::-1], np.broadcast_to(a[:1] > 0, a.shape), (a > 0)[:1]]
    for condition in conditions:
        for one, other in ((a, b), (a, 0.5), (0.5, b)):
            np.testing.assert_array_equal(tg.where(condition, one, other).data, np.where(condition, one, other).astype(dtype), strict=True)
        zero = np.zeros_like(g)
        for part, expected in zip(slopes(lambda x, y, c=condition: tg.where(c, x, y), a, b, g=g, dtype=dtype),
                                  (np.where(condition, g, zero), np.where(condition, zero, g))):
            np.testing.assert_array_equal(part, expected, strict=True)
    for f, ufunc in ((tg.maximum, np.maximum), (tg.minimum, np.minimum)):
        y = ufunc(a, b)
        first = (a == y) | (np.isnan(a) & np.isnan(y))
        np.testing.assert_array_equal(f(tg.Tensor(a, dtype=dtype), b).data, y, strict=True)
        for part, expected in zip(slopes(f, a, b, g=g, dtype=dtype), (np.where(first, g, zero), np.where(first, zero, g))):
            np.testing.assert_array_equal(part, expected, strict=True)
        bounded = ufunc(a, dtype(0.5)) == 0.5
        for g_bound in (slopes(lambda x: f(x, 0.5), a, g=g, dtype=dtype)[0], slopes(lambda x: f(0.5, x), a, g=g, dtype=dtype)[0]):
            np.testing.assert_array_equal(g_bound, np.where(bounded, zero, g), strict=True)
    np.testing.assert_array_equal(slopes(abs, a, g=g, dtype=dtype)[0],
                                  np.where(a > 0, g, np.where(a < 0, -g, np.where(np.isnan(a), a, 0))).astype(dtype), strict=True)


@every_type
def test_nan_wins_a_choice_and_takes_the_gradient(dtype):
    a, b = [1.0, nan, nan, 2.0], [1.0, 1.0, nan, nan]
    for f in (tg.maximum, tg.minimum):
        np.testing.assert_array_equal(f(tg.Tensor(a, dtype=dtype), b), [1, nan, nan, nan])
        np.testing.assert_array_equal(slopes(f, a, b, dtype=dtype), [[1, 1, 1, 0], [0, 0, 0, 1]])
    for f in (tg.max, tg.min):
        assert np.isnan(f(tg.Tensor([nan, inf, nan])).data)
        np.testing.assert_array_equal(slopes(f, [nan, inf, nan], dtype=dtype)[0], [1, 0, 0])
    np.testing.assert_array_equal(slopes(lambda x: x.clip(0, 1), [nan], dtype=dtype)[0], [1])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")      # the loops are NumPy's: they warn as NumPy does
@pytest.mark.parametrize("f, linear", [
    *((f, False) for f in (tg.abs, tg.sqrt, tg.square, tg.sin, tg.cos, tg.exp, tg.expm1, tg.log, tg.log1p, lambda x: x**2,
                           lambda x: x**x, lambda x: 2**x, lambda x: x**-0.5)),
    *((lambda x, f=f: f(x, axis=1), False) for f in (tg.var, tg.std, tg.logsumexp, tg.prod)),
    *((lambda x, f=f: f(x, axis=1), True) for f in (tg.sum, tg.mean, tg.cumsum))])
def test_nan_is_never_disguised(f, linear):
    """NaN stays in its row: in the value, and in the gradient too, unless the slope does not depend on x."""
    x = [[nan, nan], [0.5, 2.0]]
    for result, undefined in ((f(tg.Tensor(x)).data, True), (slopes(f, x)[0], not linear)):
        np.testing.assert_array_equal(np.isnan(result.reshape(2, -1)), np.broadcast_to([[undefined], [False]], (2, result.size // 2)))


def test_where_keeps_what_was_not_chosen_out():
    """An entry that is not chosen has a gradient of exactly 0, whatever its value and whatever gradient arrives."""
    for g in (1.0, inf, nan):
        a, b = slopes(lambda a, b: tg.where([True, False], a, b), [1.0, nan], [inf, 2.0], g=g)
        np.testing.assert_array_equal(a, [g, 0])
        np.testing.assert_array_equal(b, [0, g])
    x = tg.Tensor([0.0, 4.0], requires_grad=True)       # as the docstring says: the argument is guarded, not the result
    tg.where(x > 0, tg.where(x > 0, x, 1.0).sqrt(), 0.0).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 0.25])


@pytest.mark.parametrize("condition", [np.array([1, 0, -2]), [0.5, 0.0, nan], tg.Tensor([2.0, 0.0, 1.0])])
def test_where_takes_numbers_as_conditions(condition):
    np.testing.assert_array_equal(tg.where(condition, [1.0, 2.0, 3.0], -1), [1, -1, 3])
    assert tg.where([True], 1, 2).data.tolist() == [1]


POWERS = [      # base, exponent, value, slope to the base, slope to the exponent
    (0.0, 3.0, 0, 0, 0), (0.0, 2.0, 0, 0, 0), (0.0, 1.5, 0, 0, 0), (0.0, 1.0, 0, 1, 0), (0.0, 0.5, 0, inf, 0),
    (0.0, 0.0, 1, 0, 0), (0.0, -1.0, inf, -inf, -inf), (-2.0, 3.0, -8, 12, nan), (-2.0, 0.0, 1, 0, nan), (1.0, 5.0, 1, 5, 0),
    (2.0, 0.0, 1, 0, np.log(2)), (nan, 2.0, nan, nan, nan), (0.0, nan, nan, nan, nan), (nan, 0.0, 1, nan, nan),
    (inf, 2.0, inf, inf, inf), (inf, -1.0, 0, 0, nan)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("base, exponent, value, to_base, to_exponent", POWERS)
def test_powers(base, exponent, value, to_base, to_exponent):
    """Both operands as Tensors, and each with a number: at base 0 the slope by the exponent is its limit; 0^0 is flat."""
    np.testing.assert_allclose((tg.Tensor([base]) ** tg.Tensor([exponent])).data, [value])
    np.testing.assert_allclose(np.ravel(slopes(operator.pow, [base], [exponent])), [to_base, to_exponent])
    np.testing.assert_allclose(slopes(lambda x: base**x, [exponent])[0], [to_exponent])
    if not np.isnan(base):                  # x ** 0 is 1 even for NaN: with the number 0 as exponent it is flat
        np.testing.assert_allclose(slopes(lambda x: x**exponent, [base])[0], [to_base])


@every_type
@pytest.mark.parametrize("exponent", [-1, 0.5, 1, 2, 3, 4])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_usual_powers_go_without_pow(exponent, dtype):
    x = np.array([-2.7, -0.3, -1e-3, 0.0, 0.7, 1.3, 1e5, inf, nan], dtype)
    y = tg.Tensor(x) ** exponent
    np.testing.assert_allclose(y.data, np.power(x, np.dtype(dtype).type(exponent)), rtol=2 * np.finfo(dtype).eps)
    seen = launches(lambda: tg.Tensor(x) ** exponent)
    assert seen and "power" not in seen


SECOND = [      # exponent, and at base 0: twice by the base, by both, twice by the exponent
    (-2.0, inf, inf, inf), (-0.5, inf, inf, inf), (0.0, 0, 0, 0), (0.5, -inf, -inf, 0), (1.0, 0, -inf, 0), (1.5, inf, 0, 0),
    (2.0, 2, 0, 0), (2.5, 0, 0, 0), (3.0, 0, 0, 0), (nan, nan, nan, nan)]


@every_type
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("exponent, by_base, mixed, by_exponent", SECOND)
def test_second_derivatives_of_powers_at_base_zero(exponent, by_base, mixed, by_exponent, dtype):
    """b (b - 1) a^(b - 2), a^(b - 1) (1 + b ln a) and a^b ln^2 a: their limits from the right; but 0^0 is flat."""
    for zero in (0.0, -0.0):
        (aa, ab), (ba, bb) = tg.hessian(operator.pow, tuple(tg.Tensor(v, dtype=dtype) for v in (zero, exponent)))
        np.testing.assert_array_equal([v.item() for v in (ab, ba)], [mixed, mixed])
        if not (np.signbit(zero) and exponent < 0):     # -0 to a negative power has the sign of an odd one, and so have these
            np.testing.assert_array_equal([v.item() for v in (aa, bb)], [by_base, by_exponent])
        assert {v.dtype for v in (aa, ab, ba, bb)} == {np.dtype(dtype)}
    if exponent:                # also with a Python number as one operand
        np.testing.assert_array_equal(tg.hessian(lambda a: a**exponent, tg.Tensor(0.0)).item(), by_base)
        np.testing.assert_array_equal(tg.hessian(lambda b: 0.0**b, tg.Tensor(exponent)).item(), by_exponent)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("exponent", [-2.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
def test_they_are_the_limits(exponent):
    """Towards base 0, in steps of many powers of ten, they approach their values at 0."""
    at_zero = [v.item() for row in tg.hessian(operator.pow, (tg.Tensor(0.0), tg.Tensor(exponent))) for v in row]
    near, nearer = ([v.item() for row in tg.hessian(operator.pow, (tg.Tensor(a), tg.Tensor(exponent))) for v in row]
                    for a in (1e-20, 1e-60))
    for limit, far, close in zip(at_zero, near, nearer):
        assert abs(close) > abs(far) and close * limit > 0 if np.isinf(limit) else abs(close - limit) <= abs(far - limit) < 1e-6


@every_type
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_roots_at_zero(dtype):
    np.testing.assert_array_equal(slopes(tg.sqrt, [0.0, -0.0, 4.0], dtype=dtype)[0], [inf, -inf, 0.25])
    np.testing.assert_array_equal(slopes(lambda x: x**0.5, [0.0, 4.0], dtype=dtype)[0], [inf, 0.25])


def test_products_with_zeros():
    """First and second derivatives with no, one and two zeros, which the quotient y / x would get wrong."""
    x = tg.Tensor([[2.0, 3.0, 5.0], [0.0, 3.0, 5.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    (first,) = tg.grad(x.prod(axis=1), x, np.ones(4))
    np.testing.assert_array_equal(first.data, [[15, 10, 6], [15, 0, 0], [0, 0, 0], [0, 0, 0]])
    for row, expected in zip(x.data, [[[0, 5, 3], [5, 0, 2], [3, 2, 0]], [[0, 5, 3], [5, 0, 0], [3, 0, 0]],
                                      [[0, 0, 3], [0, 0, 0], [3, 0, 0]], np.zeros((3, 3))]):
        np.testing.assert_array_equal(tg.hessian(tg.prod, tg.Tensor(row)).data, expected)
    assert tg.gradcheck(tg.prod, tg.Tensor([0.0, 2.0, 0.0, 3.0], requires_grad=True), order=2)


@every_type
def test_logsumexp_does_not_overflow(dtype):
    x = np.array([[1e4, 0], [-1e30, -1e30], [-inf, 2], [inf, 0], [-inf, -inf], [nan, 0]], dtype)
    table.close(F.logsumexp(x, axis=1).data[:3], [1e4, -1e30, 2])
    np.testing.assert_array_equal(F.logsumexp(x, axis=1).data[3:], [inf, -inf, nan])
    np.testing.assert_array_equal(slopes(lambda x: x.logsumexp(axis=1), x[:3], dtype=dtype)[0][[0, 2]], [[1, 0], [0, 1]])


@every_type
def test_the_mean_is_rounded_once(dtype):
    """The sum divided by the count, as in NumPy: the mean of ones is 1, which a product with 1/49 would not give."""
    for size in range(1, 60):
        ones = np.ones(size, dtype)
        assert tg.mean(ones).item() == 1.0 and tg.var(ones).item() == 0.0


# -- reductions of empty arrays -----------------------------------------------------------------------------------------

def test_reductions_of_nothing():
    empty = tg.Tensor(np.zeros((0, 3)), requires_grad=True)
    for f, expected in ((tg.sum, 0), (tg.prod, 1), (tg.logsumexp, -inf), (tg.mean, nan)):
        y = f(empty, axis=0)
        np.testing.assert_array_equal(y.data, np.full(3, expected))
        (g,) = tg.grad(y, empty, np.ones(3))
        assert g.shape == (0, 3)
    for f in (tg.max, tg.min, tg.var, tg.std, tg.sum):
        y = f(empty, axis=1)
        assert y.shape == (0,) and tg.grad(y, empty, np.zeros(0))[0].shape == (0, 3)
    assert tg.argmax(empty, axis=1).shape == (0,)
    assert tg.cumsum(empty).shape == (0,) and tg.cumsum(empty, axis=0).shape == (0, 3)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_variance_of_too_few():
    """As in NumPy: the result of a division by 0 is infinite or NaN, and so are the slopes."""
    np.testing.assert_array_equal([tg.var([1.0], ddof=1).item(), tg.std([1.0], ddof=2).item(), tg.var([1.0, 2.0], ddof=2).item()],
                                  [nan, nan, inf])
    np.testing.assert_array_equal(slopes(lambda x: x.var(ddof=2), [1.0, 2.0])[0], [-inf, inf])


# -- functions, methods, dtypes --------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [*table.FUNCTIONS, *table.REDUCTIONS, "argmax", "argmin", "cumsum"])
def test_functions_and_methods_are_one(name):
    """On a Tensor, an array, a list; the same bits, and a Tensor unless it is an index."""
    x = np.float32([[0.5, 2.0], [1.5, 1.0]])
    function, method = getattr(tg, name), getattr(tg.Tensor, name)
    assert getattr(F, name) is function and function.__doc__ and ">>>" in function.__doc__ and method.__doc__
    options = {k: p.default for k, p in inspect.signature(function).parameters.items() if p.default is not p.empty}
    assert options == {k: p.default for k, p in inspect.signature(method).parameters.items() if p.default is not p.empty}
    expected = method(tg.Tensor(x))
    for given in (tg.Tensor(x), x):
        assert type(function(given)) is type(expected) and function(given).dtype == expected.dtype
        np.testing.assert_array_equal(function(given), expected)
    np.testing.assert_allclose(function(x.tolist()), expected, rtol=1e-6)
    assert expected.dtype == (np.float32 if not name.startswith("arg") else np.intp)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_argmax(name, axis, keepdims):
    """NumPy's, in a tie and with NaN too; a plain array, or a plain number."""
    for x in ([[1, 5, 5], [7, 0, 0]], [[nan, 1, 0], [2, nan, nan]], [[3]]):
        x = np.array(x, float)
        got, expected = getattr(tg.Tensor(x), name)(axis, keepdims), getattr(np, name)(x, axis, keepdims=keepdims)
        np.testing.assert_array_equal(got, expected)
        assert type(got) is type(expected) and got.dtype == expected.dtype
    assert getattr(tg, name)(3.0) == 0


@pytest.mark.parametrize("join", [
    lambda x: tg.maximum(x, 0), lambda x: tg.minimum(np.ones(3), x), lambda x: tg.where(x > 1, x, np.ones(3)),
    lambda x: x.clip(0.5, np.arange(3)), lambda x: x**np.arange(3), lambda x: np.float64(2) ** x, abs, tg.var,
    lambda x: x.std(ddof=1), tg.max, tg.prod, tg.logsumexp, tg.cumsum, lambda x: tg.where([True], 1, x)])
def test_float32_stays_float32(join):
    x = tg.Tensor([1, 2, 3], dtype="float32", requires_grad=True)
    y = join(x)
    assert isinstance(y, tg.Tensor) and y.dtype == np.float32
    for create_graph in (False, True):
        (g,) = tg.grad(y, x, np.ones(y.shape), create_graph=create_graph, retain_graph=True)
        assert g.dtype == np.float32


def test_arrays_alone_meet_as_in_numpy():
    assert tg.maximum(2, np.float32([1, 3])).dtype == tg.maximum(np.float32([1, 3]), 2).dtype == np.float32
    assert tg.maximum(1, 2).item() == 2 and tg.where(True, 1, 2).item() == 1
    both = tg.Tensor([1.0], dtype="float32", requires_grad=True), tg.Tensor([2.0], requires_grad=True)
    for f in (tg.maximum, lambda a, b: tg.where([True], a, b)):
        y = f(*both)
        assert y.dtype == np.float64 and [g.dtype for g in tg.grad(y, both)] == [np.float32, np.float64]


# -- comparisons -----------------------------------------------------------------------------------------------------

COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


@every_type
@pytest.mark.parametrize("compare", COMPARISONS)
def test_comparisons_are_plain_booleans(compare, dtype):
    a, b = np.array([[1, 2, nan], [inf, 0, -0.0]], dtype), np.array([1, 3, nan], dtype)
    x = tg.Tensor(a, requires_grad=True)
    for left, right in ((x, tg.Tensor(b)), (x, b), (a, tg.Tensor(b)), (x, b.tolist()), (x, 0), (0.0, x), (np.float64(1), x),
                        (x, np.float32(2)), (x, True), (np.ones((2, 1)), x)):
        got = compare(left, right)
        assert type(got) is np.ndarray and got.dtype == bool
        np.testing.assert_array_equal(got, compare(np.asarray(left, dtype), np.asarray(right, dtype)))
    number = compare(tg.Tensor(1.0), 2)
    assert type(number) is np.ndarray and number.shape == () and bool(number) == compare(1.0, 2)
    assert (tg.Tensor([0.1], dtype="float32") == 0.1).all()         # a number takes the type of the Tensor, as in arithmetic


def test_comparing_with_other_objects():
    x = tg.Tensor([1.0])
    for other in (None, "relu", object(), [None], {}):
        assert (x == other) is False and (x != other) is True and (other == x) is False
        with pytest.raises(TypeError, match="not supported between instances"):
            x < other  # noqa: B015
    with pytest.raises(ValueError, match=r"^equal: shapes \(1,\) and \(3,\)|^equal: shapes \(2,\) and \(3,\)"):
        tg.Tensor([1.0, 2.0]) == np.ones(3)  # noqa: B015


def test_tensors_are_keys_by_identity():
    """Sets and dicts of Tensors never call ==, which would give an array."""
    tensors = [tg.Tensor([1.0, 2.0]) for _ in range(1000)]
    assert tg.Tensor.__hash__ is object.__hash__ is tg.Parameter.__hash__         # the fast one: nodes are keys in backward
    assert len({hash(x) for x in tensors}) == len(tensors)
    table_of = {x: i for i, x in enumerate(tensors)}
    assert all(table_of[x] == i for i, x in enumerate(tensors)) and tg.Tensor([1.0, 2.0]) not in table_of
    calls = []

    class Asked(tg.Tensor):
        __slots__ = ()
        __hash__ = tg.Tensor.__hash__

        def __eq__(self, other):
            calls.append(other)
            return super().__eq__(other)

    x = Asked(np.ones(3), requires_grad=True)
    y = (x * x + x).max() + x.sum()
    y.backward(retain_graph=True)
    tg.grad(y, [x, x], create_graph=True)
    assert x in {x} and calls == []
