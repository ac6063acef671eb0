"""Interventions: kill a unit, or turn it into its mirror image."""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..autodiff.node import Array
from ..checks import check_count, check_number, said
from ..nn import Linear, Maxout, Module, Residual
from ..optim import Optimizer
from .units import HiddenLayer, Units, flat_edges


def kill(model: Module | Units, x: Any, units: npt.ArrayLike | None = None, *, margin: float = 0.2, layer: int = 0,
         optimizer: Optimizer | None = None, keep_velocity: bool = True) -> None:
    """Lower biases until the units are dead on x: until the largest z of each is at most -margin.

    (For an activation other than ReLU: `margin` below the edge of its flat side.) Units that are that far below already are not
    changed.

    Parameters
    ----------
    units : which units of the layer (default: all), as indices or as a mask.
    layer : counted from 0 among the hidden layers.
    keep_velocity : if False, the buffers that `optimizer` holds for these units are set to 0. If True, a unit whose buffer pushes
        z up may come back by momentum alone; `prognosis` tells which units do, and at which step.

    >>> model, x = nn.MLP([2, 3, 2], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> kill(model, x, [0, 2])
    >>> lab.census(model, x).layers[0].max_z.round(3)[[0, 2]]
    array([-0.2, -0.2], dtype=float32)
    """
    found = Units.of(model)
    x, margin, layer = found.data(x), check_number(margin, "kill: margin"), _check_layer("kill", found, layer)
    chosen = found.layers[layer]
    low = flat_edges(chosen.activation)[0]
    if chosen.affine.bias is None or chosen.norm is not None or not np.isfinite(low):
        what = "a norm before its activation" if chosen.norm is not None else "no bias" if chosen.affine.bias is None else (
            f"{chosen.activation_name}, which has no flat side below")
        raise ValueError(f"kill: hidden layer {layer} has {what}; expected a bias and an activation such as ReLU after it")
    if not keep_velocity and not isinstance(optimizer, Optimizer):
        raise TypeError(f"kill: with keep_velocity=False, the optimizer is {said(optimizer)}, expected the one whose buffers "
                        "are to be emptied")
    rows = _rows("kill", units, chosen)
    looks = found.walk(x)
    z = next(look.z for i, look in enumerate(looks) if i == layer)
    bias = chosen.affine.bias.data.copy()
    bias[rows] -= np.maximum(z[:, rows].max(axis=0) - (low - margin), 0)
    chosen.affine.bias.data = bias
    if not keep_velocity and optimizer is not None:
        for p in chosen.parameters:
            _empty(optimizer, p, rows)


def mirror(model: Module | Units, units: npt.ArrayLike, kappa: float = 1.0, *, layer: int = 0,
           optimizer: Optimizer | None = None) -> None:
    """Replace units by their mirror images, (w, b) <- -kappa (w, b), and set their outgoing weights to 0.

    A unit with z < 0 on all samples then has z > 0 on all. If its output was 0 on all, the network still gives the same outputs
    there. Its outgoing weights get a gradient at once; when they are not 0 any more, so does the unit. Momentum and decay bring
    a unit back in the same form, as its mirror image. The buffers that `optimizer` holds for these weights are set to 0.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2))
    >>> kill(model, x, [0])
    >>> before = model(x).data
    >>> mirror(model, [0])
    >>> bool((model(x).data == before).all()), lab.census(model, x).units()[0]["state"]
    (True, 'always on')
    """
    found = Units.of(model)
    layer, kappa = _check_layer("mirror", found, layer), check_number(kappa, "mirror: kappa")
    chosen = found.layers[layer]
    following, rows = _following(found.model, chosen), _rows("mirror", units, chosen)
    for p in chosen.parameters:
        values = p.data.copy()
        values[rows] *= -kappa
        p.data = values
        _empty(optimizer, p, rows)
    outgoing = following.weight.data.copy()
    outgoing[:, rows] = 0
    following.weight.data = outgoing
    _empty(optimizer, following.weight, (slice(None), rows))


def _check_layer(who: str, units: Units, layer: int) -> int:
    if check_count(layer, f"{who}: layer", least=0) >= len(units.layers):
        raise IndexError(f"{who}: layer is {layer}, expected a hidden layer from 0 to {len(units.layers) - 1}")
    return layer


def _following(model: Module, layer: HiddenLayer) -> Linear | Maxout:
    """The one layer that takes the output of this one."""
    what = "Maxout pieces" if isinstance(layer.affine, Maxout) else "a Residual around it" if layer.residuals else ""
    modules = list(model.modules())
    for module in modules[modules.index(layer.affine) + 1:]:
        if isinstance(module, (Linear, Maxout)) and not what:
            return module
        what = what or ("a norm after it" if module.is_norm else "a Residual after it" if isinstance(module, Residual) else "")
    raise ValueError(f"mirror: layer {layer.name} has {what or 'no layer after it'}; expected a Linear whose output, after the "
                     "activation, goes to one other layer and nowhere else")


def _rows(who: str, units: npt.ArrayLike | None, layer: HiddenLayer) -> Array:
    every = np.arange(layer.units)
    try:
        return every if units is None else every[np.asarray(units)].reshape(-1)
    except IndexError:
        raise IndexError(f"{who}: units is {units!r}, expected indices from 0 to {layer.units - 1}, or a mask of {layer.units} "
                         "booleans") from None


def _empty(optimizer: Optimizer | None, parameter: Any, where: Any) -> None:
    if optimizer is not None and optimizer.holds(parameter):
        for buffer in optimizer.state_of(parameter).values():
            buffer[where] = 0           # a view
