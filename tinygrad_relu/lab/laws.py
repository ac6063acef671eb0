"""Laws of the dead unit: what holds under every schedule, and at every point of a map.

While a unit is dead, its pre-activation z and its buffer V = v_w.x + v_b obey the optimizer alone. With the rate eta,
and A, B and C from section 9 of docs/reviving-units.md (keep = 1 - eta A, gain = B, pull = -eta C), w = V/z decides everything:

    z <- z (1 - eta (A + B w)),        w <- (C + momentum w)/(1 - eta (A + B w))

z changes its sign at the first step with eta (A + B w) > 1. For heavy ball B = momentum and A = C = decay. Then eta (A + B w) and
the new w increase in w, in the rate, in the decay and (if w >= 0) in the momentum. So raising any of them, at any step, never
delays the return: the comparison theorem. docs/reviving-units.md derives it, and the other laws.
"""
from __future__ import annotations

import math
from dataclasses import asdict
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..checks import as_numbers, check_count, check_number, check_real
from ..optim.rules import check_betas
from .closed_form import layer_revivals, revival_step
from .recurrence import TINY, Array, Recurrence, Settings, advance, check_dead, check_like, check_numbers, settle, window
from .roll_forward import orbit

Between = tuple[int, int | None] | None


def _not_negative(name: str, values: ArrayLike) -> Array:
    array = check_numbers(name, values)
    if array.size and array.min() < 0:
        raise ValueError(f"{name} holds {array.min():.6g}, expected numbers of 0 or more")
    return array


def _momenta(momentum: ArrayLike) -> Array:
    mu = _not_negative("momentum", momentum)
    if mu.size and mu.max() >= 1:
        raise ValueError(f"momentum holds {mu.max():.6g}, expected numbers from 0 up to, but not including, 1")
    return mu


# -- schedules: the comparison theorem ---------------------------------------------------------------------------------------


def first_return(lr: ArrayLike, momentum: ArrayLike = 0.0, weight_decay: ArrayLike = 0.0) -> int | None:
    """The first step at which heavy ball with coupled decay brings back a unit from rest. Each argument is one number, or one
    number per step; None if the unit does not return within these steps.

    >>> cosine = 0.05 * (1 + np.cos(np.pi * np.arange(1000) / 1000))         # from 0.1 to 0
    >>> first_return(np.full(1000, 0.1), 0.99, 5e-4), first_return(cosine, 0.99, 5e-4), first_return(cosine, 0.99, 1e-3)
    (472, None, 257)
    """
    settings = np.broadcast_arrays(_not_negative("lr", lr), _momenta(momentum), _not_negative("weight_decay", weight_decay))
    if settings[0].ndim > 1:
        raise ValueError(f"the settings have the shape {settings[0].shape}, expected one number, or one for each step")
    w = 0.0                                                 # V/z: an empty buffer
    for t, (eta, mu, decay) in enumerate(zip(*map(np.ravel, settings)), start=1):
        u = decay + mu * w                                  # the new buffer over the old z
        if eta * u > 1:
            return t
        w = u / (1 - eta * u) if eta * u < 1 else math.inf
    return None


def ratio(z: ArrayLike, velocity: ArrayLike | None = None) -> Array:
    """The largest w = V/z over the samples (the first axis) of dead units: that sample returns first, under every schedule.

    Where z is 0, w is its limit for z from below: inf if the buffer lifts z, else -inf.

    >>> ratio([-1.0, -2.0], [-0.5, 3.0]).item(), ratio([-1.0, 0.0]).item()
    (0.5, 0.0)
    """
    z = check_numbers("z", z)
    if velocity is None:
        return np.zeros(z.shape[1:])
    v = check_like("velocity", velocity, z)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(z < 0, v / z, np.where(v < 0, np.inf, -np.inf)).max(axis=0))


def safe_rate(w: ArrayLike = 0.0, *, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0,
              nesterov: bool = False, decoupled: bool = False) -> Array:
    """The largest X such that no schedule with rates of at most X ever brings the unit back; elementwise, 0 if there is none.

    The decay (up to weight_decay) and the momentum (up to momentum) may change at every step too. From rest (w = 0), X is the
    lower edge of the window over the decay, (1 - sqrt momentum)^2 / weight_decay for heavy ball. With a buffer it is the maximum
    of ((1 - momentum) u - C)/(u (A + B u)) over u >= w. A fresh optimizer does not dampen its first gradient: pass dampening 0.

    >>> round(safe_rate(momentum=0.99, weight_decay=5e-4).item(), 7)         # 2.5126e-5/5e-4
    0.0502516
    >>> safe_rate([0.0, 0.1, 1.0], momentum=0.9)                             # without decay: (1 - momentum)/(momentum w)
    array([       inf, 1.11111111, 0.11111111])
    """
    settings = Settings(1.0, momentum, dampening, weight_decay, nesterov, decoupled)
    rule = Recurrence.of(settings)
    b, c = rule.gain, -rule.pull
    a = weight_decay if decoupled else c * (1 + momentum * nesterov)
    w = as_numbers(w, "w").astype(np.float64)
    if a < 0:                                               # dampening > 1: decay enters the buffer with the wrong sign
        return np.zeros(w.shape)
    rest = np.inf if a == 0 else 1 / a
    if b == 0:
        return np.full(w.shape, rest)
    with np.errstate(all="ignore"):
        bound = np.where(np.isinf(w), 0.0, np.maximum(((1 - momentum) * w - c) / (w * (a + b * w)), 0.0))
    if c == 0:
        return np.where(w <= 0, rest, bound)
    assert settings.edges is not None
    top = settings.edges[0] / c
    turn = (1 - momentum - top * a) / (2 * top * b)         # the double root, at which the bound is largest
    return np.where(w <= turn, top, bound)


def return_between(z: ArrayLike, velocity: ArrayLike | None = None, *, lowest: float, highest: float, momentum: float = 0.0,
                   dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
                   decoupled: bool = False) -> list[Between]:
    """The first returns of the units of a layer under every schedule with rates from `lowest` to `highest`.

    z and velocity (None: a fresh optimizer) have shape (samples, units). Per unit the result is (first, last), the steps at the
    highest and at the lowest rate (last is None for never); or None if no such schedule brings the unit back. Where a higher rate
    may delay the return (Nesterov with a buffer that pushes z down; dampening, or rate times decay, above 1), the result is
    (1, None), which claims nothing.

    >>> return_between([[-1.0], [-3.0]], lowest=0.1, highest=0.2, momentum=0.99, weight_decay=5e-4)
    [(242, 472)]
    """
    if check_number(lowest, "lowest") > check_number(highest, "highest"):
        raise ValueError(f"lowest is {lowest} and highest {highest}, expected lowest to be at most highest")
    z = check_dead(z, ndim=2)
    v = None if velocity is None else check_like("velocity", velocity, z)
    options: Any = dict(momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov, decoupled=decoupled)
    early, late = (layer_revivals(z, None if v is None else -rate * v, lr=rate, **options) for rate in (highest, lowest))
    w = ratio(z, v)
    ordered = np.full(w.shape, dampening <= 1)
    if nesterov or decoupled:
        ordered = (highest * weight_decay <= 1) & ((w >= 0) | decoupled)
    return [(1, None) if not known else None if first.step is None else (first.step, last.step)
            for first, last, known in zip(early, late, ordered)]


# -- the map ------------------------------------------------------------------------------------------------------------------


def return_steps(momentum: ArrayLike, eta_lambda: ArrayLike, *, nesterov: bool = False, decoupled: bool = False) -> Array:
    """The step of return from rest by the closed form, elementwise (the arrays broadcast); inf for never.

    >>> return_steps([0.9, 0.99, 0.99], [0.005, 5e-5, 2e-5])
    array([ 48., 472.,  inf])
    """
    mu, c = _grid(momentum, eta_lambda)
    keep, gain = 1 - c * (1 + mu) if nesterov and not decoupled else 1 - c, mu ** 2 if nesterov else mu
    pull = np.zeros_like(c) if decoupled else -c
    with np.errstate(all="ignore"):
        edge, top = window(mu, nesterov)
        trace, scale = ((1 + mu) * (1 - c), (1 + mu) ** 2) if nesterov else (1 + mu - c, np.ones_like(mu))
        half = np.sqrt(scale * (c - edge) * (top - c)) / 2
        angle = math.pi / 2 + np.arctan2(keep - trace / 2, half)        # z[1]/z[0] = keep
        steps = np.floor(angle / np.arctan2(half, trace / 2)) + 1
        inside = (c > edge) & (c < top) & (mu > 0) & (not decoupled)
        steps = np.where(inside, steps, np.where(keep < 0, 1.0, np.inf))
        return settle(steps, lambda t: advance((keep, gain, pull, mu), -np.ones_like(c), np.zeros_like(c), t))


def simulated_steps(momentum: ArrayLike, eta_lambda: ArrayLike, steps: int, *, nesterov: bool = False,
                    decoupled: bool = False) -> Array:
    """`return_steps` by simulation: the update of torch.optim.SGD, for weights that begin at -1; inf if not within `steps`.

    A weight below 1e-300 counts as 0, as its sign is then a rounding error.

    >>> simulated_steps([0.9, 0.99, 0.99], [0.005, 5e-5, 2e-5], 1000)
    array([ 48., 472.,  inf])
    """
    mu, c = (array.ravel() for array in _grid(momentum, eta_lambda))
    found, waiting = np.full(c.shape, np.inf), np.arange(c.size)
    theta, v = -np.ones_like(c), np.zeros_like(c)           # at a rate of 1 and a decay of c
    for t in range(1, check_count(steps, "steps") + 1):
        g = np.zeros_like(c) if decoupled else c * theta
        theta = theta * (1 - c) if decoupled else theta
        v = mu * v + g
        theta = theta - (g + mu * v if nesterov else v)
        back, gone = theta > TINY, np.abs(theta) + np.abs(v) < TINY
        found[waiting[back]] = t
        if (back | gone).any():
            left = ~(back | gone)
            waiting, mu, c, theta, v = waiting[left], mu[left], c[left], theta[left], v[left]
            if not len(waiting):
                break
    return found.reshape(np.broadcast_shapes(np.shape(momentum), np.shape(eta_lambda)))


def _grid(momentum: ArrayLike, eta_lambda: ArrayLike) -> tuple[Array, Array]:
    mu, c = np.broadcast_arrays(_momenta(momentum), _not_negative("eta_lambda", eta_lambda))
    return mu, c


# -- the return, and after it ------------------------------------------------------------------------------------------------


class Comeback(NamedTuple):
    """A return from rest: at `step`, every incoming and outgoing weight of the unit and its bias are `factor` times their old
    values."""

    step: int
    factor: float       # q < 0

    @property
    def weight(self) -> float:
        """q^2: the unit then adds -q^2 (old outgoing weight) abs(old z) to the pre-activations of the next layer."""
        return self.factor ** 2


def gentle_return(*, lr: float, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
                  decoupled: bool = False) -> Comeback | None:
    """The step of return from rest, and the factor q by which all weights and the bias have been multiplied; None for never.

    The outgoing weights of a dead unit have a gradient of exactly zero too, because its output is 0. So the same optimizer
    multiplies them by the same q.

    >>> back = gentle_return(lr=0.1, momentum=0.99, weight_decay=5e-4)
    >>> print(f"step {back.step}: q = {back.factor:.2g}, weight {back.weight:.2g}")
    step 472: q = -0.0005, weight 2.5e-07
    """
    settings = Settings(lr, momentum, dampening, weight_decay, nesterov, decoupled)
    step = revival_step(-1.0, **asdict(settings))
    return None if step is None else Comeback(step, -float(next(islice(orbit(-1.0, **asdict(settings)), step - 1, None))))


def period(*, lr: float, momentum: float, weight_decay: float, dampening: float = 0.0, nesterov: bool = False) -> float | None:
    """The number of steps, 2 pi/phi, of one full oscillation of z while the gradient is zero; None outside the window.

    >>> round(period(lr=0.1, momentum=0.9, weight_decay=0.05), 1)
    125.8
    """
    rule = Recurrence.of(Settings(lr, momentum, dampening, weight_decay, nesterov))
    return None if rule.roots is not None else 2 * math.pi / math.atan2(math.sqrt(-rule.disc), rule.trace)


def wake_distance(z: ArrayLike, weight: ArrayLike, norm: float = 2.0) -> Array:
    """The size of the smallest change of each sample that makes its z zero: abs(z) over the dual norm of w.

    - `z`: pre-activations <= 0, shape (samples,) with weight (features,), or (samples, units) with weight (units, features).
    - `norm`: p of the p-norm in which the change is measured, from 1 to inf; the dual norm is that of q = p/(p - 1).

    >>> wake_distance([-5.0, -10.0], [3.0, 4.0]), wake_distance([-5.0, -10.0], [3.0, 4.0], norm=math.inf)
    (array([1., 2.]), array([0.71428571, 1.42857143]))
    """
    check_real(norm, "norm", lambda p: p >= 1, "a number from 1 to inf")
    z, w = check_numbers("z", z), check_numbers("weight", weight)
    if z.ndim not in (1, 2) or w.ndim != z.ndim or (z.ndim == 2 and z.shape[1] != w.shape[0]):
        raise ValueError(f"z has shape {z.shape} and weight {w.shape}, expected (samples,) and (features,), or (samples, units) "
                         "and (units, features)")
    check_dead(z, z.ndim)
    dual = math.inf if norm == 1 else 1.0 if norm == math.inf else norm / (norm - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(z == 0, 0.0, -z / np.linalg.norm(w, dual, axis=-1))


# -- Adam --------------------------------------------------------------------------------------------------------------------


def adam_edge(lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> float:
    """The weight_decay above which Adam with coupled L2 flips the sign of a tiny weight (weight_decay * weight far below eps).

    Adam then acts as heavy ball, dampened by beta1, at the rate lr/eps: the edge is (eps/lr) (1 - sqrt beta1)/(1 + sqrt beta1).

    >>> round(adam_edge() * 1e7, 3)
    2.633
    """
    if check_number(lr, "lr") == 0:
        return math.inf
    beta1, _ = check_betas(betas)
    threshold = Settings(lr, beta1, dampening=beta1).threshold
    return check_number(eps, "eps") / lr * (1.0 if threshold is None else threshold)


def adam_coast(betas: tuple[float, float] = (0.9, 0.999), step: int | None = None, keep: float = 1.0) -> float:
    """How far Adam can still move a weight whose gradient is zero from now on, in units of its last step; inf if unbounded.

    The k-th coming step is at most r^k sqrt((1 - beta2^(T+k))/(1 - beta2^T)) times the last, with r = beta1/sqrt beta2. The sum
    falls with T, to r/(1 - r). A positive eps, and the correction of beta1 early in training, make the steps smaller still.

    - `step`: T, the number of steps that have been made, or fewer. None: many.
    - `keep`: 1 - lr weight_decay for AdamW, where z shrinks too: each step then counts 1/keep^k. Not for coupled decay.

    >>> round(adam_coast(), 2), round(adam_coast(step=10), 2), adam_coast((0.9, 0.8))
    (9.05, 12.48, inf)
    """
    beta1, beta2 = check_betas(betas)
    r = beta1 / math.sqrt(beta2) / keep if beta2 > 0 and check_real(keep, "keep") > 0 else math.inf
    if beta1 == 0:
        return 0.0
    if r >= 1:
        return math.inf
    if step is None:
        return r / (1 - r)
    t, k = check_count(step, "step"), np.arange(1, 2 + min(math.ceil(-40 / math.log(r)), 10 ** 6))
    sizes = r ** k * np.sqrt((1 - beta2 ** (t + k)) / (1 - beta2 ** t))
    return float(sizes.sum() + r ** (k[-1] + 1.0) / (1 - r) / math.sqrt(1 - beta2 ** t))
