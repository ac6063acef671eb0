"""What an activation is: one record, from which kernels, operations, modules, tests, benchmarks and docs all follow."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Activation:
    """One activation function: plain scalar formulas and what is known about them.

    Every formula takes and returns numbers of one type, ``T = type(x)`` (float32 or float64); parameters ``*p`` arrive as
    Python floats and are cast with ``T(...)``, because a bare Python float would lift float32 to float64.

    Attributes
    ----------
    name : str
        The name in `functional` (PyTorch's, where PyTorch has the function).
    f : callable
        Value ``y = f(x, *p)``.
    f_dx : callable
        Pullback ``f_dx(g, x, y, *p)``: the incoming gradient g times the slope at x. Pieces *select*, they never multiply
        by a mask: a dead unit's gradient is exactly zero even for g = inf.
    f_dxx : callable
        Second derivative ``f_dxx(c, x, y, *p)``: c times f''(x), almost everywhere.
    kinks : callable
        ``kinks(*p)``: the points where f is not differentiable, as pairs (x, the slope that f_dx uses there).
    slope_from_y : callable
        ``slope_from_y(*p)``: whether ``f_dx(g, y, y, *p)`` is ``f_dx(g, x, y, *p)``, so that a layer need not keep x.
    expected : callable
        ``expected(*p)``: what the parameters should be, in words, if they are not; else None.
    formula, source : str
        For docstrings and docs.
    """

    name: str
    f: Callable[..., float]
    f_dx: Callable[..., float]
    f_dxx: Callable[..., float]
    formula: str
    source: str
    kinks: Callable[..., tuple[tuple[float, float], ...]] = field(default=lambda *p: ())
    slope_from_y: Callable[..., bool] = field(default=lambda *p: False)
    expected: Callable[..., str | None] = field(default=lambda *p: None)

    @cached_property
    def parameters(self) -> dict[str, float]:
        """Names and defaults of the parameters, read off the signature of `f`: ``f(x, alpha=1.0)`` has ``{"alpha": 1.0}``."""
        return {p.name: p.default for p in list(inspect.signature(self.f).parameters.values())[1:]}
