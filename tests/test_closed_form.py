"""Closed form and roll-forward against a literal copy of torch.optim.SGD, to the integer step and the sample."""
from __future__ import annotations

import math
from fractions import Fraction
from itertools import islice, product

import numpy as np
import pytest
from strength import strength

from tinygrad_relu.lab.closed_form import layer_revivals, revival, revival_step
from tinygrad_relu.lab.recurrence import Recurrence, Settings
from tinygrad_relu.lab.roll_forward import orbit, revival_parts, roll_forward

SEED = 0
STEPS = 1500            # simulated by the twin
CASES, SAMPLES, INPUTS = strength(24, thorough=96), 6, 4


# ---- the naive twin: torch.optim.SGD's _single_tensor_sgd, with the raw gradient of a dead unit (zero) -------------

def torch_sgd_step(p, buf, *, lr, momentum, dampening, weight_decay, nesterov, decoupled):
    """One parameter, one step; the lines and their order are PyTorch's, except for `decoupled`, which is AdamW's."""
    grad = np.zeros_like(p)
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        grad = grad + weight_decay * p
    if np.any(momentum != 0):
        if buf is None:
            buf = grad.copy()
        else:
            buf = momentum * buf + (1 - dampening) * grad
        grad = grad + momentum * buf if nesterov else buf
    return p - lr * grad, buf


@np.errstate(all="ignore")                   # a unit that has come back may diverge afterwards
def simulate(w, b, v_w, v_b, x, steps, *, lr, decay_w, decay_b, **options):
    """First step with z > 0, and its sample, for many units: w (cases, inputs), b (cases, 1), x (cases, n, inputs).

    Steps of weights that have shrunk below 1e-300 are not counted: their signs are rounding.
    """
    step, sample = np.zeros(len(w), int), np.full(len(w), -1)
    for t in range(1, steps + 1):
        w, v_w = torch_sgd_step(w, v_w, lr=lr, weight_decay=decay_w, **options)
        b, v_b = torch_sgd_step(b, v_b, lr=lr, weight_decay=decay_b, **options)
        z = np.einsum("cni,ci->cn", x, w) + b
        up = (z.max(axis=1) > 1e-300) & (step == 0)
        step[up], sample[up] = t, z.argmax(axis=1)[up]
        if step.all():
            break
    return step, sample


def draw(rng, *, momentum, dampening, nesterov, buffer, share):
    """Random units that are dead on all of their samples, with settings from far below to far above the window."""
    mu = np.where(rng.random(CASES) < 0.5, rng.uniform(0.02, 0.98, CASES), rng.choice([0.5, 0.9, 0.95], CASES))
    mu = mu if momentum else np.zeros(CASES)
    d = rng.uniform(-0.2, 1.2 if share == "both" else 1.0, CASES) if dampening else np.zeros(CASES)
    d = np.where(rng.random(CASES) < 0.1, 1.0, d) if dampening else d
    root = np.sqrt(mu)
    lower = ((1 - mu) / (1 + mu)) ** 2 if nesterov else (1 - root) ** 2
    upper = np.ones(CASES) if nesterov else (1 + root) ** 2
    lower = lower if momentum else np.full(CASES, 0.02)     # no window: anything up to the flip at c = 1
    kind = rng.integers(0, 5, CASES)
    c = np.choose(kind, [np.zeros(CASES), lower * rng.uniform(0.02, 0.999, CASES),
                         lower + (upper - lower) * rng.uniform(0, 1, CASES) ** 3,
                         upper * rng.uniform(1.001, 1.5, CASES), rng.uniform(0.01, 0.3, CASES)])
    lr = 10 ** rng.uniform(-3, 0, CASES)
    x = rng.normal(size=(CASES, SAMPLES, INPUTS))
    w, b = rng.normal(size=(CASES, INPUTS)), rng.normal(size=(CASES, 1))
    if share != "both":                     # half of the units of a split decay have a cure: a positive part
        b = np.where(rng.random((CASES, 1)) < 0.5, -5.0, 0.3) * rng.random((CASES, 1))
    z = np.einsum("cni,ci->cn", x, w) + b
    excess = z.max(axis=1) + 10 ** rng.uniform(-3, 0.5, CASES)
    if share == "weights":                  # pushed to the dead side through the weights, along an input that is 1
        x[:, :, 0] = 1.0
        z = np.einsum("cni,ci->cn", x, w) + b
        w[:, 0] -= z.max(axis=1) + 10 ** rng.uniform(-3, 0.5, CASES)
    else:
        b = b - excess[:, None]
    scale = 10 ** rng.uniform(-2, 0.5, (CASES, 1)) / lr[:, None]
    v_w = rng.normal(size=(CASES, INPUTS)) * scale if buffer else None
    v_b = rng.normal(size=(CASES, 1)) * scale if buffer else None
    return w, b, v_w, v_b, x, lr, mu, d, c / lr


GRID = [(momentum, dampening, nesterov, decoupled, buffer, share)
        for momentum, dampening, nesterov, decoupled, buffer, share in product(
            (False, True), (False, True), (False, True), (False, True), (False, True), ("both", "weights", "biases"))
        if not (nesterov and (dampening or not momentum)) and (momentum or not (dampening or buffer))]


@pytest.mark.parametrize(("momentum", "dampening", "nesterov", "decoupled", "buffer", "share"), GRID)
def test_closed_form_roll_forward_and_literal_pytorch_agree(momentum, dampening, nesterov, decoupled, buffer, share):
    rng = np.random.default_rng([SEED, momentum, dampening, nesterov, decoupled, buffer, len(share)])
    w, b, v_w, v_b, x, lr, mu, d, wd = draw(rng, momentum=momentum, dampening=dampening, nesterov=nesterov,
                                            buffer=buffer, share=share)
    zw = np.einsum("cni,ci->cn", x, w)
    vw = np.einsum("cni,ci->cn", x, v_w) if buffer else None
    column = lr[:, None], mu[:, None], d[:, None], wd[:, None]
    step, sample = simulate(w, b, v_w, v_b, x, STEPS, lr=column[0], momentum=column[1], dampening=column[2],
                            decay_w=column[3] * (share != "biases"), decay_b=column[3] * (share != "weights"),
                            nesterov=nesterov, decoupled=decoupled)
    for i in range(CASES):
        options = dict(momentum=mu[i], dampening=d[i], weight_decay=wd[i], nesterov=nesterov, decoupled=decoupled)
        bias, bias_v = float(b[i, 0]), float(v_b[i, 0]) if buffer else None
        if share == "both":
            velocity = vw[i] + bias_v if buffer else None
            predicted = revival(zw[i] + bias, -lr[i] * velocity if buffer else None, lr=lr[i], **options)
            rolled = roll_forward(zw[i] + bias, velocity, lr=lr[i], steps=step[i] or 200, **options)
        else:
            predicted = revival_parts(zw[i], bias, -lr[i] * vw[i] if buffer else None, -lr[i] * bias_v if buffer else
                                      None, lr=lr[i], decay=share, **options)
            rolled = roll_forward(zw[i], vw[i] if buffer else None, lr=lr[i], bias=bias, bias_velocity=bias_v,
                                  steps=step[i] or 200, decay=share, **options)
        assert predicted.decided
        if step[i]:
            assert (predicted.step, predicted.sample) == (step[i], sample[i]), (i, predicted, options, lr[i])
            assert (rolled.step, rolled.sample) == (step[i], sample[i]), (i, rolled, options, lr[i])
        else:                    # not within the steps of the twin: never, or later
            assert predicted.step is None or predicted.step > STEPS, (i, predicted, options, lr[i])
            assert rolled.step is None


def test_most_nevers_are_proved_and_not_only_late():
    """A closed form that always answered "step 10^9" would pass the test above; below the window it must say "never"."""
    rng = np.random.default_rng(5)
    for mu, part in product((0.3, 0.9, 0.99), (0.0, 0.5, 0.999)):
        c = part * (1 - math.sqrt(mu)) ** 2
        z, s = -rng.random(50), -rng.random(50)
        assert revival_step(z, lr=1.0, momentum=mu, weight_decay=c) is None
        assert revival_step(z, s, lr=1.0, momentum=mu, weight_decay=c) is None
        assert revival_step(z, s, lr=1.0, momentum=mu, weight_decay=c, decoupled=True) is None


# ---- numbers that are known from elsewhere --------------------------------------------------------------------------

@pytest.mark.parametrize(("mu", "lower"), [(0.9, 0.0026334), (0.99, 2.5126e-5)])
def test_the_window_opens_where_the_table_says(mu, lower):
    edges = Recurrence.of(Settings(lr=1.0, momentum=mu, weight_decay=0.1)).edges
    assert edges[0] == pytest.approx(lower, rel=1e-4)
    assert edges[1] == pytest.approx((1 + math.sqrt(mu)) ** 2)
    assert revival_step(-1.0, lr=1.0, momentum=mu, weight_decay=edges[0] * 0.999) is None
    assert revival_step(-1.0, lr=1.0, momentum=mu, weight_decay=edges[0] * 1.01) is not None


@pytest.mark.parametrize(("mu", "c", "step"), [(0.9, 0.01, 24), (0.9, 0.005, 48), (0.99, 5e-5, 472), (0.99, 1e-4, 242)])
def test_steps_from_rest(mu, c, step):
    for z, lr in ((-1.0, 1.0), ([-3.0, -0.2], 0.1), (-1e-12, 0.01)):
        assert revival_step(z, lr=lr, momentum=mu, weight_decay=c / lr) == step
        assert roll_forward(z, lr=lr, momentum=mu, weight_decay=c / lr, steps=1000).step == step


@pytest.mark.parametrize("mu", [0.5, 0.9, 0.99])
def test_momentum_alone_revives_iff_the_drift_sums_up_to_more_than_z(mu):
    need = (1 - mu) / mu
    assert revival(-2.0, lr=0.1, momentum=mu).drift_factor == pytest.approx(need)
    assert revival_step(-2.0, 2.0 * need * 0.999, lr=0.1, momentum=mu) is None
    s = 2.0 * need * 1.001
    assert revival_step(-2.0, s, lr=0.1, momentum=mu) == math.floor(
        math.log(1 - 2.0 * (1 - mu) / (mu * s)) / math.log(mu)) + 1
    assert revival(-2.0, lr=0.1, momentum=mu, nesterov=True).drift_factor == pytest.approx((1 - mu) / mu ** 2)


@pytest.mark.parametrize("mu", [0.5, 0.9, 0.99])
def test_the_nesterov_window(mu):
    lower = ((1 - mu) / (1 + mu)) ** 2
    settings = dict(lr=1.0, momentum=mu, nesterov=True)
    assert revival_step(-1.0, weight_decay=0.999 * lower, **settings) is None
    for c in (1.01 * lower, 0.5 * (lower + 1), 0.999, 1.0, 1.7):
        assert revival_step(-1.0, weight_decay=c, **settings) == roll_forward(
            -1.0, weight_decay=c, steps=8000, **settings).step is not None


def test_on_the_edges_the_root_is_double():
    """mu = 1/4 makes both edges exact in binary: c = 1/4 and c = 9/4, r = 1/2 and r = -1/2."""
    low, high = dict(lr=1.0, momentum=0.25, weight_decay=0.25), dict(lr=1.0, momentum=0.25, weight_decay=2.25)
    assert Recurrence.of(Settings(**low)).roots == (0.5, 0.5) and Recurrence.of(Settings(**high)).roots == (-0.5, -0.5)
    assert revival(-1.0, **low).window == "below" and revival_step(-1.0, **low) is None
    # B = z1/r - z0 = (3/4 z0 + s/4)/(1/2) - z0 = (z0 + s)/2 > 0 iff s > abs(z0); then t = floor(2/(s - 1)) + 1
    assert revival_step(-1.0, 1.0, **low) is None
    assert [revival_step(-1.0, 1 + e, **low) for e in (1 / 128, 0.3, 1.0, 2.0, 4.0)] == [257, 7, 3, 2, 1]
    assert roll_forward(-1.0, -1.3, steps=50, **low).step == 7
    assert [revival_step(-1.0, s, **high) for s in (None, -4.0, -5.0, -6.0, 0.0)] == [1, 1, 2, 2, 1]
    for s in (-4.0, -5.0, -6.0, 3.0):
        assert revival_step(-1.0, s, **high) == roll_forward(-1.0, -s, steps=5, **high).step
    # decoupled: r = rho = mu; then z[t] = r^t (z0 + s t)
    assert [revival_step(-1.0, s, lr=1.0, momentum=0.75, weight_decay=0.25, decoupled=True)
            for s in (0.3, 0.25, -0.1)] == [4, 5, None]


@pytest.mark.parametrize("sixteenths", range(1, 16))
def test_an_exact_tie_is_still_dead(sixteenths):
    """z = 0 after exactly k steps, in exact binary arithmetic: 0 is dead, and the next step counts.

    Here floor(ln/ln) alone is wrong about once in four: this is what `settle` is for.
    """
    mu = sixteenths / 16
    for k in range(1, 14):
        z, zw = -sum(Fraction(sixteenths, 16) ** i for i in range(1, k + 1)), Fraction(sixteenths, 16) ** k
        if Fraction(float(z)) == z:                                     # momentum: the drift sums up to abs(z) at k
            assert revival_step(float(z), 1.0, lr=1.0, momentum=mu) == k + 1
            assert roll_forward(float(z), -1.0, lr=1.0, momentum=mu, steps=99).step == k + 1
            assert revival_step(np.nextafter(float(z), 0.0), 1.0, lr=1.0, momentum=mu) == k     # one rounding less
        if Fraction(float(zw)) == zw:                                   # decay on the bias: mu^k abs(b) = w.x at k
            assert revival_parts(float(zw), -1.0, lr=1.0, weight_decay=1 - mu, decay="biases").step == k + 1


@pytest.mark.parametrize("options", [{"decoupled": True}, {"decoupled": True, "nesterov": True}, {"nesterov": True}])
def test_roots_of_opposite_signs(options):
    """lr weight_decay > 1, and a buffer that keeps z down at first: the negative root lifts z later, at odd or at even steps."""
    rng, late = np.random.default_rng(1), 0
    for _ in range(300):
        mu, c = rng.uniform(0.05, 0.95), 1 + 10 ** rng.uniform(-1, 0.3)
        rule = Recurrence.of(Settings(lr=1.0, momentum=mu, weight_decay=c, **options))
        s = -abs(rule.keep) / rule.gain * 10 ** rng.uniform(-1, 3)     # z[1] = keep z0 + gain s, with z0 = -1
        settings = dict(lr=1.0, momentum=mu, weight_decay=c, **options)
        step = revival_step(-1.0, s, **settings)
        assert step == roll_forward(-1.0, -s, steps=step or 300, **settings).step
        late += step is not None and step > 2
    assert late > 5


def test_zero_is_dead_and_stays_so_unless_pushed():
    assert revival_step([0.0, 0.0], lr=0.1, momentum=0.9, weight_decay=0.5) is None
    assert "nothing moves it" in revival(0.0, lr=0.1, momentum=0.9, weight_decay=0.5).reason
    assert revival_step(0.0, 1e-9, lr=0.1, momentum=0.9) == 1
    for c, options in ((0.01, {}), (3.9, {}), (0.01, {"nesterov": True}), (1.5, {"nesterov": True})):
        options = dict(lr=1.0, momentum=0.9, weight_decay=c, **options)
        assert revival_step(0.0, -1.0, **options) == roll_forward(0.0, 1.0, steps=999, **options).step is not None
    assert revival_step(0.0, -1.0, lr=0.1, momentum=0.9) is None


def test_plain_decay_flips_the_sign_only_above_one():
    assert [revival_step(-1.0, lr=1.0, weight_decay=c) for c in (0.0, 0.5, 1.0, 1.01)] == [None, None, None, 1]
    assert revival_step(-1.0, lr=1.0, weight_decay=1.5, decoupled=True, momentum=0.9) == 1


def test_dampening_spares_the_first_gradient_of_a_fresh_optimizer():
    """d = 1: the buffer holds the first gradient only, c z0, which sums to c abs(z0)/(1 - mu): back iff c > 1 - mu."""
    for c, expected in ((0.0999, False), (0.1001, True), (0.3, True)):
        settings = dict(lr=1.0, momentum=0.9, dampening=1.0, weight_decay=c)
        assert (revival_step(-1.0, **settings) is not None) is expected
        assert revival_step(-1.0, **settings) == roll_forward(-1.0, steps=5000, **settings).step
        assert revival_step(-1.0, 0.0, **settings) is None          # a buffer of zeros is not an empty one


def test_a_ghost_below_1e_300_is_not_a_revival():
    mu = 0.25
    c = (1 - math.sqrt(mu)) ** 2 * (1 + 1e-9)                       # about 10^5 steps, in which z falls by 2^-10^5
    answer = revival(-1.0, lr=1.0, momentum=mu, weight_decay=c)
    assert answer.window == "inside" and answer.step is None and "1e-300" in answer.reason
    assert roll_forward(-1.0, lr=1.0, momentum=mu, weight_decay=c, steps=3000).step is None
    mu, n = 0.01, 312                                               # here it crosses at step 311, z being 1e-312
    settings = dict(lr=1.0, momentum=mu, weight_decay=1 + mu - 2 * math.sqrt(mu) * math.cos(math.pi / n))
    assert revival_step(-1.0, **settings) is None and roll_forward(-1.0, steps=400, **settings).step is None
    assert revival_step(-1e60, **settings) == roll_forward(-1e60, steps=400, **settings).step == n - 1


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_bias_left_out_of_the_decay(nesterov):
    options = dict(lr=0.1, momentum=0.9, nesterov=nesterov)
    # b = 0 with an empty buffer: only the decayed part is left, and the result must be that of its own closed form
    for wd in (0.001, 0.05, 0.5):
        assert revival_parts([-1.0, -2.0], 0.0, weight_decay=wd, decay="weights", **options).step == revival_step(
            [-1.0, -2.0], weight_decay=wd, **options)
    slow = revival_parts([-1.0, -2.0], 1e-6, weight_decay=1e-5, decay="weights", **options)
    assert slow.decided and slow.step > 10 ** 6                     # 1.4 million steps, most of them skipped
    assert slow.step == pytest.approx(math.log(1e-6) / -1e-5, rel=1e-3)


def test_a_double_root_is_not_leapt_over():
    """On the edge, t r^(t-1) is largest early if r is small: a bound from later steps would prove a false "never"."""
    assert revival_parts([0.0], -0.9, [4.0], 0.0, lr=1.0, momentum=0.25, weight_decay=0.25, decay="weights").step == 1
    for mu in (0.0625, 0.25, 0.5625, 0.81):         # roots that float64 holds
        edge = (1 - math.sqrt(mu)) ** 2
        for b in np.linspace(-2, -0.01, 30):
            options = dict(lr=1.0, momentum=mu, weight_decay=edge, decay="weights")
            told = revival_parts([0.0], b, [1.0 / mu], 0.0, **options)
            rolled = roll_forward([0.0], [-1.0 / mu], bias=b, bias_velocity=0.0, steps=200, **options)
            assert told.decided and told.step == rolled.step, (mu, b)


def test_a_layer_is_answered_at_once():
    rng = np.random.default_rng(0)
    z, s = -rng.random((40, 30)), rng.normal(size=(40, 30)) * 0.05
    for options in ({"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.02, "dampening": 0.1}, {}):
        for drift in (s, None):
            together = layer_revivals(z, drift, lr=0.1, **options)
            assert together == [revival(z[:, j], None if drift is None else s[:, j], lr=0.1, **options)
                                for j in range(30)]


def test_schedules_keep_the_buffer_in_units_of_gradient():
    w, v, wd = np.array([[-1.0]]), np.array([[-3.0]]), 0.3
    rates = [0.0, 0.05, 0.1, 0.2, 0.1, 0.05, 0.01]
    walk = [float(z[0]) for z in orbit([-1.0], [-3.0], lr=rates, momentum=0.8, weight_decay=wd)]
    for rate, z in zip(rates, walk, strict=True):
        w, v = torch_sgd_step(w, v, lr=rate, momentum=0.8, dampening=0.0, weight_decay=wd, nesterov=False,
                              decoupled=False)
        assert z == pytest.approx(w[0, 0], rel=1e-14)
    by_function = [float(z) for z in islice(orbit(-1.0, -3.0, lr=lambda t: rates[t], momentum=0.8, weight_decay=wd), 7)]
    assert by_function == walk
    assert [float(z) for z in orbit(-1.0, -3.0, lr=np.array(rates), momentum=0.8, weight_decay=wd)] == walk


# ---- bad input: one sentence, with the name, the values and what was expected ---------------------------------------

@pytest.mark.parametrize(("z", "drift", "options", "words"), [
    (-1.0, None, {"lr": -0.1}, "lr is -0.1, expected a finite number, 0 or more"),
    (-1.0, None, {"weight_decay": -1.0}, "weight_decay is -1.0, expected a finite number, 0 or more"),
    (-1.0, None, {"momentum": 1.0}, "momentum is 1.0, expected at least 0 and below 1"),
    (-1.0, None, {"momentum": -0.1}, "momentum is -0.1, expected at least 0"),
    (-1.0, None, {"momentum": math.nan}, "momentum is nan, expected"),
    (-1.0, None, {"nesterov": True}, "nesterov needs momentum > 0 and dampening = 0; got momentum 0.0"),
    (-1.0, None, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs .* dampening 0.1"),
    (-1.0, None, {"momentum": 0.9, "dampening": math.inf}, "dampening is inf, expected a finite number"),
    ([-1.0, 0.5], None, {}, "z is 0.5 at sample 1, expected at most 0"),
    ([-1.0, math.nan], None, {}, r"z holds nan at index \(1,\), expected finite numbers"),
    ([], None, {}, r"z has shape \(0,\), expected .* with at least one sample"),
    ([[-1.0]], None, {}, r"z has shape \(1, 1\)"),
    ([-1.0, -2.0], [0.1], {}, r"drift has shape \(1,\), expected \(2,\), the shape of z"),
    ([-1.0], [math.inf], {}, "drift holds inf at index"),
    ([-1.0], [0.1], {"lr": 0.0}, "with lr = 0 the drift, .* is 0; got another"),
    ([-1.0], None, {"lr": 1e308, "weight_decay": 1e-3}, r"lr times weight_decay is 1e\+305, too large .*; expected below 1e150"),
    ([-1.0], None, {"lr": 1e160, "momentum": 0.9, "nesterov": True, "weight_decay": 1.0}, "too large for the formulas"),
])
def test_bad_input_is_one_clear_sentence(z, drift, options, words):
    with pytest.raises(ValueError, match=words) as error:
        revival_step(z, drift, **{"lr": 0.1, **options})
    assert "\n" not in str(error.value)


def test_bad_input_elsewhere():
    with pytest.raises(TypeError, match=r"z holds text .*, expected real numbers"):
        revival_step(["a"], lr=0.1)
    with pytest.raises(ValueError, match="z is 2 at sample 0 of unit 1"):
        layer_revivals([[-1.0, 2.0]], lr=0.1)
    with pytest.raises(ValueError, match="decay is 'weigths', expected one of: both, weights, biases; did you mean 'weights'"):
        revival_parts(-1.0, 0.0, lr=0.1, decay="weigths")
    with pytest.raises(ValueError, match="expected both, or neither"):
        revival_parts(-1.0, 0.0, 0.1, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="z is 1 at sample 0"):
        revival_parts(2.0, -1.0, lr=0.1)
    with pytest.raises(ValueError, match="lr holds 2 rates, expected one for each of the 5 steps"):
        roll_forward(-1.0, lr=[0.1, 0.1], steps=5)
    with pytest.raises(ValueError, match="lr at step 1 is -1, expected a finite number, 0 or more"):
        roll_forward(-1.0, lr=[0.1, -1], steps=2)
    with pytest.raises(ValueError, match="pass bias"):
        orbit(-1.0, lr=0.1, decay="weights")
