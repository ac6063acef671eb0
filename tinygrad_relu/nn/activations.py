"""Activations as modules, named as in PyTorch."""
from __future__ import annotations

from inspect import Signature
from math import inf
from typing import Any, ClassVar, dataclass_transform

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_name, check_real
from ..kernels.formulas import gaussian, piecewise, saturating, smooth
from ..kernels.formulas.record import Elementwise
from ..ops.activation import activation_op, prelu
from ..ops.elementwise import advance, new_place, uniform
from ..parameters import Parameter
from .module import Buffer, Module


@dataclass_transform()
class Activation(Module):
    """The base of the elementwise activations: a subclass names its record, whose parameters become read-only attributes.

    Written as ``negative_slope: float = 0.01``, they are also the signature for type checkers. There is no `inplace` as in
    PyTorch: no operation overwrites its input, which a graph may need.

    >>> layer = nn.LeakyReLU(negative_slope=0.1)
    >>> layer, layer.negative_slope, layer.p
    (LeakyReLU(negative_slope=0.1), 0.1, (0.1,))
    """

    record: Elementwise[...]
    name: str                       # that of the record
    p: tuple[float, ...]            # the parameters, in the order of the record
    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        record = vars(cls).get("record")
        if isinstance(record, Elementwise):
            cls.name = record.name
            cls.__doc__ = vars(cls).get("__doc__") or record.docstring(f"nn.{cls.__name__}()([[-2.0, 0.0, 2.0]])")
            if "__init__" not in vars(cls):
                cls.__signature__ = record.signature()
            for i, name in enumerate(record.parameters):
                value: Any = lambda self, i=i: self.p[i]
                setattr(cls, name, property(value))

    def __init__(self, *args: float, **kwargs: float) -> None:
        self.p = self.record.bind(type(self).__name__, args, kwargs)

    def forward(self, x: Any) -> Any:
        return activation_op(self.record)(F.as_tensor(x), p=self.p)


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
    """``x Phi(x)``, elementwise, with Phi the distribution function of N(0, 1); with ``approximate="tanh"`` it is `GELUTanh`.

    Source: Hendrycks & Gimpel 2016, arXiv 1606.08415

    >>> round(nn.GELU()([1.0]).item(), 6), round(nn.GELU(approximate="tanh")([1.0]).item(), 6)
    (0.841345, 0.841192)
    """

    name = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_name(approximate, ("none", "tanh"), "GELU: approximate")
        self.name = self.record.name
        super().__init__()

    @property
    def record(self) -> Elementwise[...]:       # type: ignore[override]
        return gaussian.GELU_TANH if self.approximate == "tanh" else gaussian.GELU


class PReLU(Module):
    """``x if x > 0 else weight * x`` with learned slopes, one for all or one per channel, axis 1 (He et al. 2015).

    Its `weight`, of kind "slope" and shape (num_parameters,), is not decayed by default: decay would turn a PReLU into a ReLU.

    >>> nn.PReLU()(np.array([[-4.0, 4.0]], dtype="float32"))
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
    """``x if x > 0 else a x``: in training a ~ U(lower, upper) for every element, in evaluation the mean (Xu et al. 2015).

    `rng` is required. The buffer `rng_state` (key and counter of the random numbers) is saved with the module, so that a resumed
    training draws the same numbers.

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
        slopes = uniform(advance(self.rng_state.data, x.size), x.shape, x.dtype, self.lower, self.upper)
        return prelu(x, slopes)

    def extra_repr(self) -> str:
        return f"lower={self.lower:g}, upper={self.upper:g}"


CLASSES = {name: cls for name, cls in vars().items() if isinstance(cls, type) and cls.__module__ == __name__}
MODULES: dict[str, type[Any]] = {cls.name: cls for cls in CLASSES.values() if hasattr(cls, "name")}
vars()["__all__"] = list(CLASSES)       # what `import *` takes (assigned to a name, it would hide everything from mypy)


def activation_module(activation: Any, *, dtype: Any, rng: Generator) -> Module:
    """A new activation module, from its name, from a function of `activation`, or from a callable that makes one."""
    make = getattr(activation, "Module", activation)
    if not callable(make) or isinstance(make, Module):
        make = MODULES[check_name(make, [*MODULES, "maxout"], "activation")]
    made = make(dtype=dtype) if make is PReLU else make(rng=rng) if make is RReLU else make()
    if not isinstance(made, Module):
        raise TypeError(f"activation: {activation!r} made {type(made).__name__}, expected a Module")
    return made
