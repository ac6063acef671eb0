"""Learning-rate schedules: a formula for the rate of every step, named as in PyTorch's ``lr_scheduler``.

::

    schedule = optim.CosineAnnealingLR(opt, T_max=100)
    for epoch in range(100):
        ...                         # opt.step(), as often as there are batches
        schedule.step()

A schedule acts through ``opt.param_groups[i]["lr"]``. PyTorch computes each rate from the one before; here it is the formula
itself, so that rounding does not add up. Where somebody else has changed the rate meanwhile, by hand or by another schedule,
the formula's change is applied to what is there, as PyTorch does: schedules of one optimizer chain, their factors multiply.

`at` gives the rate of any step without taking it, and is what `lab.roll_forward` wants: ``roll_forward(z, lr=schedule.at, ...)``.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..checks import check_count, check_real
from .optimizer import Optimizer


class LRScheduler:
    """The base of the schedules: which optimizer, how many steps so far, which rates.

    Attributes
    ----------
    optimizer : Optimizer
    base_lrs : list of float
        The rate of each group when its first schedule was made (its option "initial_lr").
    last_epoch : int
        How many steps have been taken.

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = optim.ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5)
    >>> schedule.step(), schedule.step()
    (None, None)
    >>> schedule.last_epoch, schedule.base_lrs, schedule.get_last_lr()
    (2, [1.0], [0.25])
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: got {type(optimizer).__name__}; expected an Optimizer")
        self.optimizer, self.last_epoch = optimizer, 0
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self._last_lr = self.base_lrs

    def get_last_lr(self) -> list[float]:
        """The rates of the groups after the last step of this schedule."""
        return list(self._last_lr)

    def _set(self, rates: Iterable[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Settings and position, as plain numbers and lists; functions are left out. The rates in force are the optimizer's."""
        return {name: list(value) if isinstance(value, list) else value
                for name, value in vars(self).items() if name in self._state_names()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, or nothing at all. The optimizer's rates come with the optimizer's own state.

        Raises
        ------
        ValueError
            If names are missing or unknown, the number of groups is another, or a count is negative.
        TypeError
            If something is of another kind than what `state_dict` gives.
        """
        self._check_state(state_dict)
        self._take_state(state_dict)

    def _take_state(self, state_dict: dict[str, Any]) -> None:
        vars(self).update({key: list(value) if isinstance(value, (list, tuple)) else value for key, value in state_dict.items()})

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        expected, name = self._state_names(), type(self).__name__
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{name}: the state is {type(state_dict).__name__}, expected a dict")
        if set(state_dict) != expected:
            missing, unknown = (", ".join(sorted(names)) or "nothing" for names in (expected - set(state_dict),
                                                                                    set(state_dict) - expected))
            raise ValueError(f"{name}: the state lacks {missing}, and has {unknown} besides; expected what state_dict() gives")
        for key, value in state_dict.items():
            _check_kind(value, vars(self)[key], f"{name}: {key} of the state")
        if len(state_dict["base_lrs"]) != len(self.base_lrs):
            raise ValueError(f"{name}: the state is of {len(state_dict['base_lrs'])} groups; expected {len(self.base_lrs)}")

    def _state_names(self) -> set[str]:
        return set(vars(self)) - {"optimizer"}


def _check_kind(value: Any, like: Any, name: str) -> None:
    """Whether a value can take the place of `like`: a text that of a text, a number that of a number, a list that of a list."""
    if isinstance(like, list):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} is {value!r}, expected a list")
        if all(isinstance(entry, (int, float)) for entry in like):
            for entry in value:
                check_real(entry, f"{name}: an entry")
    elif isinstance(like, str) and not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected a text")
    elif isinstance(like, int) and not isinstance(like, bool):
        check_count(value, name, least=0)
    elif isinstance(like, float):
        check_real(value, name)


class Formula(LRScheduler):
    """The base of the schedules that are formulas: ``floor + (base - floor) * factor(step)``.

    A subclass defines `factor`; `floor` is 0 unless it says otherwise.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self._follow()

    @property
    def floor(self) -> float:
        """Where the rate goes as the factor goes to 0."""
        return 0.0

    def factor(self, step: int) -> float:
        """What the rate of the start is multiplied by at step `step`."""
        raise NotImplementedError

    def at(self, step: int, group: int = 0) -> float:
        """The rate of a group at step `step` (0 for the first), by this schedule alone.

        Examples
        --------
        >>> from tinygrad_relu import nn, optim
        >>> schedule = optim.StepLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), step_size=2, gamma=0.5)
        >>> [schedule.at(step) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]
        """
        return self.floor + (self.base_lrs[group] - self.floor) * self.factor(step)

    def after(self, lr: float, step: int, group: int) -> float:
        """The rate of step `step`, where `lr` is the present one."""
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


class LambdaLR(Formula):
    """``base * lr_lambda(step)``, whatever somebody else has made of the rate (as in PyTorch).

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable, or one for each group
        The factor at a step. Not part of the state.

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = LambdaLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), lambda step: 1 / (1 + step))
    >>> schedule.at(3)
    0.25
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]) -> None:
        groups = len(optimizer.param_groups) if isinstance(optimizer, Optimizer) else 0
        if not callable(lr_lambda) and not isinstance(lr_lambda, Sequence):
            raise TypeError(f"LambdaLR: lr_lambda is {lr_lambda!r}, expected a function, or one for each group")
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if groups and len(self.lr_lambdas) != groups:
            raise ValueError(f"LambdaLR: got {len(self.lr_lambdas)} functions for {groups} groups; expected one for each")
        super().__init__(optimizer)

    def at(self, step: int, group: int = 0) -> float:
        return self.base_lrs[group] * self.lr_lambdas[group](step)

    def after(self, lr: float, step: int, group: int) -> float:
        return self.at(step, group)

    def _state_names(self) -> set[str]:
        return super()._state_names() - {"lr_lambdas"}


class SequentialLR(Formula):
    """One schedule after the other: each starts at its milestone, from the rate of the very beginning.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of schedules of this optimizer, none of them `ReduceLROnPlateau`
    milestones : sequence of int
        Where the second one, the third one ... take over: one less than there are schedules.

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> opt = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> warm_up, decay = optim.LinearLR(opt, 0.5, total_iters=2), optim.ExponentialLR(opt, 0.5)
    >>> schedule = SequentialLR(opt, [warm_up, decay], milestones=[2])
    >>> [schedule.at(step) for step in range(5)]
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Formula], milestones: Sequence[int]) -> None:
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
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]       # the schedules, when they were made, have each begun already
        super().__init__(optimizer)

    def _turn(self, step: int) -> tuple[Formula, int]:
        """Whose turn it is at a step, and which step it is to that one."""
        i = bisect_right(self.milestones, step)
        return self.schedulers[i], step - (self.milestones[i - 1] if i else 0)

    def at(self, step: int, group: int = 0) -> float:
        schedule, own = self._turn(step)
        return schedule.at(own, group)

    def after(self, lr: float, step: int, group: int) -> float:
        schedule, own = self._turn(step)
        return schedule.after(lr, own, group) if own else schedule.at(0, group)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def _take_state(self, state_dict: dict[str, Any]) -> None:
        super()._take_state({key: value for key, value in state_dict.items() if key != "schedulers"})
        for schedule, state in zip(self.schedulers, state_dict["schedulers"]):
            schedule._take_state(state)

    def _check_state(self, state_dict: dict[str, Any]) -> None:
        super()._check_state(state_dict)
        states = state_dict["schedulers"]
        if len(states) != len(self.schedulers):
            raise ValueError(f"SequentialLR: the state is of {len(states)} schedules; expected {len(self.schedulers)}")
        for schedule, state in zip(self.schedulers, states):
            schedule._check_state(state)
