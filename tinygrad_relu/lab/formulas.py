"""What formulas say of the dead units of a layer, in real numbers: an answer for each unit, or None where they do not apply.

The closed forms answer for SGD with constant rates (`closed_form`), the comparison theorem for SGD with a schedule, and a bound
on all coming steps for Adam (`laws`).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..ops.linalg import product
from ..optim import SGD, Optimizer
from .closed_form import Revival, layer_revivals
from .laws import adam_coast, ratio, return_between, safe_rate
from .layers import HiddenLayer, Look, flat_edges
from .recurrence import Settings
from .rehearsal import Rehearsal
from .roll_forward import Decay, revival_parts

Answers = Sequence[Revival | None]


def moves_as(rule: type[Optimizer], optimizer: Optimizer) -> bool:
    """Whether an optimizer makes its steps by this rule, and not by one of its own."""
    mine = type(optimizer)
    return optimizer.elementwise and mine.move is rule.move and mine.launch_of is rule.launch_of and mine.step is rule.step


def settings_of(optimizer: Optimizer, layer: HiddenLayer) -> tuple[Settings, Decay] | None:
    """SGD's settings for this layer, and the part on which its decay acts; None if weights and biases differ in more than that,
    or the optimizer is not an SGD that moves this layer."""
    if not isinstance(optimizer, SGD) or not moves_as(SGD, optimizer) or not all(
            p.requires_grad and optimizer.holds(p) for p in layer.parameters):
        return None
    mine, *rest = (Settings.among(optimizer.options_of(p)) for p in layer.parameters)
    other = rest[0] if rest else mine
    if mine == other:
        return mine, "both"
    if replace(mine, weight_decay=other.weight_decay) != other or (mine.weight_decay and other.weight_decay):
        return None
    return (mine, "weights") if mine.weight_decay else (other, "biases")


def buffers(look: Look, dead: Array, optimizer: Optimizer) -> list[Array] | None:
    """v_w.x (samples, units) and v_b (units,) of the momentum buffers; empty before the first step. None if one has none yet."""
    held = [optimizer.state_of(p).get("momentum_buffer") for p in look.layer.parameters]
    if len({buffer is None for buffer in held}) > 1:
        return None
    return [(product(look.inputs, buffer[dead], transpose_b=True) if buffer.ndim == 2 else buffer[dead]).astype(np.float64)
            for buffer in held if buffer is not None]


def _of_sgd(look: Look, dead: Array, optimizer: Optimizer) -> tuple[Array, Settings, Decay, list[Array]] | None:
    """z of the dead units, (samples, units), and settings, decay and buffers of their layer. None where no formula applies: to
    another optimizer, or an activation that is not flat below 0."""
    z, known = look.z[:, dead].astype(np.float64), settings_of(optimizer, look.layer)
    held = None if known is None else buffers(look, dead, optimizer)
    fits = flat_edges(look.layer.activation)[0] == 0 and (z <= 0).all()
    return (z, *known, held) if known is not None and held is not None and fits else None


def by_closed_form(look: Look, dead: Array, optimizer: Optimizer) -> Answers:
    """The answers of the closed forms, at constant rates."""
    layer = look.layer
    if not any(p.requires_grad and optimizer.holds(p) for p in layer.parameters):
        return [Revival(None, None, "never: the optimizer does not move this layer")] * len(dead)
    if (known := _of_sgd(look, dead, optimizer)) is None:
        return [None] * len(dead)
    z, settings, decay, held = known
    drifts = [-settings.lr * buffer for buffer in held]
    told: list[Revival | None] = []
    if decay == "both":
        told += layer_revivals(z, sum(drifts) if drifts else None, **asdict(settings))
    else:
        part, error = _weights_alone(look, dead)
        for i, b in enumerate(layer.parameters[1].data[dead].astype(np.float64).tolist()):
            known_sign = decay == "weights" or bool((np.abs(part[:, i]) >= error[:, i]).all())
            told.append(revival_parts(part[:, i], b, drifts[0][:, i] if drifts else None, float(drifts[1][i]) if drifts else None,
                                      decay=decay, **asdict(settings)) if known_sign and (part[:, i] + b <= 0).all() else None)
    high = flat_edges(layer.activation)[1]
    return [r if r and (r.step is None or high == np.inf) else None for r in told]      # it may jump over the live side


def _weights_alone(look: Look, dead: Array) -> tuple[Array, Array]:
    """w.x, without the bias, and a bound on its rounding, (samples, units). (z - b would lose a w.x that is small beside b.)"""
    x, w = look.inputs.astype(np.float64), look.layer.parameters[0].data[dead].astype(np.float64)
    sizes = product(np.abs(x), np.abs(w), transpose_b=True)             # NumPy's `@` would leave a thread spinning for 0.1 s
    return product(x, w, transpose_b=True), (x.shape[1] + 2) * 2.0**-52 * sizes


def by_comparison(look: Look, dead: Array, optimizer: Optimizer, rates: Sequence[Sequence[float]]) -> Answers:
    """The answers of the comparison theorem, under a schedule with these rates."""
    known, own = _of_sgd(look, dead, optimizer), {tuple(step[:len(look.layer.parameters)]) for step in rates}
    if (known is None or not own or flat_edges(look.layer.activation) != (0.0, np.inf)
            or any(len(set(step)) > 1 for step in own)):
        return [None] * len(dead)
    z, settings, decay, held = known
    lowest, highest = (pick(rate for rate, *_ in own) for pick in (min, max))
    velocity: Any = sum(held) if held else None
    options = {name: value for name, value in asdict(settings).items() if name != "lr"}
    fresh = {} if held else {"dampening": 0.0}              # the first gradient of a fresh buffer is not dampened
    if decay == "both":
        w, between = ratio(z, velocity), return_between(z, velocity, lowest=lowest, highest=highest, **options)
    else:
        stays = look.layer.parameters[1].data[dead].astype(np.float64)       # the part of z that does not decay
        if decay == "biases":
            stays = np.add(*_weights_alone(look, dead)).max(axis=0)
        w, between = np.where((stays <= 0) & (not any(part.any() for part in held)), 0.0, np.inf), [None] * len(dead)
    told: list[Revival | None] = []
    for limit, safe, back in zip(w, safe_rate(w, **{**options, **fresh}), between):
        if highest <= safe and limit < np.inf:
            told.append(Revival(None, None, f"never, as long as no rate exceeds {safe:.5g}: up to step {len(rates)} the highest "
                                            f"is {highest:.5g}"))
        elif back is not None and back[0] > 1:
            when = (f"it does not return before step {back[0]}" if back[1] is None else
                    f"it returns between step {back[0]} and step {back[1]}")
            told.append(Revival(None, None, f"{when}, if all rates stay between {lowest:.5g} and {highest:.5g}", decided=False))
        else:
            told.append(None)
    return told


def by_coasting(layer: HiddenLayer, dead: Array, rehearsal: Rehearsal) -> Answers:
    """Never, for each unit that Adam or AdamW cannot bring back with the buffers left after the rehearsal; None for others."""
    copies = [rehearsal.held[p] for p in layer.parameters if p in rehearsal.held]
    settings = {tuple(rehearsal.twin.options_of(copy)[name] for name in ("betas", "lr", "weight_decay")) for copy in copies}
    decoupled = rehearsal.twin.decoupled
    if len(copies) < len(layer.parameters) or len(settings) > 1 or (not decoupled and any(decay for _, _, decay in settings)):
        return [None] * len(dead)
    (betas, lr, decay), link = settings.pop(), rehearsal.links[0]
    keep = 1 - lr * decay if decoupled else 1.0
    rehearsal.look(fully=True)
    coast = adam_coast(betas, rehearsal.t, keep)        # at least t steps have been made, and the bound falls with them
    stays = link.stays(coast * np.abs(link.values() - keep * link.values(rehearsal.before)))
    why = f"never: after step {rehearsal.t} all coming steps sum to at most {coast:.3g} times the last, which is too little"
    return [Revival(None, None, why) if stays.get(int(j), False) else None for j in dead]
