"""The learning-rate schedules, under PyTorch's names. Each is also in `optim` itself.

Call ``schedule.step()`` after each epoch, or after each batch: once for each step that the schedule counts.

PyTorch computes each rate from the previous one. Here each rate is computed from the formula, so rounding errors do not add up.
If the rate was changed in between, by hand or by another schedule, the changed rate is scaled as the formula prescribes, as in
PyTorch: the factors of several schedules of one optimizer multiply.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import cos, inf, isnan, pi
from typing import Any, ClassVar, SupportsFloat

import numpy as np

from ..checks import check_below_one, check_count, check_name, check_number, check_real, counted, said
from ..states import fit, fitted, refuse
from .optimizer import Optimizer


class LRScheduler:
    """The base of the schedules: an optimizer, the number of steps so far (`last_epoch`), and the initial rates (`base_lrs`).

    The initial rates are those before any schedule; each group keeps its own in the option "initial_lr". To resume, load the
    state of the optimizer, and pass the number of steps taken, less one, as `last_epoch`.

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
                group.setdefault("initial_lr", kept(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"{name}: last_epoch is {last_epoch}, but group {i} has no 'initial_lr'; load the state of the "
                               "optimizer first")
        self.base_lrs: list[Any] = [kept(group["initial_lr"]) for group in optimizer.param_groups]      # arrays in a population
        self._last_lr = list(self.base_lrs)

    def get_last_lr(self) -> list[float]:
        """The rates of the groups after the last step of this schedule."""
        return list(self._last_lr)

    def _groups(self) -> Sequence[dict[str, Any]]:
        """The groups of the optimizer. A group that was added later starts from its present rate."""
        groups = self.optimizer.param_groups
        for schedule in getattr(self, "schedulers", ()):
            schedule._groups()
        for group in groups[len(self.base_lrs):]:
            self.base_lrs.append(kept(group.setdefault("initial_lr", kept(group["lr"]))))
        return groups

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = [kept(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Settings and position, as plain numbers and lists, without functions. The rates are in the optimizer's state."""
        self._groups()
        return {name: [entry.state_dict() if isinstance(entry, LRScheduler) else deepcopy(entry) for entry in value]
                if isinstance(value, list) else value for name, value in self._kept().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a `state_dict`. If anything does not fit, nothing changes, and one ValueError names every misfit."""
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{type(self).__name__}: the state is {type(state_dict).__name__}, expected a dict")
        complaints: list[str] = []
        found = self._fitting(state_dict, complaints)
        refuse(type(self).__name__, complaints)
        self._take(found)

    def _kept(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("optimizer", "lr_lambdas")}

    def _fitting(self, state: Any, complaints: list[str], where: str = "") -> dict[str, Any]:
        self._groups()
        exact = {"base_lrs", "milestones" if hasattr(self, "schedulers") else ""}
        rules: dict[str, Any] = {name: partial(_as, value, name in exact) for name, value in self._kept().items()}
        return fit({**rules, **self._checks()}, state, complaints, where)

    def _checks(self) -> dict[str, Any]:
        """A check for each setting, ``check(value, name)``, as it is given or comes from a state."""
        checks, own = {"int": check_count, "float": check_number}, getattr(self, "__dataclass_fields__", {})
        return {name: checks[own[name].type] for name in own if str(own[name].type) in checks and name != "last_epoch"}

    def _take(self, state: dict[str, Any]) -> None:
        for schedule, own in zip(getattr(self, "schedulers", ()), state.pop("schedulers", ())):
            schedule._take(own)
        vars(self).update(state)

    def __repr__(self) -> str:
        settings = {name: value for name, value in self._kept().items() if name not in ("base_lrs", "_last_lr")}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


def kept(rate: Any) -> Any:
    """A rate as a float, or those of the members of a population as a new array."""
    return rate.copy() if isinstance(rate, np.ndarray) else float(rate)


def _as(like: Any, exact: bool, value: Any, name: str) -> Any:
    """A value, if it can replace `like`: a number, a list of numbers, the states of schedules, or anything else."""
    if isinstance(like, list):
        return _as_list(like, exact, value, name)
    if type(like) is int:
        return check_count(value, name, least=0)
    return check_real(value, name, lambda value: not isnan(value)) if isinstance(like, float) else value


def _as_list(like: list[Any], exact: bool, value: Any, name: str) -> list[Any]:
    states = bool(like) and isinstance(like[0], LRScheduler)
    same_length = exact or states or (name != "milestones" and not value)       # no rates at all are none
    if not isinstance(value, (list, tuple)) or (same_length and len(value) != len(like)):
        raise ValueError(f"{name} is {value!r}, expected a list of {counted(len(like), 'state' if states else 'number')}")
    if states:
        complaints: list[str] = []
        found = [schedule._fitting(state, complaints, f"{type(schedule).__name__}: ") for schedule, state in zip(like, value)]
        if complaints:
            raise ValueError("; ".join(complaints))
        return found
    entry = f"{name}: an entry"
    if name == "milestones":
        if [check_count(step, entry, least=0) for step in value] != sorted(value):
            raise ValueError(f"{name} is {value!r}, expected increasing order")
    elif like and isinstance(like[0], np.ndarray):      # a rate for each member
        value = [fitted(rates, entry, like[0]) for rates in value]
        for rate in np.ravel(value).tolist():
            check_number(rate, entry)
    elif all(isinstance(number, (int, float)) for number in like):
        for number in value:
            check_number(number, entry)
    return list(value)


class Formula(LRScheduler):
    """A schedule that is a formula of the step: ``floor + (base - floor) * factor(step)``.

    A subclass is a dataclass of its settings with a method `factor`, or defines `at` and `after`. Integers are checked to be at
    least 1, and floats to be finite and not negative.
    """

    keeps_rate: ClassVar[bool] = True       # whether a schedule made with `last_epoch` leaves the present rate as it is
    floor: ClassVar[Any] = 0.0              # the rate where the factor is 0

    def __post_init__(self) -> None:
        for name, check in self._checks().items():
            setattr(self, name, check(getattr(self, name), f"{type(self).__name__}: {name}"))
        super().__init__(self.optimizer, self.last_epoch)
        if self.last_epoch and self.keeps_rate:
            self._set([group["lr"] for group in self.optimizer.param_groups])
        else:
            self._follow()

    def factor(self, step: int) -> float:
        """The rate of a step, relative to that at the start."""
        raise NotImplementedError

    def at(self, step: int, group: int = 0) -> float:
        """The rate of a group at a step (0 is the first) by this schedule alone. `lab.roll_forward` accepts this method as lr.

        >>> optim.ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5).at(step=2)
        0.25
        """
        return self.floor + (self.base_lrs[group] - self.floor) * self.factor(step)

    def after(self, lr: float, step: int, group: int) -> float:
        """The rate of a step, given `lr`, that of the step before."""
        before = self.at(step - 1, group) if step else self.base_lrs[group]
        if isinstance(lr, float) and lr == before:
            return self.at(step, group)
        old, new = self.factor(step - 1) if step else 1.0, self.factor(step)
        changed = lr + (self.base_lrs[group] - self.floor) * new if old == 0 else self.floor + (lr - self.floor) * (new / old)
        return changed if isinstance(lr, float) else np.where(lr == before, self.at(step, group), changed)      # of each member

    def step(self) -> None:
        """Take one step: every group gets its next rate."""
        self.last_epoch += 1
        self._follow()

    def _follow(self) -> None:
        self._set([self.after(group["lr"], self.last_epoch, i) for i, group in enumerate(self._groups())])


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
    floor = property(lambda self: self.eta_min)

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

    def _checks(self) -> dict[str, Any]:
        return {**super()._checks(),
                "end_factor": partial(check_real, fits=lambda f: 0 <= f <= 1, expected="a number from 0 to 1"),
                "start_factor": partial(check_real, fits=lambda f: 0 < f <= 1, expected="a number above 0, up to 1")}

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
        given = factor, mode, patience, threshold, threshold_mode, cooldown, eps        # in the order of the checks
        self.factor, self.mode, self.patience, self.threshold, self.threshold_mode, self.cooldown, self.eps = [
            check(value, f"{name}: {key}") for value, (key, check) in zip(given, self._checks().items())]
        floors = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * len(optimizer.param_groups)
        self.min_lrs = [check_number(floor, f"{name}: min_lr") for floor in floors]
        if len(self.min_lrs) != len(optimizer.param_groups):
            raise ValueError(f"{name}: got {counted(len(self.min_lrs), 'value')} of min_lr for "
                             f"{counted(len(optimizer.param_groups), 'group')}; expected one, or one for each")
        self.best = inf if mode == "min" else -inf
        self.cooldown_counter = self.num_bad_epochs = 0
        self._set([group["lr"] for group in optimizer.param_groups])

    def _checks(self) -> dict[str, Any]:
        count: Any = partial(check_count, least=0)
        return {"factor": check_below_one, "mode": lambda mode, name: check_name(mode, ("min", "max"), name), "patience": count,
                "threshold": check_number, "threshold_mode": lambda mode, name: check_name(mode, ("rel", "abs"), name),
                "cooldown": count, "eps": check_number}

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
        if lower := self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        groups = self._groups()
        self.min_lrs += self.min_lrs[-1:] * (len(groups) - len(self.min_lrs))
        rates = [(group["lr"], max(group["lr"] * self.factor, floor)) for group, floor in zip(groups, self.min_lrs)]
        self._set([new if lower and old - new > self.eps else old for old, new in rates])
