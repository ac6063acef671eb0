"""Statistics of the units of a layer (the columns of a matrix), each in one pass over the samples."""
from __future__ import annotations

from collections.abc import Callable

from ..formulas import ACTIVATIONS
from ..formulas.record import Elementwise
from ..machine.policy import Doubles, Kernel, Matrix, Parameters, Vector, factory, kernel, scalar


def _extremes(name: str, f_dx: Callable[..., float], parameters: int) -> Kernel:
    def extremes(z: Matrix, y: Matrix, p: Parameters, zmax: Vector, zmin: Vector, slope_max: Vector, slope_min: Vector,
                 bad: Doubles):
        for r in range(z.shape[0]):
            for c in range(z.shape[1]):
                value = z[r, c]
                steep = abs(f_dx(type(value)(1), value, y[r, c], *p))
                zmax[c] = value if value > zmax[c] else zmax[c]
                zmin[c] = value if value < zmin[c] else zmin[c]
                slope_max[c] = steep if steep > slope_max[c] else slope_max[c]
                slope_min[c] = steep if steep < slope_min[c] else slope_min[c]
                bad[c] += 0.0 if value - value == 0 else 1.0

    return kernel(extremes, name=f"{name}_extremes", formulas=(f_dx,), parameters=parameters)


@factory(ACTIVATIONS.values())
def unit_extremes(activation: Elementwise[...]) -> Kernel:
    """``extremes(z, y, p, zmax, zmin, slope_max, slope_min, bad)`` of one activation.

    A batch of samples joins the extremes of every unit, which are all that its state depends on. z, y (samples, units)
    are pre-activations and activations. Per unit: largest and smallest z, largest and smallest abs(f'(z)), and (float64)
    the number of z that are NaN or infinite. The slopes are never stored, which halves the time.
    """
    return _extremes(activation.name, activation.f_dx, len(activation.parameters))


@scalar
def slope_given(g: float, x: float, y: float) -> float:
    """In place of `f_dx` where the slopes are known: they are passed in place of the activations."""
    return y


extremes_given_slopes = _extremes("given_slope", slope_given, 0)       # extremes(z, slope, (), ...)


@kernel
def unit_sums(z: Matrix, h: Matrix, slope: Matrix, zsum: Doubles, hsum: Doubles, on: Doubles, flat: Doubles):
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
