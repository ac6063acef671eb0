"""What the laboratory asks of a layer of units, per column, in one pass over the samples each."""
from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ..formulas.record import Elementwise
from ..machine.policy import kernel, scalar


def unit_extremes(activation: Elementwise[...]) -> Any:
    """``extremes(z, y, p, zmax, zmin, slope_max, slope_min, bad)``, made for one activation.

    It lets the samples of one batch join the extremes of every unit: all that its state depends on. z, y (samples, units)
    are pre-activations and activations. Per unit: largest and smallest z, largest and smallest abs(f'(z)), and (float64)
    how many z are NaN or infinite. The slopes are never written down: measured, half the time of doing so.
    """
    return _extremes(activation.name, activation.f_dx)


@scalar
def slope_given(g: float, x: float, y: float) -> float:
    """The place of `f_dx` where slopes are known already, and stand in the place of the activations."""
    return y


@cache
def _extremes(name: str, f_dx: Callable[..., float]) -> Any:
    def extremes(z, y, p, zmax, zmin, slope_max, slope_min, bad):
        for r in range(z.shape[0]):
            for c in range(z.shape[1]):
                value = z[r, c]
                steep = abs(f_dx(type(value)(1), value, y[r, c], *p))
                zmax[c] = value if value > zmax[c] else zmax[c]
                zmin[c] = value if value < zmin[c] else zmin[c]
                slope_max[c] = steep if steep > slope_max[c] else slope_max[c]
                slope_min[c] = steep if steep < slope_min[c] else slope_min[c]
                bad[c] += 0.0 if value - value == 0 else 1.0

    return kernel(extremes, name=f"{name}_extremes", formulas=(f_dx,))


extremes_given_slopes = _extremes("given_slope", slope_given)       # extremes(z, slope, (), ...)


@kernel
def unit_sums(z, h, slope, zsum, hsum, on, flat):
    """Add the samples of one batch to the sums of every unit, all float64.

    h (samples, units): activations. Per unit: sums of z and of abs(h), how often z > 0, how often the slope is exactly 0.
    """
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            value = z[r, c]
            zsum[c] += value
            hsum[c] += abs(h[r, c])
            on[c] += 1.0 if value > 0 else 0.0
            flat[c] += 1.0 if slope[r, c] == 0 else 0.0
