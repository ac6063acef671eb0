"""Activations as modules, named as in PyTorch; and a user's own."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from math import inf, isnan
from numbers import Real
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, cast, dataclass_transform

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_name, check_real, said
from ..functional.array import Input, elementwise
from ..kernels.formulas import gaussian, piecewise, saturating, smooth
from ..kernels.formulas.record import Elementwise
from ..ops.activation import activation_op, applied, prelu
from ..ops.elementwise import advance, new_place, uniform
from ..parameters import Parameter
from ..tensor import Tensor
from .module import Buffer, Module, in_dtype_of

P = ParamSpec("P")
Kinks = Sequence[tuple[float, float]] | Callable[..., Sequence[tuple[float, float]]]


@dataclass_transform()
class Activation(Module):
    """The base of the elementwise activations: a subclass names its record, whose parameters become read-only attributes.

    Declare them in the subclass for type checkers: ``negative_slope: float = 0.01``.

    >>> layer = nn.LeakyReLU(negative_slope=0.1)
    >>> layer, layer.negative_slope, layer.p
    (LeakyReLU(negative_slope=0.1), 0.1, (0.1,))
    """

    record: Elementwise[...]
    name: str
    p: tuple[float, ...]            # the parameters, in the order of the record
    __signature__: ClassVar[inspect.Signature]
    takes_members = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        record = vars(cls).get("record")
        if isinstance(record, Elementwise):
            cls.name = record.name
            cls.__doc__ = vars(cls).get("__doc__") or record.docstring(f"nn.{cls.__name__}()([-2.0, 0.0, 2.0])")
            if "__init__" not in vars(cls):
                cls.__signature__ = record.signature()
            for i, name in enumerate(record.parameters):
                setattr(cls, name, property(lambda self, i=i: self.p[i]))       # type: ignore[misc]

    def __init__(self, *args: float, **kwargs: float) -> None:
        if "inplace" in kwargs:
            raise TypeError(f"{type(self).__name__}: leave inplace out: no operation here overwrites its input")
        self.p = self.record.bind(type(self).__name__, args, kwargs)

    def forward(self, x: Any) -> Any:
        return applied(activation_op(self.record), x, {"p": self.p})


class ReLU(Activation):
    record = piecewise.RELU
    at_zero: float = 0.0


class LeakyReLU(Activation):
    record = piecewise.LEAKY_RELU
    negative_slope: float = 0.01


class Step(Activation):
    record = piecewise.STEP
    straight_through: float = 0.0


class Hardtanh(Activation):
    record = piecewise.HARDTANH
    min_val: float = -1.0
    max_val: float = 1.0


class ReLU6(Activation):
    record = piecewise.RELU6


class Hardsigmoid(Activation):
    record = piecewise.HARDSIGMOID


class Hardswish(Activation):
    record = piecewise.HARDSWISH


class ELU(Activation):
    record = saturating.ELU
    alpha: float = 1.0


class SELU(Activation):
    record = saturating.SELU


class CELU(Activation):
    record = saturating.CELU
    alpha: float = 1.0


class Sigmoid(Activation):
    record = saturating.SIGMOID


class LogSigmoid(Activation):
    record = saturating.LOGSIGMOID


class Tanh(Activation):
    record = saturating.TANH


class Softsign(Activation):
    record = saturating.SOFTSIGN


class Softplus(Activation):
    record = smooth.SOFTPLUS
    beta: float = 1.0
    threshold: float = inf


class SiLU(Activation):
    record = smooth.SILU


class Mish(Activation):
    record = smooth.MISH


class GELUTanh(Activation):
    record = gaussian.GELU_TANH


class GELU(Activation):
    __doc__ = F.gelu.__doc__
    name = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_name(approximate, ("none", "tanh"), "GELU: approximate")
        self.name = self.record.name
        super().__init__()

    @property
    def record(self) -> Elementwise[...]:       # type: ignore[override]
        return gaussian.GELU_TANH if self.approximate == "tanh" else gaussian.GELU


class PReLU(Module):
    """`F.prelu` with a weight of shape (num_parameters,). Its kind is "slope", which optimizers do not decay by default.

    >>> nn.PReLU()(np.array([[-4.0, 4.0]], dtype="float32"))
    Tensor([[-1.,  4.]], dtype=float32, requires_grad=True)
    """

    name = "prelu"

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32") -> None:
        shape = check_count(num_parameters, "PReLU: num_parameters")
        self.weight = Parameter(np.full(shape, check_real(init, "PReLU: init", lambda x: not isnan(x))), "slope", dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.prelu(in_dtype_of(x, self.weight), self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.weight.size}"


class RReLU(Module):
    """`F.rrelu`, with random slopes in training. `rng` is required; the buffer `rng_state` is as in `Dropout`.

    >>> nn.RReLU(rng=0).eval()(np.array([-24.0, 24.0]))
    Tensor([-5.5, 24. ])
    """

    name = "rrelu"
    depends_on_mode = True

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, rng: int | Generator | None = None) -> None:
        self.lower, self.upper = piecewise.RRELU.bind("RReLU", (lower, upper))
        self.rng_state = Buffer(new_place(rng, "RReLU"), optional=True)

    def forward(self, x: Any) -> Any:
        if not self.training:
            return F.rrelu(x, self.lower, self.upper)
        x = F.as_tensor(x)
        return prelu(x, uniform(advance(self.rng_state.data, x.size), x.shape, x.dtype, self.lower, self.upper))

    def extra_repr(self) -> str:
        return f"lower={self.lower:g}, upper={self.upper:g}"


CLASSES = {name: cls for name, cls in vars().items() if isinstance(cls, type) and cls.__module__ == __name__}
MODULES: dict[str, type[Any]] = {cls.name: cls for cls in CLASSES.values() if hasattr(cls, "name")}
NAMES = *MODULES, "maxout"              # of the activations of hidden layers
vars()["__all__"] = list(CLASSES)       # for `import *` (after a plain `__all__ = ...`, mypy would find no name here)


def activation_module(activation: Any, *, dtype: Any, rng: Generator) -> Module:
    """A new activation module, from a name, a function, or a callable that makes one; or a copy of a module without a state."""
    if isinstance(activation, Module):
        if activation.state_dict():
            raise TypeError(f"activation: got the module {activation!r}, whose state the layers would share; expected a callable "
                            f"that makes one for each layer, such as nn.{type(activation).__name__}")
        return deepcopy(activation)
    name = getattr(activation, "__name__", None)
    if name is not None and vars(F).get(name) is activation:
        activation = name
    make = getattr(activation, "Module", activation)
    if not callable(make):
        make = MODULES[check_name(make, NAMES, "activation")]
    try:
        made = make(dtype=dtype) if make is PReLU else make(rng=rng) if make is RReLU else make()
    except TypeError as error:
        raise TypeError(f"activation: {activation!r} cannot be called without arguments; expected a name such as 'relu', a "
                        "function such as F.relu, or a class such as nn.ReLU") from error
    if not isinstance(made, Module):
        raise TypeError(f"activation: {activation!r} made {type(made).__name__}, expected a Module")
    return made


# -- a user's own -------------------------------------------------------------------------------------------------------


class Function(Protocol[P]):
    """A function such as ``F.relu``, with its module and its record."""

    Module: type[Activation]
    record: Elementwise[P]

    def __call__(self, x: Input, /, *args: P.args, **kwargs: P.kwargs) -> Tensor: ...


def activation(name: str, f: Callable[Concatenate[float, P], float], f_dx: Callable[..., float],
               f_dxx: Callable[..., float] | None = None, *, f_dxxx: Callable[..., float] | None = None, kinks: Kinks = (),
               formula: str = "", source: str = "") -> Function[P]:
    """An activation of your own, from plain Python functions of numbers, which are compiled and cached on disk.

    The result is a function; its `Module` is a layer for `nn.Sequential` and ``nn.MLP(activation=...)``, fused with the
    `nn.Linear` before it. Its layers can be pickled if the result is assigned to `name` in a module.

    - ``f(x, alpha=1.0, ...)``: the value y. Arguments after x are parameters, with numbers as defaults. Write constants as
      ``T(0.5)`` with ``T = type(x)``: a bare 0.5 would turn float32 into float64.
    - ``f_dx(g, x, y, alpha)``: g times the slope at x; `f_dxx` and `f_dxxx`: c times the second and third derivative. A
      derivative that has no formula raises an error.
    - `kinks`: the points where f is not differentiable, as pairs (x, the slope that f_dx uses there), or a function of the
      parameters that returns such pairs.

    >>> def f(x):
    ...     return x * x if x > 0 else type(x)(0)
    >>> def f_dx(g, x, y):
    ...     return g * (x + x) if x > 0 else type(x)(0)
    >>> squared_relu = tg.activation("squared_relu", f, f_dx, formula="max(x, 0)^2")
    >>> squared_relu([-2.0, 3.0]), nn.MLP([2, 4, 1], activation=squared_relu, rng=0)[1]
    (Tensor([0., 9.]), SquaredRelu())
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
        name, f, f_dx, f_dxx, formula or f"{name}(x)", source,
        lambda *p: tuple((float(x), float(slope)) for x, slope in pairs(*p)), f_dxxx=f_dxxx)
    try:
        record.kinks(*record.defaults)
    except (TypeError, ValueError):
        raise TypeError(f"activation {name}: kinks is {said(kinks)}, expected pairs (x, slope), or a function of "
                        f"({', '.join(parameters)}) that returns such pairs") from None
    _try(record)
    function: Any = elementwise(record)
    function.__module__, function.record = f.__module__, record
    function.__doc__ = record.docstring(f"{name}([-2.0, 0.0, 2.0])")
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    function.Module = type(class_name, (Activation,), {"record": record, "__module__": f.__module__, "__doc__": record.docstring(
        f"{name}.Module()([-2.0, 0.0, 2.0])")})
    function.Module.__qualname__ = f"{name}.Module"
    return cast(Function[P], function)


def _arguments(formula: Any, what: str, expected: str, fits: Callable[[list[inspect.Parameter]], bool]) -> tuple[str, ...]:
    """The names of a formula's arguments, if they fit."""
    if not inspect.isfunction(formula):
        raise TypeError(f"activation {what} is {said(formula)}, expected a Python function of numbers")
    found = list(inspect.signature(formula).parameters.values())
    if not all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in found) or not fits(found):
        raise TypeError(f"activation {what} has the signature {inspect.signature(formula)}; expected {expected}")
    return tuple(p.name for p in found)


def _try(record: Elementwise[...]) -> None:
    """Check that value and pullback at 0.5 are numbers."""
    x, p = 0.5, record.defaults         # Python numbers: NumPy's have methods that compiled code lacks
    with np.errstate(all="ignore"), suppress(ArithmeticError, ValueError):      # f may not be defined there
        y = record.f(x, *p)
        for role, result in (("f", y), ("f_dx", record.f_dx(1.0, x, y, *p) if isinstance(y, Real) else 0.0)):
            if not isinstance(result, Real):
                raise TypeError(f"activation {record.name}: {role} returns {type(result).__name__}, expected a number")
