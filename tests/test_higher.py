"""jacobian, hessian, hvp: compared with formulas, with each other and with differences; and what they must not change."""
from __future__ import annotations

import numpy as np
import pytest
import table

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.kernels.formulas import ACTIVATIONS

RNG = np.random.default_rng(0)
A = RNG.standard_normal((3, 3))
every_type = pytest.mark.parametrize("dtype", ["float32", "float64"])


def smooth(x, y):
    """A scalar in which every input interacts with every other."""
    return (F.tanh(x @ y) * (x * x).sum(axis=1)).sum() + (y**3).mean()


INPUTS = tg.Tensor(RNG.standard_normal((2, 3))), tg.Tensor(RNG.standard_normal(3))


# -- formulas --------------------------------------------------------------------------------------------------------

@every_type
def test_a_quadratic_form(dtype):
    x, v = tg.Tensor(RNG.standard_normal(3), dtype=dtype), RNG.standard_normal(3)
    f = lambda x: x @ A @ x
    for found, expected in ((tg.hessian(f, x), A + A.T), (tg.hvp(f, x, v), (A + A.T) @ v), (tg.jacobian(f, x), x.data @ (A + A.T)),
                            (tg.jacobian(lambda x: A @ x, x), A)):
        assert isinstance(found, tg.Tensor) and found.dtype == dtype and not found.requires_grad
        table.close(found.data, np.asarray(expected, dtype))


@pytest.mark.parametrize("result, given", [((), ()), ((), (3,)), ((2,), ()), ((2, 1), (3,)), ((0,), (2,)), ((2,), (0,)), ((1,), (1, 1))])
def test_shapes(result, given):
    """The shape of the result, then that of the input."""
    x = tg.Tensor(np.ones(given))
    f = lambda x: x.sum() * np.ones(result)
    np.testing.assert_array_equal(tg.jacobian(f, x).data, np.ones(result + given))
    g = lambda x: (x * x).sum().reshape((1,) * len(given))
    assert tg.hessian(g, x).shape == given + given and tg.hvp(g, x, np.ones(given)).shape == given
    np.testing.assert_array_equal(tg.hvp(g, x, np.ones(given)).data, np.full(given, 2.0))


def test_several_inputs():
    """One block for each pair, transposed across the diagonal; hvp is their product; and both are right by differences."""
    blocks, vectors = tg.hessian(smooth, INPUTS), [RNG.standard_normal(x.shape) for x in INPUTS]
    assert [[b.shape for b in row] for row in blocks] == [[(2, 3, 2, 3), (2, 3, 3)], [(3, 2, 3), (3, 3)]]
    whole = np.block([[b.data.reshape(x.size, y.size) for b, y in zip(row, INPUTS)] for row, x in zip(blocks, INPUTS)])
    table.close(whole, whole.T)
    products = tg.hvp(smooth, INPUTS, vectors)
    assert isinstance(products, tuple) and [p.shape for p in products] == [(2, 3), (3,)]
    flat = np.concatenate([np.ravel(v) for v in vectors])
    table.close(np.concatenate([p.data.ravel() for p in products]), whole @ flat)

    def gradient(at):
        parts = tg.jacobian(smooth, (tg.Tensor(at[:6].reshape(2, 3)), tg.Tensor(at[6:])))
        return np.concatenate([p.data.ravel() for p in parts])

    at, eps = np.concatenate([x.data.ravel() for x in INPUTS]), 1e-6
    np.testing.assert_allclose((gradient(at + eps * flat) - gradient(at - eps * flat)) / (2 * eps), whole @ flat, atol=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hessian_of_every_activation(name):
    """The Hessian is diagonal, and its entries are the second derivatives of the record."""
    record = ACTIVATIONS[name]
    x = np.array([0.3, 0.7, 1.3])
    found = tg.hessian(lambda x: table.activation(name)(x).sum(), tg.Tensor(x))
    p = tuple(record.parameters.values())
    curved = [record.f_dxx(np.float64(1), v, record.f(v, *p), *p) for v in x]
    np.testing.assert_allclose(found.data, np.diag(curved), rtol=1e-14, atol=1e-15)


def test_hessian_of_a_network_in_its_weights():
    """The Hessian of a loss by all parameters of a layer with tanh: hvp in each unit direction is one of its columns."""
    x, labels = RNG.standard_normal((5, 3)), [0, 1, 1, 0, 1]
    weights = [tg.Tensor(RNG.standard_normal(s)) for s in ((4, 3), (4,), (2, 4))]

    def loss(w, b, v):
        return F.cross_entropy(F.linear(F.tanh(F.linear(x, w, b)), v), labels)

    blocks = tg.hessian(loss, weights)
    for j in range(3):
        for k in np.ndindex(weights[j].shape):
            unit = [np.zeros(w.shape) for w in weights]
            unit[j][k] = 1.0
            for i, column in enumerate(tg.hvp(loss, weights, unit)):
                table.close(column.data, blocks[i][j].data[(..., *k)])


# -- functions that are constant, linear, or have kinks --------------------------------------------------------------

def test_what_f_does_not_depend_on_has_zeros():
    x, y = INPUTS
    np.testing.assert_array_equal(tg.jacobian(lambda x, y: x.sum(), (x, y))[1].data, np.zeros(3))
    np.testing.assert_array_equal(tg.jacobian(lambda x: tg.Tensor([1.0, 2.0]), y).data, np.zeros((2, 3)))
    for f in (lambda x, y: tg.Tensor(1.0), lambda x, y: x.sum() + 2 * y.sum(), lambda x, y: x.max() + abs(y).sum()):
        (aa, ab), (ba, bb) = tg.hessian(f, (x, y))
        assert not any(b.data.any() for b in (aa, ab, ba, bb)) and ab.shape == (2, 3, 3) and ba.shape == (3, 2, 3)
        assert not any(p.data.any() for p in tg.hvp(f, (x, y), (np.ones((2, 3)), np.ones(3))))
    products = tg.hvp(lambda x, y: (x * x).sum() + y.sum(), (x, y), (np.ones((2, 3)), np.ones(3)))
    np.testing.assert_array_equal(products[0].data, np.full((2, 3), 2.0))
    np.testing.assert_array_equal(products[1].data, np.zeros(3))
    assert tg.jacobian(lambda x: x, y).data.tolist() == np.eye(3).tolist()      # f returns its input itself


def test_a_relu_network_is_flat_in_its_inputs():
    """All second derivatives of a piecewise linear function are 0, at kinks too."""
    model = nn.MLP([3, 4, 1], rng=0, dtype="float64")
    np.testing.assert_array_equal(tg.hessian(lambda x: model(x).sum(), tg.Tensor(A)).data, np.zeros((3, 3, 3, 3)))
    np.testing.assert_array_equal(tg.hessian(lambda x: F.relu(x).sum(), tg.Tensor([0.0, 1.0])).data, np.zeros((2, 2)))


# -- what must not be touched ----------------------------------------------------------------------------------------

def test_nothing_of_the_caller_is_touched():
    """No .grad, graph, value or recording mode is changed, not even after an error; nor are parameters that f uses."""
    x, p = tg.Tensor([1.0, 2.0], requires_grad=True), nn.Parameter([3.0, 4.0])
    y = x * x
    f = lambda x: (p * x * x).sum()
    for result in (tg.hessian(f, y), tg.jacobian(f, y), tg.hvp(f, y, y), tg.hessian(f, p)):
        assert not result.requires_grad
    assert x.grad is None and p.grad is None and y.data.tolist() == [1, 4]
    y.backward([1.0, 1.0])                  # its own graph is still there
    assert x.grad.tolist() == [2, 4]
    with tg.no_grad():
        assert tg.hessian(f, x).data.any() and not (x * x).requires_grad
        with pytest.raises(ValueError, match="f returned shape"):
            tg.hessian(lambda x: x, x)
        assert not (x * x).requires_grad


def test_f_may_differentiate_inside():
    """The gradient norm of a cubic: 3 x^2 -> derivative 6 x of its sum."""
    x = tg.Tensor([1.0, 2.0])

    def slope(x):
        return tg.grad((x**3).sum(), x, create_graph=True)[0]

    np.testing.assert_array_equal(tg.jacobian(slope, x).data, np.diag([6.0, 12.0]))
    np.testing.assert_array_equal(tg.hessian(lambda x: slope(x).sum(), x).data, np.diag([6.0, 6.0]))


# -- nested ----------------------------------------------------------------------------------------------------------

def cube(x):
    return (x * x * x).sum()


def nest(*kinds, create_graph=True):
    """The derivative of the cubic by the last of the functions in `kinds`, its derivative by the one before, and so on."""
    f = cube
    for kind in reversed(kinds):
        f = lambda x, f=f, kind=kind: kind(f, x, create_graph=create_graph)
    return f


def along(f, x, **options):
    """A Hessian-vector product in the direction of ones."""
    return tg.hvp(f, x, np.ones(x.shape), **options)


@every_type
def test_derivatives_of_derivatives_of_a_cubic(dtype):
    """x^3 -> 3 x^2 -> 6 x -> 6 -> 0, whichever way they are nested."""
    x, at = tg.Tensor([1.0, -2.0], dtype=dtype), np.array([1.0, -2.0])
    diagonal = np.zeros((2, 2, 2))
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = 6
    for kinds, expected in [((tg.jacobian,) * 2, np.diag(6 * at)), ((tg.hessian,), np.diag(6 * at)), ((along,), 6 * at),
                            ((tg.jacobian,) * 3, diagonal), ((tg.jacobian, tg.hessian), diagonal),
                            ((tg.jacobian, along), np.diag([6.0, 6.0])), ((tg.jacobian,) * 4, np.zeros((2,) * 4)),
                            ((tg.jacobian, tg.jacobian, along), np.zeros((2, 2, 2))),
                            ((tg.jacobian, tg.jacobian, tg.hessian), np.zeros((2,) * 4))]:
        found = nest(*kinds)(x)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.data, expected)
    np.testing.assert_array_equal(tg.hessian(lambda x: nest(tg.hessian)(x).sum(), x).data, np.zeros((2, 2)))
    np.testing.assert_array_equal(tg.hvp(lambda x: (nest(tg.jacobian)(x) ** 2).sum(), x, [1.0, 0.0]).data, [108, 0])   # 9 x^4


def test_a_result_with_a_history():
    """The graph leads to the caller's inputs, to the vector of an hvp, and to all else that f uses; nothing else is changed."""
    x, p, v = tg.Tensor([1.0, 2.0], requires_grad=True), nn.Parameter([3.0, 4.0]), tg.Tensor([1.0, -1.0], requires_grad=True)
    f = lambda x: (p * x**3).sum()
    for found, expected in [(tg.jacobian(f, x, create_graph=True), [(6 * x * p).data, 3 * x.data**2, [0, 0]]),
                            (tg.hessian(f, x, create_graph=True), [6 * p.data, 6 * x.data, [0, 0]]),
                            (tg.hvp(f, x, v, create_graph=True), [6 * (p * v).data, 6 * (x * v).data, 6 * (p * x).data])]:
        assert found.requires_grad and x.grad is p.grad is v.grad is None
        for g, e in zip(tg.grad(found, [x, p, v], np.ones(found.shape)), expected, strict=True):
            np.testing.assert_allclose(g.data, e, rtol=1e-15)
    found = tg.jacobian(lambda y: x * y, x, create_graph=True)      # by y alone, although x is also a factor
    np.testing.assert_array_equal(found.data, np.diag(x.data))
    found.backward(np.ones((2, 2)))
    np.testing.assert_array_equal(x.grad, [1, 1])
    for f in (tg.jacobian, tg.hessian, along):
        assert not f(cube, x).requires_grad
    assert tg.jacobian(lambda x: x[:0], x, create_graph=True).shape == (0, 2)
    assert tg.gradcheck(lambda x: tg.jacobian(lambda x: tg.sin(A @ x), x, create_graph=True), tg.Tensor(A[0], requires_grad=True), 2)


@pytest.mark.parametrize("inner", [tg.jacobian, tg.hessian, along])
@pytest.mark.parametrize("outer", [tg.jacobian, tg.hessian, along])
def test_nesting_gives_no_silent_zeros(inner, outer):
    """Without a graph, the inner result would be a constant to the outer function: an error, unless inputs are detached."""
    x = tg.Tensor([1.0, 2.0])
    wrong = pytest.raises(RuntimeError, match=r"the result depends on the inputs of an enclosing .*; pass create_graph=True, or detach\(\)")
    with wrong:
        outer(lambda x: inner(cube, x).sum(), x)
    with wrong:
        outer(lambda p: inner(lambda x: (p * p * x**3).sum(), x).sum(), x)         # by p, which is no input of inner
    with wrong:
        outer(lambda x: tg.hvp(cube, x.detach(), x).sum(), x)
    plain = outer(cube, x)
    for other in (lambda x: inner(cube, x.detach()), lambda _: inner(cube, x), tg.no_grad()(lambda x: inner(cube, x)),
                  lambda x: inner(lambda y: tg.Tensor(1.0), x)):
        np.testing.assert_array_equal(outer(lambda x, g=other: cube(x) + g(x).sum(), x).data, plain.data)
    assert not inner(cube, x).requires_grad             # after the error as before


def test_hvp_of_a_million_numbers_forms_no_hessian():
    x = tg.Tensor(np.linspace(-1, 1, 1_000_000))
    found = tg.hvp(lambda x: (x**3).sum(), x, np.ones(x.shape))
    np.testing.assert_allclose(found.data, 6 * x.data, rtol=1e-15)


@pytest.mark.parametrize("f", [lambda x: x, lambda x: x * 2])
def test_a_recorded_seed_takes_the_dtype_of_the_result(f):
    for own, other in (("float32", "float64"), ("float64", "float32")):
        x = tg.Tensor([1.0, 2.0], requires_grad=True, dtype=own)
        (g,) = tg.grad(f(x), x, tg.Tensor([1.0, 3.0], dtype=other), create_graph=True)
        assert g.dtype == own
