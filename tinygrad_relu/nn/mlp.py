"""Layers one after the other: Sequential, Residual, and the multi-layer perceptron."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from numpy.random import Generator

from ..checks import check_count, check_name, check_probability, check_rng
from ..functional.layers import affine_layer
from ..ops.linalg import affine
from ..tensor import Tensor
from .activations import Activation, activation_module
from .init import Initialiser
from .layers import BatchNorm1d, Dropout, LayerNorm, Linear, Maxout
from .module import Module

NORMS: dict[str, type[BatchNorm1d] | type[LayerNorm]] = {"batch": BatchNorm1d, "layer": LayerNorm}


class Sequential(Module):
    """Modules one after the other. A `Linear` followed by an elementwise activation runs with it as one operation.

    >>> net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU())
    >>> len(net.parameters())
    2
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: got {layer!r}, expected modules")
        self.layers = layers

    @cached_property
    def _steps(self) -> list[tuple[Any, Any, Any]]:
        """(Linear, the activation after it, both as one operation), or (layer, None, None)."""
        steps: list[tuple[Any, Any, Any]] = []
        layer: Any
        for layer in self.layers:
            before, taken, _ = steps[-1] if steps else (None, None, None)
            if taken is None and _is(before, Linear) and _is(layer, Activation):
                steps[-1] = (before, layer, affine(layer.record, layer.p))
            else:
                steps.append((layer, None, None))
        return steps

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_steps"}      # an op cannot be pickled

    def forward(self, x: Any) -> Any:
        for layer, activation, op in self._steps:
            if op is None:
                x = layer(x)
            elif layer._hooks or activation._hooks:     # they see each layer by itself; the numbers are the same
                x = activation(layer(x))
            elif isinstance(x, Tensor) and layer.bias is not None and x.array.ndim == 2:       # the usual case, without a detour
                x = op(x, layer.weight, layer.bias)
            else:
                x = affine_layer(op, x, layer.weight, layer.bias)
        return x

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, named 0, 1, 2, ... (as in a PyTorch state dict)."""
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Module:
        return self.layers[index]


def _is(module: Any, kind: type[Module]) -> bool:
    """Whether a module is of this kind and does not override its `forward`."""
    return isinstance(module, kind) and type(module).forward is kind.forward and "forward" not in vars(module)


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

    - `widths`: inputs, hidden widths, outputs: ``[64, 32, 10]`` has one hidden layer of 32 units.
    - `activation`: a name ("relu", "leaky_relu", "prelu", "maxout", ...), a function made by `tg.activation`, or a callable, such
      as the class, that makes a module without arguments.
    - `init`, `rng`: as in `Linear`. The weights that a seed draws do not depend on `norm`, `dropout` and `residual`.
    - `pieces`: the number of pieces of each Maxout unit, with ``activation="maxout"``.
    - `norm`: "batch" or "layer" for a `BatchNorm1d` or `LayerNorm` before each activation (after a Maxout).
    - `dropout`: the p of a `Dropout` after each activation; 0 for none.
    - `residual`: whether each hidden layer with equal numbers of inputs and outputs adds its input, as a `Residual`.

    >>> nn.MLP([2, 3, 3, 1], activation="tanh", init="glorot", norm="batch", residual=True, rng=0)
    MLP(
      (0): Linear(2, 3)
      (1): BatchNorm1d(3)
      (2): Tanh()
      (3): Residual(
        (0): Linear(3, 3)
        (1): BatchNorm1d(3)
        (2): Tanh()
      )
      (4): Linear(3, 1)
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
