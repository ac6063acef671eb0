"""The base of all learning-rate schedules, and of those that are a formula of the step.

PyTorch computes each rate from the previous one. Here each rate is computed from the formula, so rounding errors do not add up.
If the rate was changed in between, by hand or by another schedule, the changed rate is scaled as the formula prescribes, as in
PyTorch: the factors of several schedules of one optimizer multiply.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..checks import check_count, check_number, check_real
from ..states import fit, refuse
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
        return {name: [entry.state_dict() if isinstance(entry, LRScheduler) else entry for entry in value]
                if isinstance(value, list) else value for name, value in self._kept().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a `state_dict`. If anything does not fit, nothing changes, and one ValueError names every misfit."""
        name = type(self).__name__
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"{name}: the state is {type(state_dict).__name__}, expected a dict")
        complaints: list[str] = []
        found = self._fitting(state_dict, complaints)
        refuse(name, complaints)
        self._take(found)

    def _kept(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("optimizer", "lr_lambdas")}

    def _fitting(self, state: Any, complaints: list[str], where: str = "") -> dict[str, Any]:
        self._groups()
        rules = {name: partial(_as, value, name == "base_lrs") for name, value in self._kept().items()}
        return fit(rules, state, complaints, where)

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


def _as(like: Any, same_length: bool, value: Any, name: str) -> Any:
    """A value, if it can replace `like`: a string, a number, a list of numbers, or the states of schedules."""
    if isinstance(like, list):
        if like and isinstance(like[0], LRScheduler):
            if not isinstance(value, (list, tuple)) or len(value) != len(like):
                raise ValueError(f"{name} is {value!r}, expected a list of {len(like)} states")
            complaints: list[str] = []
            found = [schedule._fitting(state, complaints, f"{type(schedule).__name__}: ") for schedule, state in zip(like, value)]
            if complaints:
                raise ValueError("; ".join(complaints))
            return found
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} is {value!r}, expected a list")
        if all(isinstance(entry, (int, float)) for entry in like):
            for entry in value:
                check_real(entry, f"{name}: an entry")
        if same_length and len(value) != len(like):
            raise ValueError(f"{name} holds the rates of {len(value)} groups, expected {len(like)}")
        return list(value)
    if isinstance(like, str) and not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected a string")
    if isinstance(like, int) and not isinstance(like, bool):
        check_count(value, name, least=0)
    elif isinstance(like, float):
        check_real(value, name)
    return value


class Formula(LRScheduler):
    """A schedule that is a formula of the step: ``floor + (base - floor) * factor(step)``.

    A subclass is a dataclass of its settings with a method `factor`, or defines `at` and `after`. Integers are checked to be at
    least 1, and floats to be finite and not negative.
    """

    keeps_rate: ClassVar[bool] = True       # whether a schedule made with `last_epoch` leaves the present rate as it is

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
        """The rate of a group at a step (0 is the first) by this schedule alone. `lab.roll_forward` accepts this method as lr.

        >>> optim.ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5).at(step=2)
        0.25
        """
        return self.floor + (self.base_lrs[group] - self.floor) * self.factor(step)

    def after(self, lr: float, step: int, group: int) -> float:
        """The rate of a step, given `lr`, that of the step before."""
        before = self.at(step - 1, group) if step else self.base_lrs[group]
        if np.array_equal(lr, before):
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
        self._set([self.after(group["lr"], self.last_epoch, i) for i, group in enumerate(self._groups())])
