"""The laws of the dead unit against literal simulations: schedules, the map, the return, perturbations, Adam."""
from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from strength import strength

import tinygrad_relu.functional as F
from tinygrad_relu import lab, nn, optim
from tinygrad_relu.lab import laws
from tinygrad_relu.lab.recurrence import Settings

PAIRS = strength(300, thorough=3000)
STEPS = 400
DIALECTS = [{}, {"nesterov": True}, {"decoupled": True}, {"nesterov": True, "decoupled": True}, {"dampening": 0.4}]


def simulate(w, rates, momenta, decays, *, dampening=0.0, nesterov=False, decoupled=False):
    """The first step with z > 0 from z = -1 and V = w z, by the update of torch.optim.SGD; None for no such step."""
    z, v = -1.0, -float(w)
    for t, (eta, mu, decay) in enumerate(zip(*(np.asarray(each).tolist() for each in (rates, momenta, decays))), start=1):
        g = 0.0 if decoupled else decay * z
        z = z * (1 - eta * decay) if decoupled else z
        v = mu * v + (1 - dampening) * g
        z -= eta * (g + mu * v if nesterov else v)
        if z > 1e-290:
            return t
        if abs(z) + abs(v) < 1e-290:                        # from here on, signs are rounding
            return None
    return None


def draw(rng, peak, steps=STEPS):
    """A schedule below a peak: constant, falling, random, or with a few high steps."""
    return peak * rng.choice([np.ones(steps), np.linspace(1, 0, steps), rng.random(steps), rng.random(steps) ** 0.05,
                              np.where(rng.random(steps) < 0.1, 1.0, 0.1)])


# ---- schedules ---------------------------------------------------------------------------------------------------------


def test_raising_any_setting_at_any_step_never_delays_the_return():
    rng, returned = np.random.default_rng(0), 0
    for _ in range(PAIRS):
        mu = rng.uniform(0.5, 0.99)
        peak = (1 - math.sqrt(mu)) ** 2 * 10 ** rng.uniform(-0.5, 1.5)
        low = [draw(rng, math.sqrt(peak)), draw(rng, mu), draw(rng, math.sqrt(peak))]
        raised = [np.where(rng.random(STEPS) < rng.random(), values * rng.uniform(1, 1.5), values) for values in low]
        raised[1] = np.minimum(raised[1], 0.999)
        late, early = (laws.first_return(lr, momentum, decay) for lr, momentum, decay in (low, raised))
        assert late == simulate(0.0, *low) and early == simulate(0.0, *raised)
        assert late is None or (early is not None and early <= late)
        returned += late is not None
    assert PAIRS / 5 < returned < PAIRS


def test_with_a_buffer_too_a_higher_rate_never_delays_the_return_of_heavy_ball():
    rng = np.random.default_rng(1)
    for _ in range(PAIRS):
        mu, decay, w = rng.uniform(0.3, 0.99), 10 ** rng.uniform(-3, 0), rng.normal()
        rates = draw(rng, rng.uniform(0.01, 1))
        late, early = (simulate(w, lr, [mu] * STEPS, [decay] * STEPS) for lr in (rates, rates * rng.uniform(1, 2, STEPS)))
        assert late is None or (early is not None and early <= late)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_no_schedule_below_the_safe_rate_revives_a_unit(dialect):
    rng = np.random.default_rng(2)
    for _ in range(PAIRS // 3):
        mu, decay = rng.uniform(0.05, 0.99), rng.choice([0.0, 10 ** rng.uniform(-4, 0)])
        w = rng.choice([0.0, rng.normal() * 10 ** rng.uniform(-3, 1)])
        safe = float(laws.safe_rate(w, momentum=mu, weight_decay=decay, **dialect))
        assert safe > 0 or w > 0
        if 0 < safe < math.inf:
            settings = draw(rng, safe * (1 - 1e-9)), draw(rng, mu), draw(rng, decay)
            assert simulate(w, *settings, **dialect) is None


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_above_the_safe_rate_some_schedule_revives_the_unit(dialect):
    rng = np.random.default_rng(3)
    for _ in range(PAIRS // 10):
        mu, decay = rng.uniform(0.05, 0.95), 10 ** rng.uniform(-4, 0)
        w = rng.choice([0.0, abs(rng.normal())])
        safe = float(laws.safe_rate(w, momentum=mu, weight_decay=decay, **dialect))
        if safe > 0:
            rates = [safe * 1.05] * 20_000
            assert simulate(w, rates, [mu] * 20_000, [decay] * 20_000, **dialect) is not None


def test_the_safe_rate_from_rest_is_the_edge_of_the_window():
    for mu in (0.5, 0.9, 0.99):
        assert laws.safe_rate(momentum=mu, weight_decay=0.01).item() == pytest.approx((1 - math.sqrt(mu)) ** 2 / 0.01)
        assert laws.safe_rate(momentum=mu, weight_decay=0.01, nesterov=True).item() == pytest.approx(
            ((1 - mu) / (1 + mu)) ** 2 / 0.01)
    assert laws.safe_rate(weight_decay=0.01).item() == pytest.approx(100)                   # SGD flips the sign at 1
    assert laws.safe_rate(momentum=0.9, weight_decay=0.01, decoupled=True).item() == pytest.approx(100)
    assert laws.safe_rate(momentum=0.9).item() == math.inf
    assert laws.safe_rate([math.inf, 1.0], momentum=0.9, weight_decay=0.01, dampening=1.5).tolist() == [0, 0]
    assert laws.safe_rate(math.inf, momentum=0.9).item() == 0


@pytest.mark.parametrize("dialect", DIALECTS[:4], ids=str)
def test_a_return_under_a_schedule_lies_between_those_at_the_extreme_rates(dialect):
    rng, bracketed = np.random.default_rng(4), 0
    for _ in range(PAIRS // 3):
        mu, decay, highest = rng.uniform(0.3, 0.97), 10 ** rng.uniform(-3, 0), rng.uniform(0.05, 1)
        lowest = highest * rng.uniform(0.3, 1)
        z, v = -rng.random((5, 3)), rng.normal(size=(5, 3)) * rng.choice([0.0, 0.3])
        told = laws.return_between(z, v, lowest=lowest, highest=highest, momentum=mu, weight_decay=decay, **dialect)
        rates = rng.uniform(lowest, highest, 2000)
        for unit, between in enumerate(told):
            seen = [simulate(v[i, unit] / z[i, unit], rates, [mu] * 2000, [decay] * 2000, **dialect) for i in range(5)]
            step = min((s for s in seen if s is not None), default=None)
            first, last = between or (math.inf, None)
            assert step is None if between is None else step is None or step >= first
            assert last is None or last > 2000 or (step is not None and step <= last)
            assert laws.ratio(z, v)[unit] == (v / z)[:, unit].max()
            bracketed += last is not None
    assert bracketed > PAIRS / 20


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_a_part_that_decays_faster_revives_no_unit_whose_other_part_is_not_positive(dialect):
    """Weights and biases with decays of their own, from rest, under a schedule that is safe for the larger of them."""
    rng = np.random.default_rng(8)
    for _ in range(PAIRS // 3):
        mu, decay = rng.uniform(0.05, 0.99), 10 ** rng.uniform(-3, 0)
        less = decay * rng.choice([0.0, rng.random()])
        dampening = {} if "dampening" in dialect else dialect           # a fresh buffer: its first gradient is not dampened
        safe = laws.safe_rate(momentum=mu, weight_decay=decay, **dampening).item()
        rates = draw(rng, safe * (1 - 1e-9))
        slow, fast = -rng.random(), rng.normal()
        fast = min(fast, -slow)                                         # dead: their sum is at most 0
        orbits = [list(lab.orbit(z, lr=rates, momentum=mu, weight_decay=wd, **dialect)) for z, wd in ((slow, less), (fast, decay))]
        assert (np.sum(orbits, axis=0) <= 1e-12).all()


def test_a_prognosis_under_a_schedule_when_only_the_weights_decay():
    rng = np.random.default_rng(9)
    model, x = nn.MLP([3, 4, 2], dtype="float64", rng=0), rng.random((20, 3))
    model[0].weight.data = -np.abs(model[0].weight.data)
    model[0].bias.data = [-1.0, -0.1, 1e-9, 0.0]
    weights, biases = ([p for p in model.parameters() if p.kind == kind] for kind in ("weight", "bias"))
    for rate, foretold in ((0.1, True), (0.3, False)):
        sgd = optim.SGD([{"params": weights, "weight_decay": 0.01}, {"params": biases}], lr=rate, momentum=0.9)
        told = lab.prognosis(model, x, sgd, schedule=optim.CosineAnnealingLR(sgd, T_max=500), horizon=300).units
        assert [unit.verdict == "never" for unit in told] == [foretold, foretold, False, foretold], told


def test_a_buffer_that_pushes_z_down_under_nesterov_is_not_bracketed():
    """A higher rate may delay the return: here a higher first rate delays it by one step."""
    told = laws.return_between([[-1.0]], [[0.6]], lowest=0.1, highest=4.5, momentum=0.45, weight_decay=0.1, nesterov=True)
    assert told == [(1, None)]
    settings = [0.45] * 50, [0.1] * 50
    assert [simulate(-0.6, [first] + [4.5] * 49, *settings, nesterov=True) for first in (0.0, 4.0)] == [4, 5]
    assert [simulate(-0.6, [first] + [4.5] * 49, *settings) for first in (0.0, 4.0)] == [5, 4]         # heavy ball: earlier


def test_a_buffer_at_a_z_of_zero():
    assert laws.ratio([0.0, -1.0], [-1.0, 0.0]).item() == math.inf and laws.ratio([0.0], [1.0]).item() == -math.inf
    assert laws.return_between([[0.0]], [[-1.0]], lowest=0.1, highest=0.2, momentum=0.9) == [(1, 1)]


def test_thresholds_with_dampening():
    for d in (0.0, 0.5, -0.5):
        settings = dict(lr=1.0, momentum=0.9, dampening=d)
        edge = Settings(**settings).threshold
        assert lab.revival_step(-1.0, 0.0, weight_decay=edge * 0.999, **settings) is None
        assert lab.revival_step(-1.0, 0.0, weight_decay=edge * 1.001, **settings) is not None
    assert Settings(1.0, 0.9, dampening=1.0).threshold is Settings(1.0).threshold is None
    assert Settings(1.0, 0.9, decoupled=True).threshold is None


# ---- the map -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS[:4], ids=str)
def test_formula_and_simulation_agree_in_every_pixel(dialect):
    size = strength(40, thorough=200)
    momentum = np.linspace(0.01 if dialect.get("nesterov") else 0.0, 0.995, size)[:, None]
    decay = 10 ** np.linspace(-6, 0.6, size)[None]
    formula, simulated = laws.return_steps(momentum, decay, **dialect), laws.simulated_steps(momentum, decay, 3000, **dialect)
    assert np.array_equal(np.where(formula <= 3000, formula, np.inf), simulated)
    some = np.random.default_rng(0).integers(0, size, (20, 2))
    for i, j in some:
        step = lab.revival_step(-1.0, lr=1.0, momentum=momentum[i, 0], weight_decay=decay[0, j], **dialect)
        assert formula[i, j] == (math.inf if step is None else step)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: laws.return_steps(1.0, 0.1), "momentum holds 1, expected numbers from 0 up to, but not including, 1"),
    (lambda: laws.return_steps(-0.1, 0.1), "momentum holds -0.1, expected numbers of 0 or more"),
    (lambda: laws.return_steps(0.9, [0.1, -0.1]), "eta_lambda holds -0.1, expected numbers of 0 or more"),
    (lambda: laws.first_return([0.1, -1.0]), "lr holds -1, expected numbers of 0 or more"),
    (lambda: laws.first_return(0.1, 1.5), "momentum holds 1.5, expected numbers from 0"),
    (lambda: laws.return_between([[-1.0]], lowest=0.3, highest=0.1), "lowest is 0.3 and highest 0.1, expected lowest to be at most"),
    (lambda: laws.adam_coast((0.9, 1.0)), r"betas is \(0.9, 1.0\), expected two numbers from 0 up to, but not including, 1"),
    (lambda: laws.adam_edge(betas=(0.9,)), r"betas is \(0.9,\), expected two numbers from 0"),
    (lambda: laws.adam_coast(step=0), "step is 0, expected at least 1"),
    (lambda: laws.first_return(np.full((9, 1), 0.1), np.full(9, 0.99)), r"the settings have the shape \(9, 9\), expected one number, or"),
])
def test_bad_settings(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- the return, and after it ------------------------------------------------------------------------------------------


def test_a_unit_returns_with_weight_q_squared():
    """In a real training: the outgoing weights shrink like the incoming ones, and the return hardly changes the outputs."""
    rng = np.random.default_rng(0)
    model = nn.MLP([3, 5, 2], dtype="float64", rng=0)
    x, y = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
    model[0].bias.data = [-9.0, 0.0, 0.0, 0.0, 0.0]
    settings = dict(lr=0.1, momentum=0.9, weight_decay=0.05)
    w, v = model[0].weight.data[0].copy(), model[2].weight.data[:, 0].copy()
    z = x @ w + model[0].bias.data[0]
    back = laws.gentle_return(**settings)
    optimizer = optim.SGD(model.parameters(), **settings)
    for _ in range(back.step):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert np.allclose(model[0].weight.data[0], back.factor * w, rtol=1e-9)
    assert np.allclose(model[2].weight.data[:, 0], back.factor * v, rtol=1e-9)
    h = np.maximum(x @ model[0].weight.data[0] + model[0].bias.data[0], 0)
    contribution = h[:, None] * model[2].weight.data[:, 0]
    assert np.allclose(contribution, -back.weight * np.abs(z)[:, None] * v, rtol=1e-9) and -1 < back.factor < 0
    assert laws.gentle_return(lr=0.1, weight_decay=0.1) is None
    assert laws.gentle_return(lr=0.1, weight_decay=15.0) == (1, pytest.approx(-0.5))


@pytest.mark.parametrize("settings", [dict(momentum=0.9, weight_decay=0.05), dict(momentum=0.99, weight_decay=5e-4),
                                      dict(momentum=0.9, weight_decay=0.1, nesterov=True),
                                      dict(momentum=0.9, weight_decay=0.2, dampening=0.5)])
def test_the_period_is_that_of_the_orbit(settings):
    length = laws.period(lr=0.1, **settings)
    z = np.array(list(islice(lab.orbit(-1.0, lr=0.1, **settings), int(6.5 * length))))
    flips = np.flatnonzero(np.diff(np.sign(z)))
    assert len(flips) >= 12 and (flips[-1] - flips[0]) / (len(flips) - 1) == pytest.approx(length / 2, abs=2 / len(flips))
    assert laws.period(lr=0.1, momentum=0.9, weight_decay=0.01) is None


@pytest.mark.parametrize("norm", [1.0, 1.5, 2.0, 3.0, math.inf])
def test_the_smallest_change_that_makes_z_zero(norm):
    rng = np.random.default_rng(5)
    w, b, x = rng.normal(size=(3, 4)), -5.0, rng.normal(size=(20, 4))
    z = x @ w.T + b
    distance = laws.wake_distance(z, w, norm)
    for unit in range(3):
        if norm == math.inf:
            direction = np.sign(w[unit])
        elif norm == 1:
            direction = np.where(np.arange(4) == np.abs(w[unit]).argmax(), np.sign(w[unit]), 0.0)
        else:
            direction = np.sign(w[unit]) * np.abs(w[unit]) ** (1 / (norm - 1))
        direction = direction / np.linalg.norm(direction, norm)
        at_edge = (x + distance[:, [unit]] * direction) @ w[unit] + b
        assert np.abs(at_edge).max() < 1e-12                # this change is enough, and no shorter one is
        others = rng.normal(size=(200, 4))
        others /= np.linalg.norm(others, norm, axis=1)[:, None]
        assert ((x[:, None] + 0.9999 * distance[:, [unit], None] * others) @ w[unit] + b < 0).all()


def test_a_unit_that_is_dead_on_the_data_is_dead_on_their_hull():
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(30, 4)), rng.normal(size=4)
    b = -(x @ w).max()
    mixes = rng.dirichlet(np.full(30, 0.3), 1000) @ x
    assert (mixes @ w + b <= 1e-12).all()
    assert laws.wake_distance([0.0, -1.0], [0.0, 0.0]).tolist() == [0.0, math.inf]


@pytest.mark.parametrize(("z", "w", "norm", "words"), [
    ([-1.0], [1.0], 0.5, "norm is 0.5, expected a number from 1 to inf"),
    ([-1.0], [[1.0]], 2.0, r"z has shape \(1,\) and weight \(1, 1\), expected \(samples,\) and \(features,\), or"),
    ([1.0], [1.0], 2.0, "z is 1 at sample 0, expected at most 0"),
])
def test_bad_input_of_the_distance(z, w, norm, words):
    with pytest.raises(ValueError, match=words):
        laws.wake_distance(z, w, norm)


# ---- Adam --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta1", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("times", [0.5, 0.9, 1.1, 2.0])
def test_adams_edge(beta1, times):
    theta = nn.Parameter([-1e-6])                           # decay times weight is 1e-13, far below eps
    adam = optim.Adam([theta], lr=1e-3, betas=(beta1, 0.999), weight_decay=times * laws.adam_edge(1e-3, (beta1, 0.999)))
    theta.grad, flipped = np.zeros(1), False
    for _ in range(1500):
        adam.step()
        flipped |= theta.item() > 0
    assert flipped is (times > 1)
    assert laws.adam_edge(betas=(0.0, 0.999)) == pytest.approx(1e-5) and laws.adam_edge(lr=0.0) == math.inf


@pytest.mark.parametrize("steps", [1, 3, 10, 100, 3000])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.7), (0.0, 0.9)])
@pytest.mark.parametrize("eps", [1e-200, 1e-2])
def test_how_far_adam_coasts(steps, betas, eps):
    rng = np.random.default_rng(steps)
    theta = nn.Parameter(np.zeros(6))
    adam = optim.Adam([theta], lr=0.01, betas=betas, eps=eps)
    for _ in range(steps):
        before = theta.data.copy()
        theta.grad = rng.normal(size=6)
        adam.step()
    last, start = theta.data - before, theta.data.copy()
    theta.grad = np.zeros(6)
    for _ in range(600):
        adam.step()
    coasted, bound = np.abs(theta.data - start) / np.abs(last), laws.adam_coast(betas, steps)
    assert (coasted <= bound * (1 + 1e-9)).all()
    assert eps == 1e-2 or steps < 100 or np.allclose(coasted, bound, rtol=1e-4)
    assert all(laws.adam_coast(betas, fewer) >= bound for fewer in range(1, min(steps, 30)))
    assert laws.adam_coast(betas) == pytest.approx(laws.adam_coast(betas, 10 ** 5))


def test_the_bound_needs_beta1_below_the_root_of_beta2():
    assert laws.adam_coast((0.9, 0.81)) == math.inf
    theta = nn.Parameter(np.zeros(1))
    adam = optim.Adam([theta], lr=0.01, betas=(0.95, 0.81), eps=1e-300)
    for _ in range(100):
        theta.grad = np.ones(1)
        adam.step()
    start = theta.item()
    theta.grad = np.zeros(1)
    for _ in range(1000):
        adam.step()
    assert abs(theta.item() - start) > 1e10 * 0.01          # the steps grow: 0.95/0.9 each


def test_with_decoupled_decay_each_step_counts_more():
    assert laws.adam_coast(keep=0.99) > laws.adam_coast() and laws.adam_coast(keep=0.9) == math.inf
    theta = nn.Parameter([0.0])
    adam = optim.AdamW([theta], lr=0.01, weight_decay=1.0, eps=1e-30)
    for _ in range(50):
        before = theta.item() * 0.99
        theta.grad = -np.ones(1)
        adam.step()
    last, bound = theta.item() - before, laws.adam_coast(step=50, keep=0.99)
    for factor, returns in ((0.97, True), (1.001, False)):             # 50 steps are early: the bound is 2 % too large
        theta.data = [-factor * last * bound]
        twin_of = {theta: nn.Parameter(theta.data)}
        twin, (copy,) = adam.twin(twin_of), twin_of.values()
        copy.grad, top = np.zeros(1), -1.0
        for _ in range(400):
            twin.step()
            top = max(top, copy.item())
        assert (top > 0) is returns
