"""Affine layers: Linear and Maxout."""
from __future__ import annotations

from functools import partial
from typing import Any

from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_dtype, check_rng
from ..functional.linear import linear_layer
from ..parameters import Parameter
from ..tensor import Tensor
from .activations import Activation
from .init import Initialiser, initialiser, pytorch, start
from .module import Module


class Linear(Module):
    """``y = x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Without one, "pytorch" draws none, as PyTorch does: the next layer that shares the generator goes on behind the
        weight. What another initialiser draws for it is thrown away.
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
        make = initialiser(init)
        if make is pytorch and not bias:
            make = partial(pytorch, bias=False)
        weight, start_of_bias = start(make, out_features, in_features, check_rng(rng, "Linear"), check_dtype(dtype))
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
