"""The multi-layer perceptron, and the block that adds its input."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.random import Generator

from ..checks import check_count, check_name, check_probability, check_rng
from .activations import activation_module
from .init import Initialiser
from .layers import Linear, Maxout, Sequential
from .module import Module
from .normalization import BatchNorm1d, Dropout, LayerNorm

NORMS: dict[str, type[BatchNorm1d] | type[LayerNorm]] = {"batch": BatchNorm1d, "layer": LayerNorm}


class Residual(Sequential):
    """``f(x) + x``, with the given layers one after the other as f (He et al. 2016, arXiv 1512.03385).

    >>> block = nn.Residual(nn.Linear(2, 2, init=0.0, rng=0, dtype="float64"), nn.ReLU())
    >>> block([[1.0, -2.0]])
    Tensor([[ 1., -2.]], requires_grad=True)
    """

    def forward(self, x: Any) -> Any:
        return super().forward(x) + x           # in this order: an array takes the dtype of the layers


class MLP(Sequential):
    """A multi-layer perceptron: affine layers with an activation between them, none after the last.

    Parameters
    ----------
    widths : sequence of int
        Inputs, hidden widths, outputs: ``[64, 32, 10]`` has one hidden layer of 32 units.
    activation : str, Module class, or callable
        A name ("relu", "leaky_relu", "prelu", "maxout", ...), a function made by `tg.activation`, or a callable without arguments
        that makes a module.
    init, dtype, rng
        As in `Linear`. The weights that a seed draws do not depend on `norm`, `dropout` and `residual`.
    pieces : int
        Of each Maxout unit, with ``activation="maxout"``.
    norm : {None, "batch", "layer"}
        A `BatchNorm1d` or `LayerNorm` between each hidden affine layer and its activation (after a Maxout, which is both).
    dropout : float
        The probability p of a `Dropout` after each activation; 0 for none.
    residual : bool
        Whether a hidden layer with as many outputs as inputs adds its input: it becomes a `Residual`.

    Examples
    --------
    >>> nn.MLP([2, 3, 1], activation="tanh", init="glorot", rng=0)
    MLP(
      (0): Linear(2, 3)
      (1): Tanh()
      (2): Linear(3, 1)
    )
    >>> nn.MLP([2, 3, 3, 1], norm="batch", dropout=0.1, residual=True, rng=0)
    MLP(
      (0): Linear(2, 3)
      (1): BatchNorm1d(3)
      (2): ReLU()
      (3): Dropout(p=0.1)
      (4): Residual(
        (0): Linear(3, 3)
        (1): BatchNorm1d(3)
        (2): ReLU()
        (3): Dropout(p=0.1)
      )
      (5): Linear(3, 1)
    )
    """

    def __init__(self, widths: Sequence[int], activation: Any = "relu", init: str | float | Initialiser = "he",
                 dtype: Any = "float32", rng: int | Generator | None = None, pieces: int = 2, norm: str | None = None,
                 dropout: float = 0.0, residual: bool = False) -> None:
        if not isinstance(widths, Iterable):
            raise TypeError(f"MLP: widths is {widths!r}, expected several: inputs, hidden widths, outputs")
        widths = [check_count(width, "MLP: a width") for width in widths]
        if len(widths) < 2:
            raise ValueError(f"MLP: got widths {widths}; expected at least two, inputs and outputs")
        if norm is not None:
            check_name(norm, NORMS, "MLP: norm")
        rng, p = check_rng(rng, "MLP"), check_probability(dropout, "MLP: dropout")
        hidden: list[list[Module]] = [
            [Maxout(n, m, pieces, init=init, dtype=dtype, rng=rng) if activation == "maxout" else
             Linear(n, m, init=init, dtype=dtype, rng=rng)] for n, m in zip(widths[:-2], widths[1:])]
        last = Linear(widths[-2], widths[-1], init=init, dtype=dtype, rng=rng)
        layers: list[Module] = []
        for block, n, m in zip(hidden, widths, widths[1:]):     # after all weights, whose draws must not depend on these options
            if norm is not None:
                block.append(NORMS[norm](m, dtype=dtype))
            if activation != "maxout":
                block.append(activation_module(activation, dtype=dtype, rng=rng))
            if p:
                block.append(Dropout(p, rng=rng))
            layers += [Residual(*block)] if residual and n == m else block
        super().__init__(*layers, last)
        self.widths = widths
