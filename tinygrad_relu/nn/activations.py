"""Activations as modules, named as in PyTorch."""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_name, check_real
from ..functional.activation import bind_parameters, rrelu_at
from ..kernels.formulas import ACTIVATIONS
from ..kernels.formulas.record import Activation as Record
from ..ops import random
from ..ops.activation import activation_op
from ..parameters import Parameter
from .module import Buffer, Module


class Activation(Module):
    """An elementwise function as a module; a subclass names the function, and its parameters become attributes.

    PyTorch's `inplace` is not known here: what has been computed stays as it is, for a graph may remember it.

    Examples
    --------
    >>> layer = LeakyReLU(negative_slope=0.1)
    >>> layer, layer.negative_slope, layer.p
    (LeakyReLU(negative_slope=0.1), 0.1, (0.1,))
    """

    name: str

    @property
    def record(self) -> Record:
        """The formulas."""
        return ACTIVATIONS[self.name]

    def __init__(self, *args: float, **kwargs: float) -> None:
        self.p = bind_parameters(type(self).__name__, self.record, args, kwargs)

    def forward(self, x: Any) -> Any:
        return activation_op(self.record)(F.as_tensor(x), p=self.p)

    def extra_repr(self) -> str:
        defaults = self.record.parameters
        return ", ".join(f"{n}={v:g}" for (n, d), v in zip(defaults.items(), self.p) if v != d)


def _module(class_name: str, name: str) -> type[Activation]:
    record, by_place_or_name = ACTIVATIONS[name], inspect.Parameter.POSITIONAL_OR_KEYWORD
    return type(class_name, (Activation,), {
        "__module__": __name__, "__doc__": _docstring(class_name, record), "name": name,
        "__signature__": inspect.Signature([inspect.Parameter(n, by_place_or_name, default=v)
                                            for n, v in record.parameters.items()]),
        **{n: property(_parameter(i)) for i, n in enumerate(record.parameters)}})


def _parameter(i: int) -> Callable[[Activation], float]:
    return lambda self: self.p[i]


def _docstring(class_name: str, record: Record) -> str:
    parameters = "".join(f"{n} : float, default {v:.6g}\n" for n, v in record.parameters.items())
    return (f"{record.formula}, elementwise: `functional.{record.name}` as a module. The result has the shape of `x`.\n\n"
            + (f"Parameters\n----------\n{parameters}\nRaises\n------\nTypeError\n    If a parameter is no number.\n\n"
               if parameters else "")
            + f"References\n----------\n{record.source}\n\nExamples\n--------\n"
            f">>> {class_name}()([[-2.0, 0.0, 2.0]]).shape\n(1, 3)\n")


ReLU = _module("ReLU", "relu")
LeakyReLU = _module("LeakyReLU", "leaky_relu")
ELU = _module("ELU", "elu")
SELU = _module("SELU", "selu")
CELU = _module("CELU", "celu")
Sigmoid = _module("Sigmoid", "sigmoid")
LogSigmoid = _module("LogSigmoid", "logsigmoid")
Tanh = _module("Tanh", "tanh")
Softplus = _module("Softplus", "softplus")
Step = _module("Step", "step")
Softsign = _module("Softsign", "softsign")
Hardtanh = _module("Hardtanh", "hardtanh")
ReLU6 = _module("ReLU6", "relu6")
Hardsigmoid = _module("Hardsigmoid", "hardsigmoid")
Hardswish = _module("Hardswish", "hardswish")
SiLU = _module("SiLU", "silu")
Mish = _module("Mish", "mish")
GELUTanh = _module("GELUTanh", "gelu_tanh")


class GELU(Activation):
    """``x Phi(x)``, elementwise, with Phi the distribution function of N(0, 1): `functional.gelu` as a module.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "none" is exact; "tanh" is ``0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``, which is also called `GELUTanh`.

    Raises
    ------
    ValueError
        If `approximate` is something else.

    References
    ----------
    Hendrycks & Gimpel 2016, arXiv 1606.08415

    Examples
    --------
    >>> round(GELU()([1.0]).item(), 6), round(GELU(approximate="tanh")([1.0]).item(), 6)
    (0.841345, 0.841192)
    """

    name = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_name(approximate, ("none", "tanh"), "GELU: approximate")
        if approximate == "tanh":
            self.name = GELUTanh.name
        super().__init__()

    def extra_repr(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class PReLU(Module):
    """``x if x > 0 else weight * x`` with learned slopes, one for all or one per channel (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels (axis 1).
    init : float
    dtype : dtype

    Attributes
    ----------
    weight : Parameter of kind "slope", shape (num_parameters,)
        Optimizers keep it out of the decay by default: decay would pull PReLU to ReLU.

    Examples
    --------
    >>> PReLU()(np.array([[-4.0, 4.0]], dtype="float32"))
    Tensor([[-1.,  4.]], dtype=float32, requires_grad=True)
    """

    name = "prelu"

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: Any = "float32") -> None:
        shape = check_count(num_parameters, "PReLU: num_parameters")
        self.weight = Parameter(np.full(shape, check_real(init, "PReLU: init")), kind="slope", dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.weight.size}"


class RReLU(Module):
    """``x if x > 0 else a x``, a ~ U(lower, upper) per element in training, the mean in evaluation (Xu et al. 2015).

    Parameters
    ----------
    lower, upper : float
    rng : int or Generator
        Required; the key of the random numbers is drawn from it.

    Attributes
    ----------
    rng_state : Buffer, shape (2,)
        Key and counter of the random numbers. Saved with the module, it resumes the draws.

    Examples
    --------
    >>> RReLU(rng=0).eval()(np.array([-24.0, 24.0]))
    Tensor([-5.5, 24. ])
    """

    name = "rrelu"
    depends_on_mode = True

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, rng: int | Generator | None = None) -> None:
        self.lower, self.upper = check_real(lower, "RReLU: lower"), check_real(upper, "RReLU: upper")
        if not lower <= upper:
            raise ValueError(f"RReLU: got lower {lower:g} and upper {upper:g}; expected lower <= upper")
        self.rng_state = Buffer(random.new_place(rng, "RReLU"), optional=True)

    def forward(self, x: Any) -> Any:
        if not self.training:
            return F.rrelu(x, self.lower, self.upper)
        x = F.as_tensor(x)
        return rrelu_at(x, self.lower, self.upper, random.take(self.rng_state.data, x.size))

    def extra_repr(self) -> str:
        return f"lower={self.lower:g}, upper={self.upper:g}"


MODULES: dict[str, type[Module]] = {cls.name: cls for cls in (
    ReLU, LeakyReLU, ELU, SELU, CELU, Sigmoid, LogSigmoid, Tanh, Softplus, Step, Softsign, Hardtanh, ReLU6, Hardsigmoid,
    Hardswish, SiLU, Mish, GELU, GELUTanh, PReLU, RReLU)}


def activation_module(activation: Any, *, dtype: Any, rng: Generator) -> Module:
    """A new activation module, from its name or from a callable that makes one."""
    if activation in (PReLU, RReLU):
        activation = activation.name        # they take a dtype, and a generator
    if callable(activation) and not isinstance(activation, Module):
        made = activation()
        if isinstance(made, Module):
            return made
        raise TypeError(f"activation: {activation!r} made {type(made).__name__}, expected a Module")
    name = check_name(activation, [*MODULES, "maxout"], "activation")
    if name == "prelu":
        return PReLU(dtype=dtype)
    if name == "rrelu":
        return RReLU(rng=rng)
    return MODULES[name]()
