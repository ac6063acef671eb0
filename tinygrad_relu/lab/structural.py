"""Interventions that put another module into the model: a leaky activation, a batch norm."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator

from ..checks import check_number
from ..nn import BatchNorm1d, LeakyReLU, Module, PReLU, ReLU, population
from ..optim import Optimizer
from .sites import Each, Intervention, Site
from .units import Units


class Structural(Intervention):
    """The base of interventions that put another module into the model."""

    inserts: ClassVar[bool]             # before the activation, or in its place

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        example, model = (model.example, model.model) if isinstance(model, Units) else (getattr(self, "x", None), model)

        def given() -> Module | Units:          # found anew after each change
            return Units(model, example) if model.members is None else model

        every = [{site.index: site.rows for site in sites} for sites in self.sites(given(), optimizer, units, rng)]
        for index in sorted({index for chosen in every for index in chosen}):       # each changes the inputs of the next
            if not all(index in chosen for chosen in every):
                raise ValueError(f"{type(self).__name__}: some members have no chosen unit in hidden layer {index}; expected "
                                 "some in all, as the members of a population have the same modules")
            one = [{index: chosen[index]} for chosen in every]
            sites = [site for (site,) in self.sites(given(), optimizer, one[0] if model.members is None else one, None)]
            modules = [self.module(site) for site in sites]
            new = modules[0] if model.members is None else population(modules)
            named: Any = dict(model.named_modules())
            holder, place = sites[0].activation_place()
            if self.inserts:
                named[holder].insert(place, new)
            else:
                named[holder][place] = new
            learned = [p for p in new.parameters() if p.requires_grad]
            if optimizer is not None and learned:
                model_weight = dict(zip(sites[0].units.model.parameters(), model.parameters()))[sites[0].own()[0]]
                optimizer.add_param_group({**optimizer.options_of(model_weight), "params": learned})

    def module(self, site: Site) -> Module:
        """The new module for one network."""
        raise NotImplementedError


@dataclass(frozen=True)
class SwapToLeaky(Structural):
    """Give units a slope on the left, by which they get a gradient wherever z is negative.

    A layer of which all units are chosen gets `nn.LeakyReLU`. If only some ReLUs are chosen, the layer gets an `nn.PReLU` that is
    not trained, with a slope of 0 for the others, which stay ReLUs.

    >>> model, x = nn.MLP([2, 3, 2], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0])
    >>> lab.SwapToLeaky().apply(model, units=lab.census(model, x).select("dead"))
    >>> model[1].weight.data, [unit["state"] for unit in lab.census(model, x).units()]
    (array([0.01, 0.  , 0.  ], dtype=float32), ['affine', 'alive', 'alive'])
    """

    negative_slope: float = 0.01
    inserts = False

    def __post_init__(self) -> None:
        check_number(self.negative_slope, "SwapToLeaky: negative_slope")

    def module(self, site: Site) -> Module:
        layer, before = site.layer, site.layer.activation
        swapped = isinstance(before, PReLU) and not before.weight.requires_grad
        if not (swapped or isinstance(before, (ReLU, LeakyReLU))):
            raise ValueError(f"{site.who}: hidden layer {site.index} has {layer.activation_name}; expected ReLU or a leaky one")
        if len(site.rows) == layer.units:
            return LeakyReLU(self.negative_slope)
        new = PReLU(layer.units, dtype=layer.dtype)
        old: Any = before.weight.data if isinstance(before, PReLU) else getattr(before, "negative_slope", 0.0)
        new.weight.array[:] = old
        new.weight.array[site.rows] = self.negative_slope
        new.weight.requires_grad = False
        return new


@dataclass(frozen=True)
class InsertBatchNorm(Structural):
    """Insert batch normalisation before the activation, with the statistics of the data x.

    The chosen units get weight 1 and bias 0: z then has mean 0 and deviation 1 on x, and the units live, if z varies at all. The
    others get the weight and bias that leave z as it is on x. The optimizer takes the new parameters, with the options of the
    layer's weight.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0])
    >>> lab.InsertBatchNorm(x).apply(model, units={0: [0]})
    >>> model[1], lab.census(model, x).dead
    (BatchNorm1d(3), [0])
    """

    x: Any
    inserts = True

    def module(self, site: Site) -> Module:
        layer = site.layer
        if layer.norm is not None or layer.activation is None:
            what = "Maxout pieces" if layer.norm is None else f"a {type(layer.norm).__name__} already"
            raise ValueError(f"{site.who}: hidden layer {site.index} has {what}; expected a Linear and an activation")
        z = site.z(self.x, slice(None))
        new: Any = BatchNorm1d(layer.units, dtype=z.dtype)
        mean, variance = z.mean(axis=0, dtype=np.float64), z.var(axis=0, dtype=np.float64)
        new.running_mean.data[:], new.running_var.data[:] = mean, variance * (len(z) / max(1, len(z) - 1))
        new.weight.array[:], new.bias.array[:] = np.sqrt(new.running_var.data + new.eps), mean
        new.weight.array[site.rows], new.bias.array[site.rows] = 1, 0
        site.forget_units()                 # at another scale, their past says nothing
        return new
