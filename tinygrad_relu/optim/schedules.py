"""Learning-rate schedules, named as in PyTorch's ``lr_scheduler``. A schedule is its settings and a formula for every step.

::

    schedule = optim.CosineAnnealingLR(opt, T_max=100)
    for epoch in range(100):
        ...                         # opt.step(), for every batch
        schedule.step()

A schedule sets ``opt.param_groups[i]["lr"]``. PyTorch computes each rate from the one before; here it is the formula itself, so
rounding errors do not add up. If the rate has been changed meanwhile, by hand or by another schedule, the change that the formula
prescribes is applied to that rate, as in PyTorch: schedules of one optimizer chain, their factors multiply.

`at` is the rate of any step, without taking it; `lab.roll_forward` accepts it: ``roll_forward(z, lr=schedule.at, ...)``.

``last_epoch`` resumes a schedule, as in PyTorch: it is the number of steps taken, less one, and the groups of the optimizer must
already have their "initial_lr" (from its state dict).
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from math import cos, inf, pi
from typing import Any, ClassVar, SupportsFloat

from ..checks import check_count, check_name, check_number, check_real
from ..states import fit, refuse
from .optimizer import Optimizer


class LRScheduler:
    """The base of the schedules: an optimizer, the number of steps so far, and the rates at the start.

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The rate of each group before its first schedule (its option "initial_lr").
    last_epoch : int
        How many steps have been taken.

    Examples
    --------
    >>> schedule = optim.ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5)
    >>> schedule.step(), schedule.step()
    (None, None)
    >>> schedule.last_epoch, schedule.base_lrs, schedule.get_last_lr()
    (2, [1.0], [0.25])
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: got {type(optimizer).__name__}; expected an Optimizer")
        self.optimizer, self.last_epoch = optimizer, check_count(last_epoch, f"{name}: last_epoch", least=-1) + 1
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{name}: last_epoch is {last_epoch}, but group {i} has no 'initial_lr'; load the state of the "
                               "optimizer first")
        self.base_lrs = [float(group["initial_lr"]) for group in optimizer.param_groups]
        self._last_lr = self.base_lrs

    def get_last_lr(self) -> list[float]:
        """The rates of the groups after the last step of this schedule."""
        return list(self._last_lr)

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Settings and position, as plain numbers and lists, without functions. The rates are in the optimizer's state."""
        return {name: list(value) if isinstance(value, list) else value for name, value in self._state().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set what `state_dict` gave. If anything does not fit, nothing changes, and one ValueError names it all."""
        name = type(self).__name__
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{name}: the state is {type(state_dict).__name__}, expected a dict")
        complaints: list[str] = []
        found = fit(self._rules(), state_dict, complaints)
        refuse(name, complaints)
        self._take(found)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def _rules(self) -> dict[str, Callable[[Any, str], Any]]:
        """For each name of a state, the function that checks its value."""
        return {name: partial(_as, value, name == "base_lrs") for name, value in self._state().items()}

    def _take(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _as(like: Any, same_length: bool, value: Any, name: str) -> Any:
    """A value, if it can replace `like`: a text, a number, or a list of numbers."""
    if isinstance(like, list):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} is {value!r}, expected a list")
        if all(isinstance(entry, (int, float)) for entry in like):
            for entry in value:
                check_real(entry, f"{name}: an entry")
        if same_length and len(value) != len(like):
            raise ValueError(f"{name} holds the rates of {len(value)} groups, expected {len(like)}")
        return list(value)
    if isinstance(like, str) and not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected a text")
    if isinstance(like, int) and not isinstance(like, bool):
        check_count(value, name, least=0)
    elif isinstance(like, float):
        check_real(value, name)
    return value


class Formula(LRScheduler):
    """A schedule that is a formula of the step: ``floor + (base - floor) * factor(step)``.

    A subclass is a dataclass of its settings with a method `factor`. Integers are checked to be at least 1, and floats to be
    finite and not negative.
    """

    keeps_rate: ClassVar[bool] = True       # whether a schedule that resumes leaves the rate as it finds it

    def __post_init__(self) -> None:
        name = type(self).__name__
        for setting in fields(self):        # type: ignore[arg-type]
            check: Any = {"int": check_count, "float": check_number}.get(str(setting.type))
            if check is not None and setting.name != "last_epoch":
                setattr(self, setting.name, check(getattr(self, setting.name), f"{name}: {setting.name}"))
        super().__init__(self.optimizer, self.last_epoch)
        if self.last_epoch and self.keeps_rate:
            self._set([group["lr"] for group in self.optimizer.param_groups])
        else:
            self._follow()

    @property
    def floor(self) -> float:
        """The rate where the factor is 0."""
        return 0.0

    def factor(self, step: int) -> float:
        """The rate of a step, relative to that at the start."""
        raise NotImplementedError

    def at(self, step: int, group: int = 0) -> float:
        """The rate of a group at a step (0 is the first) by this schedule alone.

        Examples
        --------
        >>> schedule = optim.StepLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), step_size=2, gamma=0.5)
        >>> [schedule.at(step) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
        """
        return self.floor + (self.base_lrs[group] - self.floor) * self.factor(step)

    def after(self, lr: float, step: int, group: int) -> float:
        """The rate of a step, where `lr` is the present rate, of the step before."""
        before = self.at(step - 1, group) if step else self.base_lrs[group]
        if lr == before:
            return self.at(step, group)
        old, new = self.factor(step - 1) if step else 1.0, self.factor(step)
        if old == 0:
            return lr + (self.base_lrs[group] - self.floor) * new
        return self.floor + (lr - self.floor) * (new / old)

    def step(self) -> None:
        """Take one step: every group gets its next rate."""
        self.last_epoch += 1
        self._follow()

    def _follow(self) -> None:
        self._set([self.after(group["lr"], self.last_epoch, i) for i, group in enumerate(self.optimizer.param_groups)])


@dataclass(eq=False, repr=False)
class StepLR(Formula):
    """``base * gamma^(step // step_size)``: the rate falls by a factor every `step_size` steps.

    Examples
    --------
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

    Examples
    --------
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
            raise TypeError(f"MultiStepLR: milestones is {self.milestones!r}, expected several whole numbers")
        self.milestones = sorted(check_count(m, "MultiStepLR: a milestone", least=0) for m in self.milestones)
        super().__post_init__()

    def factor(self, step: int) -> float:
        return self.gamma ** sum(milestone <= step for milestone in self.milestones)


@dataclass(eq=False, repr=False)
class ExponentialLR(Formula):
    """``base * gamma^step``.

    Examples
    --------
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

    Examples
    --------
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
    """``base`` times a factor that goes from `start_factor` to `end_factor` in `total_iters` steps, and stays: a warm-up.

    Parameters
    ----------
    start_factor : float above 0, up to 1
    end_factor : float from 0 to 1

    Examples
    --------
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
        if not 0 < check_real(self.start_factor, "LinearLR: start_factor") <= 1:
            raise ValueError(f"LinearLR: start_factor is {self.start_factor}, expected a number above 0, up to 1")
        if not 0 <= check_real(self.end_factor, "LinearLR: end_factor") <= 1:
            raise ValueError(f"LinearLR: end_factor is {self.end_factor}, expected a number from 0 to 1")
        super().__post_init__()

    def factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * (min(step, self.total_iters) / self.total_iters)


class LambdaLR(Formula):
    """``base * lr_lambda(step)``, whatever the present rate (as in PyTorch).

    Parameters
    ----------
    lr_lambda : callable, or one for each group
        The factor at a step. Not part of the state.

    Examples
    --------
    >>> optim.LambdaLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), lambda step: 1 / (1 + step)).at(3)
    0.25
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
                 last_epoch: int = -1) -> None:
        LRScheduler.__init__(self, optimizer, last_epoch)
        groups = len(optimizer.param_groups)
        if not callable(lr_lambda) and not isinstance(lr_lambda, Sequence):
            raise TypeError(f"LambdaLR: lr_lambda is {lr_lambda!r}, expected a function, or one for each group")
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: got {len(self.lr_lambdas)} functions for {groups} groups; expected one for each")
        self._follow()

    def at(self, step: int, group: int = 0) -> float:
        return self.base_lrs[group] * self.lr_lambdas[group](step)

    def after(self, lr: float, step: int, group: int) -> float:
        return self.at(step, group)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in super()._state().items() if name != "lr_lambdas"}


class SequentialLR(Formula):
    """One schedule after the other: each starts at its milestone, from the rate before the first.

    Parameters
    ----------
    schedulers : sequence of schedules of this optimizer, none of them `ReduceLROnPlateau`
    milestones : sequence of int
        The steps at which the second, the third ... schedule begins.
    last_epoch : int
        Resumes the whole sequence. (In PyTorch the first schedule starts again.)

    Examples
    --------
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
                raise TypeError(f"SequentialLR: {name} is {several!r}, expected several")
        for schedule in schedulers:
            if not isinstance(schedule, Formula):
                raise TypeError(f"SequentialLR: got {type(schedule).__name__}; expected schedules that are formulas of the step")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: got a {type(schedule).__name__} of another optimizer; expected one optimizer")
        self.schedulers = list(schedulers)
        self.milestones = [check_count(m, "SequentialLR: a milestone", least=0) for m in milestones]
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(self.milestones):
            raise ValueError(f"SequentialLR: got {len(self.schedulers)} schedules and the milestones {self.milestones}; expected "
                             "one milestone less than schedules, in order")
        LRScheduler.__init__(self, optimizer, last_epoch)
        self._set([self.at(self.last_epoch, i) for i in range(len(self.base_lrs))])     # whatever the schedules have set already

    def _turn(self, step: int) -> tuple[Formula, int]:
        """The schedule that holds at a step, and the number of that step within it."""
        i = bisect_right(self.milestones, step)
        return self.schedulers[i], step - (self.milestones[i - 1] if i else 0)

    def at(self, step: int, group: int = 0) -> float:
        schedule, own = self._turn(step)
        return schedule.at(own, group)

    def after(self, lr: float, step: int, group: int) -> float:
        schedule, own = self._turn(step)
        return schedule.after(lr, own, group) if own else schedule.at(0, group)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def _rules(self) -> dict[str, Callable[[Any, str], Any]]:
        return {**super()._rules(), "schedulers": self._inside}

    def _inside(self, states: Any, name: str) -> list[dict[str, Any]]:
        """The states of the schedules, checked."""
        if not isinstance(states, (list, tuple)) or len(states) != len(self.schedulers):
            raise ValueError(f"{name} is {states!r}, expected a list of {len(self.schedulers)} states")
        complaints: list[str] = []
        found = []
        for schedule, state in zip(self.schedulers, states):
            who = f"{type(schedule).__name__}: "
            if isinstance(state, Mapping):
                found.append(fit(schedule._rules(), state, complaints, who))
            else:
                complaints.append(f"{who}the state is {type(state).__name__}, expected a dict")
        if complaints:
            raise ValueError("; ".join(complaints))
        return found

    def _take(self, state: dict[str, Any]) -> None:
        for schedule, own in zip(self.schedulers, state.pop("schedulers")):
            schedule._take(own)
        super()._take(state)


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rates by `factor` when a metric has not improved for more than `patience` steps.

    Parameters
    ----------
    mode : {"min", "max"}
        Whether a smaller or a larger metric is better.
    factor : float from 0 to, but not including, 1
    threshold : float
        An improvement is, in "min" mode, a metric below ``best * (1 - threshold)`` ("rel"), or below ``best - threshold``
        ("abs"); in "max" mode one above ``best * (1 + threshold)`` or ``best + threshold``. NaN is no improvement.
    threshold_mode : {"rel", "abs"}
    cooldown : int
        How many steps after a reduction are not judged.
    min_lr : float, or one for each group
    eps : float
        Reductions by less are not made.

    Examples
    --------
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
        if not 0 <= check_real(factor, f"{name}: factor") < 1:
            raise ValueError(f"{name}: factor is {factor}, expected a number from 0 up to, but not including, 1")
        self.mode, self.factor = check_name(mode, ("min", "max"), f"{name}: mode"), float(factor)
        self.patience = check_count(patience, f"{name}: patience", least=0)
        self.threshold = check_number(threshold, f"{name}: threshold")
        self.threshold_mode = check_name(threshold_mode, ("rel", "abs"), f"{name}: threshold_mode")
        self.cooldown, self.eps = check_count(cooldown, f"{name}: cooldown", least=0), check_number(eps, f"{name}: eps")
        floors = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * len(optimizer.param_groups)
        self.min_lrs = [check_number(floor, f"{name}: min_lr") for floor in floors]
        if len(self.min_lrs) != len(optimizer.param_groups):
            raise ValueError(f"{name}: got {len(self.min_lrs)} values of min_lr for {len(optimizer.param_groups)} groups; "
                             "expected one, or one for each")
        self.best = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self._set([group["lr"] for group in optimizer.param_groups])

    def step(self, metrics: SupportsFloat) -> None:
        """Judge a metric: a number, or a Tensor of one number."""
        try:
            current = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"ReduceLROnPlateau: step got {metrics!r}, expected a number, or a Tensor of one number") from None
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        lower = self.num_bad_epochs > self.patience
        if lower:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set([self._lowered(group["lr"], floor) if lower else group["lr"]
                   for group, floor in zip(self.optimizer.param_groups, self.min_lrs)])

    def _lowered(self, lr: float, floor: float) -> float:
        lowered = max(lr * self.factor, floor)
        return lowered if lr - lowered > self.eps else lr

    def _is_better(self, metric: float) -> bool:
        sign = -1 if self.mode == "min" else 1
        if self.threshold_mode == "rel":
            return sign * metric > sign * self.best * (1 + sign * self.threshold)
        return sign * metric > sign * (self.best + sign * self.threshold)
