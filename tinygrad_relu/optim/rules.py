"""The update rules: SGD with its variants, Adam and AdamW."""
from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from typing import Any

import numpy as np
from numpy import ndarray

from ..autodiff.node import Array, absent
from ..checks import check_below_one, check_bool, check_number, check_real
from ..kernels.loops import members, update
from ..kernels.machine.host import zeros
from ..kernels.machine.policy import Kernel
from ..missing import Unsettable, without
from ..parameters import Parameter
from .optimizer import Optimizer, Terms
from .state import Segment

Setting = float | Array             # an array has an entry for each member of a population


@without("Optimizer", Unsettable)        # not the base: an optimizer of a user may have such attributes
class SGD(Optimizer):
    r"""Stochastic gradient descent with momentum, Nesterov momentum, dampening, and decay.

    With g the gradient and v the buffer, which starts as the first g::

        g <- g + weight_decay * p                    (coupled decay: L2)
        v <- momentum * v + (1 - dampening) * g      (the first time: v <- g)
        d <- g + momentum * v  if nesterov else v    (without momentum: d <- g)
        p <- p - lr * d

    With ``decoupled=True`` the first line is left out, and p is multiplied by ``1 - lr * weight_decay`` before the step
    (Loshchilov & Hutter 2019, arXiv 1711.05101). Nesterov momentum needs momentum > 0 and no dampening, as in PyTorch; momentum
    is below 1.

    >>> p = nn.Parameter([1.0])
    >>> opt = optim.SGD([p], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     opt.zero_grad()
    ...     (p * p).sum().backward()
    ...     opt.step()
    >>> round(p.item(), 6)
    0.46
    """

    state_names = ("momentum_buffer",)
    elementwise = takes_members = True

    def __init__(self, params: Iterable[Any], lr: Setting = 1e-3, momentum: Setting = 0.0, dampening: Setting = 0.0,
                 weight_decay: Setting = 0.0, nesterov: bool = False, decoupled: bool = False) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                                      nesterov=nesterov, decoupled=decoupled))

    def check(self, options: dict[str, Any]) -> None:
        super().check(options)
        check_number(options["dampening"], "SGD: dampening")
        check_bool(options["nesterov"], "SGD: nesterov")
        check_bool(options["decoupled"], "SGD: decoupled")
        momentum = check_below_one(options["momentum"], "SGD: momentum")
        if options["nesterov"] and (momentum == 0 or options["dampening"] != 0):
            raise ValueError(f"SGD: nesterov got momentum {momentum} and dampening {options['dampening']}; expected a momentum "
                             "above 0 and no dampening")

    def launch_of(self, segment: Segment, grad: Array, options: dict[str, Any]) -> tuple[Kernel, tuple[Any, ...]]:
        momentum = options["momentum"]
        buffer = segment.state.get("momentum_buffer")
        if isinstance(momentum, ndarray):
            if buffer is None and momentum.any():
                segment.state["momentum_buffer"] = buffer = np.full_like(segment.data, np.nan)      # not used yet
            return members.sgd_of_members, (
                segment.data, grad, absent(grad) if buffer is None else buffer, segment.sizes, options["lr"], momentum,
                options["dampening"], options["weight_decay"], options["nesterov"], options["decoupled"])
        first = buffer is None
        if first and momentum:
            segment.state["momentum_buffer"] = buffer = zeros(segment.data.size, segment.data.dtype)
        return update.sgd, (segment.data, grad, buffer if momentum else absent(grad), segment.cuts, options["lr"], momentum,
                            first, 1.0 - options["dampening"], options["weight_decay"], options["nesterov"], options["decoupled"])

    def term(self, segment: Segment, parameter: Parameter, g: Array, options: dict[str, Any]) -> Terms:
        lr, mu, weight_decay = options["lr"], options["momentum"], options["weight_decay"]
        buffer = segment.state_of(parameter).get("momentum_buffer")
        first = buffer is None
        fresh = 1.0 if first else 1.0 - options["dampening"]        # how much of a new g goes into the buffer
        share = 1.0 if not mu else 1.0 + mu * fresh if options["nesterov"] else fresh
        old = mu * mu if options["nesterov"] else mu
        inertia = np.zeros_like(g) if buffer is None or not mu else -lr * old * buffer
        decay = -lr * weight_decay * (1.0 if options["decoupled"] else share) * parameter.data
        return Terms(-lr * share * g, decay, inertia)


def check_betas(betas: Any, who: str = "") -> tuple[float, float]:
    """The two of Adam, in a tuple or a list."""
    if not (isinstance(betas, (tuple, list)) and len(betas) == 2 and all(0 <= check_real(b, f"{who}a beta") < 1 for b in betas)):
        raise ValueError(f"{who}betas is {betas}, expected two numbers from 0 up to, but not including, 1")
    return betas[0], betas[1]


@without("Optimizer", Unsettable)
class Adam(Optimizer):
    """Adam, with coupled decay (L2) as in PyTorch (Kingma & Ba 2015, arXiv 1412.6980).

    ::

        g <- g + weight_decay * p
        m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
        p <- p - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    >>> p = nn.Parameter([1.0])
    >>> opt = optim.Adam([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> opt.step()
    >>> round(p.item(), 6)
    0.9
    """

    state_names = ("step", "exp_avg", "exp_avg_sq")
    elementwise = takes_members = counts_entries = True

    def __init__(self, params: Iterable[Any], lr: Setting = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: Setting = 0.0) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def check(self, options: dict[str, Any]) -> None:
        super().check(options)
        check_number(options["eps"], f"{type(self).__name__}: eps")
        check_betas(options["betas"], f"{type(self).__name__}: ")

    def launch_of(self, segment: Segment, grad: Array, options: dict[str, Any]) -> tuple[Kernel, tuple[Any, ...]]:
        beta1, beta2 = options["betas"]
        t, state = segment.steps + 1, segment.state
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = (zeros(segment.data.size, segment.data.dtype) for _ in range(2))
        if "step" in state:
            settings = options["lr"], beta1, beta2, options["eps"], options["weight_decay"]
            return members.adam_restarted, (
                segment.data, grad, state["exp_avg"], state["exp_avg_sq"], state["step"], segment.sizes,
                *map(np.atleast_1d, settings), self.decoupled)
        if isinstance(beta1, np.ndarray):
            return members.adam_of_members, (
                segment.data, grad, state["exp_avg"], state["exp_avg_sq"], segment.sizes, options["lr"], beta1, beta2,
                options["eps"], float(t), options["weight_decay"], self.decoupled)
        return update.adam, (segment.data, grad, state["exp_avg"], state["exp_avg_sq"], segment.cuts, options["lr"], beta1,
                             beta2, options["eps"], 1.0 - beta1**t, sqrt(1.0 - beta2**t), options["weight_decay"], self.decoupled)

    def term(self, segment: Segment, parameter: Parameter, g: Array, options: dict[str, Any]) -> Terms:
        (beta1, beta2), lr, weight_decay = options["betas"], options["lr"], options["weight_decay"]
        p, state = parameter.data, segment.state_of(parameter)
        steps = np.asarray(state.get("step", segment.steps), np.float64)
        one, two = ((1 - beta ** (steps + 1)).astype(p.dtype)[()] for beta in (beta1, beta2))       # the bias corrections
        coupled = 0.0 if self.decoupled else weight_decay
        m, v = state.get("exp_avg", 0.0 * p), state.get("exp_avg_sq", 0.0 * p)
        v = beta2 * v + (1 - beta2) * (g + coupled * p) ** 2
        rate = -lr / one / (np.sqrt(v / two) + options["eps"])
        decay = -lr * weight_decay * p if self.decoupled else rate * (1 - beta1) * coupled * p
        return Terms(rate * (1 - beta1) * g, decay, rate * beta1 * m)


class AdamW(Adam):
    """Adam with decoupled decay: p is multiplied by ``1 - lr * weight_decay`` before the step (Loshchilov & Hutter 2019).

    >>> optim.AdamW([nn.Parameter([1.0])]).param_groups[0]["weight_decay"]
    0.01
    """

    decoupled = True

    def __init__(self, params: Iterable[Any], lr: Setting = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: Setting = 1e-2) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
