"""Interventions: what can be done to single units of a network, by one call ``apply(model, optimizer, units, rng)``.

`units` says which: {hidden layer: indices or a mask}, counted from 0, such as ``lab.census(model, x).select("dead")``; None means
all. The optimizer forgets the past of every weight that is overwritten (`Optimizer.reset`). A population takes a dict for each
member, or one for all.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array, no_grad
from ..autodiff.tape import changed
from ..checks import check_below_one, check_count, check_number, check_rng, said
from ..nn import BatchNorm1d, LeakyReLU, Linear, Maxout, Module, Parameter, PReLU, ReLU, Residual, Softmax, population
from ..nn.init import Initialiser, start
from ..nn.module import evaluating
from ..optim import Optimizer
from .recorder import seen
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
    rng: int | Generator | None

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

    def inputs(self, x: Any) -> Array:
        """What the layer gets as its inputs on the data x."""
        return np.concatenate([looks[self.index].inputs for looks in self.units.looks(self.units.data(x))])

    def z(self, x: Any) -> Array:
        """The pre-activations of the chosen units on the data x, (samples, units)."""
        return self.layer.pre_activations(self.inputs(x)).data[:, self.rows]

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
        for sites in self._sites(model, optimizer, units, rng):
            for site in sites:
                self.act(site)

    def act(self, site: Site) -> None:
        raise NotImplementedError

    def _sites(self, model: Module | Units, optimizer: Optimizer | None, units: Each,
               rng: int | Generator | None) -> Iterator[list[Site]]:
        """For each network, a site for each layer with chosen units."""
        who, members = type(self).__name__, None if isinstance(model, Units) else model.members
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"{who}: the optimizer is {said(optimizer)}, expected an Optimizer or None")
        if members is None:
            yield _sites(who, Units.of(model), optimizer, units, rng)
            return
        each = [units] * members if units is None or isinstance(units, Mapping) else list(units)
        if len(each) != members:
            raise ValueError(f"{who}: units has {len(each)} entries for {members} members; expected one for each, or one dict")
        draws = [None] * members if rng is None else check_rng(rng, who).spawn(members)
        for k, (chosen, own) in enumerate(zip(each, draws)):
            yield _sites(who, Units.of(model.member(k)), optimizer, chosen, own)      # type: ignore[union-attr]


def _sites(who: str, found: Units, optimizer: Optimizer | None, units: Any, rng: Any) -> list[Site]:
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
            raise IndexError(f"{who}: units is {chosen[index]!r}, expected indices from 0 to {len(every) - 1}, or a mask of "
                             f"{len(every)} booleans") from None
        if rows.size:
            sites.append(Site(who, found, index, rows.reshape(-1), optimizer, rng))
    return sites


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

    def __post_init__(self) -> None:
        check_number(self.margin, "Kill: margin")

    def act(self, site: Site) -> None:
        bias, top = _bias(site), site.low_edge() - self.margin
        site.put(bias, site.rows, bias.data[site.rows] - np.maximum(site.z(self.x).max(axis=0) - top, 0))
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

    def __post_init__(self) -> None:
        check_number(self.margin, "BumpBias: margin")
        if not 0 < check_number(self.share, "BumpBias: share") <= 1:
            raise ValueError(f"BumpBias: share is {self.share}, expected a share of the samples above 0 and at most 1")

    def act(self, site: Site) -> None:
        bias, edge, z = _bias(site), site.low_edge(), site.z(self.x)
        last = len(z) - int(np.ceil(self.share * len(z)))       # from here on, sorted, z is to be positive
        lift = edge + self.margin - np.partition(z, last, axis=0)[last]
        low = lift > 0
        below = replace(site, rows=site.rows[low])
        below.put(bias, below.rows, bias.data[below.rows] + lift[low])
        below.forget_units()


def _bias(site: Site) -> Parameter:
    site.low_edge()                 # raises if there is no bias
    assert site.layer.affine.bias is not None
    return site.layer.affine.bias


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

    def __post_init__(self) -> None:
        check_number(self.kappa, "Mirror: kappa")

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

    def act(self, site: Site) -> None:
        following, affine, norm, rows = site.following(), site.layer.affine, site.layer.norm, site.rows
        outputs, inputs = affine.weight.shape
        weight, _ = start(self.init, outputs, inputs, check_rng(site.rng, site.who), affine.weight.dtype)
        site.begin(affine.weight, rows, weight[rows])
        if affine.bias is not None:
            site.begin(affine.bias, rows, 0)
        for p in [] if norm is None else norm.parameters():
            site.begin(p, rows, float(p.kind == "weight"))
        for buffer, value in ((getattr(norm, "running_mean", None), 0), (getattr(norm, "running_var", None), 1)):
            if buffer is not None:
                buffer.data[rows] = value
        site.begin(following.weight, (slice(None), rows), 0)


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

    def act(self, site: Site) -> None:
        bias = site.layer.affine.bias
        if bias is None or site.layer.norm is not None:
            what = "no bias" if bias is None else "a norm before its activation"
            raise ValueError(f"DataInit: hidden layer {site.index} has {what}; expected a bias, and the activation after it")
        super().act(site)
        z = site.z(self.x).astype(np.float64)
        mean, deviation = z.mean(axis=0), z.std(axis=0)
        scale = 1 / np.where(deviation > 0, deviation, 1)
        site.put(site.layer.affine.weight, site.rows, site.layer.affine.weight.data[site.rows] * scale[:, None])
        site.put(bias, site.rows, -mean * scale)


class ContinualBackprop(Intervention):
    """Continual backpropagation: replace the least useful units, a few at a time (Dohare et al. 2024, Nature 632, 768-774).

    After every step call `observe`, with the batch, and `apply`. The utility of a unit is a running mean, with the factor
    `decay`, of its mean absolute output times the sum of the sizes of its outgoing weights. In each layer the share `rate` of the
    mature units is replaced per step: 1e-4 of 100 units is one unit in 100 steps. A unit is mature after `maturity` steps. A
    replaced unit is drawn anew as in `ReDo`, and its mean output goes into the biases of the next layer. `units` of `apply` are
    those that may be replaced; `replaced` counts all that were.

    >>> model, opt = (model := nn.MLP([2, 8, 1], rng=0)), optim.Adam(model.parameters())
    >>> cbp, rng = lab.ContinualBackprop(rate=0.01, maturity=20), np.random.default_rng(0)
    >>> for _ in range(100):
    ...     x = rng.standard_normal((4, 2))
    ...     opt.zero_grad()
    ...     F.mse_loss(model(x), x[:, :1] ** 2).backward()
    ...     opt.step()
    ...     cbp.observe(model, x)
    ...     cbp.apply(model, opt, rng=rng)
    >>> cbp.replaced
    5
    """

    def __init__(self, rate: float = 1e-4, maturity: int = 100, decay: float = 0.99,
                 init: str | float | Initialiser = "he") -> None:
        self.rate, self.decay = check_number(rate, "ContinualBackprop: rate"), decay
        check_below_one(check_number(decay, "ContinualBackprop: decay"), "ContinualBackprop: decay")
        self.maturity, self.recycle = check_count(maturity, "ContinualBackprop: maturity", least=0), ReDo(init)
        self.replaced = 0
        self._layers: list[_Worth] = []

    def observe(self, model: Module, x: Any) -> None:
        """Note the outputs of all units on one batch (which all members of a population share)."""
        first = Units.of(model if model.members is None else model.member(0))
        if not self._layers:
            self._layers = [_Worth(model.members or 1, layer.units, self.decay) for layer in first.layers]
        own: dict[Any, Any] = dict(zip(first.model.modules(), model.modules()))
        following = [own[site.following()] for site in _sites(type(self).__name__, first, None, None, None)]
        with no_grad(), evaluating(model):
            outputs = seen(model, [*dict.fromkeys(own[layer.activation] for layer in first.layers)], first.data(x))[1]
        for worth, (_, out), after in zip(self._layers, outputs, following):
            worth.note(out.data.reshape(len(worth.age), -1, worth.age.shape[1]), np.abs(after.weight.data).sum(axis=-2))

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        for k, sites in enumerate(self._sites(model, optimizer, units, rng)):
            for site in sites if self._layers else ():
                worth, following = self._layers[site.index], site.following()
                rows = worth.due(k, site.rows, self.rate, self.maturity)
                if not rows.size:
                    continue
                if following.bias is not None:
                    mean = worth.output[k, rows] / worth.weight(k, rows)
                    site.put(following.bias, ..., following.bias.data + following.weight.data[:, rows] @ mean)
                self.recycle.act(replace(site, rows=rows))
                worth.begin_again(k, rows)
                self.replaced += len(rows)


class _Worth:
    """For each member and unit of a layer: its age, its running utility, and its running mean output."""

    def __init__(self, members: int, units: int, decay: float) -> None:
        self.decay, (self.age, self.utility, self.output) = decay, np.zeros((3, members, units))
        self.credit = np.zeros(members)         # of units that may be replaced: whole ones are

    def note(self, h: Array, outgoing: Array) -> None:
        """Outputs (members, samples, units), and the summed sizes of the outgoing weights (members, units)."""
        self.age += 1
        self.utility += (1 - self.decay) * (np.abs(h).mean(axis=1) * outgoing - self.utility)
        self.output += (1 - self.decay) * (h.mean(axis=1) - self.output)

    def weight(self, k: int, rows: Array) -> Array:
        """The sum of the weights in the running means, which began at 0."""
        return np.asarray(1 - self.decay ** self.age[k, rows])

    def due(self, k: int, among: Array, rate: float, maturity: int) -> Array:
        """The units of member k that are to be replaced now: the mature ones of least utility."""
        mature = among[self.age[k, among] > maturity]
        self.credit[k] += rate * len(mature)
        number = min(int(self.credit[k]), len(mature))
        self.credit[k] -= number
        return np.asarray(mature[np.argsort(self.utility[k, mature] / self.weight(k, mature), kind="stable")[:number]])

    def begin_again(self, k: int, rows: Array) -> None:
        for numbers in (self.age, self.utility, self.output):
            numbers[k, rows] = 0


class DecayToStart(Intervention):
    """Decay towards the start: p <- p - lr * weight_decay * (p - p_0), with p_0 of now (Kumar et al. 2023, arXiv 2308.11958).

    Call `apply` after `backward` and before every step. In plain SGD it is then the penalty ``weight_decay / 2 |p - p_0|^2`` in
    the loss. Weights of 0 are nothing special to it: a unit is pulled back to where it was alive. The chosen units' incoming
    weights and biases decay; with None all parameters of the model.

    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> opt, home = optim.SGD(model.parameters(), lr=0.1), lab.DecayToStart(model, weight_decay=1.0)
    >>> model[0].bias.data = [-8.0, 0.0, 8.0]
    >>> home.apply(model, opt)
    >>> model[0].bias.data
    array([-7.2,  0. ,  7.2])
    """

    def __init__(self, model: Module, weight_decay: float) -> None:
        self.weight_decay = check_number(weight_decay, "DecayToStart: weight_decay")
        self.start = {name: p.data.copy() for name, p in model.named_parameters()}

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"DecayToStart: the optimizer is {said(optimizer)}, expected the one that trains the "
                            "model, for its rate")
        model = model.model if isinstance(model, Units) else model
        if units is None:
            for name, p in model.named_parameters():
                self._pull(p, ..., self.start[name], optimizer)
            return
        for k, sites in enumerate(self._sites(model, optimizer, units, rng)):
            names = {id(p): name for name, p in sites[0].units.model.named_parameters()} if sites else {}
            for site in sites:
                for p in site.layer.parameters:
                    begun = self.start[names[id(p)]]
                    self._pull(p, site.rows, begun if model.members is None else begun[k], optimizer)

    def _pull(self, p: Parameter, where: Any, begun: Array, optimizer: Optimizer) -> None:
        if optimizer.holds(p) and p.requires_grad:
            refuse_while_recording(STEP)
            rate = np.asarray(optimizer.options_of(p)["lr"], p.dtype)
            rate = rate.reshape(-1, *[1] * (p.ndim - 1)) if rate.ndim else rate         # one for each member
            p.array[where] -= rate * np.asarray(self.weight_decay, p.dtype) * (p.array[where] - begun[where])
            changed([p])


# -- layers --------------------------------------------------------------------------------------------------------------------


class Structural(Intervention):
    """The base of interventions that put another module into the model."""

    inserts: ClassVar[bool]             # before the activation, or in its place

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        model = model.model if isinstance(model, Units) else model
        every = [{site.index: site.rows for site in sites} for sites in self._sites(model, optimizer, units, rng)]
        for index in sorted({index for chosen in every for index in chosen}):       # each changes the inputs of the next
            if not all(index in chosen for chosen in every):
                raise ValueError(f"{type(self).__name__}: some members have no chosen unit in hidden layer {index}; expected "
                                 "some in all, as the members of a population have the same modules")
            one = [{index: chosen[index]} for chosen in every]
            sites = [site for (site,) in self._sites(model, optimizer, one[0] if model.members is None else one, None)]
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
                optimizer.add_param_group({**optimizer.options_of(named[sites[0].layer.name].weight), "params": learned})

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
        new = PReLU(layer.units, dtype=layer.affine.weight.dtype)
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
        if layer.norm is not None or isinstance(layer.affine, Maxout):
            what = "Maxout pieces" if layer.norm is None else f"a {type(layer.norm).__name__} already"
            raise ValueError(f"{site.who}: hidden layer {site.index} has {what}; expected a Linear and an activation")
        z = layer.pre_activations(site.inputs(self.x)).data
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
