"""Which units an intervention changes, and where their weights are: `Site`, and the base of all interventions."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array
from ..autodiff.tape import changed
from ..checks import check_number, check_rng, said
from ..nn import Module, Parameter, Sequential
from ..optim import Optimizer
from .layers import HiddenLayer, Outgoing, flat_edges
from .units import Units, check_optimizer, module_of

STEP = "overwrites weights of units, which a replay would not; do it outside of the step"
Chosen = Mapping[int, Any] | None
Each = Chosen | Sequence[Chosen]            # for a population
Needs = tuple[Callable[["Site"], object], ...]          # what raises an error where an intervention cannot act


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

    def own(self) -> tuple[Parameter, Parameter | None]:
        """The weight of the layer, whose rows belong to the units, and its bias."""
        if self.layer.weight is None:
            raise ValueError(f"{self.who}: hidden layer {self.index} ({self.layer.name}) is no activation of an affine map, "
                             "expected that of x @ weight.T + bias")
        return self.layer.weight, self.layer.bias

    def bias(self) -> tuple[Parameter, float]:
        """The bias of the layer, if it moves z freely; and up to which z the activation is flat on the low side."""
        layer, low = self.layer, flat_edges(self.layer.activation)[0]
        self.own()
        if layer.bias is None or not layer.plain or not np.isfinite(low):
            what = "a norm before its activation" if layer.norm is not None else "no bias" if layer.bias is None else (
                f"{layer.activation_name}, which has no flat side below")
            raise ValueError(f"{self.who}: hidden layer {self.index} has {what}; expected a bias and an activation such as ReLU "
                             "after it")
        return layer.bias, low

    def following(self, norm: bool = True) -> Outgoing:
        """The one layer that takes the outputs of this one.

        Between weights and activation there may be a batch norm if `norm`; a layer norm mixes the units.
        """
        layer = self.layer
        mixed = layer.norm is not None and not (norm and layer.norm.depends_on_mode)
        if mixed or isinstance(layer.outgoing, str):
            raise ValueError(f"{self.who}: layer {layer.name} has {'a norm after it' if mixed else layer.outgoing}; expected a "
                             "Linear whose output, after the activation, goes to one other layer and nowhere else")
        return layer.outgoing

    def activation_place(self) -> tuple[str, int]:
        """Where the activation of the layer is: the name of its Sequential in the model, and the index there."""
        named = dict(self.units.model.named_modules())
        name = next((name for name, m in reversed(named.items()) if m is self.layer.activation), "")
        holder, _, index = name.rpartition(".")
        if not index.isdigit() or not isinstance(named[holder], Sequential):
            raise ValueError(f"{self.who}: the activation of hidden layer {self.index} ({self.layer.name}) is not in a "
                             "Sequential; expected a module there, in whose place another can be put")
        return holder, int(index)


class Intervention:
    """The base: `apply` calls `act` for each hidden layer with chosen units, first to last, of each member."""

    needs: ClassVar[Needs] = ()

    def __post_init__(self) -> None:
        """The floats among the settings of a dataclass are finite and not negative."""
        for setting in fields(self):        # type: ignore[arg-type]
            if setting.type == "float":
                check_number(getattr(self, setting.name), f"{type(self).__name__}: {setting.name}")

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        """Change the chosen units of the model, in place.

        - `optimizer`: the one that trains the model, whose buffers for these units are emptied; None if there is none.
        - `units`: {hidden layer: indices, a mask, or None for all units of the layer}; None for all units of all layers.
        - `rng`: a seed or a Generator, for interventions that draw.
        """
        every = [site for sites in self.sites(model, optimizer, units, rng) for site in sites]
        for site in every:                      # before the first change
            for need in self.needs:
                need(site)
        for site in every:
            self.act(site)

    def act(self, site: Site) -> None:
        raise NotImplementedError

    def sites(self, model: Module | Units, optimizer: Optimizer | None, units: Each,
              rng: int | Generator | None) -> Iterator[list[Site]]:
        """For each network, a site for each layer with chosen units."""
        who, x = type(self).__name__, getattr(self, "x", None)      # data, if the intervention has some
        members = module_of(model, who).members
        check_optimizer(optimizer, who)
        if members is None:
            yield sites_of(who, Units.of(model, x), optimizer, units, None if rng is None else check_rng(rng, who))
            return
        each = units if isinstance(units, Sequence) else [units] * members
        if len(each) != members:
            raise ValueError(f"{who}: units has {len(each)} entries for {members} members; expected one for each, or one dict")
        draws = [None] * members if rng is None else check_rng(rng, who).spawn(members)
        for k, (chosen, own) in enumerate(zip(each, draws)):
            untouched = isinstance(chosen, Mapping) and not chosen
            yield [] if untouched else sites_of(who, Units.of(model.member(k), x), optimizer, chosen, own)  # type: ignore[union-attr]


def sites_of(who: str, found: Units, optimizer: Optimizer | None, units: Any, rng: Any) -> list[Site]:
    if units is not None and not isinstance(units, Mapping):
        raise TypeError(f"{who}: units is {said(units)}, expected {{hidden layer: indices or a mask}}, such as {{0: [1, 3]}}, or "
                        "None for all")
    chosen: Mapping[int, Any] = dict.fromkeys(range(len(found.layers))) if units is None else units
    sites = []
    for index in sorted(chosen):
        every = np.arange(found.layer(index, who).units)
        try:
            given = every if chosen[index] is None else np.asarray(chosen[index]) if np.size(chosen[index]) else every[:0]
            if np.any(given < 0):       # for NumPy, counted from the end
                raise IndexError
            rows = every[given]
        except (IndexError, TypeError):
            raise IndexError(f"{who}: units is {said(chosen[index])}, expected indices from 0 to {len(every) - 1}, or a mask of "
                             f"{len(every)} booleans") from None
        if rows.size:
            sites.append(Site(who, found, index, rows.reshape(-1), optimizer, rng))
    return sites
