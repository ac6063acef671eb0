"""A training does what the prognosis predicts: the same units, the same step, the same sample."""
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 4))
Y = RNG.integers(0, 3, 60)


def sick_model(activation="relu", dtype="float64", seed=0):
    """Some units of the first layer are pushed off the data, some just beside them."""
    model = nn.MLP([4, 12, 8, 3], activation=activation, rng=seed, dtype=dtype)
    w = model[0].weight.data
    top = (X @ w.T).max(axis=0)
    model[0].bias.data = np.where(np.arange(12) < 8, -top - np.geomspace(1e-3, 20, 12), 0.0)
    return model


def groups(model, where, decay):
    split = {"all": [("weight", "bias")], "weights": [("weight",), ("bias",)], "biases": [("bias",), ("weight",)]}[where]
    kinds = [{"params": [p for p in model.parameters() if p.kind in names]} for names in split]
    return [{**group, "weight_decay": decay if i == 0 else 0.0} for i, group in enumerate(kinds)]


def train(model, optimizer, steps, schedule=None):
    recorder = lab.Recorder(model, X)
    recorder.observe()
    for t in range(steps):
        if callable(schedule):
            for group in optimizer.param_groups:
                group["lr"] = schedule(t)
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
        if isinstance(schedule, optim.LRScheduler):
            schedule.step()
        recorder.observe()
    return recorder


def agree(predicted, recorder, steps, layer="0"):
    lives = {life.unit: life for life in recorder.lives() if life.layer == layer}
    told = [unit for unit in predicted.units if unit.layer == layer]
    assert len(told) == 8
    for unit in told:
        assert unit.proved
        assert lives[unit.unit].revived_at == (unit.step if unit.step is not None and unit.step <= steps else None), unit


SETTINGS = [dict(momentum=m, weight_decay=wd, decoupled=d, nesterov=n, dampening=da)
            for m, wd, d, n, da in itertools.product((0.0, 0.9), (0.0, 0.01, 0.2), (False, True), (False, True), (0.0, 0.5))
            if not (n and (m == 0 or da)) and not (da and m == 0)]


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("where", ["all", "weights", "biases"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_dialect_of_sgd(settings, where, filled):
    model = sick_model()
    rest = {k: v for k, v in settings.items() if k != "weight_decay"}
    optimizer = optim.SGD(groups(model, where, settings["weight_decay"]), lr=0.1, **rest)
    if filled:      # buffers that move some of the units up and others down
        for p in model.parameters():
            p.grad = np.random.default_rng(p.size).standard_normal(p.shape) * (0.3 if p is model[0].weight else 0.0)
        optimizer.step()
        z = X @ model[0].weight.data.T
        model[0].bias.data = np.where(np.arange(12) < 8, -z.max(axis=0) - np.geomspace(1e-3, 20, 12), 0.0)
    before = [p.data.copy() for p in model.parameters()]
    predicted = lab.prognosis(model, X, optimizer, horizon=150)
    assert all(np.array_equal(p.data, b) for p, b in zip(model.parameters(), before))
    agree(predicted, train(model, optimizer, 150), 150)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
def test_adam_is_rehearsed_to_the_step(rule, weight_decay):
    model = sick_model()
    optimizer = rule(model.parameters(), lr=0.01, weight_decay=weight_decay)
    predicted = lab.prognosis(model, X, optimizer, horizon=300)
    if rule is optim.Adam and weight_decay == 0:
        assert {unit.verdict for unit in predicted.units if unit.layer == "0"} == {"never"}
    agree(predicted, train(model, optimizer, 300), 300)


def test_a_schedule_is_rehearsed_to_the_step():
    def schedule(t):
        return 0.2 / (1 + 0.05 * t)

    model = sick_model()
    optimizer = optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.1)
    predicted = lab.prognosis(model, X, optimizer, schedule=schedule, horizon=120)
    assert any(unit.step for unit in predicted.units)
    agree(predicted, train(model, optimizer, 120, schedule), 120)


@pytest.mark.parametrize("make", [
    lambda opt: optim.StepLR(opt, step_size=15, gamma=0.5),
    lambda opt: optim.LambdaLR(opt, [lambda t: 1 / (1 + 0.1 * t), lambda t: 1.0]),
    lambda opt: optim.SequentialLR(opt, [optim.LinearLR(opt, total_iters=10), optim.CosineAnnealingLR(opt, T_max=100)], [10]),
], ids=["step", "lambda", "sequential"])
def test_a_schedule_of_the_optimizer_steps_with_it(make):
    """In the middle of a training, with two groups; and the schedule itself does not move."""
    model = sick_model()
    weights, biases = ([p for p in model.parameters() if (p.kind == "bias") == bias] for bias in (False, True))
    optimizer = optim.SGD([{"params": weights}, {"params": biases, "lr": 0.3, "weight_decay": 0.2}], lr=0.2, momentum=0.9,
                          weight_decay=0.1)
    schedule = make(optimizer)
    for _ in range(3):
        schedule.step()
    state, rates = schedule.state_dict(), [group["lr"] for group in optimizer.param_groups]
    predicted = lab.prognosis(model, X, optimizer, schedule=schedule, horizon=120)
    assert schedule.state_dict() == state and [group["lr"] for group in optimizer.param_groups] == rates
    assert len({unit.step for unit in predicted.units if unit.layer == "0"}) > 1
    agree(predicted, train(model, optimizer, 120, schedule), 120)


def test_an_optimizer_or_schedule_that_cannot_be_rehearsed_is_one_sentence():
    model = sick_model()
    opt, other = optim.SGD(model.parameters(), lr=0.1), optim.SGD([nn.Parameter([1.0])], lr=0.1)
    for error, words, optimizer, schedule in (
            (TypeError, "the optimizer is NoneType, expected the one that trains the model, such as optim.SGD", None, None),
            (TypeError, "the schedule is float, expected a function of the step", opt, 0.1),
            (TypeError, "whose rates are known in advance", opt, optim.ReduceLROnPlateau(opt)),
            (ValueError, "the optimizer holds no parameter of this model", other, None),
            (ValueError, "the schedule belongs to another optimizer", opt, optim.StepLR(other, 3)),
            (TypeError, r"schedule\(0\)", opt, lambda t: "fast")):
        with pytest.raises(error, match=words):
            lab.prognosis(model, X, optimizer, schedule=schedule)


@pytest.mark.parametrize("activation", ["hardtanh", "relu6", "hardsigmoid"])
def test_other_flats_are_rehearsed(activation):
    model = sick_model()
    model = nn.MLP([4, 12, 8, 3], activation=activation, rng=0, dtype="float64")
    model[0].bias.data = np.where(np.arange(12) < 4, 30.0, np.where(np.arange(12) < 8, -30.0, 0.0))
    optimizer = optim.SGD(model.parameters(), lr=0.1, weight_decay=0.3)
    predicted = lab.prognosis(model, X, optimizer, horizon=200)
    agree(predicted, train(model, optimizer, 200), 200)


def test_formula_and_rehearsal_agree():
    model = sick_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.05)
    by_formula = lab.prognosis(model, X, optimizer)
    by_rehearsal = lab.prognosis(model, X, optimizer, schedule=lambda t: 0.1)
    assert [(u.step, u.sample) for u in by_formula.units] == [(u.step, u.sample) for u in by_rehearsal.units]


@pytest.mark.parametrize(("decayed", "weight", "bias"), [("bias", 1e-10, -1.0), ("weight", -1.0, 1e-10), ("weight", -1.0, 0.5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_part_that_is_small_beside_the_other_still_brings_the_unit_back(decayed, weight, bias, dtype):
    """z - b has lost a w.x that is small beside b; and without momentum, no rate is safe for a part that stays positive."""
    model, x = nn.MLP([1, 1, 2], dtype=dtype, rng=0), np.ones((1, 1))
    model[0].weight.data, model[0].bias.data = [[weight]], [bias]
    decay, other = ([p for p in model.parameters() if (p.kind == decayed) == yes] for yes in (True, False))
    optimizer = optim.SGD([{"params": decay, "weight_decay": 0.5}, {"params": other}], lr=0.1)
    told = lab.prognosis(model, x, optimizer, horizon=5).units[0]
    expected = 14 if bias == 0.5 else 449                       # ln(1/2) and ln(1e-10), over ln(0.95)
    assert (told.verdict, told.step, told.proved) == ("revives", expected, True)
    scheduled = lab.prognosis(model, x, optimizer, schedule=lambda t: 0.1, horizon=5).units[0]
    assert (scheduled.verdict, scheduled.proved) == ("not within the horizon", True)
    for _ in range(expected):
        assert model[0].weight.data[0, 0] + model[0].bias.data[0] <= 0
        optimizer.zero_grad()
        F.cross_entropy(model(x), [0]).backward()
        optimizer.step()
    assert model[0].weight.data[0, 0] + model[0].bias.data[0] > 0


def test_a_sum_that_may_have_either_sign_is_not_claimed_for_ever():
    """w.x is 1e-17 in real numbers and 0 in float64: the unit returns in the end, and the formula does not know."""
    model, x = nn.MLP([3, 1, 2], dtype="float64", rng=0), np.array([[1.0, 1e-17, -1.0]])
    model[0].weight.data, model[0].bias.data = [[1.0, 1.0, 1.0]], [-1.0]
    weights, biases = ([p for p in model.parameters() if p.kind == kind] for kind in ("weight", "bias"))
    optimizer = optim.SGD([{"params": weights}, {"params": biases, "weight_decay": 0.1}], lr=0.1)
    for schedule in (None, lambda t: 0.1):
        assert lab.prognosis(model, x, optimizer, schedule=schedule, horizon=5).units[0].verdict == "not within the horizon"


def test_the_table_says_each_thing_once():
    model = sick_model()
    told = lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1))
    (reason,) = {row[-1] for row in told.table().rows if row[0] == "0"}
    assert reason.startswith("decay per step = 0.01 lies inside") and told.units[0].reason.startswith("step 24, through sample")
    never = lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1))
    assert {row[-1] for row in never.table().rows if row[0] == "0"} == {
        "the gradient is zero, and neither a drift nor decay moves the unit"}


def test_deep_layers_are_estimates_unless_no_gradient_passes_them():
    model = nn.MLP([4, 6, 6, 3], rng=0, dtype="float64")
    model[2].bias.data = [-100.0, -100.0, 0.0, 0.0, 0.0, 0.0]
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    told = lab.prognosis(model, X, optimizer)
    assert {(u.layer, u.verdict, u.proved) for u in told.units} == {("2", "estimate", False)} and not told.cut_off
    model[2].bias.data = np.full(6, -100.0)                     # a gate: nothing learns before it
    told = lab.prognosis(model, X, optimizer)
    assert {(u.layer, u.verdict, u.proved) for u in told.units} == {("2", "never", True)}
    assert told.cut_off and told.opens is None and told.proved == 6


def test_float32_is_proved_too():
    single = sick_model(dtype="float32")
    optimizer = optim.SGD(single.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    told = lab.prognosis(single, X, optimizer)
    assert {u.step for u in told.units if u.layer == "0"} == {24}
    agree(told, train(single, optimizer, 40), 40)


def test_it_prints():
    model = sick_model()
    found = lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1))
    assert "revives" in str(found) and "24" in str(found)
    table, *reasons = found.parts()         # each reason once, below the table
    legend = dict(reason.split(" ", 1) for reason in reasons)
    assert [legend[row[-1]] for row in table.rows] == [row[-1] for row in found.table().rows] and len(legend) < len(table.rows)
    alone = replace(found, units=found.units[:1])
    assert str(alone) == str(alone.table())


def test_a_followed_orbit_is_the_recurrence():
    model = sick_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.005)
    z = next(lab.Units(model).walk(X)).z[7, 2]
    recorder = lab.Recorder(model, X, follow=(0, 2, 7))
    recorder.observe()
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
        recorder.observe()
    path = [z, *itertools.islice(lab.orbit(z, lr=0.1, momentum=0.9, weight_decay=0.005), 40)]
    np.testing.assert_allclose(recorder.orbit, np.array(path, float), rtol=1e-12)


def test_the_futures_as_json_and_as_a_picture():
    model = nn.MLP([2, 6, 6, 2], rng=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((50, 2))
    lab.kill(model, x, [0, 2])
    lab.kill(model, x, [1], layer=1)
    found = lab.prognosis(model, x, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1))
    assert json.loads(found.to_json()) == [{**unit, "between": unit["between"] and list(unit["between"])} for unit in found.to_dict()]
    (axes,) = found.plot().axes
    drawn = {line.get_label(): list(map(tuple, line.get_xydata())) for line in axes.lines}
    assert drawn == {name: [(unit.step, "02".index(unit.layer)) for unit in found.units if unit.proved == (name == "proved")]
                     for name in ("proved", "estimated")}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0: 2 of 2", "2: 1 of 1"]
    (none,) = lab.Prognosis([]).plot().axes
    assert not none.lines and [text.get_text() for text in none.texts] == ["no unit is dead"]
