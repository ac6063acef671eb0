"""The future of a dead unit step by step under torch.optim.SGD: schedules, and decay on weights or biases only.

With a gradient of zero, only decay and the buffer move the parameters, and both are linear. So the optimizer's update can be
applied to the pre-activations z(x) = w.x + b instead of the weights, sample by sample, with the buffer V(x) = v_w.x + v_b. (V is
in units of gradient: the rate enters when the step is made, which is right for schedules too.)

    g = weight_decay z                                  (coupled; g = 0 and z <- (1 - lr weight_decay) z if decoupled)
    V <- momentum V + (1 - dampening) g                 (V = g at the first step of a fresh optimizer)
    z <- z - lr (g + momentum V if nesterov else V)     (z <- z - lr g without momentum)

For a constant rate, `closed_form` solves this recurrence. With decay on the weights only or on the biases only, w.x and b follow
different recurrences: `revival_parts`. Values below 1e-300 become 0, so that no subnormal rounding error counts as a revival.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import asdict
from itertools import count, repeat
from typing import Any, Literal, NamedTuple, SupportsFloat, get_args

import numpy as np
from numpy.typing import ArrayLike

from ..checks import check_count, check_name, check_number, counted
from .closed_form import Revival, revival
from .recurrence import TINY, Array, Recurrence, Settings, check_dead, check_like, check_numbers, parity_crossing, settle

Rate = float | Sequence[float] | Callable[[int], float]
Decay = Literal["both", "weights", "biases"]
DECAYS: tuple[Decay, ...] = get_args(Decay)


class Rolled(NamedTuple):
    """Where a roll-forward ended: at the revival, or at the last step (step and sample None); z are the pre-activations there."""

    step: int | None
    sample: int | None
    z: Array


def orbit(z: ArrayLike, velocity: ArrayLike | None = None, *, lr: Rate, bias: ArrayLike | None = None,
          bias_velocity: ArrayLike | None = None, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0,
          nesterov: bool = False, decoupled: bool = False, decay: Decay = "both") -> Iterator[Array]:
    """Yield z[1], z[2], ...: the pre-activations after each optimizer step with a gradient of zero.

    - `z`: pre-activations w.x + b over the samples (any shape); the part w.x alone if `bias` is given.
    - `velocity`: V(x), or v_w.x alone if `bias` is given, shape of z; the drift of `revival` is -lr V. None: no buffer yet.
    - `lr`: a number, a function of the step (0 for the first) such as `at` of a schedule (`optim.StepLR` ...), or a sequence; the
      orbit ends with it.
    - `bias`, `bias_velocity`: b and v_b, to follow weights and biases separately; one for all samples.
    - `decay`: the part on which weight_decay acts; "weights" and "biases" need `bias`.

    >>> [float(z) for _, z in zip(range(3), lab.orbit(-1.0, -0.5, lr=[1.0, 0.5, 0.5], momentum=0.5))]
    [-0.75, -0.6875, -0.65625]
    """
    settings = Settings(0.0, momentum, dampening, weight_decay, nesterov, decoupled)
    check_name(decay, DECAYS, "decay")
    if bias is None and (decay != "both" or bias_velocity is not None):
        raise ValueError(f"decay = {decay!r} and bias_velocity treat the bias separately from the weights: pass bias")
    parts = [check_numbers("z", z)]
    buffers = [None if velocity is None else check_like("velocity", velocity, parts[0])]
    if bias is not None:
        parts.append(check_numbers("bias", bias))
        buffers.append(None if bias_velocity is None else check_like("bias_velocity", bias_velocity, parts[1]))
        if parts[1].ndim > parts[0].ndim or parts[1].shape != parts[0].shape[parts[0].ndim - parts[1].ndim:]:
            raise ValueError(f"bias has shape {parts[1].shape}, expected a scalar or the last axes of z, {parts[0].shape}")
    decays = [0.0 if decay == "biases" else weight_decay, 0.0 if decay == "weights" else weight_decay][:len(parts)]
    if not callable(lr) and not isinstance(lr, (SupportsFloat, Iterable)):
        raise TypeError(f"lr is {type(lr).__name__}, expected a number, a sequence, or a function such as `at` of a schedule")
    given: Any = lr
    one = isinstance(lr, SupportsFloat) and not np.ndim(given)          # an array has __float__ too
    rates = map(given, count()) if callable(lr) else repeat(given) if one else iter(given)
    return _orbit(parts, buffers, decays, rates, settings)


def _orbit(parts: list[Array], buffers: list[Array | None], decays: list[float], rates: Iterator[float],
           settings: Settings) -> Iterator[Array]:
    """The loop of `orbit`; each part has its own buffer and decay. (Split from `orbit`, so that bad input raises at the call.)"""
    momentum = settings.momentum
    for step, rate in enumerate(rates):
        check_number(rate, f"lr at step {step}")
        for i, (part, buffer, weight_decay) in enumerate(zip(parts, buffers, decays, strict=True)):
            if settings.decoupled:
                part, g = part * (1 - rate * weight_decay), np.zeros_like(part)
            else:
                g = weight_decay * part
            if momentum != 0:
                buffer = g if buffer is None else momentum * buffer + (1 - settings.dampening) * g
                buffers[i] = np.where(np.abs(buffer) < TINY, 0.0, buffer)
                g = g + momentum * buffer if settings.nesterov else buffer
            part = part - rate * g
            parts[i] = np.where(np.abs(part) < TINY, 0.0, part)
        yield parts[0] + parts[1] if len(parts) == 2 else parts[0]


def roll_forward(z: ArrayLike, velocity: ArrayLike | None = None, *, lr: Rate, steps: int, bias: ArrayLike | None = None,
                 bias_velocity: ArrayLike | None = None, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0,
                 nesterov: bool = False, decoupled: bool = False, decay: Decay = "both") -> Rolled:
    """Follow the `orbit` of one dead unit, z (n,) or a scalar, to its first z > 0, for `steps` steps at most.

    >>> lab.roll_forward([-1.0, -2.0], lr=0.1, momentum=0.9, weight_decay=0.1, steps=100).step
    24
    >>> lab.roll_forward(-1.0, -2.0, lr=lambda step: 0.1 if step < 5 else 0.0, momentum=0.9, steps=100).step is None
    True
    """
    check_count(steps, "steps", least=0)
    if isinstance(lr, Sized) and len(lr) < steps:
        raise ValueError(f"lr holds {counted(len(lr), 'rate')}, expected one for each of the {steps} steps")
    z = np.atleast_1d(check_numbers("z", z))
    velocity = None if velocity is None else np.atleast_1d(check_numbers("velocity", velocity))
    now = check_dead(z if bias is None else z + check_numbers("bias", bias), ndim=1)
    walk = orbit(z, velocity, lr=lr, bias=bias, bias_velocity=bias_velocity, momentum=momentum, dampening=dampening,
                 weight_decay=weight_decay, nesterov=nesterov, decoupled=decoupled, decay=decay)
    for step, now in zip(range(1, steps + 1), walk):
        if now.max() > 0:
            return Rolled(step, int(now.argmax()), now)
    return Rolled(None, None, now)


def revival_parts(zw: ArrayLike, b: float, drift_w: ArrayLike | None = None, drift_b: float | None = None, *, lr: float,
                  momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
                  decoupled: bool = False, decay: Decay = "both", max_leaps: int = 20_000) -> Revival:
    """The future of one dead unit, z(x) = w.x + b, when weight_decay acts on the weights only or on the bias only.

    Without momentum there is a closed form. With rho = 1 - lr weight_decay > 0, over the best sample:

        decay on the bias only:     iff some w.x > 0 (then b < 0): t = floor(ln(w.x / abs(b)) / ln rho) + 1
        decay on the weights only:  iff b > 0 (then w.x < 0):      t = floor(ln(b / abs(w.x)) / ln rho) + 1

    With momentum, z is a constant plus up to three powers, and no closed form is known. So z[t] is computed for some t only; a
    bound on the steps shows that z does not become positive in between.

    - `zw`, `drift_w`: w.x and -lr v_w.x over the samples, shape (n,) or scalar.
    - `b`, `drift_b`: b and -lr v_b, numbers. Give both drifts, or neither (a fresh optimizer).
    - `decay`: "both", "weights" or "biases".
    - `max_leaps`: how often z[t] is computed before `decided` is False, which it may also be if z diverges (dampening > 1, or an
      enormous decay).

    >>> lab.revival_parts([0.5, -1.0], -2.0, lr=0.1, weight_decay=0.1, decay="biases").step     # ln(1/4)/ln(0.99) = 137.9
    138
    >>> lab.revival_parts([-3.0, -1.0], 0.5, lr=0.1, weight_decay=0.1, decay="weights").step
    69
    >>> lab.revival_parts([-3.0, -1.0], -0.5, lr=0.1, weight_decay=0.1, momentum=0.9, decay="weights").step is None
    True
    """
    settings = Settings(lr, momentum, dampening, weight_decay, nesterov, decoupled)
    check_name(decay, DECAYS, "decay")
    check_count(max_leaps, "max_leaps")
    if (drift_w is None) != (drift_b is None):
        raise ValueError("got one of drift_w and drift_b, expected both, or neither (a fresh optimizer)")
    zw = np.atleast_1d(check_numbers("zw", zw))
    sw = check_like("drift_w", None if drift_w is None else np.atleast_1d(drift_w), zw)
    if np.ndim(b) or (drift_b is not None and np.ndim(drift_b)):
        raise ValueError("b or drift_b is an array, expected single numbers, as a unit has one bias")
    zb = np.full_like(zw, check_numbers("b", b))
    sb = np.full_like(zw, 0.0 if drift_b is None else check_numbers("drift_b", drift_b))
    check_dead(zw + zb, ndim=1)
    c = settings.eta_lambda
    if lr == 0 and (sw.any() or sb.any()):
        raise ValueError("with lr = 0 a drift, lr times the buffer, is 0; got another one")
    if decay == "both" or c == 0:
        return revival(zw + zb, None if drift_w is None else sw + sb, **asdict(settings))
    still, push, fading, drift = (zb, sb, zw, sw) if decay == "weights" else (zw, sw, zb, sb)
    if momentum == 0:
        return _without_momentum(still, fading, c)
    if not (still.any() or push.any()):                 # the part without decay is and stays 0: decay acts on all of z
        return revival(fading, None if drift_w is None else drift, **asdict(settings))
    rule = Recurrence.of(settings)
    undamped = drift_w is None and rule.decay != c      # as in closed_form: the first step is made here
    if undamped:
        drift = -lr * weight_decay * fading
        fading = fading + drift
    step, z, decided = _leap(rule, still, rule.gain * push, fading, drift, int(undamped), max_leaps)
    sample = None if step is None else int(z.argmax())
    reason = (f"step {step}, through sample {sample}: momentum, with decay on the {decay} only, carries z over 0"
              if step is not None
              else f"never: with decay on the {decay} only, z comes to rest at or below 0 on every sample" if decided
              else "not decided: z grows without bound, with no sample above 0 so far" if rule.radius > 1
              else f"not decided: nothing found within {max_leaps} leaps")
    return Revival(step, sample, reason, rule.window, rule.decay, rule.edges, decided=decided)


def _without_momentum(still: Array, fading: Array, c: float) -> Revival:
    """z[t] = still + (1 - c)^t fading, with still + fading <= 0: the closed forms of `revival_parts`."""
    def z_at(t: Array) -> Array:
        return still + (1 - c) ** t * fading

    with np.errstate(all="ignore"):
        if c < 1:
            t = settle(np.where(still > 0, np.floor(np.log(-still / fading) / math.log1p(-c)) + 1, np.inf), z_at)
        elif c == 1:
            t = np.where(still > 0, 1.0, np.inf)         # the fading part is gone after one step
        else:                                            # it changes sign at every step, and grows if c > 2
            t = settle(parity_crossing(still, fading, z_at(np.array(1)), 1.0, c - 1), z_at, stride=2)
    step = t.min()
    if step == np.inf:
        why = "the part of z that does not decay is <= 0 on every sample, and the other only shrinks"
        return Revival(None, None, f"never: {why}", decay=c)
    sample = int(np.where(t == step, z_at(np.array(step)), -np.inf).argmax())
    why = ("the negative part of z decays until the positive part outweighs it" if c < 1 else
           f"lr*weight_decay = {c:.4g} is so large that decay does not keep the sign of its part of z")
    return Revival(int(step), sample, f"step {int(step)}, through sample {sample}: {why}", decay=c)


def _leap(rule: Recurrence, still: Array, push: Array, fading: Array, drift: Array, offset: int, max_leaps: int
          ) -> tuple[int | None, Array, bool]:
    """First step with z > 0, when one part of z decays by `rule` and the other coasts: (step, z there, decided).

    z[t] = limit - w mu^t + C1 r1^t + C2 r2^t with w = push/(1 - mu), limit = still + w, and r1, r2 the roots of `rule`.
    From t on no step exceeds pace = abs(w) (1 - mu) mu^t + abs(C1) abs(r1 - 1) abs(r1)^t + ..., so abs(z)/pace steps are skipped.
    z stays within tail = abs(w) mu^t + abs(C1) abs(r1)^t + ... of `rest`, its limit: "never" once rest + tail <= 0 everywhere.
    """
    mu, z0, z1 = rule.momentum, fading, rule.keep * fading + rule.gain * drift
    half = math.sqrt(max(-rule.disc, 0.0)) / 2
    r1, r2 = rule.roots or (complex(rule.trace / 2, half), complex(rule.trace / 2, -half))
    rho, w = rule.radius, push / (1 - mu)
    limit = rest = still + w
    if not (z0.any() or z1.any()):                       # the decayed part is 0 from the start, whatever its roots
        r1 = r2 = rho = 0.0
    if r1 != r2:
        c1: Any = (z1 - r2 * z0) / (r1 - r2)             # real or complex
        c2 = z0 - c1
        if r1 == 1:                                      # dampening 1: no decay enters the buffer, z only coasts
            rest = limit + c1
    t = 0
    for _ in range(max_leaps):
        z = limit - w * mu ** t + rule.z_at(z0, drift, np.array(t))
        if t + offset > 0 and z.max() > 0:
            return t + offset, z, True
        if rho > 1:                                      # z diverges (decay too strong, or dampening > 1): no skipping
            if t * math.log(rho) > 600:
                break
            t += 1
            continue
        if r1 != r2:
            a1, a2 = np.abs(c1) * (abs(r1) ** t if r1 != 1 else 0.0), np.abs(c2) * abs(r2) ** t
            tail, pace = a1 + a2, a1 * abs(r1 - 1) + a2 * abs(r2 - 1)
        else:       # a double root: the decayed part is <= t rho^(t-1) (abs(z1) + rho abs(z0)), largest at -1/ln rho
            late = max(t, -1 / math.log(rho) if rho else 1)
            tail = late * rho ** (late - 1) * (np.abs(z1) + rho * np.abs(z0))
            pace = 2 * tail
        tail, pace = tail + np.abs(w) * mu ** t, pace + np.abs(w) * (1 - mu) * mu ** t
        open_ = (rest + tail > 0) & (tail >= TINY)
        if not open_.any():
            return None, z, True
        t += max(1, math.floor(min(np.min(-z[open_] / np.maximum(pace[open_], TINY)), 2.0 ** 53)))
    return None, z, False
