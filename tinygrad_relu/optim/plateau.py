"""The schedule that looks at the result: lower the rate when there is no progress any more."""
from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import SupportsFloat

from ..checks import check_count, check_name, check_number, check_real
from .optimizer import Optimizer
from .schedule import LRScheduler


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rates by `factor` when a metric has not improved for more than `patience` steps.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether a smaller or a larger metric is better.
    factor : float from 0 to, but not including, 1
    patience : int
        How many steps without improvement are borne.
    threshold : float
        What counts as an improvement: in "min" mode a metric below ``best * (1 - threshold)`` ("rel"), or below
        ``best - threshold`` ("abs"); in "max" mode above ``best * (1 + threshold)`` or ``best + threshold``.
    threshold_mode : {"rel", "abs"}
    cooldown : int
        How many steps after a reduction are not judged.
    min_lr : float, or one for each group
    eps : float
        A reduction by less is not made.

    Examples
    --------
    >>> from tinygrad_relu import nn, optim
    >>> opt = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    >>> schedule = ReduceLROnPlateau(opt, patience=1)
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
        """Judge a metric: a number, or a Tensor of one number. NaN is no improvement."""
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
