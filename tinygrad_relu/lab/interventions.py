"""Interventions: what can be done to units of a network, by one call ``apply(model, optimizer, units, rng)``.

`units` says which: {hidden layer: indices or a mask}, counted from 0, such as ``lab.census(model, x).select("dead")``; None means
all. The optimizer forgets the past of every weight that is overwritten (`Optimizer.reset`). A population takes a dict for each
member, or one for all.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from ..checks import check_rng, said
from ..nn import BatchNorm1d, LeakyReLU, Module, PReLU, ReLU, population
from ..nn.init import Initialiser, start
from ..optim import Optimizer
from .sites import Each, Intervention, Needs, Site
from .units import Units, module_of

# -- biases --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill(Intervention):
    """Lower biases until the units are dead on x: until the largest z of each is at most -margin.

    (For an activation other than ReLU: `margin` below the edge of its flat side.) Units that are that far below already are not
    changed. With `keep_velocity`, the optimizer keeps its buffers: a unit whose buffer pushes z up may come back by momentum
    alone, and `prognosis` tells which units do, and at which step.

    >>> model, x = nn.MLP([2, 3, 2], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.Kill(x).apply(model, units={0: [0, 2]})
    >>> lab.census(model, x).layers[0].max_z.round(3)[[0, 2]]
    array([-0.2, -0.2], dtype=float32)
    """

    x: Any
    margin: float = 0.2
    keep_velocity: bool = True
    needs = (Site.bias,)

    def act(self, site: Site) -> None:
        bias, edge = site.bias()
        too_high = site.z(self.x).max(axis=0) - (edge - self.margin)
        site.put(bias, site.rows, bias.data[site.rows] - np.maximum(too_high, 0))
        if not self.keep_velocity:
            site.forget_units()


@dataclass(frozen=True)
class BumpBias(Intervention):
    """Raise biases until z is at least `margin` on a `share` of the samples x; a unit that is there already is not changed.

    The weights keep their direction: the unit comes back on the samples nearest to its hyperplane. Its momentum, which may
    still push it down, is forgotten.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0, 2])
    >>> lab.BumpBias(x, share=0.3, margin=0.001).apply(model, units={0: [0]})
    >>> lab.census(model, x).layers[0].on_rate[[0, 2]]
    array([0.3, 0. ])
    """

    x: Any
    share: float = 0.1
    margin: float = 0.1
    needs = (Site.bias,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"BumpBias: share is {self.share}, expected a share of the samples above 0 and at most 1")

    def act(self, site: Site) -> None:
        (bias, edge), z = site.bias(), site.z(self.x)
        last = len(z) - int(np.ceil(self.share * len(z)))       # from here on, sorted, z is to be positive
        lift = edge + self.margin - np.partition(z, last, axis=0)[last]
        low = lift > 0
        below = replace(site, rows=site.rows[low])
        below.put(bias, below.rows, bias.data[below.rows] + lift[low])
        below.forget_units()


# -- weights -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mirror(Intervention):
    """Replace units by their mirror images, (w, b) <- -kappa (w, b), and set their outgoing weights to 0.

    A unit with z < 0 on all samples then has z > 0 on all. If its output was 0 on all, the network still gives the same outputs
    there. Its outgoing weights get a gradient at once; when they are not 0 any more, so does the unit. Momentum and decay bring
    a unit back in the same form, as its mirror image.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, [0])
    >>> before = model(x).data
    >>> lab.Mirror().apply(model, units={0: [0]})
    >>> bool((model(x).data == before).all()), lab.census(model, x).units()[0]["state"]
    (True, 'always on')
    """

    kappa: float = 1.0
    needs = (partial(Site.following, norm=False), Site.own)

    def act(self, site: Site) -> None:
        following = site.following(norm=False)
        for p in site.layer.parameters:
            site.begin(p, site.rows, -self.kappa * p.data[site.rows])
        site.begin(following.weight, (slice(None), site.rows), 0)


@dataclass(frozen=True)
class ReDo(Intervention):
    """Recycle units as ReDo does (Sokar et al. 2023, arXiv 2302.12902): incoming weights drawn anew, bias 0, outgoing weights 0.

    Where the outputs of the units were 0, the outputs of the network do not change. ReDo recycles, every 1000 steps or so, the
    units with a dormancy of at most tau: ``lab.census(model, x, tau=0.025).select("dormant")``. In a norm before the activation
    the units start again too. `init` is as in `nn.Linear`.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2))
    >>> opt = optim.Adam(model.parameters())
    >>> lab.kill(model, x, [0])
    >>> lab.ReDo().apply(model, opt, lab.census(model, x).select("dormant"), rng=0)
    >>> lab.census(model, x).dead, model[2].weight.data[:, 0]
    ([0], array([0., 0.]))
    """

    init: str | float | Initialiser = "he"
    needs: ClassVar[Needs] = (Site.following, Site.own)

    def act(self, site: Site) -> None:
        following, (weight, bias), norm, rows = site.following(), site.own(), site.layer.norm, site.rows
        outputs, inputs = weight.shape
        drawn, _ = start(self.init, outputs, inputs, check_rng(site.rng, site.who), weight.dtype)
        site.begin(weight, rows, drawn[rows])
        if bias is not None:
            site.begin(bias, rows, 0)
        for p in [] if norm is None else norm.parameters():
            site.begin(p, rows, float(p.kind == "weight"))
        for buffer, value in ((getattr(norm, "running_mean", None), 0), (getattr(norm, "running_var", None), 1)):
            if buffer is not None:
                buffer.data[rows] = value
        site.begin(following.weight, (slice(None), rows), 0)


def _scaled(site: Site) -> None:
    _, bias = site.own()
    if bias is None or site.layer.norm is not None:
        what = "no bias" if bias is None else "a norm before its activation"
        raise ValueError(f"DataInit: hidden layer {site.index} has {what}; expected a bias, and the activation after it")


@dataclass(frozen=True)
class DataInit(ReDo):
    """As `ReDo`; then weights and bias are scaled so that z has mean 0 and deviation 1 on x (Salimans & Kingma 2016, arXiv
    1602.07868). So wherever the data lie, each unit is active on about half of them.

    >>> model, x = nn.MLP([2, 3, 2], rng=0, dtype="float64"), np.random.default_rng(0).standard_normal((50, 2)) + 100
    >>> lab.DataInit(x).apply(model, rng=0)
    >>> lab.census(model, x).layers[0].on_rate
    array([0.46, 0.5 , 0.5 ])
    """

    init: str | float | Initialiser = field(default="he", kw_only=True)
    x: Any
    needs = (_scaled, *ReDo.needs)

    def act(self, site: Site) -> None:
        super().act(site)
        weight, bias = site.own()
        z = site.z(self.x).astype(np.float64)
        mean, deviation = z.mean(axis=0), z.std(axis=0)
        scale = 1 / np.where(deviation > 0, deviation, 1)
        site.put(weight, site.rows, weight.data[site.rows] * scale[:, None])
        site.put(bias, site.rows, -mean * scale)


# -- other modules ---------------------------------------------------------------------------------------------------------------


class Structural(Intervention):
    """The base of interventions that put another module into the model."""

    inserts: ClassVar[bool]             # before the activation, or in its place

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        example = model.example if isinstance(model, Units) else getattr(self, "x", None)
        model = module_of(model, type(self).__name__)

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


# -- in one call ---------------------------------------------------------------------------------------------------------------


def kill(model: Module | Units, x: Any, units: npt.ArrayLike | None = None, *, margin: float = 0.2, layer: int = 0,
         optimizer: Optimizer | None = None, keep_velocity: bool = True) -> None:
    """`Kill` for one hidden layer (of a network, or of every member of a population): by default all its units.

    >>> model, x = nn.MLP([2, 3, 2], rng=0), np.random.default_rng(0).standard_normal((50, 2))
    >>> lab.kill(model, x, margin=1.0)
    >>> lab.census(model, x).dead
    [3]
    """
    if not keep_velocity and not isinstance(optimizer, Optimizer):
        raise TypeError(f"kill: with keep_velocity=False, the optimizer is {said(optimizer)}, expected the one whose buffers "
                        "are to be emptied")
    Kill(x, margin, keep_velocity).apply(model, optimizer, {layer: units})


def mirror(model: Module | Units, units: npt.ArrayLike, kappa: float = 1.0, *, layer: int = 0,
           optimizer: Optimizer | None = None) -> None:
    """`Mirror` for one hidden layer.

    >>> model = nn.MLP([2, 3, 2], rng=0)
    >>> lab.mirror(model, [0, 2], kappa=0.1)
    >>> model[2].weight.data[:, [0, 2]].any()
    np.False_
    """
    Mirror(kappa).apply(model, optimizer, {layer: units})
