"""The main job: make a network sick, give the same sick network each treatment, and compare with what was foretold."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..data import Dataset
from ..kernels.machine.threads import num_threads
from ..nn import MLP, Module
from ..optim import SGD, Optimizer
from .census import census
from .prognosis import Prognosis, UnitPrognosis, prognosis
from .recorder import Recorder
from .roll_forward import orbit
from .treatments import Treatment
from .units import GONE, HiddenLayer, hidden_layers

Tick = Callable[[str, int], None]       # (what, steps done): for a progress bar
EVERY = 10                              # how many steps lie between two accuracies


@dataclass(frozen=True)
class Sick:
    """A network after a learning rate that was too high.

    Attributes
    ----------
    model : MLP
    dead : list of int
        Dead units by hidden layer.
    accuracy, loss : float
    gradient : float
        The largest gradient norm of a hidden unit: exactly 0 where every path is dead.
    states : list of ndarray
        How it came to this: states of the units, (steps + 1, units) per layer.
    accuracies : list of (step, accuracy)
    """

    model: MLP
    dead: list[int]
    accuracy: float
    loss: float
    gradient: float
    states: list[Array]
    accuracies: list[tuple[int, float]]


@dataclass(frozen=True)
class Outcome:
    """What one treatment did, beside what the theory said.

    Attributes
    ----------
    treatment : Treatment
    eta_lambda : float
    threshold : float or None
    verdict : str
        The theory's, in one sentence.
    predicted_step, observed_step : int or None
        The first return of a dead unit of the first hidden layer; None for never. A prediction may lie beyond the end of the
        training, where nobody looks.
    exact : bool
        Whether the theory claims exactness.
    disagreements : list of str
        Units of the first layer whose observed life differs from an exact prediction, in words.
    dead : list of int
        Dead units by layer, at the end.
    accuracy, loss : float
        At the end.
    states, accuracies
        As in `Sick`.
    followed : tuple of (unit, sample), or None
        The pre-activation whose `observed_orbit` was kept, beside the `predicted_orbit`.
    """

    treatment: Treatment
    eta_lambda: float
    threshold: float | None
    verdict: str
    predicted_step: int | None
    observed_step: int | None
    exact: bool
    disagreements: list[str]
    dead: list[int]
    accuracy: float
    loss: float
    states: list[Array]
    accuracies: list[tuple[int, float]]
    followed: tuple[int, int] | None
    observed_orbit: list[float]
    predicted_orbit: list[float]

    @property
    def steps(self) -> int:
        """How many steps the training had."""
        return len(self.states[0]) - 1

    @property
    def ends_before(self) -> bool:
        """Whether the training is over before the return that was foretold."""
        return self.predicted_step is not None and self.predicted_step > self.steps

    def to_dict(self) -> dict[str, Any]:
        """The part of it that goes into the JSON file: both steps None for never within the training."""
        return {"name": self.treatment.key, "title": self.treatment.name, "eta_lambda": self.eta_lambda,
                "threshold": self.threshold, "verdict": self.verdict, "exact": self.exact,
                "predicted_step": None if self.ends_before else self.predicted_step, "observed_step": self.observed_step,
                "dead": self.dead, "accuracy": self.accuracy, "loss": finite(self.loss)}


def finite(number: float) -> float | None:
    """None in the place of NaN and infinity, for which JSON has no words."""
    return number if np.isfinite(number) else None


def make_sick(dataset: Dataset, *, hidden: Sequence[int] = (64, 64), activation: str = "relu", seed: int = 0,
              kill_lr: float = 3.0, kill_steps: int = 250, tick: Tick = lambda what, n: None) -> Sick:
    """Train a He-started MLP by full-batch gradient descent at a rate that throws its units off the data.

    Parameters
    ----------
    dataset : Dataset
    hidden : sequence of int
        Widths of the hidden layers.
    activation : str
    seed : int
    kill_lr : float
    kill_steps : int
    tick : callable
        Called with ("sick", steps done) for a progress bar.

    Returns
    -------
    Sick
    """
    model = MLP([dataset.features, *hidden, dataset.classes], activation=activation, init="he", dtype=dataset.x.dtype, rng=seed)
    optimizer = SGD(model.parameters(), lr=kill_lr)
    recorder = Recorder(model, dataset.x)
    with num_threads(1):
        accuracies = _train(model, optimizer, dataset, kill_steps, recorder, lambda n: tick("sick", n))
        found = census(model, dataset.x, dataset.y)
    gradient = float(np.max([np.max(layer.gradient) for layer in found.layers]))     # NaN stays NaN
    return Sick(model, found.dead, accuracies[-1][1], _loss(model, dataset), gradient, recorder.states, accuracies)


def revive(sick: Sick, dataset: Dataset, treatments: Sequence[Treatment], *, lr: float = 0.1, steps: int = 1000,
           tick: Tick = lambda what, n: None) -> list[Outcome]:
    """Give the same sick network each treatment, as many at a time as there are processors.

    The numbers do not depend on how many run at a time.

    Parameters
    ----------
    sick : Sick
    dataset : Dataset
        The data on which it fell sick.
    treatments : sequence of Treatment
    lr : float
    steps : int
    tick : callable
        Called with (key of the treatment, steps done).
    """
    workers = max(1, min(len(treatments), os.cpu_count() or 1))
    with num_threads(1), ThreadPoolExecutor(max_workers=workers) as pool:   # these matrices are small: a treatment a processor
        return list(pool.map(lambda t: treat(sick, dataset, t, lr=lr, steps=steps, tick=tick), treatments))


def treat(sick: Sick, dataset: Dataset, treatment: Treatment, *, lr: float = 0.1, steps: int = 1000,
          tick: Tick = lambda what, n: None) -> Outcome:
    """One treatment of a copy of the sick network: the prognosis first, then the training, watched at every step."""
    model = _copy(sick.model, treatment.activation)
    optimizer = treatment.optimizer(model, lr)
    foretold = prognosis(model, dataset.x, optimizer, horizon=max(steps, 1))
    layer = hidden_layers(model)[0]
    followed = _followed(foretold, layer, dataset.x)
    predicted_orbit = [] if followed is None else _predicted_orbit(layer, dataset.x, optimizer, *followed, steps)
    recorder = Recorder(model, dataset.x, None if followed is None else (0, *followed))
    accuracies = _train(model, optimizer, dataset, steps, recorder, lambda n: tick(treatment.key, n))
    lives = [life for life in recorder.lives() if life.layer == layer.name]
    first = foretold.first(layer.name)
    claims = [unit for unit in foretold.units if unit.layer == layer.name]
    exact = bool(claims) and all(unit.exact for unit in claims)
    observed = [life.revived_at for life in lives if life.revived_at is not None and life.events[0][1] == "born dead"]
    return Outcome(
        treatment, treatment.eta_lambda(lr), treatment.threshold(), _verdict(foretold, claims, first, layer),
        first.step if first else None, min(observed, default=None), exact,
        _disagreements(claims, {life.unit: life.revived_at for life in lives}, steps) if exact else [],
        [int(GONE[states[-1]].sum()) for states in recorder.states], accuracies[-1][1], _loss(model, dataset),
        recorder.states, accuracies, followed, recorder.orbit, predicted_orbit)


def _copy(model: MLP, activation: str | None) -> MLP:
    name = activation or str(getattr(model[1], "name", "maxout"))
    pieces = getattr(model[0], "pieces", 2)
    twin = MLP(model.widths, activation=name, dtype=model.parameters()[0].dtype, rng=0, pieces=pieces)
    for mine, theirs in zip(_affine(twin), _affine(model)):
        mine.data = theirs.data
    return twin


def _affine(model: Module) -> list[Any]:
    return [p for p in model.parameters() if p.kind != "slope"]


def _train(model: Module, optimizer: Optimizer, dataset: Dataset, steps: int, recorder: Recorder,
           tick: Callable[[int], None]) -> list[tuple[int, float]]:
    """Full-batch steps, each watched; returns the accuracy every few steps."""
    accuracies = []
    for step in range(steps):
        optimizer.zero_grad()
        output = recorder.forward()         # model(dataset.x), with a look at every unit on the way
        if step % EVERY == 0:
            accuracies.append((step, _share_right(output.data, dataset.y)))
        F.cross_entropy(output, dataset.y).backward()
        optimizer.step()
        if step % EVERY == EVERY - 1:
            tick(EVERY)
    tick(steps % EVERY)
    recorder.observe()
    with no_grad():
        return [*accuracies, (steps, _share_right(model(dataset.x).data, dataset.y))]


def _share_right(output: Array, y: Array) -> float:
    return float((output.argmax(axis=1) == y).mean())


def _loss(model: Module, dataset: Dataset) -> float:
    with no_grad():
        return float(F.cross_entropy(model(dataset.x), dataset.y).item())


def _followed(foretold: Prognosis, layer: HiddenLayer, x: Array) -> tuple[int, int] | None:
    """The unit to draw, and the sample: the first to return, or else the dead one that is nearest to life."""
    first = foretold.first(layer.name)
    if first is not None and first.sample is not None:
        return first.unit, first.sample
    dead = [unit.unit for unit in foretold.units if unit.layer == layer.name]
    if not dead:
        return None
    z = layer.pre_activations(x).data[:, dead]
    sample, place = np.unravel_index(z.argmax(), z.shape)
    return dead[place], int(sample)


def _predicted_orbit(layer: HiddenLayer, x: Array, optimizer: Optimizer, unit: int, sample: int, steps: int) -> list[float]:
    """The pre-activation that the recurrence foretells, for SGD; nothing for rules that have none."""
    if not isinstance(optimizer, SGD) or layer.affine.bias is None:
        return []
    weight, bias = layer.affine.weight, layer.affine.bias
    options, other = optimizer.options_of(weight), optimizer.options_of(bias)
    decay_w, decay_b = options["weight_decay"], other["weight_decay"]
    shared = {key: options[key] for key in ("lr", "momentum", "dampening", "nesterov", "decoupled")}
    z_w, b = float(x[sample] @ weight.data[unit]), float(bias.data[unit])
    path = orbit(z_w, bias=b, weight_decay=max(decay_w, decay_b), **shared,
                 decay="both" if decay_w == decay_b else "weights" if decay_w else "biases")
    return [z_w + b, *(float(z) for z in islice(path, steps))]


def _verdict(foretold: Prognosis, claims: list[UnitPrognosis], first: UnitPrognosis | None, layer: HiddenLayer) -> str:
    if first is not None:
        return first.reason
    if claims:
        return max(claims, key=lambda unit: unit.verdict != "never").reason
    return f"no unit of the first layer is dead under {layer.activation_name}: nothing to foretell"


def _disagreements(claims: list[UnitPrognosis], observed: dict[int, int | None], steps: int) -> list[str]:
    """Where an exact prediction and the observation differ, within the steps that were made."""
    wrong = []
    for unit in claims:
        predicted = unit.step if unit.step is not None and unit.step <= steps else None
        if predicted != observed[unit.unit]:
            wrong.append(f"unit {unit.unit}: predicted {predicted}, observed {observed[unit.unit]}")
    return wrong
