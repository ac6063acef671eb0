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

    Parameters
    ----------
    f : callable
        ``f(x, alpha=1.0, ...)``: the value y. Arguments after x are parameters, and their defaults are numbers. Write constants
        as ``T(0.5)`` with ``T = type(x)``: a bare 0.5 would turn float32 into float64.
    f_dx, f_dxx, f_dxxx : callable
        ``f_dx(g, x, y, alpha)`` is g times the slope at x, the others c times the second and third derivative. Without one of
        them, that derivative is an error.
    kinks : sequence of pairs, or callable
        Where f is not differentiable: (x, the slope that f_dx uses there), or a function of the parameters that gives such pairs.

    Examples
    --------
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
    parameters = _parameters(name, f)
    formulas = {"f_dx": f_dx, "f_dxx": f_dxx, "f_dxxx": f_dxxx}
    for role, g in formulas.items():
        if g is not None or role == "f_dx":
            _check_signature(f"{name}: {role}", g, ("g" if role == "f_dx" else "c", "x", "y", *parameters))
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


def _signature(what: str, formula: Any) -> inspect.Signature:
    if not inspect.isfunction(formula):
        raise TypeError(f"activation {what} is {formula!r}, expected a Python function of numbers")
    return inspect.signature(formula)


def _parameters(name: str, f: Any) -> tuple[str, ...]:
    """The names of the parameters of f, which have numbers as defaults."""
    signature = _signature(f"{name}: f", f)
    found = list(signature.parameters.values())
    if [p.default for p in found[:1]] != [inspect.Parameter.empty] or not all(
            p.kind == p.POSITIONAL_OR_KEYWORD and (i == 0 or isinstance(p.default, Real)) for i, p in enumerate(found)):
        raise TypeError(f"activation {name}: f has the signature {signature}; expected (x), or (x, alpha=1.0, ...) with a number "
                        "as default of each parameter")
    return tuple(p.name for p in found[1:])


def _check_signature(what: str, formula: Any, expected: tuple[str, ...]) -> None:
    """As many arguments as expected; the parameters with the names that they have in f."""
    signature = _signature(what, formula)
    found = [p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(found) != len(signature.parameters) or len(found) != len(expected) or found[3:] != list(expected[3:]):
        raise TypeError(f"activation {what} has the signature {signature}; expected ({', '.join(expected)})")


def _try(record: Elementwise[...]) -> None:
    """Whether value and pullback are numbers, at some point where f is defined."""
    x, p = np.float64(0.5), record.defaults
    try:
        with np.errstate(all="ignore"):
            y = record.f(x, *p)
            _check_number(f"{record.name}: f", y)
            _check_number(f"{record.name}: f_dx", record.f_dx(np.float64(1), x, np.float64(y), *p))
    except (ArithmeticError, ValueError):
        return          # not defined there


def _check_number(what: str, result: Any) -> None:
    if not isinstance(result, Real):
        raise TypeError(f"activation {what} returns {type(result).__name__}, expected a number")
