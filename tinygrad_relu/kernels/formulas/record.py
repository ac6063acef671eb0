"""One record defines an elementwise function: kernels, operation, function, module, tests, benchmarks and docs derive from it."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from math import isnan
from types import ModuleType
from typing import Any, Concatenate, Generic, ParamSpec

import numpy as np

from ...checks import check_real
from ..machine.policy import scalar

P = ParamSpec("P")      # the parameters of a function, after x


@scalar
def flat(c, x, y, *p):
    """The derivative of a flat piece: exactly 0 whatever c is, and NaN where x is NaN."""
    T = type(x)
    return T(0) if x == x else x


@dataclass(frozen=True, eq=False)
class Elementwise(Generic[P]):
    """A function of one number (relu, exp, the square of an error): its scalar formulas and their properties.

    Formulas take and return numbers of one type, ``T = type(x)`` (float32 or float64). Parameters arrive as Python floats and
    are cast with ``T(...)``: a bare Python float would lift float32 to float64. The record marks its formulas as `scalar`.
    """

    name: str       # as in `functional` (PyTorch's name, where PyTorch has the function)
    f: Callable[Concatenate[float, P], float]       # f(x, *p): the value y; arguments after x are the parameters, with defaults
    f_dx: Callable[..., float]                      # f_dx(g, x, y, *p): g times the slope at x
    f_dxx: Callable[..., float] | None              # c times the second derivative, almost everywhere; None: it has no formula
    formula: str
    source: str
    # kinks(*p): where f is not differentiable, as pairs (x, the slope that f_dx uses there)
    kinks: Callable[..., tuple[tuple[float, float], ...]] = lambda *p: ()
    # slope_from_y(*p): whether f_dx(g, y, y, *p) is f_dx(g, x, y, *p), so that a layer need not keep x
    slope_from_y: Callable[..., bool] = lambda *p: False
    # expected(*p): for invalid parameters, a text that names the valid ones; else None
    expected: Callable[..., str | None] = lambda *p: None
    f_dxxx: Callable[..., float] | None = None      # c times the third derivative (see `derivative`)

    def __post_init__(self) -> None:
        for formula in self.formulas:
            scalar(formula)

    @cached_property
    def formulas(self) -> tuple[Callable[..., float], ...]:
        """The value and its derivatives, up to the first that has no formula."""
        return self.f, self.f_dx, *takewhile(bool, (self.f_dxx, self.f_dxxx))       # type: ignore[arg-type]

    @cached_property
    def parameters(self) -> dict[str, float]:
        """Names and defaults, read off the signature of `f`: ``f(x, alpha=1.0)`` has ``{"alpha": 1.0}``."""
        return {p.name: p.default for p in list(inspect.signature(self.f).parameters.values())[1:]}

    @cached_property
    def defaults(self) -> tuple[float, ...]:
        return tuple(map(float, self.parameters.values()))

    def derivative(self, order: int) -> Callable[..., float] | None:
        """The formula of the derivative of this order; None if there is none. A formula that is its own derivative (that of exp,
        or 0) serves all further orders."""
        *before, last = self.formulas
        if order <= len(before):
            return self.formulas[order]
        return last if last is flat or last in before else None

    def bind(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> tuple[float, ...]:
        """The parameters in order, from positional and named ones; errors begin with `name`."""
        names, values = self.parameters, [*args, *self.defaults[len(args):]]
        if len(args) > len(names):
            raise TypeError(f"{name}: got {len(args)} parameters; expected at most {len(names)}: {', '.join(names) or 'none'}")
        for key, given in kwargs.items() if kwargs else ():
            if key not in names:
                raise TypeError(f"{name}: got an unknown parameter {key!r}; expected {', '.join(names) or 'none'}")
            if [*names].index(key) < len(args):
                raise TypeError(f"{name}: got two values of {key}; expected one")
            values[[*names].index(key)] = given
        for i, given in enumerate(values):
            if type(given) is not float:
                values[i] = check_real(given, f"{name}: {[*names][i]}")
        if expected := self.expected(*values) or ("numbers" if any(map(isnan, values)) else None):
            got = " and ".join(f"{key} {given:g}" for key, given in zip(names, values))
            raise ValueError(f"{name}: got {got}; expected {expected}")
        return tuple(values)

    def signature(self, *before: str) -> inspect.Signature:
        """The signature of the function (with "x" before the parameters) or of the module."""
        by_place_or_name = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter(name, by_place_or_name) for name in before] + [
            inspect.Parameter(name, by_place_or_name, default=default) for name, default in self.parameters.items()])

    @cached_property
    def values(self) -> str:
        """Those of the formula at -2, 0 and 2, for its example; nothing if a user's formula is not defined there."""
        with np.errstate(all="ignore"), suppress(ArithmeticError, TypeError, ValueError):
            found = np.array([self.formulas[0](np.float64(x), *self.defaults) for x in (-2, 0, 2)])
            return np.array2string(found, separator=", ")
        return ""

    def docstring(self, example: str) -> str:
        """The docstring of the function or of the module; `example` is a call with the numbers -2, 0 and 2."""
        kinks = " and ".join(f"{slope:g} at x = {x:g}" for x, slope in self.kinks(*self.defaults))
        shown = f"{example}\nTensor({self.values})" if self.values else f"{example}.shape\n(3,)"
        return (f"{self.formula}, elementwise. NaN gives NaN." + (f" The slope is {kinks}." if kinks else "")
                + (f"\n\nSource: {self.source}" if self.source else "") + f"\n\n>>> {shown}\n")


def records(*modules: ModuleType) -> dict[str, Elementwise[...]]:
    """The records that these modules define, by name."""
    return {found.name: found for module in modules for found in vars(module).values() if isinstance(found, Elementwise)}
