"""Modules of modules: ModuleList, ModuleDict, Sequential, Residual, and the multi-layer perceptron."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..checks import check_count, check_name, check_probability, check_rng, counted, said
from .activations import Activation, activation_module
from .init import Initialiser
from .layers import BatchNorm1d, Dropout, Identity, LayerNorm, Linear, Maxout, applied, op_of
from .members import population
from .module import Module, in_dtype_of

NORMS: dict[str, type[BatchNorm1d] | type[LayerNorm]] = {"batch": BatchNorm1d, "layer": LayerNorm}


class ModuleList(Module):
    """Modules in a list. (A plain list in an attribute is found, too.)

    >>> heads = nn.ModuleList(nn.Linear(4, n, rng=n) for n in (1, 2))
    >>> [name for name, _ in heads.append(nn.PReLU()).named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias', '2.weight']
    """

    _members = "layers"

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        self.layers: tuple[Module, ...] = ()
        self.extend(() if modules is None else modules)

    def _set(self, *layers: Any) -> Self:
        self.layers = tuple([_check_module(self, layer) for layer in layers])
        vars(self).pop("_steps", None)
        return self

    def append(self, module: Module) -> Self:
        return self._set(*self.layers, module)

    def extend(self, modules: Iterable[Module]) -> Self:
        return self._set(*self.layers, *(modules if isinstance(modules, Iterable) else [modules]))

    def insert(self, index: int, module: Module) -> Self:
        place = check_count(index, f"{type(self).__name__}: the index", least=-len(self.layers))
        return self._set(*self.layers[:place], module, *self.layers[place:])

    def __setitem__(self, index: int, module: Module) -> None:
        place = self._index(index)
        self._set(*self.layers[:place], module, *self.layers[place + 1:])

    def __delitem__(self, index: int | slice) -> None:
        left = list(self.layers)
        del left[index if isinstance(index, slice) else self._index(index)]
        self._set(*left)

    def pop(self, index: int | slice = -1) -> Any:
        found = self[index]
        del self[index]
        return found

    def __add__(self, modules: Iterable[Module]) -> Any:
        return self[:].extend(modules)

    __iadd__ = extend

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(*self.layers[index]) if isinstance(self, Sequential) else ModuleList(self.layers[index])
        return self.layers[self._index(index)]

    def _index(self, index: int) -> int:
        who, n = type(self).__name__, len(self.layers)
        if not isinstance(index, (int, np.integer)):
            raise TypeError(f"{who}: the index is {said(index)}, expected a whole number")
        if not -n <= index < n:
            raise IndexError(f"{who}: the index is {index}, but there {'is' if n == 1 else 'are'} {counted(n, 'module')}")
        return int(index) % n

    def extra_repr(self) -> str:
        return ""


class ModuleDict(Module, MutableMapping[str, Module]):
    """Modules by name. (A plain dict in an attribute is found, too.)

    >>> heads = nn.ModuleDict({"mean": nn.Linear(4, 1, rng=0), "variance": nn.Linear(4, 1, rng=1)})
    >>> heads["mean"], [name for name, _ in heads.named_parameters()]
    (Linear(4, 1), ['mean.weight', 'mean.bias', 'variance.weight', 'variance.bias'])
    """

    _members = "layers"
    __eq__, __hash__ = Module.__eq__, Module.__hash__      # by identity

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        self.layers: dict[str, Module] = {}
        try:
            given = dict(() if modules is None else modules)
        except (TypeError, ValueError):
            raise TypeError(f"ModuleDict: got {said(modules)}, expected a dict of modules") from None
        self.update(given)

    def __getitem__(self, name: str) -> Module:
        return self.layers[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str):
            raise TypeError(f"ModuleDict: got the name {said(name)}, expected text")
        self.layers = {**self.layers, name: _check_module(self, module)}

    def __delitem__(self, name: str) -> None:
        left = dict(self.layers)
        del left[name]
        self.layers = left              # an attribute that is replaced is noticed by captured steps

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


def _check_module(holder: Module, layer: Any) -> Module:
    if not isinstance(layer, Module):
        got = getattr(layer, "__name__", said(layer))
        hint = (f"; write {got}(...) to make one" if isinstance(layer, type) else f"; unpack the {type(layer).__name__}: *layers"
                if isinstance(layer, (list, tuple)) else "; activations are modules here: nn.ReLU()" if callable(layer) else "")
        raise TypeError(f"{type(holder).__name__}: got {got}, expected modules{hint}")
    return layer


_NONE = Identity()      # in place of the activation of a Linear that has none


class Sequential(ModuleList):
    """Modules one after the other. A `Linear` followed by an elementwise activation runs with it as one operation.

    A slice, and a sum, is a Sequential of the same modules.

    >>> net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU()).append(nn.Linear(3, 1, rng=1))
    >>> len(net.parameters()), net[:2]
    (4, Sequential(
      (0): Linear(2, 3)
      (1): ReLU()
    ))
    """

    takes_members = True

    def __init__(self, *layers: Module) -> None:
        super().__init__(layers)

    @cached_property
    def _steps(self) -> list[tuple[Any, Any, Any]]:
        """(Linear, the activation after it or `_NONE`, both as one operation), or (layer, None, None)."""
        steps: list[tuple[Any, Any, Any]] = []
        layer: Any
        before: Any
        for layer in self.layers:
            before, after, _ = steps[-1] if steps else (None, None, None)
            if after is _NONE and _is(layer, Activation):
                steps[-1] = (before, layer, op_of(before)(layer.record, layer.p))
            else:
                steps.append((layer, _NONE, op_of(layer)()) if _is(layer, Linear) else (layer, None, None))
        return steps

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_steps"}      # an op cannot be pickled

    def forward(self, x: Any) -> Any:
        for layer, activation, op in self._steps:
            if op is None:
                x = layer(x)
            elif layer._hooks or activation._hooks:     # hooks see each module alone; the results have the same bits
                x = activation(layer(x))
            else:
                x = applied(op, layer, x)
        return x


def _is(module: Any, kind: type[Module]) -> bool:
    """Whether a module is of this kind and does not override its `forward`."""
    return isinstance(module, kind) and type(module).forward is kind.forward and "forward" not in vars(module)


class Residual(Sequential):
    """``f(x) + x``, where f is the sequence of the given layers (He et al. 2016, arXiv 1512.03385).

    >>> block = nn.Residual(nn.Linear(2, 2, init=0.0, rng=0, dtype="float64"), nn.ReLU())
    >>> block([[1.0, -2.0]])
    Tensor([[ 1., -2.]], requires_grad=True)
    """

    takes_members = True

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return y + in_dtype_of(x, y)           # in this order: an array takes the dtype of the layers


class MLP(Sequential):
    """A multi-layer perceptron: affine layers with an activation between them, none after the last.

    - `widths`: inputs, hidden widths, outputs: ``[64, 32, 10]`` has one hidden layer of 32 units.
    - `activation`: a name ("relu", "leaky_relu", "prelu", "maxout", ...), a function such as `F.relu` or one that `tg.activation`
      made, a class such as `nn.ReLU` or another callable without arguments that makes a module, or a module without state.
    - `init`, `rng`: as in `Linear`. The weights that a seed draws do not depend on `norm`, `dropout` and `residual`.
    - `pieces`: the number of pieces of each Maxout unit, with ``activation="maxout"``.
    - `norm`: "batch" or "layer" for a `BatchNorm1d` or `LayerNorm` before each activation (after a Maxout).
    - `dropout`: the p of a `Dropout` after each activation; 0 for none.
    - `residual`: whether each hidden layer with equal numbers of inputs and outputs adds its input, as a `Residual`.
    - `members`: the number of independent networks that the MLP is to hold, as a `population`. `rng` may then be a list with a
      seed for each; member k has the weights that its seed gives a network alone. (One seed is spawned: member k gets
      ``np.random.default_rng(seed).spawn(members)[k]``.)

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
                 dtype: Any = "float32", rng: int | Generator | Sequence[int | Generator] | None = None, pieces: int = 2,
                 norm: str | None = None, dropout: float = 0.0, residual: bool = False, members: int | None = None) -> None:
        if not isinstance(widths, Iterable):
            raise TypeError(f"MLP: widths is {said(widths)}, expected several: inputs, hidden widths, outputs")
        widths = [check_count(width, "MLP: a width") for width in widths]
        if len(widths) < 2:
            raise ValueError(f"MLP: got widths {widths}; expected at least two, inputs and outputs")
        if norm is not None:
            check_name(norm, NORMS, "MLP: norm")
        if members is not None:
            options = activation, init, dtype
            vars(self).update(vars(population([MLP(widths, *options, seed, pieces, norm, dropout, residual)
                                               for seed in _spawned(rng, members)])))
            return
        rng, p = check_rng(rng, "MLP"), check_probability(dropout, "MLP: dropout")      # type: ignore[arg-type]
        if activation is F.maxout or activation is Maxout:
            activation = "maxout"
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


def _spawned(rng: Any, members: int) -> Sequence[Any]:
    """A seed or generator for each member."""
    members = check_count(members, "MLP: members")
    if not isinstance(rng, Sequence):
        return check_rng(rng, "MLP").spawn(members)
    if len(rng) != members:
        raise ValueError(f"MLP: rng has {counted(len(rng), 'seed')} for {counted(members, 'member')}, expected one for each")
    return rng
