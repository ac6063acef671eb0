"""How likely a network is born dead: drawn networks against formulas, bounds, and a count over all signs."""
import json
from itertools import product
from math import factorial

import numpy as np
import pytest

from tinygrad_relu import lab, nn

RAY = np.array([[1.0], [2.0], [0.5]])


def dies(seed, widths, x, init):
    """Whether one network, made as users make it, is dead on x."""
    model, h = nn.MLP(widths, init=init, dtype="float64", rng=seed), x
    for layer in model[:-1:2]:
        h = np.maximum(h @ layer.weight.data.T + layer.bias.data, 0)
        if not h.any():
            return True
    return False


@pytest.mark.parametrize(("widths", "x", "exact"), [
    ([1, 2, 2, 1], None, 5 / 32), ([1, 3, 1], None, 0.0), ([1, 1, 1, 1], None, 1 / 2),
    ([1, 3, 2, 1], None, 1 / 4 * 1 / 4 + 3 / 4 * 1 / 16), ([1, 2, 2, 1], RAY, 1 - (3 / 4) ** 2),
    ([3, 2, 1, 2], np.ones((4, 3)), 1 - 3 / 4 * 1 / 2)])
@pytest.mark.parametrize("init", ["he", "xavier_uniform"])
def test_formulas_and_drawings_agree(widths, x, exact, init):
    found = lab.birth_probability(widths, x, init=init, trials=4000, rng=1)
    assert found.exact == pytest.approx(exact, abs=1e-15)
    assert abs(found.born_dead - exact) <= 4 * np.sqrt(exact * (1 - exact) / 4000)      # 4 standard errors
    assert found.bounds[0] - 1e-15 <= exact <= found.bounds[1] + 1e-15


def test_two_narrow_layers_by_all_signs():
    """On two opposite rays the first layer maps them to relu(w) and relu(-w), whose supports are disjoint: a unit of the second
    layer is dead with probability 1/2 on one vector that is not 0, and with 1/4 on two that are orthogonal."""
    for n, m in product((1, 2, 3, 4), repeat=2):
        both = sum(1 for signs in product((0, 1), repeat=n) if 0 < sum(signs) < n)
        expected = both / 2**n * 0.25**m + (1 - both / 2**n) * 0.5**m
        assert lab.birth_probability([1, n, m, 1], trials=1, rng=0).exact == pytest.approx(expected, rel=1e-14)


def test_the_known_numbers():
    deep = lab.birth_probability([1, *[2] * 9, 1], trials=4000, rng=0)
    assert abs(deep.born_dead - 0.880) < 4 * deep.error and deep.exact is None
    assert deep.bounds == (pytest.approx(0.870256, abs=1e-6), pytest.approx(0.924915, abs=1e-6))
    cured = lab.birth_probability([1, *[2] * 9, 1], init="rai", trials=2000, rng=0)
    assert cured.born_dead < 0.35 and cured.bounds is None
    assert [layer.born_dead for layer in deep.layers] == sorted(layer.born_dead for layer in deep.layers)
    assert json.loads(deep.to_json())["layers"][1]["exact"] == 5 / 32
    assert "0.1562" in str(deep) and deep.plot().axes


def test_the_drawings_are_those_of_networks():
    """The same share as among networks made one by one, on data in several dimensions, with biases."""
    x = np.random.default_rng(0).standard_normal((5, 3))
    found = lab.birth_probability([3, 2, 2, 1], x, init="pytorch", trials=2000, rng=0)
    alone = np.mean([dies(seed, [3, 2, 2, 1], x, "pytorch") for seed in range(500)])
    assert abs(found.born_dead - alone) < 4 * np.sqrt(0.25 / 500) and found.exact is None
    model = nn.MLP([3, 400, 1], dtype="float64", rng=0, init="pytorch")
    share = lab.census(model, x).dead[0] / 400
    assert abs(found.layers[0].units - share) < 4 * np.sqrt(0.25 / 400)
    assert lab.birth_probability([3, 2, 2, 1], x, trials=7, rng=3) == lab.birth_probability([3, 2, 2, 1], x, trials=7, rng=3)


@pytest.mark.parametrize(("draw", "d", "options"), [
    ("normal", 1, {}), ("normal", 3, {}), ("normal", 2, {"weight": 0.5, "bias": 2.0, "radius": 1.5}), ("uniform", 1, {}),
    ("uniform", 3, {}), ("uniform", 2, {"bias": 3.0}), ("uniform", 3, {"weight": 0.5, "radius": 0.8})])
def test_one_unit(draw, d, options):
    weight, bias, radius = (options.get(name, 1.0) for name in ("weight", "bias", "radius"))
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal if draw == "normal" else lambda size: rng.uniform(-1, 1, size))((200_000, d + 1))
    w, b = weight * numbers[:, 1:], bias * numbers[:, 0]
    size = np.linalg.norm(w, axis=1) if draw == "normal" else np.abs(w).sum(axis=1)
    found = lab.unit_birth_probability(d, draw=draw, **options)
    assert abs(found - np.mean(b <= -radius * size)) < 4 * np.sqrt(found * (1 - found) / 200_000)


def test_one_unit_at_the_edges():
    assert lab.unit_birth_probability(784, draw="uniform") == 0.0           # 1 / (2 785!), below the smallest number
    assert lab.unit_birth_probability(9, draw="uniform") == pytest.approx(1 / (2 * factorial(10)), rel=1e-14)
    assert lab.unit_birth_probability(40, draw="uniform", bias=100.0) == pytest.approx(0.5 * (1 - 20 / 100), rel=1e-12)
    assert lab.unit_birth_probability(3, bias=0.0) == 0.0 and lab.unit_birth_probability(3, radius=0.0) == 0.5
    assert all(lab.unit_birth_probability(3, bias=0.0, radius=0.0, draw=draw) == 1.0 for draw in ("normal", "uniform"))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: lab.birth_probability([1, 1], rng=0), "widths is \\[1, 1\\], expected inputs, hidden widths and outputs"),
    (lambda: lab.birth_probability([1, 2, 1]), "birth_probability needs rng"),
    (lambda: lab.birth_probability([2, 2, 1], RAY, rng=0), "x has 1 feature, expected 2"),
    (lambda: lab.birth_probability([1, 2, 1], RAY * 0, rng=0), "all samples are 0"),
    (lambda: lab.birth_probability([1, 2, 1], rng=0, init="hee"), "did you mean 'he'"),
    (lambda: lab.unit_birth_probability(2, draw="cauchy"), "draw"),
    (lambda: lab.unit_birth_probability(2, bias=-1), "bias is -1")])
def test_wrong_calls_are_one_sentence(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
