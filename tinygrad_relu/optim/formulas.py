"""The usual schedules: steps, an exponential, a cosine, a line. What they share stands in `schedule`."""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from math import cos, pi

from ..checks import check_count, check_number, check_real
from .optimizer import Optimizer
from .schedule import Formula


class StepLR(Formula):
    """``base * gamma^(step // step_size)``: the rate falls by a factor every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> opt = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> schedule = StepLR(opt, step_size=1, gamma=0.5)
    >>> schedule.step()
    >>> opt.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = check_count(step_size, "StepLR: step_size")
        self.gamma = check_number(gamma, "StepLR: gamma")
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** (step // self.step_size)


class MultiStepLR(Formula):
    """``base * gamma^(number of milestones reached)``.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
    gamma : float

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = MultiStepLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), [2, 3], gamma=0.5)
    >>> [schedule.at(step) for step in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(f"MultiStepLR: milestones is {milestones!r}, expected several whole numbers")
        self.milestones = sorted(check_count(m, "MultiStepLR: a milestone", least=0) for m in milestones)
        self.gamma = check_number(gamma, "MultiStepLR: gamma")
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma ** bisect_right(self.milestones, step)


class ExponentialLR(Formula):
    """``base * gamma^step``.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = ExponentialLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), gamma=0.5)
    >>> schedule.at(3)
    0.125
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = check_number(gamma, "ExponentialLR: gamma")
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.gamma**step


class CosineAnnealingLR(Formula):
    """``eta_min + (base - eta_min) (1 + cos(pi step / T_max)) / 2``: down along a cosine in `T_max` steps, then up again.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
    eta_min : float

    References
    ----------
    Loshchilov & Hutter 2017, arXiv 1608.03983 (without the restarts)

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = CosineAnnealingLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), T_max=2, eta_min=0.5)
    >>> [round(schedule.at(step), 6) for step in range(5)]
    [1.0, 0.75, 0.5, 0.75, 1.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = check_count(T_max, "CosineAnnealingLR: T_max")
        self.eta_min = check_number(eta_min, "CosineAnnealingLR: eta_min")
        super().__init__(optimizer)

    @property
    def floor(self) -> float:
        return self.eta_min

    def factor(self, step: int) -> float:
        return (1 + cos(pi * step / self.T_max)) / 2


class LinearLR(Formula):
    """``base`` times a factor that goes from `start_factor` to `end_factor` in `total_iters` steps, and stays: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float above 0, up to 1
    end_factor : float from 0 to 1
    total_iters : int

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> schedule = LinearLR(optim.SGD([nn.Parameter([1.0])], lr=1.0), start_factor=0.5, total_iters=2)
    >>> [schedule.at(step) for step in range(4)]
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5) -> None:
        if not 0 < check_real(start_factor, "LinearLR: start_factor") <= 1:
            raise ValueError(f"LinearLR: start_factor is {start_factor}, expected a number above 0, up to 1")
        if not 0 <= check_real(end_factor, "LinearLR: end_factor") <= 1:
            raise ValueError(f"LinearLR: end_factor is {end_factor}, expected a number from 0 to 1")
        self.start_factor, self.end_factor = float(start_factor), float(end_factor)
        self.total_iters = check_count(total_iters, "LinearLR: total_iters")
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * (min(step, self.total_iters) / self.total_iters)
