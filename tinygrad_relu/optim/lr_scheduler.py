"""The learning-rate schedules, under PyTorch's names. Each is also in `optim` itself.

Call ``schedule.step()`` after each epoch, or after each batch: once for each step that the schedule counts.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import cos, inf, isnan, pi
from typing import SupportsFloat

import numpy as np

from ..checks import check_below_one, check_count, check_name, check_number, check_real, counted, said
from .optimizer import Optimizer
from .schedule import Formula
from .schedule import LRScheduler as LRScheduler


@dataclass(eq=False, repr=False)
class StepLR(Formula):
    """``base * gamma^(step // step_size)``: the rate falls by a factor every `step_size` steps.

    >>> schedule = optim.StepLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), step_size=2, gamma=0.5)
    >>> [schedule.at(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    optimizer: Optimizer
    step_size: int
    gamma: float = 0.1
    last_epoch: int = -1
    keeps_rate = False

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


@dataclass(eq=False, repr=False)
class MultiStepLR(Formula):
    """``base * gamma^(number of milestones reached)``; a milestone that is listed twice counts twice.

    >>> schedule = optim.MultiStepLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), [2, 3], gamma=0.5)
    >>> [schedule.at(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    optimizer: Optimizer
    milestones: Iterable[int]
    gamma: float = 0.1
    last_epoch: int = -1
    keeps_rate = False

    def __post_init__(self) -> None:
        if not isinstance(self.milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones is {said(self.milestones)}, expected several whole numbers")
        self.milestones = sorted(check_count(m, "MultiStepLR: a milestone", least=0) for m in self.milestones)
        super().__post_init__()

    def factor(self, step: int) -> float:
        return self.gamma ** sum(milestone <= step for milestone in self.milestones)


@dataclass(eq=False, repr=False)
class ExponentialLR(Formula):
    """``base * gamma^step``.

    >>> optim.ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5).at(3)
    0.125
    """

    optimizer: Optimizer
    gamma: float
    last_epoch: int = -1

    def factor(self, step: int) -> float:
        return self.gamma**step


@dataclass(eq=False, repr=False)
class CosineAnnealingLR(Formula):
    """``eta_min + (base - eta_min) (1 + cos(pi step / T_max)) / 2``: down along a cosine in `T_max` steps, then up again.

    Loshchilov & Hutter 2017, arXiv 1608.03983 (without the restarts).

    >>> schedule = optim.CosineAnnealingLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), T_max=2, eta_min=0.5)
    >>> [round(schedule.at(step), 6) for step in range(5)]
    [1.0, 0.75, 0.5, 0.75, 1.0]
    """

    optimizer: Optimizer
    T_max: int
    eta_min: float = 0.0
    last_epoch: int = -1

    @property
    def floor(self) -> float:
        return self.eta_min

    def factor(self, step: int) -> float:
        return (1 + cos(pi * step / self.T_max)) / 2


@dataclass(eq=False, repr=False)
class LinearLR(Formula):
    """``base`` times a factor that goes from `start_factor` to `end_factor` in `total_iters` steps and stays there: a warm-up.

    >>> schedule = optim.LinearLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), start_factor=0.5, total_iters=2)
    >>> [schedule.at(step) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    optimizer: Optimizer
    start_factor: float = 1 / 3
    end_factor: float = 1.0
    total_iters: int = 5
    last_epoch: int = -1

    def __post_init__(self) -> None:
        check_real(self.start_factor, "LinearLR: start_factor", lambda factor: 0 < factor <= 1, "a number above 0, up to 1")
        check_real(self.end_factor, "LinearLR: end_factor", lambda factor: 0 <= factor <= 1, "a number from 0 to 1")
        super().__post_init__()

    def factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * (min(step, self.total_iters) / self.total_iters)


class LambdaLR(Formula):
    """``base * lr_lambda(step)``, whatever the present rate (as in PyTorch); one function, or one for each group.

    Functions are not part of the state.

    >>> optim.LambdaLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), lambda step: 1 / (1 + step)).at(3)
    0.25
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        LRScheduler.__init__(self, optimizer, last_epoch)
        groups = len(optimizer.param_groups)
        if not callable(lr_lambda) and not isinstance(lr_lambda, Sequence):
            raise TypeError(f"LambdaLR: lr_lambda is {said(lr_lambda)}, expected a function, or one for each group")
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: got {counted(len(self.lr_lambdas), 'function')} for "
                             f"{counted(groups, 'group')}; expected one for each")
        self._follow()

    def at(self, step: int, group: int = 0) -> float:
        factor = self.lr_lambdas[group](step) if group < len(self.lr_lambdas) else 1.0      # for a group added since
        if not isinstance(factor, (int, float, np.number)):
            raise TypeError(f"LambdaLR: lr_lambda({step}) is {said(factor)}, expected a number")
        return self.base_lrs[group] * factor

    def after(self, lr: float, step: int, group: int) -> float:
        return self.at(step, group)


class SequentialLR(Formula):
    """One schedule after the other: each but the first starts at its milestone, from the initial rate.

    All are schedules of this optimizer, none of them `ReduceLROnPlateau`. With `last_epoch` the whole sequence resumes; in
    PyTorch the first schedule starts again.

    >>> opt = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> warm_up, decay = optim.LinearLR(opt, 0.5, total_iters=2), optim.ExponentialLR(opt, 0.5)
    >>> schedule = optim.SequentialLR(opt, [warm_up, decay], milestones=[2])
    >>> [schedule.at(step) for step in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Formula], milestones: Sequence[int],
                 last_epoch: int = -1) -> None:
        for name, several in (("schedulers", schedulers), ("milestones", milestones)):
            if not isinstance(several, Iterable):
                raise TypeError(f"SequentialLR: {name} is {said(several)}, expected several")
        for schedule in schedulers:
            if not isinstance(schedule, Formula):
                raise TypeError(f"SequentialLR: got {type(schedule).__name__}; expected schedules that are formulas of the step")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: got a {type(schedule).__name__} of another optimizer; expected one optimizer")
        self.schedulers = list(schedulers)
        self.milestones = [check_count(m, "SequentialLR: a milestone", least=0) for m in milestones]
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(self.milestones):
            raise ValueError(f"SequentialLR: got {counted(len(self.schedulers), 'schedule')} and the milestones "
                             f"{self.milestones}; expected one milestone fewer than schedules, in increasing order")
        LRScheduler.__init__(self, optimizer, last_epoch)
        self._set([self.at(self.last_epoch, i) for i in range(len(self.base_lrs))])     # whatever the schedules have set already

    def _turn(self, step: int) -> tuple[Formula, int]:
        """The schedule in force at a step, and the number of that step within it."""
        i = bisect_right(self.milestones, step)
        return self.schedulers[i], step - (self.milestones[i - 1] if i else 0)

    def at(self, step: int, group: int = 0) -> float:
        schedule, own = self._turn(step)
        return schedule.at(own, group)

    def after(self, lr: float, step: int, group: int) -> float:
        schedule, own = self._turn(step)
        return schedule.after(lr, own, group) if own else schedule.at(0, group)


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rates by `factor` when a metric has not improved for more than `patience` steps.

    In the `mode` "min", a metric has improved if it is below ``best * (1 - threshold)``; in "max", if it is above
    ``best * (1 + threshold)``. With the `threshold_mode` "abs", the bounds are ``best - threshold`` and ``best + threshold``. NaN
    is an error. The `cooldown` steps after a reduction are not judged, rates do not fall below `min_lr` (a number, or one for
    each group), and reductions by less than `eps` are not made.

    >>> schedule = optim.ReduceLROnPlateau(optim.SGD([nn.Parameter([1.0])], lr=1.0), patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.1]
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | Sequence[float] = 0.0, eps: float = 1e-8) -> None:
        name = "ReduceLROnPlateau"
        super().__init__(optimizer)
        if any(group.members for group in optimizer.param_groups):
            raise TypeError(f"{name}: got the optimizer of a population, expected that of one network, which has one metric")
        self.factor = check_below_one(factor, f"{name}: factor")
        self.mode = check_name(mode, ("min", "max"), f"{name}: mode")
        self.patience = check_count(patience, f"{name}: patience", least=0)
        self.threshold = check_number(threshold, f"{name}: threshold")
        self.threshold_mode = check_name(threshold_mode, ("rel", "abs"), f"{name}: threshold_mode")
        self.cooldown, self.eps = check_count(cooldown, f"{name}: cooldown", least=0), check_number(eps, f"{name}: eps")
        floors = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * len(optimizer.param_groups)
        self.min_lrs = [check_number(floor, f"{name}: min_lr") for floor in floors]
        if len(self.min_lrs) != len(optimizer.param_groups):
            raise ValueError(f"{name}: got {counted(len(self.min_lrs), 'value')} of min_lr for "
                             f"{counted(len(optimizer.param_groups), 'group')}; expected one, or one for each")
        self.best = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self._set([group["lr"] for group in optimizer.param_groups])

    def step(self, metrics: SupportsFloat) -> None:
        """Judge a metric: a number, or a Tensor of one number."""
        try:
            current = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"ReduceLROnPlateau: step got {said(metrics)}, expected a number or a Tensor of one number") from None
        if isnan(current):
            raise ValueError("ReduceLROnPlateau: step got nan, expected a number; has the training diverged?")
        self.last_epoch += 1
        gain = self.threshold if self.mode == "max" else -self.threshold
        bound = self.best * (1 + gain) if self.threshold_mode == "rel" else self.best + gain
        self.num_bad_epochs += 1
        if current > bound if self.mode == "max" else current < bound:
            self.best, self.num_bad_epochs = current, 0
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        lower = self.num_bad_epochs > self.patience
        if lower:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        groups = self._groups()
        self.min_lrs += self.min_lrs[-1:] * (len(groups) - len(self.min_lrs))
        rates = [(group["lr"], max(group["lr"] * self.factor, floor)) for group, floor in zip(groups, self.min_lrs)]
        self._set([new if lower and old - new > self.eps else old for old, new in rates])
