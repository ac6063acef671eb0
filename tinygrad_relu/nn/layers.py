"""Layers: Linear, Maxout, and the multi-layer perceptron that is built of them."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_dtype, check_rng
from ..functional.linear import linear_layer
from ..tensor import Tensor
from .activations import Activation, activation_module
from .init import Initialiser, initialiser, start
from .module import Module, Parameter, Sequential


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    init : str, number or callable
        How the weight starts: a name of `nn.init`, a constant, or an initialiser. The bias starts at 0, except with
        "pytorch" and "rai", which draw it too.
    dtype : dtype
    rng : int or Generator
        A seed or a generator. Required: randomness is an argument.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    takes_activation = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 init: str | float | Initialiser = "pytorch", dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        check_count(in_features, "Linear: in_features"), check_count(out_features, "Linear: out_features")
        self.in_features, self.out_features = in_features, out_features
        weight, start_of_bias = start(initialiser(init), out_features, in_features, check_rng(rng, "Linear"), check_dtype(dtype))
        self.weight = Parameter(weight, dtype=dtype)
        self.bias = Parameter(start_of_bias, kind="bias", dtype=dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def forward_activated(self, x: Any, activation: Activation) -> Any:
        """``activation(self(x))`` as one operation: the same numbers, a third faster (see `Sequential`)."""
        if self.bias is not None and isinstance(x, Tensor) and x.array.ndim == 2:     # the usual case, without a detour
            return activation.op_after_linear(x, self.weight, self.bias)
        return linear_layer(activation.op_after_linear, x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Maxout(Module):
    """The largest of `pieces` affine maps: ``y_j = max_k (w_jk . x + b_jk)`` (Goodfellow et al. 2013, arXiv 1302.4389).

    With two pieces it can be ReLU, leaky ReLU or the absolute value exactly. A piece that never wins is dead.

    Parameters
    ----------
    in_features, out_features : int
    pieces : int
    init, dtype, rng
        As in `Linear`.

    Attributes
    ----------
    weight : Parameter, shape (out_features * pieces, in_features)
        The pieces of one unit are neighbours.
    bias : Parameter, shape (out_features * pieces,)

    Examples
    --------
    >>> import numpy as np
    >>> layer = Maxout(3, 2, pieces=4, rng=0)
    >>> layer(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, pieces: int = 2, *, init: str | float | Initialiser = "he",
                 dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        for size, name in ((in_features, "in_features"), (out_features, "out_features"), (pieces, "pieces")):
            check_count(size, f"Maxout: {name}")
        self.in_features, self.out_features, self.pieces = in_features, out_features, pieces
        weight, bias = start(initialiser(init), out_features * pieces, in_features, check_rng(rng, "Maxout"), check_dtype(dtype))
        self.weight, self.bias = Parameter(weight, dtype=dtype), Parameter(bias, kind="bias", dtype=dtype)

    def forward(self, x: Any) -> Any:
        return F.maxout(F.linear(x, self.weight, self.bias), self.pieces)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, pieces={self.pieces}"


class MLP(Sequential):
    """A multi-layer perceptron: affine layers with an activation between them, none after the last.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden widths, outputs: ``[64, 32, 10]`` has one hidden layer of 32 units.
    activation : str, Module class, or callable
        A name ("relu", "leaky_relu", "prelu", "maxout", ...), or a callable without arguments that makes a module.
    init, dtype, rng
        As in `Linear`.
    pieces : int
        Of each Maxout unit, where ``activation="maxout"``.

    Examples
    --------
    >>> model = MLP([2, 3, 1], activation="tanh", init="glorot", rng=0)
    >>> model
    MLP(
      (0): Linear(2, 3)
      (1): Tanh()
      (2): Linear(3, 1)
    )
    """

    def __init__(self, widths: Sequence[int], activation: Any = "relu", init: str | float | Initialiser = "he",
                 dtype: Any = "float32", rng: int | Generator | None = None, pieces: int = 2) -> None:
        if not isinstance(widths, Iterable):
            raise TypeError(f"MLP: widths is {widths!r}, expected several: inputs, hidden widths, outputs")
        widths = [check_count(width, "MLP: a width") for width in widths]
        if len(widths) < 2:
            raise ValueError(f"MLP: got widths {widths}; expected at least two, inputs and outputs")
        rng = check_rng(rng, "MLP")
        layers: list[Module] = []
        for n, m in zip(widths[:-2], widths[1:]):
            if activation == "maxout":
                layers.append(Maxout(n, m, pieces, init=init, dtype=dtype, rng=rng))
            else:
                layers.append(Linear(n, m, init=init, dtype=dtype, rng=rng))
                layers.append(activation_module(activation, dtype=dtype, rng=rng))
        layers.append(Linear(widths[-2], widths[-1], init=init, dtype=dtype, rng=rng))
        super().__init__(*layers)
        self.widths = widths
