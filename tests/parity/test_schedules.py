"""Schedules and clipping are PyTorch's: the rates of 200 steps to 1e-12, alone, chained, and in sequence."""
from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from tinygrad_relu import nn, optim

STEPS = 200
TL = torch.optim.lr_scheduler
SCHEDULES = {
    "StepLR": [dict(step_size=7), dict(step_size=1, gamma=0.97), dict(step_size=3, gamma=1.01), dict(step_size=50, gamma=0.0)],
    "MultiStepLR": [dict(milestones=[5, 20, 20, 90], gamma=0.3), dict(milestones=[]), dict(milestones=[90, 0, 5])],
    "ExponentialLR": [dict(gamma=0.95), dict(gamma=1.0)],
    "CosineAnnealingLR": [dict(T_max=200), dict(T_max=13), dict(T_max=1), dict(T_max=30, eta_min=0.01)],
    "LinearLR": [dict(), dict(start_factor=0.01, total_iters=50), dict(start_factor=1.0, end_factor=0.0, total_iters=100)],
    "LambdaLR": [dict(lr_lambda=lambda step: 0.9**step), dict(lr_lambda=[lambda step: 1 / (1 + step), lambda step: 1.0])],
}
CASES = [(name, options) for name, several in SCHEDULES.items() for options in several]
CHAINS = [
    [("LinearLR", dict(start_factor=0.1, total_iters=10)), ("ExponentialLR", dict(gamma=0.98))],
    [("CosineAnnealingLR", dict(T_max=13, eta_min=0.001)), ("ExponentialLR", dict(gamma=0.999))],
    [("ExponentialLR", dict(gamma=0.99)), ("StepLR", dict(step_size=30)), ("MultiStepLR", dict(milestones=[10, 11], gamma=0.5))],
    [("LinearLR", dict(total_iters=4)), ("LambdaLR", dict(lr_lambda=lambda step: 0.99**step))],
]


@pytest.fixture(autouse=True)
def _hush():
    """PyTorch warns of schedules that step before their optimizer does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def both():
    """Two optimizers with two groups each."""
    p = [nn.Parameter([1.0]), nn.Parameter([2.0])]
    q = [torch.nn.Parameter(torch.tensor([1.0])), torch.nn.Parameter(torch.tensor([2.0]))]
    ours = optim.SGD([{"params": [p[0]]}, {"params": [p[1]], "lr": 0.7}], lr=0.1)
    return ours, torch.optim.SGD([{"params": [q[0]]}, {"params": [q[1]], "lr": 0.7}], lr=0.1)


def rates(opt):
    return [group["lr"] for group in opt.param_groups]


def walk(opt, schedules, peer, peer_schedules, steps=STEPS, change=None):
    """The rates in force and the last ones of each schedule, step by step."""
    for step in range(steps):
        if step == change:
            for group in (opt.param_groups[0], peer.param_groups[0]):
                group["lr"] = 0.05
        np.testing.assert_allclose(rates(opt), rates(peer), rtol=0, atol=1e-12, err_msg=f"step {step}")
        for a, b in zip(schedules, peer_schedules):
            np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), rtol=0, atol=1e-12, err_msg=f"step {step}")
            a.step(), b.step()


@pytest.mark.parametrize("change", [None, 17], ids=["alone", "rate changed by hand"])
@pytest.mark.parametrize("name, options", CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_schedule(name, options, change):
    opt, peer = both()
    walk(opt, [getattr(optim, name)(opt, **options)], peer, [getattr(TL, name)(peer, **options)], change=change)


@pytest.mark.parametrize("last_epoch", [0, 6, 29])
@pytest.mark.parametrize("start", [None, 0.03], ids=["rates of the state", "other rates"])
@pytest.mark.parametrize("name, options", CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_resumed(name, options, start, last_epoch):
    """A schedule made with `last_epoch` on optimizers with the rates of an earlier run, or with others."""
    opt, peer = both()
    before = getattr(optim, name)(opt, **options)
    for _ in range(last_epoch + 1):
        before.step()
    for ours, theirs in zip(opt.param_groups, peer.param_groups):
        if start is not None:
            ours["lr"] = start
        theirs.update(lr=ours["lr"], initial_lr=ours["initial_lr"])
    ours, theirs = getattr(optim, name)(opt, **options, last_epoch=last_epoch), getattr(TL, name)(peer, **options, last_epoch=last_epoch)
    assert ours.last_epoch == theirs.last_epoch == last_epoch + 1
    walk(opt, [ours], peer, [theirs], steps=60)


@pytest.mark.parametrize("chain", CHAINS, ids=range(len(CHAINS)))
def test_chained(chain):
    """Two or three schedules of one optimizer, each stepped in turn."""
    opt, peer = both()
    walk(opt, [getattr(optim, n)(opt, **o) for n, o in chain], peer, [getattr(TL, n)(peer, **o) for n, o in chain])


@pytest.mark.parametrize("change", [None, 17], ids=["alone", "rate changed by hand"])
@pytest.mark.parametrize("chain, milestones", [(CHAINS[0], [10]), (CHAINS[1], [40]), (CHAINS[2], [30, 90]), (CHAINS[3], [5]),
                                               (CHAINS[0], [0])])
def test_sequence(chain, milestones, change):
    opt, peer = both()
    ours = optim.SequentialLR(opt, [getattr(optim, n)(opt, **o) for n, o in chain], milestones)
    walk(opt, [ours], peer, [TL.SequentialLR(peer, [getattr(TL, n)(peer, **o) for n, o in chain], milestones)], change=change)


@pytest.mark.parametrize("options", [
    dict(patience=3), dict(mode="max", factor=0.5, patience=0), dict(threshold=0.1, threshold_mode="abs", patience=2, cooldown=5),
    dict(mode="max", threshold=0.05, threshold_mode="abs"), dict(patience=1, min_lr=[0.01, 0.1], cooldown=1), dict(eps=0.03, patience=0)])
def test_plateau(options):
    opt, peer = both()
    ours, theirs = optim.ReduceLROnPlateau(opt, **options), TL.ReduceLROnPlateau(peer, **options)
    draws = np.random.default_rng(0)
    for step in range(STEPS):
        worst = -np.inf if options.get("mode") == "max" else np.inf
        metric = float(worst if step % 50 == 49 else 2 / (1 + step) - 1 + 0.1 * draws.standard_normal())
        ours.step(metric), theirs.step(metric)
        np.testing.assert_allclose(rates(opt), rates(peer), rtol=0, atol=1e-12)
        assert (ours.num_bad_epochs, ours.cooldown_counter, ours.best) == (theirs.num_bad_epochs, theirs.cooldown_counter, theirs.best)


# -- clipping ----------------------------------------------------------------------------------------------------------

GRADIENTS = {
    "ordinary": [3.0, -4.0, 0.5], "small": [1e-3, 0.0, -1e-3], "zero": [0.0, 0.0, 0.0], "infinite": [1.0, np.inf, -2.0],
    "nan": [1.0, np.nan, 2.0], "both": [np.inf, np.nan, 1.0]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("max_norm", [1.0, 0.0, 100.0, np.inf])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, np.inf])
@pytest.mark.parametrize("case", GRADIENTS)
def test_clip_grad_norm(case, norm_type, max_norm, dtype):
    given = np.array(GRADIENTS[case], dtype)
    ours = [nn.Parameter(np.zeros(3), dtype=dtype), nn.Parameter(np.zeros(3), dtype=dtype), nn.Parameter([0.0], dtype=dtype)]
    theirs = [torch.nn.Parameter(torch.zeros(n, dtype=getattr(torch, dtype))) for n in (3, 3, 1)]
    for p, q, factor in zip(ours, theirs, (1, 2)):
        p.grad, q.grad = (factor * given).astype(dtype), torch.tensor(factor * given)
    norm, other = nn.utils.clip_grad_norm_(ours, max_norm, norm_type), torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm == pytest.approx(other.item(), rel=float(8 * np.finfo(dtype).eps), nan_ok=True)
    for p, q in zip(ours[:2], theirs):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=16 * np.finfo(dtype).eps)
    assert ours[2].grad is None


@pytest.mark.parametrize("case", GRADIENTS)
def test_clip_grad_value(case):
    p, q = nn.Parameter(np.zeros(3)), torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    p.grad, q.grad = np.array(GRADIENTS[case]), torch.tensor(GRADIENTS[case], dtype=torch.float64)
    optim.clip_grad_value_(p, 0.75), torch.nn.utils.clip_grad_value_(q, 0.75)
    np.testing.assert_array_equal(p.grad, q.grad.numpy())


# -- initialisers ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    if name == "leaky_relu":
        assert nn.init.calculate_gain(name, 0.3) == pytest.approx(torch.nn.init.calculate_gain(name, 0.3), rel=1e-15)
