"""A user's own activation: from two or three formulas, a function and a module like the built-in ones."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Concatenate, ParamSpec, Protocol, cast

import numpy as np

from ..functional.lift import Input, elementwise
from ..kernels.formulas.record import Elementwise
from ..kernels.machine.policy import user_scalar
from ..tensor import Tensor
from .activations import Activation

P = ParamSpec("P")
Kinks = Sequence[tuple[float, float]] | Callable[..., Sequence[tuple[float, float]]]


class Function(Protocol[P]):
    """The result of `activation`: a function such as ``F.relu``, with its module and its record."""

    Module: type[Activation]
    record: Elementwise[P]

    def __call__(self, x: Input, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


def activation(name: str, f: Callable[Concatenate[float, P], float], f_dx: Callable[..., float],
               f_dxx: Callable[..., float] | None = None, *, f_dxxx: Callable[..., float] | None = None, kinks: Kinks = (),
               formula: str = "", source: str = "") -> Function[P]:
    """An activation of your own, from plain Python functions of numbers; they are compiled, and kept on disk by their code.

    The result is a function; its `Module` is a layer for `nn.Sequential` and ``nn.MLP(activation=...)``, which runs fused with
    the `nn.Linear` before it. If the result is assigned to `name` in a module, its layers can be pickled.

    - ``f(x, alpha=1.0, ...)`` is the value y. Arguments after x are parameters, and their defaults are numbers. Write constants
      as ``T(0.5)`` with ``T = type(x)``: a bare 0.5 would turn float32 into float64.
    - ``f_dx(g, x, y, alpha)`` is g times the slope at x; `f_dxx` and `f_dxxx` are c times the second and third derivative.
      Without one of them, that derivative is an error.
    - `kinks` are the points where f is not differentiable, as pairs (x, the slope that f_dx uses there), or a function of the
      parameters that gives such pairs.

    >>> def f(x):
    ...     return x * x if x > 0 else type(x)(0)
    >>> def f_dx(g, x, y):
    ...     return g * (x + x) if x > 0 else type(x)(0)
    >>> squared_relu = tg.activation("squared_relu", f, f_dx, formula="max(x, 0)^2")
    >>> x = Tensor([-2.0, 3.0], requires_grad=True)
    >>> squared_relu(x).sum().backward()
    >>> x.grad
    array([0., 6.])
    >>> nn.MLP([2, 4, 1], activation=squared_relu, rng=0)[1]
    SquaredRelu()
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"activation: name is {name!r}, expected a Python name")
    _, *parameters = _arguments(
        f, f"{name}: f", "(x), or (x, alpha=1.0, ...) with a number as default of each parameter",
        lambda found: [p.default for p in found[:1]] == [inspect.Parameter.empty] and all(
            p.kind == p.POSITIONAL_OR_KEYWORD and isinstance(p.default, Real) for p in found[1:]))
    for role, first, g in (("f_dx", "g", f_dx), ("f_dxx", "c", f_dxx), ("f_dxxx", "c", f_dxxx)):
        if g is not None or role == "f_dx":
            _arguments(g, f"{name}: {role}", f"({', '.join((first, 'x', 'y', *parameters))})",
                       lambda found: len(found) >= 3 and [p.name for p in found[3:]] == parameters)
    pairs = kinks if callable(kinks) else lambda *p: tuple(kinks)
    record: Elementwise[P] = Elementwise(
        name, user_scalar(f), user_scalar(f_dx), f_dxx and user_scalar(f_dxx), formula or f"{name}(x)", source,
        lambda *p: tuple((float(x), float(slope)) for x, slope in pairs(*p)), f_dxxx=f_dxxx and user_scalar(f_dxxx))
    _try(record)
    function: Any = elementwise(record)
    function.__module__, function.record = f.__module__, record
    function.__doc__ = record.docstring(f"{name}([[-2.0, 0.0, 2.0]])")
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    function.Module = type(class_name, (Activation,), {"record": record, "__module__": f.__module__, "__doc__": record.docstring(
        f"{name}.Module()([[-2.0, 0.0, 2.0]])")})
    function.Module.__qualname__ = f"{name}.Module"
    return cast(Function[P], function)


def _arguments(formula: Any, what: str, expected: str, fits: Callable[[list[inspect.Parameter]], bool]) -> tuple[str, ...]:
    """The names of a formula's arguments, if they fit."""
    if not inspect.isfunction(formula):
        raise TypeError(f"activation {what} is {formula!r}, expected a Python function of numbers")
    found = list(inspect.signature(formula).parameters.values())
    if not all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in found) or not fits(found):
        raise TypeError(f"activation {what} has the signature {inspect.signature(formula)}; expected {expected}")
    return tuple(p.name for p in found)


def _try(record: Elementwise[...]) -> None:
    """Whether value and pullback are numbers, at some point where f is defined."""
    x, p = np.float64(0.5), record.defaults
    try:
        with np.errstate(all="ignore"):
            y = record.f(x, *p)
            for role, result in (("f", y), ("f_dx", record.f_dx(np.float64(1), x, y, *p) if isinstance(y, Real) else 0.0)):
                if not isinstance(result, Real):
                    raise TypeError(f"activation {record.name}: {role} returns {type(result).__name__}, expected a number")
    except (ArithmeticError, ValueError):
        return          # not defined there
