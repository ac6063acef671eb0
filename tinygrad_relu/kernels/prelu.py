"""Kernels of the leaky ReLU whose slopes are an array: learned ones (prelu), or drawn ones (rrelu).

x, g and out have the shape (outer, channels, inner), and `slopes` one entry per channel.
"""
from __future__ import annotations

import numpy as np

from .piecewise import leaky_relu, leaky_relu_da, leaky_relu_dx
from .policy import kernel
from .sums import LANES


@kernel
def prelu(x, slopes, out):
    """``out = x if x > 0 else slopes[channel] * x``."""
    for o in range(x.shape[0]):
        if x.shape[2] == 1:         # the channels themselves are the contiguous axis
            for c in range(x.shape[1]):
                out[o, c, 0] = leaky_relu(x[o, c, 0], slopes[c])
        else:
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    out[o, c, i] = leaky_relu(x[o, c, i], slopes[c])


@kernel
def prelu_pullback(g, x, slopes, out):
    """The gradient of x."""
    for o in range(x.shape[0]):
        if x.shape[2] == 1:
            for c in range(x.shape[1]):
                out[o, c, 0] = leaky_relu_dx(g[o, c, 0], x[o, c, 0], x[o, c, 0], slopes[c])
        else:
            for c in range(x.shape[1]):
                for i in range(x.shape[2]):
                    out[o, c, i] = leaky_relu_dx(g[o, c, i], x[o, c, i], x[o, c, i], slopes[c])


@kernel
def prelu_slope_pullback(g, x, out):
    """The gradient of the slopes: the sum of ``min(0, x) g`` over a channel, in float64."""
    total = np.zeros(out.size)
    if x.shape[2] == 1:
        for o in range(x.shape[0]):
            for c in range(x.shape[1]):
                total[c] += leaky_relu_da(g[o, c, 0], x[o, c, 0])
    else:
        lanes = np.zeros(LANES)
        for c in range(x.shape[1]):
            lanes[:] = 0
            for o in range(x.shape[0]):
                for start in range(0, x.shape[2], LANES):
                    a, b = g[o, c, start:start + LANES], x[o, c, start:start + LANES]
                    for k in range(a.size):
                        lanes[k] += leaky_relu_da(a[k], b[k])
            total[c] = lanes.sum()
    out[:] = total
