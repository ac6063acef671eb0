"""Which units an intervention changes, and where their weights are: `Site`, and the base of all interventions."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array
from ..autodiff.tape import changed
from ..checks import check_count, check_rng, said
from ..nn import Linear, Maxout, Module, Residual, Softmax
from ..optim import Optimizer
from .units import HiddenLayer, Units, flat_edges

STEP = "overwrites weights of units, which a replay would not; do it outside of the step"
Chosen = Mapping[int, Any] | None
Each = Chosen | Sequence[Chosen]            # for a population


@dataclass(frozen=True)
class Site:
    """The chosen units of one hidden layer of one network."""

    who: str
    units: Units
    index: int
    rows: Array
    optimizer: Optimizer | None
    rng: Generator | None

    @property
    def layer(self) -> HiddenLayer:
        return self.units.layers[self.index]

    def put(self, parameter: Any, where: Any, values: Any) -> None:
        """Overwrite some entries of a parameter."""
        refuse_while_recording(STEP)
        parameter.array[where] = values
        changed([parameter])

    def forget(self, parameter: Any, where: Any) -> None:
        """Let the optimizer forget the past of some entries of a parameter."""
        if self.optimizer is not None and self.optimizer.holds(parameter):
            self.optimizer.reset(parameter, where)

    def begin(self, parameter: Any, where: Any, values: Any) -> None:
        """`put`, and `forget`."""
        self.put(parameter, where, values)
        self.forget(parameter, where)

    def forget_units(self) -> None:
        """Let the optimizer forget the past of the units' weights and biases."""
        for p in self.layer.parameters:
            self.forget(p, self.rows)

    def z(self, x: Any, rows: Any = None) -> Array:
        """The pre-activations of the chosen units (or of other rows) on the data x, (samples, units)."""
        rows = self.rows if rows is None else rows
        return np.concatenate([looks[self.index].z[:, rows] for looks in self.units.looks(self.units.data(x))])

    def low_edge(self) -> float:
        """Up to where the activation is flat on the low side, if the bias moves z freely."""
        layer, low = self.layer, flat_edges(self.layer.activation)[0]
        if layer.affine.bias is None or layer.norm is not None or not np.isfinite(low):
            what = "a norm before its activation" if layer.norm is not None else "no bias" if layer.affine.bias is None else (
                f"{layer.activation_name}, which has no flat side below")
            raise ValueError(f"{self.who}: hidden layer {self.index} has {what}; expected a bias and an activation such as ReLU "
                             "after it")
        return low

    def following(self, norm: bool = True) -> Linear | Maxout:
        """The one layer that takes the outputs of this one: column j of its weight has the outgoing weights of unit j.

        Between weights and activation there may be a batch norm if `norm`; a layer norm mixes the units.
        """
        layer, model = self.layer, self.units.model
        what = "Maxout pieces" if isinstance(layer.affine, Maxout) else "a Residual around it" if layer.residuals else ""
        modules = list(model.modules())
        for module in modules[modules.index(layer.affine) + 1:]:
            if isinstance(module, (Linear, Maxout)) and not what:
                return module
            own = norm and module is layer.norm and module.depends_on_mode
            what = what or ("a norm after it" if module.is_norm and not own else
                            f"a {type(module).__name__} after it" if isinstance(module, (Residual, Softmax)) else "")
        raise ValueError(f"{self.who}: layer {layer.name} has {what or 'no layer after it'}; expected a Linear whose output, "
                         "after the activation, goes to one other layer and nowhere else")

    def activation_place(self) -> tuple[str, int]:
        """Where the activation of the layer is: the name of its Sequential in the model, and the index there."""
        named = list(self.units.model.named_modules())
        first = [name for name, _ in named].index(self.layer.name)
        holder, _, index = next(name for name, m in named[first:] if m is self.layer.activation).rpartition(".")
        return holder, int(index)


class Intervention:
    """The base: `apply` calls `act` for each hidden layer with chosen units, first to last, of each member."""

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        """Change the chosen units of the model, in place.

        Parameters
        ----------
        optimizer : the one that trains the model, whose buffers for these units are emptied; None if there is none.
        units : {hidden layer: indices, a mask, or None for all units of the layer}; None for all units of all layers.
        rng : a seed or a Generator, for interventions that draw.
        """
        for sites in self.sites(model, optimizer, units, rng):
            for site in sites:
                self.act(site)

    def act(self, site: Site) -> None:
        raise NotImplementedError

    def sites(self, model: Module | Units, optimizer: Optimizer | None, units: Each,
              rng: int | Generator | None) -> Iterator[list[Site]]:
        """For each network, a site for each layer with chosen units."""
        who, members = type(self).__name__, None if isinstance(model, Units) else model.members
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"{who}: the optimizer is {said(optimizer)}, expected an Optimizer or None")
        if members is None:
            yield sites_of(who, Units.of(model), optimizer, units, None if rng is None else check_rng(rng, who))
            return
        each = [units] * members if units is None or isinstance(units, Mapping) else list(units)
        if len(each) != members:
            raise ValueError(f"{who}: units has {len(each)} entries for {members} members; expected one for each, or one dict")
        draws = [None] * members if rng is None else check_rng(rng, who).spawn(members)
        for k, (chosen, own) in enumerate(zip(each, draws)):
            untouched = isinstance(chosen, Mapping) and not chosen
            yield [] if untouched else sites_of(who, Units.of(model.member(k)), optimizer, chosen, own)  # type: ignore[union-attr]


def sites_of(who: str, found: Units, optimizer: Optimizer | None, units: Any, rng: Any) -> list[Site]:
    if units is not None and not isinstance(units, Mapping):
        raise TypeError(f"{who}: units is {said(units)}, expected {{hidden layer: indices or a mask}}, such as {{0: [1, 3]}}, or "
                        "None for all")
    chosen: Mapping[int, Any] = dict.fromkeys(range(len(found.layers))) if units is None else units
    sites = []
    for index in sorted(chosen):
        if check_count(index, f"{who}: layer", least=0) >= len(found.layers):
            raise IndexError(f"{who}: layer is {index}, expected a hidden layer from 0 to {len(found.layers) - 1}")
        every = np.arange(found.layers[index].units)
        try:
            rows = every if chosen[index] is None else every[np.asarray(chosen[index]) if np.size(chosen[index]) else every[:0]]
        except (IndexError, TypeError):
            raise IndexError(f"{who}: units is {said(chosen[index])}, expected indices from 0 to {len(every) - 1}, or a mask of "
                             f"{len(every)} booleans") from None
        if rows.size:
            sites.append(Site(who, found, index, rows.reshape(-1), optimizer, rng))
    return sites
