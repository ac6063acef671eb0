"""Autopsy and lethal windows: shares that sum to the change, steps that kill, and rates that are confirmed by making the step."""
from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import data, lab, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.lab.layers import GONE

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((300, 6)), RNG.integers(0, 3, 300)
EPS = {"float64": 1e-12, "float32": 1e-4}


def mlp(dtype, **options):
    return nn.MLP([6, 16, 16, 3], rng=0, dtype=dtype, **options)


def residual(dtype):
    block = nn.Sequential(nn.Linear(16, 16, rng=1, dtype=dtype), nn.LayerNorm(16, dtype=dtype), nn.ReLU())
    return nn.Sequential(nn.Linear(6, 16, rng=0, dtype=dtype), nn.ReLU(), nn.Residual(block), nn.Linear(16, 3, rng=2, dtype=dtype))


MODELS = {
    "relu": (lambda dtype: mlp(dtype, activation="relu"), 3.0),
    "relu6": (lambda dtype: mlp(dtype, activation="relu6"), 3.0),
    "hardtanh": (lambda dtype: mlp(dtype, activation="hardtanh"), 30.0),
    "maxout": (lambda dtype: mlp(dtype, activation="maxout", pieces=4), 0.2),
    "batch norm": (lambda dtype: mlp(dtype, norm="batch"), 10.0),
    "residual, layer norm": (residual, 3.0),
}
OPTIMIZERS = {
    "momentum": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, weight_decay=1e-3),
    "nesterov, decoupled": lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True, weight_decay=1e-3, decoupled=True),
    "adam": lambda p, lr: optim.Adam(p, lr=0.1 * lr, weight_decay=1e-3),
}


def watched(model, optimizer, steps=12, batch=None):
    autopsy = lab.Autopsy(model, X, optimizer, batch_size=128)
    for _ in range(steps):
        part = slice(None) if batch is None else RNG.integers(0, len(X), batch)
        optimizer.zero_grad()
        F.cross_entropy(model(X[part]), Y[part]).backward()
        autopsy.step()
    return autopsy


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("name", MODELS)
def test_shares_sum_to_the_change_and_deaths_are_those_of_the_recorder(name, dtype):
    (make, lr), deaths = MODELS[name], 0
    for optimizer in OPTIMIZERS.values():
        model = make(dtype)
        twin = copy.deepcopy(model)
        first, second = optimizer(model.parameters(), lr), optimizer(twin.parameters(), lr)
        autopsy, recorder = watched(model, first), lab.Recorder(twin, X)
        for _ in range(12):
            recorder.observe()
            second.zero_grad()
            F.cross_entropy(twin(X), Y).backward()
            second.step()
        recorder.observe()
        assert all(np.array_equal(a.data, b.data) for a, b in zip(model.parameters(), twin.parameters()))
        told = sorted((death.layer, death.unit, death.step) for death in autopsy.deaths)
        lives = [(life.layer, life.unit, step) for life in recorder.lives() for step, event in life.events if "died" in event]
        assert told == sorted(lives)
        for death in autopsy.deaths:
            size = max(1, *map(abs, (death.before, death.after, *sum(death.shares.values(), ()))))
            assert abs(sum(share.total for share in death.shares.values()) + death.rest - death.after + death.before) <= 1e-12 * size
            assert abs(death.rest) <= EPS[dtype] * size
            assert name not in ("relu", "maxout") or death.before > 0 >= death.after - EPS[dtype] * size
            lo, hi = death.window
            assert autopsy.table(None).rows[autopsy.deaths.index(death)][-2:] == (
                [f"{lo:.4g}", f"{hi:.4g}"] if lo < np.inf else ["-", "-"])          # no rate kills the unit in this step
            if death.layer == "0" and name != "batch norm":
                assert lo * (1 - EPS[dtype]) <= death.lr <= hi * (1 + EPS[dtype])
        deaths += len(autopsy.deaths)
    assert deaths > 0


def test_shares_by_hand():
    """Each share of a death in both layers, from weights, inputs and the textbook formula of momentum."""
    model = mlp("float64")
    optimizer = optim.SGD(model.parameters(), lr=3.0, momentum=0.9, weight_decay=0.01)
    autopsy = lab.Autopsy(model, X, optimizer)
    seen = set()
    while {death.layer for death in autopsy.deaths} < {"0", "2"}:
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        before = [p.data.copy() for p in model.parameters()]
        h = [X, np.maximum(X @ before[0].T + before[1], 0)]
        g = [p.grad.copy() for p in model.parameters()]
        v = [optimizer.state_of(p).get("momentum_buffer", 0.0 * p.data).copy() for p in model.parameters()]
        known = len(autopsy.deaths)
        autopsy.step()
        after = [p.data for p in model.parameters()]
        new_h = [X, np.maximum(X @ after[0].T + after[1], 0)]
        mixed_h = [X, np.maximum(X @ after[0].T + before[1], 0)]
        for death in autopsy.deaths[known:]:
            l, j, i = int(death.layer) // 2, death.unit, death.sample
            w, b, x = 2 * l, 2 * l + 1, h[l][i]
            seen.add(l)
            for share, parts in ((death.gradient, [-3.0 * one for one in g]), (death.inertia, [-2.7 * one for one in v]),
                                 (death.decay, [-0.03 * one for one in before]), (death.data, [0.0 * one for one in g])):
                np.testing.assert_allclose(share, [parts[w][j] @ x, parts[b][j]], atol=1e-12)
            np.testing.assert_allclose(death.upstream, [after[w][j] @ (mixed_h[l][i] - x),
                                                        after[w][j] @ (new_h[l][i] - mixed_h[l][i])], atol=1e-12)
            z = h[l] @ before[w][j] + before[b][j]
            assert i == z.argmax() and death.before == pytest.approx(z[i], abs=1e-12)
    assert seen == {0, 1}


def test_what_happens_between_two_steps_is_data():
    model = mlp("float64")
    optimizer = optim.SGD(model.parameters(), lr=1e-9)
    autopsy = lab.Autopsy(model, X, optimizer)
    F.cross_entropy(model(X), Y).backward()
    lab.kill(model, X, [3], margin=1000.0)
    shift = -50 * model[0].weight.data[5]                   # moves unit 5 off the data, which move
    autopsy.step(X + shift)
    killed, shifted = autopsy.of(3)[0], autopsy.of(5)[0]
    assert killed.cause == shifted.cause == "data" and killed.data.bias < 0 == shifted.data.bias
    assert shifted.data.weight == pytest.approx(model[0].weight.data[5] @ shift, rel=1e-6)
    with pytest.raises(ValueError, match=r"the new x has shape \(7, 6\), expected \(300, 6\)"):
        autopsy.step(X[:7])


def test_a_population_has_the_deaths_of_its_members():
    seeds, rates = [0, 1, 2], [3.0, 1.0, 5.0]
    many = nn.MLP([6, 16, 16, 3], members=3, rng=seeds, dtype="float64")
    alone = [copy.deepcopy(many.member(k)) for k in range(3)]
    optimizer = optim.SGD(many.parameters(), lr=rates, momentum=0.9, weight_decay=0.01)
    autopsy = lab.Autopsy(many, X, optimizer)
    for _ in range(6):
        optimizer.zero_grad()
        F.per_member(F.cross_entropy, many(X), Y).sum().backward()
        autopsy.step()
    for k, model in enumerate(alone):
        single = watched(model, optim.SGD(model.parameters(), lr=rates[k], momentum=0.9, weight_decay=0.01), steps=6)
        mine = [death for death in autopsy.deaths if death.member == k]
        assert [repr(dataclasses.replace(death, member=None)) for death in mine] == list(map(repr, single.deaths))
    assert len({death.member for death in autopsy.deaths}) > 1 and "member" in str(autopsy.table())
    first = autopsy.deaths[0]
    layer = ("0", "2").index(first.layer)
    assert first in autopsy.of(first.unit, layer, first.member)
    assert autopsy.of(first.unit, layer) == [
        death for death in autopsy.deaths if (death.layer, death.unit) == (first.layer, first.unit)]


def test_minibatches_json_and_pictures():
    model = mlp("float32")
    autopsy = watched(model, optim.SGD(model.parameters(), lr=3.0, momentum=0.9), batch=20)
    found = json.loads(autopsy.to_json())
    assert found["steps"] == 12 and len(found["deaths"]) == len(autopsy.deaths) > 0
    assert set(found["deaths"][0]["gradient"]) == {"weight", "bias"}
    assert str(autopsy).startswith("deaths in 12 steps") and autopsy.plot().axes[0].get_ylabel()
    assert str(lab.Autopsy(model, X, optim.SGD(model.parameters(), lr=1.0))) == "no unit died in 0 steps"
    with pytest.raises(TypeError, match="expected the one that trains this model"):
        lab.Autopsy(model, X, optim.SGD(mlp("float32").parameters(), lr=1.0))


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("activation", ["relu", "relu6", "hardtanh", "maxout", "leaky_relu"])
def test_lethal_rates_are_confirmed_by_the_step(activation, dtype):
    model = mlp(dtype, activation=activation)
    for optimizer in (None, optim.Adam(model.parameters(), lr=0.1), optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)):
        found = lab.lethal_lr(model, X, Y, optimizer=optimizer, batch_size=100)
        first = found.layers[0]
        lr_grid = np.geomspace(first.lo[first.lo > 0].min() / 3, 1e3, 24) if np.isfinite(first.lo).any() else [0.1, 1e3]
        for lr in lr_grid:
            trial, same = copy.deepcopy((model, optimizer or optim.SGD(model.parameters(), lr=1.0)))
            same.param_groups[0]["lr"] = lr
            same.zero_grad()
            F.cross_entropy(trial(X), Y).backward()
            same.step()
            dead = [layer.state for layer in lab.census(trial, X).layers]
            close = np.isclose(lr, first.lo, rtol=EPS[dtype]) | np.isclose(lr, first.hi, rtol=EPS[dtype])
            lethal = (first.lo <= lr) & (lr <= first.hi)
            assert (close | (lethal == np.isin(dead[0], [lab.State.DEAD, lab.State.DEAD_HIGH, lab.State.NEVER_WINS]))).all()
        assert np.isinf(found.safe_rate) == (activation == "leaky_relu")


def test_a_unit_lives_again_above_its_window():
    model, x = nn.MLP([2, 8, 3], rng=0, dtype="float64"), X[:50, :2]
    (layer,) = lab.lethal_lr(model, x, Y[:50]).layers
    gradients = tg.grad(F.cross_entropy(model(x), Y[:50]), model.parameters())
    checked = 0
    for unit in np.flatnonzero(np.isfinite(layer.hi) & layer.alive):
        for lr, dead in ((layer.lo[unit] * 0.999, False), (layer.lo[unit] * 1.001, True), (layer.hi[unit] * 0.999, True),
                         (layer.hi[unit] * 1.001, False)):
            weight, bias = (p.data - lr * g.data for p, g in zip(model.parameters()[:2], gradients))
            assert ((x @ weight[unit] + bias[unit]).max() <= 0) == dead
            checked += 1
    assert checked


def test_the_safe_rate_kills_no_unit_and_one_a_little_higher_does():
    model = mlp("float64")
    found = lab.lethal_lr(model, X, Y)
    gradients = tg.grad(F.cross_entropy(model(X), Y), model.parameters())
    before = lab.census(model, X).dead

    def dead_at(lr):
        trial = copy.deepcopy(model)
        for p, g in zip(trial.parameters(), gradients):
            p.data = p.data - lr * g.data
        return lab.census(trial, X).dead

    assert dead_at(found.safe_rate) == before
    assert dead_at(found.safe_rate * 1.0101) != before
    assert found.layers[0].exact and not found.layers[1].exact
    assert json.loads(found.to_json())["safe_rate"] == found.safe_rate
    assert "never" in str(found) and found.plot().axes[0].lines


def test_a_picture_of_rates_that_kill_nothing_says_so():
    x, y = np.eye(2), np.arange(2)
    for activation, told in (("elu", "no rate kills a unit"), ("relu", "all units are dead already")):
        model = nn.MLP([2, 4, 2], activation, rng=0)
        if activation == "relu":
            lab.kill(model, x)
        assert [text.get_text() for text in lab.lethal_lr(model, x, y).plot().axes[0].texts] == [told]


@pytest.mark.parametrize(("activation", "seed"), [("hardsigmoid", 1), ("hardsigmoid", 34), ("relu6", 30)])
def test_the_safe_rate_of_a_deep_network_is_tried_where_the_first_layer_bounds_it(activation, seed):
    """The second layer dies below the first window of the first, between two rates that were tried."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((20, 2)), rng.integers(0, 3, 20)
    model = nn.MLP([2, 2, 2, 3], activation=activation, rng=seed, dtype="float64")
    before, rate = lab.census(model, x).dead, lab.lethal_lr(model, x, y).safe_rate
    F.cross_entropy(model(x), y).backward()
    optim.SGD(model.parameters(), lr=rate).step()
    assert rate < np.inf and all(after <= then for after, then in zip(lab.census(model, x).dead, before))


def test_the_safe_rate_is_below_the_first_window():
    """At the edge itself rounding decides, and differently in each batch."""
    moons = data.moons(1000, rng=0)
    model = nn.MLP([2, 64, 2], dtype="float64", rng=0)
    found = lab.lethal_lr(model, moons.x, moons.y)
    assert found.safe_rate < found.layers[0].lo[found.layers[0].alive].min()
    F.cross_entropy(model(moons.x), moons.y).backward()
    before = lab.census(model, moons.x).dead
    optim.SGD(model.parameters(), lr=found.safe_rate).step()
    assert lab.census(model, moons.x).dead == before


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"activation": "maxout"}, {"activation": "relu6"}], ids=str)
def test_windows_by_trial_are_confirmed_by_the_step(options):
    """In deeper layers and after a norm: dead at lo and hi, alive at the rates tried just before and just after."""
    model = mlp("float64", **options)
    found = lab.lethal_lr(model, X, Y)
    model.eval()
    gradients = tg.grad(F.cross_entropy(model(X), Y), model.parameters())
    checked = 0
    for i, layer in enumerate(found.layers):
        for unit in np.flatnonzero(layer.alive & np.isfinite(layer.lo) & (not layer.exact))[:6]:
            lo, hi = layer.lo[unit], layer.hi[unit]
            before = lo / 10**0.1
            for lr, dead in ((before, False), (lo, True), *([(hi, True), (hi * 10**0.1, False)] if np.isfinite(hi) else [])):
                trial = copy.deepcopy(model)
                for p, g in zip(trial.parameters(), gradients):
                    p.data = p.data + lr * -g.data
                assert GONE[lab.census(trial, X).layers[i].state[unit]] == dead
                checked += 1
    assert checked and found.safe_rate > 0


def test_what_is_no_optimizer_is_refused():
    for instrument in (lab.lethal_lr, lab.gradient_profile):
        with pytest.raises(TypeError, match="the optimizer is 'sgd', expected an Optimizer or None"):
            instrument(mlp("float64"), X, Y, optimizer="sgd")
