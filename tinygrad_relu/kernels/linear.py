"""Kernels of the affine layer: gemm with what stands around it, in one launch (large layers: see `panels`)."""
from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from .blas import gemm
from .policy import kernel, scalar
from .record import Activation


@scalar
def affine(x, weight, bias, out):
    """``out = x @ weight.T + bias``; x (rows, inputs), weight (outputs, inputs), bias (outputs,) or empty."""
    if bias.size:
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = bias[c]
        gemm(False, True, x, weight, 1.0, out)
    else:
        gemm(False, True, x, weight, 0.0, out)


@scalar
def affine_pullback(g, x, weight, gx, gw, gb, add_gx, add_gw, add_gb):
    """The three gradients of `affine`; an empty array means that nobody asked for that one.

    ``add_*`` is 1.0 where the gradient joins what the array already holds (a leaf that was used before), else 0.0. The
    order is that of the inputs, so that one array may stand in two places.
    """
    if gx.size:
        gemm(False, False, g, weight, add_gx, gx)
    if gw.size:
        gemm(True, False, g, x, add_gw, gw)
    if gb.size:
        if add_gb == 0.0:
            for c in range(gb.size):
                gb[c] = 0
        for r in range(g.shape[0]):
            for c in range(gb.size):
                gb[c] += g[r, c]


@kernel
def linear(x, weight, bias, out):
    affine(x, weight, bias, out)


@kernel
def linear_pullback(g, x, weight, gx, gw, gb, add_gx, add_gw, add_gb):
    affine_pullback(g, x, weight, gx, gw, gb, add_gx, add_gw, add_gb)


class LinearActivation(NamedTuple):
    """The two kernels of an affine layer with its activation."""

    forward: Any
    pullback: Any


@cache
def linear_activation(activation: Activation) -> LinearActivation:
    """An affine layer and its activation in one launch each way.

    Measured: two launches and one node of the graph less per layer make a training step of a small MLP a third faster.
    """
    f, f_dx = activation.f, activation.f_dx

    def forward(x, weight, bias, p, z, out):
        affine(x, weight, bias, z)
        for r in range(out.shape[0]):
            for c in range(out.shape[1]):
                out[r, c] = f(z[r, c], *p)

    def pullback(g, z, y, x, weight, p, gz, gx, gw, gb, add_gx, add_gw, add_gb):
        for r in range(g.shape[0]):
            for c in range(g.shape[1]):
                gz[r, c] = f_dx(g[r, c], z[r, c], y[r, c], *p)
        affine_pullback(gz, x, weight, gx, gw, gb, add_gx, add_gw, add_gb)

    return LinearActivation(*(kernel(loop, name=f"linear_{activation.name}_{loop.__name__}", formulas=(f, f_dx))
                              for loop in (forward, pullback)))
