"""When does a dead ReLU unit come back? The answer in closed form, to the integer step, with the reason in words."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .recurrence import Recurrence, Settings, check_dead, check_like


@dataclass(frozen=True)
class Revival:
    """The future of one dead unit.

    - `step`: the first step t >= 1 (optimizer steps from now) with z > 0 on some sample; None for never.
    - `sample`: the sample with the largest z at that step; None for never.
    - `reason`: one sentence.
    - `window`: where `decay` is relative to `edges`: "below", "inside" or "above" (an edge is not inside); "none" if the
      optimizer has no window.
    - `decay`: lr weight_decay, times 1 - dampening where that applies.
    - `edges`: (lower, upper), between which momentum and coupled decay swing z through 0.
    - `drift_factor`: the k for which a sample returns if and only if its drift s > k abs(z); None if there is no such k.
    - `decided`: False only if `revival_parts` gave up before it could prove "never".
    """
    step: int | None
    sample: int | None
    reason: str
    window: Literal["none", "below", "inside", "above"] = "none"
    decay: float = 0.0
    edges: tuple[float, float] | None = None
    drift_factor: float | None = None
    decided: bool = True


def revival(z: ArrayLike, drift: ArrayLike | None = None, *, lr: float, momentum: float = 0.0, dampening: float = 0.0,
            weight_decay: float = 0.0, nesterov: bool = False, decoupled: bool = False) -> Revival:
    """The future of one dead unit under torch.optim.SGD: step, sample and reason.

    - `z`: pre-activations w.x + b over the samples, shape (n,) or scalar, all <= 0.
    - `drift`: s(x) = -lr (v_w.x + v_b), the move stored in the momentum buffer v, shape of z. None: a fresh optimizer, without a
      buffer. That differs from zeros only with dampening and coupled decay: PyTorch does not dampen the first gradient.
    - `weight_decay`: acts on weights and bias alike; for decay on only one of them see `revival_parts`.
    - `decoupled`: p *= 1 - lr weight_decay before the step, as in AdamW, in place of the coupled g += weight_decay p.

    >>> r = lab.revival([-3.0, -1.0], lr=0.1, momentum=0.9, weight_decay=0.1)
    >>> r.step, r.sample, r.window
    (24, 0, 'inside')
    >>> lab.revival([-3.0, -1.0], lr=0.1, weight_decay=0.1).reason
    'never: decay alone shrinks z but keeps its sign'
    """
    z = check_dead(z, ndim=1)
    return layer_revivals(z[:, None], None if drift is None else check_like("drift", drift, z)[:, None], lr=lr, momentum=momentum,
                          dampening=dampening, weight_decay=weight_decay, nesterov=nesterov, decoupled=decoupled)[0]


def revival_step(z: ArrayLike, drift: ArrayLike | None = None, *, lr: float, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False, decoupled: bool = False) -> int | None:
    """The least t >= 1 at which the dead unit has z > 0 on some sample, or None for never; see `revival`.

    >>> lab.revival_step(-1.0, lr=0.1, momentum=0.99, weight_decay=5e-4)
    472
    >>> lab.revival_step(-1.0, 0.2, lr=0.1, momentum=0.9), lab.revival_step(-1.0, 0.1, lr=0.1, momentum=0.9)
    (8, None)
    """
    return revival(z, drift, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
                   decoupled=decoupled).step


def layer_revivals(z: ArrayLike, drift: ArrayLike | None = None, *, lr: float, momentum: float = 0.0, dampening: float = 0.0,
                   weight_decay: float = 0.0, nesterov: bool = False, decoupled: bool = False) -> list[Revival]:
    """`revival` for all units of a layer at once: z and drift have shape (samples, units), one answer per unit.

    >>> [r.step for r in lab.layer_revivals(np.array([[-1.0, -3.0], [-2.0, -1.0]]), np.array([[0.2, 0.0], [0.1, -1.0]]),
    ...                                     lr=0.1, momentum=0.9)]
    [8, None]
    """
    settings = Settings(lr, momentum, dampening, weight_decay, nesterov, decoupled)
    z = check_dead(z, ndim=2)
    s = check_like("drift", drift, z)
    if lr == 0 and np.any(s):
        raise ValueError("with lr = 0 the drift, lr times the buffer, is 0; got another one")
    rule = Recurrence.of(settings)
    start, offset = z, 0
    if drift is None and rule.decay != settings.eta_lambda:
        # A fresh optimizer does not dampen its first gradient: that step is made here.
        s, offset = -lr * weight_decay * z, 1
        start = z + s
    with np.errstate(all="ignore"):
        steps = np.where(start > 0, 1.0, offset + rule.first_positive(np.minimum(start, 0.0), s))
        first = steps.min(axis=0)
        when = np.where(np.isfinite(first), first, 1.0)
        arrival = rule.z_at(start, s, when - offset)
    samples = np.where(steps <= when, arrival, -np.inf).argmax(axis=0)
    answers = []
    for unit in range(z.shape[1]):
        drifts = bool(s[:, unit].any())
        step, sample = (int(first[unit]), int(samples[unit])) if np.isfinite(first[unit]) else (None, None)
        moves = bool(start[:, unit].any() or rule.gain * drifts)
        answers.append(Revival(step, sample, _reason(rule, step, sample, moves, drifts, offset == 1), rule.window, rule.decay,
                               rule.edges, rule.drift_factor if offset == 0 else None))
    return answers


def _reason(rule: Recurrence, step: int | None, sample: int | None, moves: bool, drifts: bool, fresh: bool) -> str:
    """One sentence: what happens, and why."""
    head = "never" if step is None else f"step {step}, through sample {sample}"
    if not moves:
        why = "z is exactly 0 on every sample and nothing moves it"
    elif step is None and rule.roots is None:
        why = "z turns towards 0, but has shrunk below 1e-300 before it gets there"
    elif rule.window == "inside" and rule.edges:
        why = (f"decay per step = {rule.decay:.4g} lies inside ({rule.edges[0]:.5g}, {rule.edges[1]:.5g}), "
               "where momentum and coupled decay swing z through 0")
    elif step is not None and not rule.creeps:
        why = f"decay per step = {rule.decay:.4g} is so large that decay does not keep the sign of z"
    elif fresh:
        why = f"the undampened first step of a fresh buffer {'carries' if step else 'does not carry'} z over 0"
    elif step is not None:
        why = "the drift left in the momentum buffer carries z over 0"
    elif rule.gain and drifts:
        need = f"; a sample needs drift > {rule.drift_factor:.4g} abs(z)" if rule.creeps else ""
        why = f"the drift left in the momentum buffer does not carry z over 0{need}"
    elif rule.decay == 0:
        why = "the gradient is zero, and neither a drift nor decay moves the unit"
    else:
        why = "decay alone shrinks z but keeps its sign"
        if rule.window == "below" and rule.edges:
            why += f" while decay per step = {rule.decay:.4g} is not above {rule.edges[0]:.5g}"
    return f"{head}: {why}"
