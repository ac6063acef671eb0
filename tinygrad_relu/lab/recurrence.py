"""The recurrence that a dead unit follows, and its solution.

A unit is *dead* on samples x when its pre-activation z(x) = w.x + b is <= 0 for all of them. Its gradient is then exactly
zero, and only the optimizer moves it: through what is left in the momentum buffer v, and through weight decay. Both are
linear, so z(x) and the *drift* s(x) = -lr (v_w.x + v_b) follow, sample by sample, a linear recurrence of order two,

    z[t+1] = trace z[t] - det z[t-1],        z[1] = keep z[0] + gain s,

with c = lr weight_decay, mu = momentum, d = dampening, and a = c (1 - d):

    ======================  =================  ============  ===============  ======  ==============================
    optimizer               trace              det           keep             gain    z swings through 0 when
    ======================  =================  ============  ===============  ======  ==============================
    SGD (mu = 0)            1 - c              0             1 - c            0       never (c > 1: flips at step 1)
    momentum, coupled (L2)  1 + mu - a         mu            1 - a            mu      (1-sqrt mu)^2 < a < (1+sqrt mu)^2
    Nesterov, coupled       (1 + mu)(1 - c)    mu (1 - c)    1 - c (1 + mu)   mu^2    ((1-mu)/(1+mu))^2 < c < 1
    decoupled decay         1 - c + mu         (1 - c) mu    1 - c            mu      never: the roots are 1 - c and mu
    decoupled, Nesterov     1 - c + mu         (1 - c) mu    1 - c            mu^2    never: the same roots
    ======================  =================  ============  ===============  ======  ==============================

The signs of the two roots of r^2 - trace r + det = 0 decide everything; `Recurrence` has one branch for each case.
docs/reviving-units.md derives the table, and says how far it is exact in floating point. roll_forward.py applies the same
recurrence step by step; the tests compare both with a literal copy of torch.optim.SGD.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import as_numbers, check_bool, check_number, check_real

Array = NDArray[np.float64]
TINY = 1e-300       # the sign of a smaller float64 is not trusted, because digits are lost below 2.2e-308


def window(momentum: ArrayLike, nesterov: bool) -> tuple[Array, Array]:
    """The edges between which momentum and coupled decay swing z through 0 (the table above), elementwise."""
    mu = np.asarray(momentum, dtype=np.float64)
    if nesterov:
        return ((1 - mu) / (1 + mu)) ** 2, np.ones_like(mu)
    return ((1 - mu) / (1 + np.sqrt(mu))) ** 2, (1 + np.sqrt(mu)) ** 2


@dataclass(frozen=True)
class Settings:
    """The settings of SGD, named as in torch.optim.SGD. `decoupled`: p *= 1 - lr weight_decay before the step, as in AdamW,
    in place of g += weight_decay p. A momentum >= 1 raises a ValueError, because the buffer would never decay."""

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    decoupled: bool = False

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> Settings:
        """The settings among the options of an optimizer."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def __post_init__(self) -> None:
        check_number(self.lr, "lr")
        check_number(self.weight_decay, "weight_decay")
        if not 0 <= check_real(self.momentum, "momentum") < 1:
            raise ValueError(f"momentum is {self.momentum}, expected at least 0 and below 1")
        if not math.isfinite(check_real(self.dampening, "dampening")):
            raise ValueError(f"dampening is {self.dampening}, expected a finite number")
        check_bool(self.nesterov, "nesterov")
        check_bool(self.decoupled, "decoupled")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(f"nesterov needs momentum > 0 and dampening = 0; got momentum {self.momentum}, "
                             f"dampening {self.dampening}")

    @property
    def eta_lambda(self) -> float:
        return self.lr * self.weight_decay

    @property
    def edges(self) -> tuple[float, float] | None:
        """The window of eta_lambda (1 - dampening) in which momentum and coupled decay swing z through 0; None without one."""
        if self.momentum == 0 or self.decoupled:
            return None
        low, high = window(self.momentum, self.nesterov)
        return float(low), float(high)

    @property
    def threshold(self) -> float | None:
        """The eta_lambda above which a unit at rest swings back: the lower edge over 1 - dampening; None if there is none.

        >>> [round(Settings(0.1, momentum=0.9, dampening=d).threshold, 7) for d in (0.0, 0.5)]
        [0.0026334, 0.0052668]
        """
        return self.edges[0] / (1 - self.dampening) if self.edges and self.dampening < 1 else None


@dataclass(frozen=True)
class Recurrence:
    """One step is (z, s) <- (keep z + gain s, pull z + momentum s); so z[t+1] = trace z[t] - det z[t-1].

    `disc` = trace^2 - 4 det, computed from its factors, so that it changes sign exactly at the edges of the window;
    `roots` are real, the larger first, or None when disc < 0.

    >>> Recurrence.of(Settings(lr=0.1, momentum=0.5)).roots
    (1.0, 0.5)
    """
    trace: float
    det: float
    disc: float
    roots: tuple[float, float] | None
    keep: float
    gain: float
    pull: float
    momentum: float
    decay: float
    edges: tuple[float, float] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Recurrence:
        """The recurrence of these settings (the table at the head of the file)."""
        mu, c = settings.momentum, settings.eta_lambda
        nesterov, decoupled = settings.nesterov, settings.decoupled
        gain = mu * mu if nesterov else mu
        a = c if nesterov or decoupled or mu == 0 else c * (1 - settings.dampening)     # PyTorch dampens only the buffer
        if not abs(a) < 1e150:                          # its square would overflow
            raise ValueError(f"lr times weight_decay is {c:.4g}, too large for the formulas; expected below 1e150")
        if mu == 0 or decoupled or a == 0:              # the roots are known exactly; the formula would round
            roots = (max(1 - a, mu), min(1 - a, mu))
            return cls(1 - a + mu, (1 - a) * mu, (roots[0] - roots[1]) ** 2, roots, 1 - a, gain, 0.0 if decoupled else -a, mu, a)
        edges = settings.edges
        assert edges is not None
        if nesterov:
            trace, det, keep = (1 + mu) * (1 - a), mu * (1 - a), 1 - a * (1 + mu)
            disc = (1 + mu) ** 2 * (edges[0] - a) * (edges[1] - a)
        else:
            trace, det, keep = 1 + mu - a, mu, 1 - a
            disc = (edges[0] - a) * (edges[1] - a)
        if disc < 0:
            return cls(trace, det, disc, None, keep, gain, -a, mu, a, edges)
        # The root of larger modulus first; the other from their product, because a difference would cancel.
        large = (trace + math.copysign(math.sqrt(disc), trace)) / 2
        small = det / large if large else 0.0
        return cls(trace, det, disc, (max(large, small), min(large, small)), keep, gain, -a, mu, a, edges)

    @property
    def window(self) -> Literal["none", "below", "inside", "above"]:
        return ("none" if self.edges is None else
                "below" if self.decay <= self.edges[0] else "above" if self.decay >= self.edges[1] else "inside")

    @property
    def radius(self) -> float:
        """The larger modulus of the roots: the factor by which z shrinks (or grows, above 1) per step in the long run."""
        return math.sqrt(self.det) if self.roots is None else max(map(abs, self.roots))

    @property
    def creeps(self) -> bool:
        """Whether both roots are positive: z then changes sign at most once, and only through a drift."""
        return self.roots is not None and self.roots[1] > 0

    @property
    def drift_factor(self) -> float | None:
        """k such that a sample returns if and only if s > k abs(z); from z[1] > r2 z[0], see `first_positive`."""
        if self.roots is None or self.roots[1] <= 0 or self.gain == 0:
            return None
        return max(0.0, self.keep - self.roots[1]) / self.gain

    def z_at(self, z: Array, s: Array, t: Array) -> Array:
        """z after t steps (whole numbers, elementwise) from z and the drift s."""
        return advance((self.keep, self.gain, self.pull, self.momentum), z, s, t)

    def first_positive(self, z0: Array, s: Array) -> Array:
        """Least t >= 1 with z[t] > 0 from z[0] = z0 <= 0 and the drift s, elementwise; inf for never.

        ================  ==============================================================================================
        roots             answer
        ================  ==============================================================================================
        complex           always, unless z0 = z1 = 0: t = floor((pi/2 + arctan beta)/phi) + 1
        both > 0          iff C1 = (z1 - r2 z0)/(r1 - r2) > 0: t = floor(ln(1 + abs(z0)/C1) / ln(r1/r2)) + 1;
                          at an edge (r1 = r2 = r): iff B = z1/r - z0 > 0: t = floor(abs(z0)/B) + 1
        both < 0, or a 0  t = 1 if z1 > 0; else 2 if z2 = trace z1 - det z0 > 0; else never
        one of each sign  t = 1 if z1 > 0; else iff the negative root is larger in size, by parity (`parity_crossing`)
        ================  ==============================================================================================
        """
        with np.errstate(all="ignore"):                              # np.where also evaluates the cases it does not take
            z1, stride = self.keep * z0 + self.gain * s, 1
            if self.roots is None:
                half = math.sqrt(-self.disc) / 2
                slope = (z1 - z0 * (self.trace / 2)) / half
                # arctan(slope/z0), in the right quadrant for z0 = 0 too
                angle = math.pi / 2 + np.arctan2(-slope, -z0)
                t = np.where((z0 == 0) & (z1 == 0), np.inf, np.floor(angle / math.atan2(half, self.trace / 2)) + 1)
            elif self.creeps:
                r1, r2 = self.roots
                lead, gap = z1 - r2 * z0, math.sqrt(self.disc)       # lead = C1 gap, which has a limit at gap = 0
                if gap > 0:
                    t = np.log1p(-z0 * gap / lead) / -math.log1p(-gap / r1) if gap < r1 else np.zeros_like(z0)
                else:
                    t = -z0 * r1 / lead
                t = np.where(lead > 0, np.floor(t) + 1, np.inf)
            elif self.det < 0:
                r1, r2 = self.roots
                t, stride = parity_crossing(z1 - r2 * z0, r1 * z0 - z1, z1, r1, -r2), 2
            else:
                z2 = self.trace * z1 - self.det * z0
                return np.where(z1 > 0, 1.0, np.where(z2 > 0, 2.0, np.inf))
            return settle(t, lambda t: self.z_at(z0, s, t), stride)


def advance(rule: tuple[Any, Any, Any, Any], z: Array, s: Array, t: Array) -> Array:
    """z after t steps of (z, s) <- (keep z + gain s, pull z + momentum s), elementwise: the t-th power of the step's matrix.

    `rule` holds numbers or arrays. Repeated squaring keeps short binary numbers exact, and equal roots need no special case.
    """
    a, b, c, d = rule
    left: Any = int(t) if np.ndim(t) == 0 else np.asarray(t, dtype=np.int64)
    while True:
        odd = left % 2 == 1
        if odd is True:
            z, s = a * z + b * s, c * z + d * s
        elif odd is not False:
            z, s = np.where(odd, a * z + b * s, z), np.where(odd, c * z + d * s, s)
        left = left // 2
        if not np.any(left):
            return z
        a, b, c, d = a * a + b * c, (a + d) * b, (a + d) * c, d * d + b * c


def parity_crossing(c1: Array, c2: Array, z1: Array, p: float, q: float) -> Array:
    """Least t >= 1 with c1 p^t + c2 (-q)^t > 0, given c1 + c2 <= 0, p, q > 0 and z1, its value at t = 1.

    If z1 <= 0 then c1 <= 0, and only the second term can lift z above 0. It must outgrow the first (q > p), and is
    positive at even t (c2 > 0) or at odd t (c2 < 0): the least t > ln(abs(c1/c2))/ln(q/p) of that parity.
    """
    if q <= p:
        later = np.full_like(z1, np.inf)
    else:
        bound = np.log(np.abs(c1 / c2)) / math.log(q / p)
        later = np.where(c2 > 0, 2 * np.floor(bound / 2) + 2, 2 * np.floor((bound + 1) / 2) + 1)
        later = np.where((c2 == 0) | ~np.isfinite(bound), np.inf, np.maximum(later, 1))
    return np.where(z1 > 0, 1.0, later)


def settle(t: Array, z_at: Callable[[Array], Array], stride: int = 1) -> Array:
    """Correct a predicted step by one stride where rounding has moved the logarithm across an integer: the sign of z just before
    and at that step decides (z = 0 is still dead). Crossings with abs(z) < 1e-300 become inf."""
    found = t < 2.0 ** 53                # larger numbers of steps are not integers in float64 (and inf means never)
    t = np.where(found, t, 1.0)
    early = (t > stride) & (z_at(np.maximum(t - stride, 0.0)) > 0)
    t = np.where(early, t - stride, np.where(z_at(t) > 0, t, t + stride))
    visible = np.maximum(np.abs(z_at(t)), np.abs(z_at(t - 1))) >= TINY
    return np.where(found & visible, t, np.inf)


def check_numbers(name: str, values: ArrayLike) -> Array:
    """Finite real numbers as a float64 array."""
    array = as_numbers(values, name).astype(np.float64)
    for where in map(tuple, np.argwhere(~np.isfinite(array)).tolist()):
        raise ValueError(f"{name} holds {array[where]}{f' at index {where}' * bool(where)}, expected finite numbers")
    return array


def check_dead(z: ArrayLike, ndim: int) -> Array:
    """z <= 0 as a float64 array of `ndim` dimensions (a scalar is one sample)."""
    array = check_numbers("z", z)
    array = array.reshape(1) if array.ndim == 0 and ndim == 1 else array
    if array.ndim != ndim or array.shape[0] == 0:
        shapes = "(n,), or a scalar," if ndim == 1 else "(n, units)"
        raise ValueError(f"z has shape {array.shape}, expected {shapes} with at least one sample")
    for sample, *unit in np.argwhere(array > 0).tolist():
        where = f"sample {sample}" + (f" of unit {unit[0]}" if unit else "")
        raise ValueError(f"z is {array[sample, *unit]:.6g} at {where}, expected at most 0 on every sample of a dead unit")
    return array


def check_like(name: str, values: ArrayLike | None, z: Array) -> Array:
    """Finite numbers as float64, in the shape of z (None: zeros)."""
    if values is None:
        return np.zeros_like(z)
    array = check_numbers(name, values)
    array = array.reshape(1) if array.ndim == 0 and z.shape == (1,) else array
    if array.shape != z.shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {z.shape}, the shape of z")
    return array
