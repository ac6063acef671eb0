"""Every record in kernels/ is tested here, because the tests read the registry: a new record needs no new test."""
from __future__ import annotations

import copy
import doctest
import inspect
import pickle

import exact
import numpy as np
import pytest
import table
from common import every_type
from numba import float32, float64, njit
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.kernels.formulas import ACTIVATIONS, piecewise
from tinygrad_relu.kernels.formulas.record import flat, records
from tinygrad_relu.kernels.loops.pointwise import loops
from tinygrad_relu.kernels.machine.policy import tell_numba
from tinygrad_relu.nn.activations import MODULES

nan, inf = float("nan"), float("inf")
every_name = pytest.mark.parametrize("name", ACTIVATIONS)
ELEMENTARY = {"exp", "expm1", "log", "log1p", "erf", "erfc"}        # functions, but no activations: they have no module
MORE = {"softplus": [(2.0, 20.0)]}           # PyTorch's threshold
ELEMENTWISE = [name for name, module in MODULES.items() if issubclass(module, nn.Activation)]


def parameter_sets(name: str) -> list[tuple[float, ...]]:
    """The default parameters, other values, and special cases."""
    defaults = tuple(ACTIVATIONS[name].parameters.values())
    return ([defaults, tuple(0.7 * v + 0.1 for v in defaults)] if defaults else [()]) + MORE.get(name, [])


every_parameter_set = pytest.mark.parametrize(
    "name, p", [pytest.param(name, p, id=f"{name}{p}") for name in ACTIVATIONS for p in parameter_sets(name)])


def slope(name: str, x, p=(), g=None):
    """The pullback of g (ones) at x."""
    x = x if isinstance(x, tg.Tensor) else tg.Tensor(x, requires_grad=True)
    y = table.activation(name, *p)(x)
    return tg.grad(y, x, np.ones(x.shape) if g is None else g)[0].data


def test_every_expression_has_a_record():
    assert set(exact.EXPRESSIONS) - {"normal_cdf"} <= set(ACTIVATIONS)


@every_type
@every_parameter_set
def test_value_and_slope_agree_with_the_twin(name, p, dtype):
    """From -30 to 30, kinks and zero included, to rounding. (The ulps of the tails are counted in test_smooth.py.)"""
    kinks = [kink for kink, _ in ACTIVATIONS[name].kinks(*p)]
    x = np.float32(np.concatenate([np.linspace(-30, 30, 241), kinks, [1e-20, -1e-20, 0.0, -0.0]])).astype(float)
    x = x[np.isin(x, kinks) | (np.min(abs(x[:, None] - kinks), axis=1, initial=9) > 1e-6)]      # 0.8 in float32 is not 0.8
    if name in ("log", "log1p"):
        x = x[x > (0 if name == "log" else -0.99)]
        x = x[(x > 1e-3) | (name != "log")]
    got = table.activation(name, *p)(x.astype(dtype)).data
    for one, other in ((got, exact.value(name)(x, *p)), (slope(name, x.astype(dtype), p), exact.slope(name)(x, *p))):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@every_parameter_set
def test_differences_on_both_sides_of_every_kink(name, p):
    """First and second order. At a kink itself the slope is the one that the record declares."""
    if name == "step" and any(p):
        p = (0.0,)              # straight-through is, by intention, not the derivative
    record = ACTIVATIONS[name]
    grid = np.linspace(-3.97, 4.03, 17)
    sides = [kink + side for kink, _ in record.kinks(*p) for side in (-0.01, 0.01, -1e-4, 1e-4)]
    points = np.array([x for x in [*grid, *sides] if all(abs(x - kink) > 5e-5 for kink, _ in record.kinks(*p))])
    points = points[np.isfinite(table.activation(name, *p)(points).data)]           # where it is defined
    assert tg.gradcheck(table.activation(name, *p), tg.Tensor(points, requires_grad=True), order=2)
    for kink, declared in record.kinks(*p):
        np.testing.assert_array_equal(slope(name, [kink], p), [declared])


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_slope_of_relu_at_zero_can_be_chosen(at_zero, zero):
    x = tg.Tensor([zero], requires_grad=True)
    F.relu(x, at_zero=at_zero).backward([2.0])
    assert x.grad == 2 * at_zero
    layer = nn.Sequential(nn.Linear(1, 1, init=0.0, rng=0, dtype="float64"), nn.ReLU(at_zero))
    layer([[1.0]]).backward([[2.0]])
    assert layer[0].bias.grad == 2 * at_zero


@every_type
@every_parameter_set
def test_nan_is_never_disguised(name, p, dtype):
    """NaN in, NaN out: value, pullback and curvature; at x = NaN nothing looks like a dead unit."""
    x = tg.Tensor([nan, 1.0, nan, -nan], requires_grad=True, dtype=dtype)
    y = table.activation(name, *p)(x)
    (first,) = tg.grad(y, x, np.ones(4), create_graph=True)
    (second,) = tg.grad(first, x, np.ones(4))
    for result in (y, first, second):
        np.testing.assert_array_equal(np.isnan(result.data), [True, False, True, True])


@every_type
@every_parameter_set
def test_infinity_is_the_limit(name, p, dtype):
    """The value at +-inf is that at +-1e30, or infinite where that is large, or NaN outside the domain; slopes too."""
    f = table.activation(name, *p)
    at_infinity, far = (f(np.array([-x, x], dtype)).data for x in (inf, 1e30))
    np.testing.assert_array_equal(at_infinity, np.where(abs(far) > 60, np.copysign(inf, far), far))
    at_infinity, far = (slope(name, np.array([-x, x], dtype), p) for x in (inf, 1e30))
    np.testing.assert_allclose(at_infinity, far, rtol=0, atol=1e-29)       # the slope of log1p at 1e30 is 1e-30, not 0


@every_type
@pytest.mark.parametrize("name", records(piecewise))
@pytest.mark.parametrize("g", [inf, -inf, nan])
def test_a_dead_unit_passes_nothing_on(name, g, dtype):
    """Where the slope is 0, the gradient is exactly 0 whatever arrives: selected, not multiplied by a mask."""
    x = np.array([-7.0, -2.0, -0.5, 0.0, 0.5, 2.0, 7.0], dtype)
    dead = slope(name, x) == 0
    passed = slope(name, x, g=np.full(7, g))
    np.testing.assert_array_equal(passed[dead], 0.0)
    assert not np.isfinite(passed[~dead]).any()


@every_type
@every_parameter_set
def test_slope_from_y_is_the_slope(name, p, dtype):
    """Where a record says so, the result alone gives the pullback, bit for bit: kinks, subnormals, infinities and NaN too."""
    record = ACTIVATIONS[name]
    if not record.slope_from_y(*p):
        return
    tiny, kinks = np.finfo(dtype).smallest_subnormal, np.array([kink for kink, _ in record.kinks(*p)], dtype)
    x = np.concatenate([np.linspace(-9, 9, 181, dtype=dtype), kinks, np.nextafter(kinks, dtype(inf)),
                        np.nextafter(kinks, dtype(-inf)), np.array([tiny, -tiny, 0.0, -0.0, inf, -inf, nan], dtype)])
    y, g = np.empty_like(x), np.linspace(-2, 2, x.size, dtype=dtype)
    loops(record).forward(x, p, y)
    from_x, from_y = np.empty_like(x), np.empty_like(x)
    loops(record).pullback(g, x, y, p, from_x)
    loops(record).pullback(g, y, y, p, from_y)
    np.testing.assert_array_equal(from_y, from_x)


def test_relu_says_that_its_slope_can_be_read_off():
    assert [at_zero for at_zero in (0.0, 0.5, 1.0) if ACTIVATIONS["relu"].slope_from_y(at_zero)] == [0.0]


@every_name
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (2, 0, 3), (1, 1, 1, 1)])
def test_shapes(name, shape):
    x = tg.Tensor(np.full(shape, 0.5), requires_grad=True)
    y = table.activation(name)(x)
    y.backward(np.ones(shape))
    assert y.shape == x.grad.shape == shape


@every_parameter_set
def test_third_derivative(name, p):
    """Where there is a formula it is the slope of the second derivative (run in Python); kinks and the far sides too."""
    record = ACTIVATIONS[name]
    formula = record.derivative(3)
    if formula is None:
        assert name in ("gelu_tanh", "mish")
        return
    kinks, h = np.array([kink for kink, _ in record.kinks(*p)]), 1e-5
    points = [x for x in np.linspace(-3.97, 4.03, 17) if np.isfinite(record.f(np.float64(x - h), *p)) and (abs(x - kinks) > h).all()]

    def second(x):
        return record.derivative(2)(np.float64(1), np.float64(x), record.f(np.float64(x), *p), *p)

    for x in map(np.float64, points):
        third = formula(np.float64(2), x, record.f(x, *p), *p)
        np.testing.assert_allclose(third, (second(x + h) - second(x - h)) / h, rtol=1e-6, atol=1e-8)
    assert np.isnan(formula(np.float64(1), np.float64(nan), np.float64(nan), *p))


@pytest.mark.parametrize("name", ["tanh", "relu", "mish"])
def test_derivatives_of_derivatives(name):
    """Derivatives exist as far as the record has formulas; beyond that an error says so."""
    x = tg.Tensor([0.5], requires_grad=True)
    g = table.activation(name)(x)
    for _ in range(2):
        (g,) = tg.grad(g, x, create_graph=True)
    if name == "mish":
        with pytest.raises(RuntimeError, match="mish: no third derivative, as it has no formula f_dxxx; derivatives up to the second work"):
            tg.grad(g, x)
        return
    (third,) = tg.grad(g, x, create_graph=True)
    t = np.tanh(0.5)
    np.testing.assert_allclose(third.data, [0.0 if name == "relu" else (1 - t * t) * (6 * t * t - 2)], rtol=1e-14)
    if name == "tanh":
        with pytest.raises(RuntimeError, match=r"^tanh: no fourth derivative"):
            tg.grad(third, x)
    else:
        assert tg.grad(third, x)[0].item() == 0


# -- derived from a record: function, module, fused layer ------------------------------------------------------------

@every_name
def test_the_example_in_the_help_shows_the_numbers_of_the_compiled_function(name):
    for thing in (getattr(F, name), MODULES.get(name)):
        text = thing.__doc__ if thing else ""
        if "0.0, 2.0])" in text:
            test = doctest.DocTestParser().get_doctest(text, {"F": F, "nn": nn}, name, None, None)
            assert ".shape" not in text and doctest.DocTestRunner().run(test) == (0, 1)


@every_name
def test_every_record_has_its_function(name):
    """With the record's parameters, positional and named, and the record's defaults."""
    function, record = getattr(F, name), ACTIVATIONS[name]
    assert function.__name__ == name and function.__doc__ and ">>>" in function.__doc__
    x = np.array([-1.5, 0.0, 0.5])
    if name in ("prelu", "rrelu", "gelu"):      # learned slopes, drawn slopes, two forms: signatures of their own
        y = function(x, [0.25]) if name == "prelu" else function(x)
        return np.testing.assert_array_equal(y, table.activation(name)(x))
    assert list(inspect.signature(function).parameters) == ["x", *record.parameters]
    for p in parameter_sets(name):
        for result in (function(x, *p), function(x, **dict(zip(record.parameters, p)))):
            np.testing.assert_array_equal(result, table.activation(name, *p)(x))
    np.testing.assert_array_equal(function(x), table.activation(name)(x))


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_gelu_takes_its_form_as_pytorchs_does(name):
    """As a positional or named argument, after an affine layer too, and in copies."""
    approximate = "tanh" if name == "gelu_tanh" else "none"
    x, layer = np.linspace(-3, 3, 12).reshape(3, 4), nn.GELU(approximate=approximate)
    y = table.activation(name)(x)
    assert layer.approximate == approximate and layer.name == name
    for module in (layer, nn.GELU(approximate), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(module(x).data, y)
        assert repr(module) == ("GELU(approximate='tanh')" if name == "gelu_tanh" else "GELU()")
    affine = nn.Linear(4, 2, rng=0, dtype="float64")
    np.testing.assert_array_equal(nn.Sequential(affine, layer)(x).data, table.activation(name)(affine(x).data))
    with pytest.raises(ValueError, match="GELU: approximate is 'erf', expected one of: none, tanh"):
        nn.GELU("erf")


@every_name
def test_every_record_has_its_module(name):
    if name in ELEMENTARY:
        assert name not in MODULES
        return
    cls = MODULES[name]
    assert cls.name == name and getattr(nn, cls.__name__) is cls and cls.__doc__
    module = cls(rng=0) if name == "rrelu" else cls(dtype="float64") if name == "prelu" else cls()
    x = np.array([[-1.5, 0.0, 0.5]])
    np.testing.assert_array_equal(module.eval()(x), table.activation(name)(x))
    assert repr(module).startswith(cls.__name__ + "(")
    if not isinstance(module, nn.Activation) or name == "gelu":
        return
    names = list(inspect.signature(cls).parameters)
    assert {n: p.default for n, p in inspect.signature(cls).parameters.items()} == ACTIVATIONS[name].parameters
    for p in parameter_sets(name):
        for made in (cls(*p), cls(**dict(zip(names, p)))):
            assert tuple(getattr(made, n) for n in names) == made.p == tuple(p)


@every_type
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_with_activation_is_bit_for_bit_linear_then_activation(name, bias, dtype):
    """The fused layer, forward and backward, against two operations; and its composed rule against both."""
    for p in parameter_sets(name):
        layers = nn.Linear(4, 3, bias, rng=0, dtype=dtype), MODULES[name](*p)
        x = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(dtype)
        results = []
        for f in (nn.Sequential(*layers), lambda x: layers[1](layers[0](x))):
            inputs = [tg.Tensor(x, requires_grad=True), *layers[0].parameters()]
            y = f(inputs[0])
            g = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
            layers[0].zero_grad()
            y.backward(g, retain_graph=True)
            composed = tg.grad(y, inputs, g, create_graph=True)
            results.append([y.data, *(v.grad for v in inputs), *(v.data for v in composed)])
        for fused, apart in zip(*results):
            assert fused.dtype == dtype
            np.testing.assert_array_equal(fused, apart)
        for by_kernel, by_rules in zip(results[0][1:1 + len(inputs)], results[0][1 + len(inputs):]):
            table.close(by_kernel, by_rules)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_second_derivative_of_the_fused_layer(name):
    layer = nn.Sequential(nn.Linear(3, 2, rng=5, dtype="float64"), MODULES[name]())
    x = tg.Tensor(np.random.default_rng(4).standard_normal((4, 3)), requires_grad=True)
    z = layer[0](x).data
    assert all(np.min(abs(z - kink)) > 1e-4 for kink, _ in ACTIVATIONS[name].kinks(*layer[1].p))
    assert tg.gradcheck(lambda *inputs: layer(inputs[0]), [x, *layer.parameters()], order=2)


# -- types ---------------------------------------------------------------------------------------------------------------

@every_name
def test_no_formula_lifts_float32(name):
    """A parameter that is not cast is a float64: the loop would compute in float64 and take twice the time. (In plain Python
    NumPy hides it: float32 times a Python float is float32.)"""
    record = ACTIVATIONS[name]
    derivatives = [f for f in (record.f_dx, record.f_dxx, record.f_dxxx) if f not in (None, flat)]
    for formula, inputs in ((record.f, 1), *((f, 3) for f in derivatives[:strength(1, thorough=3)])):
        signature = (float32,) * inputs + (float64,) * len(record.parameters)
        tell_numba()
        compiled = njit(formula, no_cpython_wrapper=True)
        compiled.compile(signature)
        assert compiled.overloads[signature].signature.return_type == float32, formula.__name__
