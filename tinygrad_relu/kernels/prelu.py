"""Kernels of the leaky ReLU whose slopes are an array: learned ones (prelu), or drawn ones (rrelu).

x, g and out have the shape (outer, channels, inner), and `slopes` one entry per channel.
"""
from __future__ import annotations

from .piecewise import leaky_relu, leaky_relu_da, leaky_relu_dx
from .policy import kernel


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
    """The gradient of the slopes: the sum of ``min(0, x) g`` over a channel."""
    for c in range(x.shape[1]):
        out[c] = 0
    for o in range(x.shape[0]):
        if x.shape[2] == 1:
            for c in range(x.shape[1]):
                out[c] += leaky_relu_da(g[o, c, 0], x[o, c, 0])
        else:
            for c in range(x.shape[1]):
                total = x.dtype.type(0)
                for i in range(x.shape[2]):
                    total += leaky_relu_da(g[o, c, i], x[o, c, i])
                out[c] += total
