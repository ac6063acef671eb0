"""What the laboratory asks of a layer of units: extremes, sums and counts per column, in one pass over the samples."""
from __future__ import annotations

from .policy import kernel


@kernel
def unit_statistics(z, h, slope, zmax, zmin, zsum, hsum, on, flat, slope_max, slope_min, bad):
    """Add the samples of one batch to the running statistics of every unit.

    z, h, slope (samples, units): pre-activations, activations, and slopes h'(z). Per unit: largest and smallest z, sums of
    z and of abs(h), how often z > 0, how often the slope is exactly 0, largest and smallest abs(slope), and how many z are
    NaN or infinite. Sums and counts are float64, whatever z is.
    """
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            value, steep = z[r, c], abs(slope[r, c])
            zmax[c] = value if value > zmax[c] else zmax[c]
            zmin[c] = value if value < zmin[c] else zmin[c]
            zsum[c] += value
            hsum[c] += abs(h[r, c])
            on[c] += 1.0 if value > 0 else 0.0
            flat[c] += 1.0 if steep == 0 else 0.0
            slope_max[c] = steep if steep > slope_max[c] else slope_max[c]
            slope_min[c] = steep if steep < slope_min[c] else slope_min[c]
            bad[c] += 0.0 if value - value == 0 else 1.0
