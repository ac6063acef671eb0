"""Interventions that go with a training, step by step: continual backpropagation, and decay towards the start."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator

from ..autodiff import guard
from ..autodiff.guard import refuse_while_recording
from ..autodiff.node import Array, no_grad
from ..autodiff.tape import changed
from ..checks import check_below_one, check_count, check_number, said
from ..nn import Module, Parameter
from ..nn.init import Initialiser
from ..optim import Optimizer
from .interventions import ReDo
from .passes import apart
from .sites import STEP, Each, Intervention, sites_of
from .units import Units, module_of


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
        self.rate = check_number(rate, "ContinualBackprop: rate")
        self.decay = check_below_one(decay, "ContinualBackprop: decay")
        self.maturity, self.recycle = check_count(maturity, "ContinualBackprop: maturity", least=0), ReDo(init)
        self.replaced = 0
        self._layers: list[_Worth] = []
        self._known: tuple[Any, ...] | None = None          # the parts of the model that was observed last

    def observe(self, model: Module | Units, x: Any) -> None:
        """Note the outputs of all units on one batch (which all members of a population share)."""
        model = module_of(model, "ContinualBackprop")
        if self._known is None or self._known[-2:] != (model, guard.version):
            first = Units(model if model.members is None else model.member(0), x)
            own = dict(zip(first.model.parameters(), model.parameters()))
            sites = sites_of(type(self).__name__, first, None, None, None)
            following: list[Any] = [own[site.following().weight] for site in sites]
        else:
            first, following, *_ = self._known
        if not self._layers:
            self._layers = [_Worth(model.members or 1, layer.units, self.decay) for layer in first.layers]
        if [worth.age.shape for worth in self._layers] != [(model.members or 1, layer.units) for layer in first.layers]:
            raise ValueError("ContinualBackprop: this model has other hidden layers than the one that was observed before; "
                             "expected the same model, or a ContinualBackprop of its own")
        for worth, h, weight in zip(self._layers, _outputs(first, model, first.data(x)), following):
            worth.note(h.reshape(len(worth.age), -1, worth.age.shape[1]), np.abs(weight.data).sum(axis=-2))
        self._known = first, following, model, guard.version       # the mode of the model has been set and set back

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        if not self._layers:
            return
        among = None if units is None else [
            {site.index: site.rows for site in sites} for sites in self.sites(model, optimizer, units, None)]
        due: list[dict[int, Array]] = [{} for _ in self._layers[0].credit]
        for index, worth in enumerate(self._layers):
            mask = worth.age >= 0
            for k, chosen in enumerate(among or ()):
                mask[k] = np.isin(np.arange(len(mask[k])), chosen.get(index, []))
            for k, rows in worth.due(mask, self.rate, self.maturity):
                due[k][index] = rows
        if not any(due):
            return
        one = module_of(model, "ContinualBackprop").members is None
        for k, sites in enumerate(self.sites(model, optimizer, due[0] if one else due, rng)):
            for site in sites:
                worth, following, rows = self._layers[site.index], site.following(), site.rows
                if following.bias is not None:
                    mean = worth.output[k, rows] / worth.weight(k, rows)
                    site.put(following.bias, ..., following.bias.data + following.weight.data[:, rows] @ mean)
                self.recycle.act(site)
                for numbers in (worth.age, worth.utility, worth.output):
                    numbers[k, rows] = 0
                self.replaced += len(rows)


def _outputs(units: Units, model: Module, x: Array) -> list[Array]:
    """The outputs of each hidden layer of a model, as in evaluation; `units` are those of its first member."""
    if model.members is None:
        return [look.out.array for look in units.walk(x)]
    own = dict(zip(units.model.modules(), model.modules()))
    wanted = [own.get(layer.activation) for layer in units.layers if layer.owned and layer.activation is not None]
    if len(set(wanted)) < len(units.layers):
        raise ValueError("ContinualBackprop: expected a population of networks each of whose activations is a module of its own")
    seen: dict[Module, Array] = {}
    with apart(model, lambda call: seen.update({call.module: call.output.array})), no_grad():
        model(x)
    return [seen[module] for module in wanted if module is not None]


class _Worth:
    """For each member and unit of a layer: its age, its running utility, and its running mean output."""

    def __init__(self, members: int, units: int, decay: float) -> None:
        self.decay, (self.age, self.utility, self.output) = decay, np.zeros((3, members, units))
        self.credit = np.zeros(members)         # the number of units due, with a fraction that waits

    def note(self, h: Array, outgoing: Array) -> None:
        """Outputs (members, samples, units), and the summed sizes of the outgoing weights (members, units)."""
        self.age += 1
        self.utility += (1 - self.decay) * (np.abs(h).mean(axis=1) * outgoing - self.utility)
        self.output += (1 - self.decay) * (h.mean(axis=1) - self.output)

    def weight(self, k: int, rows: Array) -> Array:
        """The sum of the weights in the running means, which began at 0."""
        return np.asarray(1 - self.decay ** self.age[k, rows])

    def due(self, among: Array, rate: float, maturity: int) -> Iterator[tuple[int, Array]]:
        """The members with units to be replaced now, and these units: the mature ones of least utility."""
        mature = among & (self.age > maturity)
        count = mature.sum(axis=1)
        self.credit += rate * count
        for k in map(int, np.flatnonzero((self.credit >= 1) & (count > 0))):
            number = min(int(self.credit[k]), count[k])
            self.credit[k] -= number
            rows = np.flatnonzero(mature[k])
            yield k, rows[np.argsort(self.utility[k, rows] / self.weight(k, rows), kind="stable")[:number]]


class DecayToStart(Intervention):
    """Decay towards the start: p <- p - lr * weight_decay * (p - p_0), with p_0 of now (Kumar et al. 2023, arXiv 2308.11958).

    Call `apply` after `backward` and before every step. In plain SGD it is then the penalty ``weight_decay / 2 |p - p_0|^2`` in
    the loss. It pulls a unit back to where it was alive, and not to 0. The incoming weights and biases of the chosen units decay;
    with None, all parameters of the model.

    >>> model = nn.MLP([2, 3, 2], rng=0, dtype="float64")
    >>> opt, home = optim.SGD(model.parameters(), lr=0.1), lab.DecayToStart(model, weight_decay=1.0)
    >>> model[0].bias.data = [-8.0, 0.0, 8.0]
    >>> home.apply(model, opt)
    >>> model[0].bias.data
    array([-7.2,  0. ,  7.2])
    """

    def __init__(self, model: Module, weight_decay: float) -> None:
        self.weight_decay = check_number(weight_decay, "DecayToStart: weight_decay")
        self.start = {name: p.data.copy() for name, p in module_of(model, "DecayToStart").named_parameters()}

    def apply(self, model: Module | Units, optimizer: Optimizer | None = None, units: Each = None,
              rng: int | Generator | None = None) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"DecayToStart: the optimizer is {said(optimizer)}, expected the one that trains the "
                            "model, for its rate")
        whole = module_of(model, "DecayToStart")
        parameters = dict(whole.named_parameters())
        if {name: p.shape for name, p in parameters.items()} != {name: begun.shape for name, begun in self.start.items()}:
            raise ValueError("DecayToStart: the parameters are not those of the model whose start was noted, expected that one")
        if units is None:
            for name, p in parameters.items():
                self._pull(p, ..., self.start[name], optimizer)
            return
        for k, sites in enumerate(self.sites(model, optimizer, units, rng)):
            names = {id(p): name for name, p in sites[0].units.model.named_parameters()} if sites else {}
            for site in sites:
                for p in site.layer.parameters:
                    begun = self.start[names[id(p)]]
                    self._pull(p, site.rows, begun if whole.members is None else begun[k], optimizer)

    def _pull(self, p: Parameter, where: Any, begun: Array, optimizer: Optimizer) -> None:
        if optimizer.holds(p) and p.requires_grad:
            refuse_while_recording(STEP)
            rate = np.asarray(optimizer.options_of(p)["lr"], p.dtype)
            rate = rate.reshape(-1, *[1] * (p.ndim - 1)) if rate.ndim else rate         # one for each member
            p.array[where] -= rate * np.asarray(self.weight_decay, p.dtype) * (p.array[where] - begun[where])
            changed([p])
