"""Schedules: the formulas, rates changed by hand or by other schedules, chaining, and resuming.

parity/test_schedules.py compares with PyTorch.
"""
from __future__ import annotations

import json
from math import cos, pi

import numpy as np
import pytest

from tinygrad_relu import nn, optim
from tinygrad_relu.lab.roll_forward import orbit


def sgd(lr=0.8, **options):
    return optim.SGD([nn.Parameter([1.0], dtype="float64")], lr=lr, **options)


def rate(opt):
    return opt.param_groups[0]["lr"]


def walked(opt, *schedules, steps=12):
    """The rates of the first steps, including the rate before any step."""
    found = []
    for _ in range(steps):
        found.append(rate(opt))
        for schedule in schedules:
            schedule.step()
    return found


FORMULAS = [
    (lambda opt, **o: optim.StepLR(opt, 4, 0.5, **o), lambda t: 0.8 * 0.5 ** (t // 4)),
    (lambda opt, **o: optim.MultiStepLR(opt, [3, 3, 7], 0.5, **o), lambda t: 0.8 * 0.5 ** ((t >= 3) * 2 + (t >= 7))),
    (lambda opt, **o: optim.ExponentialLR(opt, 0.9, **o), lambda t: 0.8 * 0.9**t),
    (lambda opt, **o: optim.CosineAnnealingLR(opt, 5, 0.1, **o), lambda t: 0.1 + 0.7 * (1 + cos(pi * t / 5)) / 2),
    (lambda opt, **o: optim.LinearLR(opt, 0.5, 0.25, 5, **o), lambda t: 0.8 * (0.5 - 0.05 * min(t, 5))),
    (lambda opt, **o: optim.LambdaLR(opt, lambda t: 1 / (1 + t), **o), lambda t: 0.8 / (1 + t)),
    (lambda opt, **o: optim.SequentialLR(opt, [optim.LinearLR(opt, 0.5, total_iters=2), optim.ExponentialLR(opt, 0.9),
                                          optim.StepLR(opt, 1, 0.5)], [3, 6], **o),
     lambda t: 0.8 * (min(1, 0.5 + 0.25 * t) if t < 3 else 0.9 ** (t - 3) if t < 6 else 0.5 ** (t - 6)))]
every_formula = pytest.mark.parametrize("make, formula", FORMULAS, ids=[
    "step", "multi-step", "exponential", "cosine", "linear", "lambda", "sequential"])


@every_formula
def test_the_rate_is_the_formula(make, formula):
    """The rate in the group, the rate from get_last_lr, and the rate that `at` gives for any step in advance."""
    opt = sgd()
    schedule = make(opt)
    ahead = [schedule.at(t) for t in range(12)]
    assert schedule.get_last_lr() == [rate(opt)] == [ahead[0]]
    found = walked(opt, schedule)
    np.testing.assert_allclose(found, [formula(t) for t in range(12)], rtol=1e-15)
    assert found == ahead           # bit for bit: rounding errors do not add up
    assert schedule.last_epoch == 12 and schedule.get_last_lr() == [rate(opt)]


@every_formula
def test_a_rate_changed_by_hand_is_kept(make, formula):
    """From there on it is scaled by the factors of the formula (above the floor of the cosine)."""
    opt = sgd()
    schedule = make(opt)
    walked(opt, schedule, steps=1)
    opt.param_groups[0]["lr"] = by_hand = rate(opt) / 2
    schedule.step()
    floor = 0.1 if isinstance(schedule, optim.CosineAnnealingLR) else 0.0
    expected = (formula(2) if isinstance(schedule, optim.LambdaLR)        # sets its own rate, whatever the present one
                else floor + (by_hand - floor) * (formula(2) - floor) / (formula(1) - floor))
    assert rate(opt) == pytest.approx(expected, rel=1e-15)


def test_schedules_chain():
    """Both change the same rate: their factors multiply. `get_last_lr` is the rate after the last step of that schedule."""
    opt = sgd()
    a, b = optim.ExponentialLR(opt, 0.9), optim.StepLR(opt, 3, 0.5)
    np.testing.assert_allclose(walked(opt, a, b), [0.8 * 0.9**t * 0.5 ** (t // 3) for t in range(12)], rtol=1e-14)
    assert a.base_lrs == b.base_lrs == [0.8] and b.get_last_lr() == [rate(opt)]
    before = b.get_last_lr()
    a.step()
    assert b.get_last_lr() == before and a.get_last_lr() == [rate(opt)] != before


def test_a_warm_up_made_first_does_not_become_the_base_of_the_next():
    opt = sgd()
    optim.LinearLR(opt, 0.1)
    assert rate(opt) == pytest.approx(0.08)
    assert optim.StepLR(opt, 3).base_lrs == [0.8] == [opt.param_groups[0]["initial_lr"]]


def test_a_cosine_comes_back_from_the_bottom():
    """At T_max the factor is exactly 0, so the next rate cannot be a multiple. If the rate was changed, the increase of the
    formula is added (and later rates are scaled again)."""
    opt = sgd(lr=1.0)
    schedule = optim.CosineAnnealingLR(opt, 2)
    np.testing.assert_allclose(walked(opt, schedule, steps=6), [1.0, 0.5, 0.0, 0.5, 1.0, 0.5], atol=1e-15)
    opt.param_groups[0]["lr"] = 0.125
    schedule.step()
    np.testing.assert_allclose(walked(opt, schedule, steps=2), [0.625, 1.25], rtol=1e-15)


def test_groups_have_rates_of_their_own():
    opt = optim.SGD([{"params": [nn.Parameter([1.0])]}, {"params": [nn.Parameter([1.0])], "lr": 0.1}], lr=0.4)
    schedule = optim.LambdaLR(opt, [lambda t: 0.5**t, lambda t: 1.0])
    schedule.step()
    assert schedule.get_last_lr() == [0.2, 0.1] == [schedule.at(1, 0), schedule.at(1, 1)]
    optim.ReduceLROnPlateau(opt, factor=0.5, patience=0, min_lr=[0.0, 0.08]).step(float("inf"))
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.08]


# -- plateaus ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options, metrics, rates", [
    (dict(patience=1), [3, 2, 2, 2, 2, 2], [1, 1, 1, 0.5, 0.5, 0.25]),
    (dict(patience=0, cooldown=2), [1, 1, 1, 1, 1, 1], [1, 0.5, 0.5, 0.5, 0.25, 0.25]),
    (dict(patience=0, mode="max"), [1, 2, 2, 3, 2, 4], [1, 1, 0.5, 0.5, 0.25, 0.25]),
    (dict(patience=0, threshold=0.1), [10, 9.5, 8.5, 8.0], [1, 0.5, 0.5, 0.25]),
    (dict(patience=0, threshold=0.1, threshold_mode="abs"), [1, 0.95, 0.85, 0.8], [1, 0.5, 0.5, 0.25]),
    (dict(patience=0, mode="max", threshold=0.1, threshold_mode="abs"), [1, 1.05, 1.15], [1, 0.5, 0.5]),
    (dict(patience=0, min_lr=0.3), [1, 1, 1, 1], [1, 0.5, 0.3, 0.3]),
    (dict(patience=0, eps=0.3), [1, 1, 1, 1], [1, 0.5, 0.5, 0.5]),
    (dict(patience=1), [float("inf")] * 4, [1, 0.5, 0.5, 0.25])])
def test_plateau(options, metrics, rates):
    opt = sgd(lr=1.0)
    schedule, found = optim.ReduceLROnPlateau(opt, factor=0.5, **options), []
    for metric in metrics:
        schedule.step(metric)
        found.append(rate(opt))
    assert found == rates and schedule.get_last_lr() == [rates[-1]]


def test_a_plateau_refuses_nan():
    """The loss of a run that has diverged is NaN; the schedule would lower the rate again and again."""
    schedule = optim.ReduceLROnPlateau(opt := sgd(lr=1.0), patience=0)
    with pytest.raises(ValueError, match="step got nan, expected a number; has the training diverged"):
        schedule.step(float("nan"))
    assert rate(opt) == 1.0 and schedule.last_epoch == 0


def test_a_function_of_a_lambda_returns_a_number():
    with pytest.raises(TypeError, match=r"LambdaLR: lr_lambda\(0\) is 'fast', expected a number"):
        optim.LambdaLR(sgd(), lambda step: "fast")


# -- resuming a run ----------------------------------------------------------------------------------------------------

@every_formula
def test_a_resumed_run_continues_bit_for_bit(make, formula):
    """The state is plain numbers: it passes through JSON. The rate itself is the optimizer's."""
    opt = sgd()
    schedule = make(opt)
    walked(opt, schedule, steps=5)
    state, now = json.loads(json.dumps(schedule.state_dict())), rate(opt)
    expected = walked(opt, schedule)
    other = sgd()
    again = make(other)
    other.param_groups[0]["lr"] = now
    again.load_state_dict(state)
    assert again.last_epoch == 5 and again.get_last_lr() == [now]
    assert walked(other, again) == expected


def test_the_rate_in_force_is_in_the_optimizers_state():
    """A state saved without a schedule may be loaded into an optimizer with one."""
    opt, other, plain = sgd(), sgd(), sgd(lr=0.3)
    schedule, again = optim.ExponentialLR(opt, 0.5), optim.ExponentialLR(other, 0.5)
    walked(opt, schedule, steps=3)
    other.load_state_dict(opt.state_dict())
    again.load_state_dict(schedule.state_dict())
    again.step()
    assert rate(other) == 0.8 * 0.5**4
    other.load_state_dict(plain.state_dict())
    assert rate(other) == 0.3 and other.param_groups[0]["initial_lr"] == 0.8
    plain.load_state_dict(opt.state_dict())
    assert rate(plain) == rate(opt)


def test_a_plateau_resumed():
    opt, other = sgd(), sgd()
    schedule, again = optim.ReduceLROnPlateau(opt, patience=2), optim.ReduceLROnPlateau(other)
    for metric in (3.0, 2.0, 2.5):
        schedule.step(metric)
    again.load_state_dict(schedule.state_dict())
    for metric in (2.5, 2.5, 2.5):
        schedule.step(metric), again.step(metric)
        assert rate(opt) == rate(other) and again.state_dict() == schedule.state_dict()


@pytest.mark.parametrize("spoil, words", [
    (lambda s: s.update(last_epoch="3"), "SequentialLR: the state does not fit: last_epoch is '3', expected a whole number"),
    (lambda s: s.update(last_epoch=-1), "SequentialLR: the state does not fit: last_epoch is -1, expected at least 0"),
    (lambda s: s.update(milestones=None), "SequentialLR: the state does not fit: milestones is None, expected a list"),
    (lambda s: s.update(base_lrs=["a"]), "base_lrs: an entry is 'a', expected a number"),
    (lambda s: s.update(schedulers=2), "schedulers is 2, expected a list of 3 states"),
    (lambda s: s["schedulers"].__setitem__(1, 5), "ExponentialLR: the state is int, expected a dict"),
    (lambda s: s["schedulers"][1].update(gamma=[0.5]), r"ExponentialLR: gamma is \[0.5\], expected a number"),
    (lambda s: s["schedulers"][0].update(total_iters=2.5), "LinearLR: total_iters is 2.5, expected a whole number"),
    (lambda s: s.pop("milestones"), "SequentialLR: the state does not fit: missing milestones$"),
    (lambda s: s.update(gamma=1.0), "SequentialLR: the state does not fit: unexpected gamma$"),
    (lambda s: s.update(base_lrs=[1.0, 2.0]), r"base_lrs is \[1.0, 2.0\], expected a list of 1 number"),
    (lambda s: s.update(_last_lr=[]), r"_last_lr is \[\], expected a list of 1 number"),
    (lambda s: s.update(milestones=[]), r"milestones is \[\], expected a list of 2 numbers"),
    (lambda s: s.update(milestones=[4, 3]), r"milestones is \[4, 3\], expected increasing order"),
    (lambda s: s["schedulers"].pop(), r"schedulers is \[.*\], expected a list of 3 states"),
    (lambda s: s["schedulers"][1].pop("gamma"), "ExponentialLR: missing gamma")])
def test_a_state_that_does_not_fit_changes_nothing(spoil, words):
    opt = sgd()
    schedule = optim.SequentialLR(opt, [optim.LinearLR(opt), optim.ExponentialLR(opt, 0.5), optim.StepLR(opt, 2)], [3, 5])
    before, state = schedule.state_dict(), schedule.state_dict()
    schedule.step()
    after = schedule.state_dict()
    spoil(state)
    with pytest.raises((TypeError, ValueError), match=words):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == after != before


def test_all_misfits_come_at_once():
    schedule = optim.SequentialLR(s := sgd(), [optim.LinearLR(s), optim.ExponentialLR(s, 0.5)], [3])
    state = schedule.state_dict()
    state["schedulers"][1].update(gamma="a", rate=1)
    with pytest.raises(ValueError, match="unexpected speed; ExponentialLR: unexpected rate; ExponentialLR: gamma is 'a'"):
        schedule.load_state_dict({**state, "last_epoch": -1, "speed": 2})


@every_formula
def test_last_epoch_resumes_a_schedule(make, formula):
    """With the rates of the optimizer's state, all further rates are those of the run that was not interrupted."""
    opt, other = sgd(), sgd()
    schedule = make(opt)
    walked(opt, schedule, steps=4)
    make(other)                                     # gives the groups their initial_lr
    other.load_state_dict(opt.state_dict())
    again = make(other, last_epoch=3)
    assert again.last_epoch == 4 and again.base_lrs == [0.8]
    once_more = 0.5 if isinstance(schedule, optim.StepLR) else 1.0      # step 4 is a milestone, which counts again, as in PyTorch
    np.testing.assert_allclose(walked(other, again), [once_more * rate for rate in walked(opt, schedule)], rtol=1e-14)


def test_last_epoch_needs_rates_of_the_start():
    with pytest.raises(KeyError, match="StepLR: last_epoch is 3, but group 0 has no 'initial_lr'"):
        optim.StepLR(sgd(), 2, last_epoch=3)
    with pytest.raises(ValueError, match="ExponentialLR: last_epoch is -2, expected at least -1"):
        optim.ExponentialLR(sgd(), 0.5, last_epoch=-2)


def test_text_stays_text_in_a_state():
    schedule = optim.ReduceLROnPlateau(sgd())
    state = schedule.state_dict()
    with pytest.raises(ValueError, match="ReduceLROnPlateau: the state does not fit: mode is 1, expected one of: min, max"):
        schedule.load_state_dict({**state, "mode": 1})
    with pytest.raises(TypeError, match="ReduceLROnPlateau: the state is int, expected a dict"):
        schedule.load_state_dict(5)
    assert schedule.state_dict() == state


@pytest.mark.parametrize("make, name, value, expected", [
    (lambda opt: optim.StepLR(opt, 2), "step_size", 0, "at least 1"),
    (lambda opt: optim.CosineAnnealingLR(opt, 5), "eta_min", -1.0, "a finite number, 0 or more"),
    (lambda opt: optim.LinearLR(opt), "start_factor", 0.0, "a number above 0, up to 1"),
    (lambda opt: optim.ReduceLROnPlateau(opt), "factor", 2.0, "a number from 0 up to, but not including, 1"),
    (lambda opt: optim.ReduceLROnPlateau(opt), "mode", "lowest", "one of: min, max"),
    (lambda opt: optim.ReduceLROnPlateau(opt), "best", float("nan"), "a number"),
    (lambda opt: optim.MultiStepLR(opt, [2]), "base_lrs", [-1.0], "a finite number, 0 or more"),
])
def test_a_state_keeps_the_ranges_of_the_settings(make, name, value, expected):
    schedule = make(sgd())
    state = schedule.state_dict()
    with pytest.raises(ValueError, match=f"{type(schedule).__name__}: the state does not fit: {name}.* is .*, expected {expected}"):
        schedule.load_state_dict({**state, name: value})
    assert schedule.state_dict() == state


@every_formula
def test_a_group_that_is_added_later_is_scheduled_too(make, formula):
    """The same factors scale its rate from then on, as in PyTorch; a LambdaLR has no function for it, and does not change it."""
    opt = sgd()
    schedule = make(opt)
    walked(opt, schedule, steps=2)
    opt.add_param_group({"params": nn.Parameter([1.0]), "lr": 0.4})
    state = schedule.state_dict()
    assert schedule.base_lrs == [0.8, 0.4] == state["base_lrs"]
    found = [schedule.get_last_lr()[1] for _ in range(3) if schedule.step() is None]
    floor = 0.1 if isinstance(schedule, optim.CosineAnnealingLR) else 0.0
    ratio = [(formula(t) - floor) / (formula(2) - floor) for t in (3, 4, 5)]
    if isinstance(schedule, optim.LambdaLR):
        ratio = [1, 1, 1]
    elif isinstance(schedule, optim.SequentialLR):      # the second schedule starts at step 3, from the first rate of the group
        ratio = [1, 0.9, 0.81]
    np.testing.assert_allclose(found, [floor + (0.4 - floor) * r for r in ratio], rtol=1e-14)
    schedule.load_state_dict(state)
    assert schedule.last_epoch == 2


def test_a_plateau_lowers_a_group_that_is_added_later():
    schedule = optim.ReduceLROnPlateau(opt := sgd(lr=1.0), patience=0, min_lr=0.3)
    opt.add_param_group({"params": nn.Parameter([1.0]), "lr": 4.0})
    for metric in (1, 1, 1):
        schedule.step(metric)
    assert schedule.get_last_lr() == [0.3, pytest.approx(0.3)]


def test_the_spelling_of_pytorch():
    assert optim.lr_scheduler.StepLR is optim.StepLR and issubclass(optim.StepLR, optim.lr_scheduler.LRScheduler)


@every_formula
def test_a_schedule_prints_its_settings(make, formula):
    schedule = make(sgd())
    text = repr(schedule)
    assert text.startswith(type(schedule).__name__ + "(") and "last_epoch=0" in text and "optimizer" not in text


# -- with the rest of the package --------------------------------------------------------------------------------------

def test_a_scheduled_optimizer_has_a_twin():
    """The laboratory tries out what an optimizer would do; the option that a schedule adds does not disturb it."""
    opt = sgd(momentum=0.9)
    optim.StepLR(opt, 3).step()
    (p,) = opt.param_groups[0]["params"]
    twin = opt.twin({p: nn.Parameter(p.data)})
    assert twin.param_groups[0]["initial_lr"] == 0.8 and rate(twin) == rate(opt)


@pytest.mark.parametrize("make, formula", [FORMULAS[3], FORMULAS[6]], ids=["cosine", "sequential"])
def test_a_schedule_can_be_rolled_forward(make, formula):
    """`at` is the rate as a function of the step, which is what the laboratory's recurrence takes."""
    opt = sgd(momentum=0.9, weight_decay=0.1)
    schedule = make(opt)
    (p,) = opt.param_groups[0]["params"]
    for z in zip(range(12), orbit(p.item(), lr=schedule.at, momentum=0.9, weight_decay=0.1)):
        p.grad = np.zeros(1)
        opt.step()
        schedule.step()
        assert p.item() == pytest.approx(float(z[1]), rel=1e-13)
