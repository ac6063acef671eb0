"""The main job: make a network sick, give the same sick network each treatment, and compare with the predictions."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import isfinite, sqrt
from threading import Event
from typing import Any, Literal

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..checks import check_count, said
from ..data import Dataset
from ..kernels.machine.host import num_threads
from ..nn import MLP, Module
from ..optim import SGD, Adam, Optimizer
from ..tensor import Tensor
from .census import Recorder, census, finite
from .prognosis import UnitPrognosis, prognosis, settings_of
from .roll_forward import orbit
from .units import GONE, HiddenLayer, Units

Tick = Callable[[str, int], None]       # (name, steps done): for a progress bar
EVERY = 10                              # steps between two accuracies


@dataclass(frozen=True)
class Treatment:
    """One thing to try on a dead network: an optimizer with its settings, as data."""

    key: str                            # on the command line
    name: str                           # in tables and figures
    rule: Callable[..., Optimizer] = SGD
    options: dict[str, Any] = field(default_factory=dict)       # of the optimizer, apart from learning rate and decay
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights", "biases"] = "all"
    rate: float = 1.0                   # a factor on the learning rate: Adam's steps have the size of the rate itself
    activation: str | None = None       # in place of the sick network's

    def optimizer(self, model: Module, lr: float) -> Optimizer:
        """A fresh optimizer for `model`."""
        decayed = {"all": ("weight", "bias"), "weights": ("weight",), "biases": ("bias",)}[self.decay_on]
        groups = [{"params": [p for p in model.parameters() if (p.kind in decayed) == decays],
                   "weight_decay": self.weight_decay if decays else 0.0} for decays in (True, False)]
        return self.rule([g for g in groups if g["params"]], lr=lr * self.rate, **self.options)

    def eta_lambda(self, lr: float) -> float:
        """Learning rate times decay, on which the fate of a dead unit depends."""
        return lr * self.rate * self.weight_decay

    def threshold(self) -> float | None:
        """The lower edge of the window, above which `eta_lambda` swings a unit back from rest; None if there is none."""
        momentum, dampening = self.options.get("momentum", 0.0), self.options.get("dampening", 0.0)
        if self.rule is not SGD or not momentum or dampening >= 1 or self.options.get("decoupled") or self.decay_on != "all":
            return None
        if self.options.get("nesterov"):
            return float(((1 - momentum) / (1 + momentum)) ** 2)
        return float((1 - sqrt(momentum)) ** 2) / (1 - dampening)


TREATMENTS = (
    Treatment("sgd", "SGD"),
    Treatment("sgd-l2", "SGD + L2", weight_decay=5e-4),
    Treatment("momentum", "momentum .9", options={"momentum": 0.9}),
    Treatment("momentum-l2-below", "momentum .9, L2 below", options={"momentum": 0.9}, weight_decay=5e-4),
    Treatment("momentum-l2-inside", "momentum .9, L2 inside", options={"momentum": 0.9}, weight_decay=0.05),
    Treatment("heavy-l2", "momentum .99 + L2", options={"momentum": 0.99}, weight_decay=5e-4),
    Treatment("heavy-decoupled", "momentum .99 decoupled", options={"momentum": 0.99, "decoupled": True},
              weight_decay=5e-4),
    Treatment("nesterov-l2", "Nesterov .99 + L2", options={"momentum": 0.99, "nesterov": True}, weight_decay=5e-4),
    Treatment("bias-decay", "SGD, biases decay", weight_decay=0.05, decay_on="biases"),
    Treatment("weight-decay", "SGD, weights decay", weight_decay=0.05, decay_on="weights"),
    Treatment("adam", "Adam", rule=Adam, rate=0.01),
    Treatment("adam-l2", "Adam + L2", rule=Adam, weight_decay=5e-4, rate=0.01),
    Treatment("leaky", "leaky twin, SGD", activation="leaky_relu"),
)


@dataclass(frozen=True, eq=False)
class Training:
    """The record of a training run."""

    states: list[Array]                     # per layer, (steps + 1, units)
    accuracies: list[tuple[int, float]]     # at every tenth step, and at the last
    loss: float                             # the last

    @property
    def steps(self) -> int:
        return self.accuracies[-1][0]

    @property
    def accuracy(self) -> float:
        return self.accuracies[-1][1]

    @property
    def dead(self) -> list[int]:
        """The number of dead units at the end, by hidden layer."""
        return [int(GONE[layer[-1]].sum()) for layer in self.states]


@dataclass(frozen=True, eq=False)
class Sick(Training):
    """A network trained at a learning rate that was too high."""

    model: MLP
    gradient: float                     # the largest gradient norm of a hidden unit: exactly 0 if every path is dead


@dataclass(frozen=True, eq=False)
class Outcome(Training):
    """The prediction for one treatment, and its result. The steps are those of the first return of a dead unit of the first
    hidden layer; None for never."""

    treatment: Treatment
    eta_lambda: float
    threshold: float | None
    verdict: str                        # the prediction in one sentence
    predicted_step: int | None          # may be later than the end of training
    observed_step: int | None
    exact: bool                         # whether the theory claims to be exact
    disagreements: list[str]            # the units of the first layer whose life differs from an exact prediction
    untested: str                       # why the training could not contradict the prediction; empty if it could
    followed: tuple[int, int] | None    # (unit, sample) of the pre-activation in the two orbits
    observed_orbit: list[float]
    predicted_orbit: list[float]

    @property
    def ends_before(self) -> bool:
        """Whether the training ends before the predicted return."""
        return self.predicted_step is not None and self.predicted_step > self.steps

    def to_dict(self) -> dict[str, Any]:
        """The entry in the JSON file; there, a step is None for never within the training."""
        return {"name": self.treatment.key, "title": self.treatment.name, "eta_lambda": self.eta_lambda,
                "threshold": self.threshold, "verdict": self.verdict, "exact": self.exact,
                "predicted_step": None if self.ends_before else self.predicted_step, "observed_step": self.observed_step,
                "dead": self.dead, "accuracy": self.accuracy, "loss": finite(self.loss)}


def make_sick(dataset: Dataset, *, hidden: Sequence[int] = (64, 64), activation: str = "relu", seed: int = 0,
              kill_lr: float = 3.0, kill_steps: int = 250, tick: Tick = lambda what, n: None) -> Sick:
    """Train a He-initialised MLP by full-batch gradient descent at a rate that pushes its units off the data."""
    _check_kind(dataset, Dataset, "the data")
    if dataset.classes is None or len(np.unique(dataset.y)) < 2:
        what = "targets of a regression" if dataset.classes is None else "samples of one class, which cannot be learned"
        raise ValueError(f"the data set {dataset.name!r} has {what}; expected samples of at least two classes")
    check_count(kill_steps, "kill_steps", least=0)
    if not isinstance(hidden, Iterable):
        raise TypeError(f"hidden is {said(hidden)}, expected the widths of the hidden layers, such as [64, 64]")
    model = MLP([dataset.features, *hidden, dataset.classes], activation=activation, init="he", dtype=dataset.x.dtype, rng=seed)
    optimizer = SGD(model.parameters(), lr=kill_lr)
    recorder = Recorder(model, dataset.x)
    with num_threads(1):
        training = _train(recorder, optimizer, dataset, kill_steps, lambda n: tick("sick", n))
        found = census(recorder.units, dataset.x, dataset.y)
    return Sick(*training, model, float(np.max([np.max(layer.gradient) for layer in found.layers])))     # NaN stays NaN


def revive(sick: Sick, dataset: Dataset, treatments: Sequence[Treatment], *, lr: float = 0.1, steps: int = 1000,
           tick: Tick = lambda what, n: None) -> list[Outcome]:
    """Give the same sick network each treatment, as many in parallel as there are processors (with the same results).

    `dataset` is that of the sick network's training. Ctrl-C stops the treatments that are running, and returns those that have
    finished, if any.
    """
    if isinstance(treatments, Treatment):
        raise TypeError("treatments is one Treatment, expected a list of them")
    stop = Event()

    def tick_or_stop(what: str, n: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        tick(what, n)

    workers = max(1, min(len(treatments), os.cpu_count() or 1))
    with num_threads(1), ThreadPoolExecutor(max_workers=workers) as pool:   # small matrices: one processor per treatment
        runs = [pool.submit(treat, sick, dataset, t, lr=lr, steps=steps, tick=tick_or_stop) for t in treatments]
        try:
            return [run.result() for run in runs]
        except KeyboardInterrupt:
            finished = [run.result() for run in runs if run.done() and run.exception() is None]
            if not finished:
                raise
            return finished
        finally:                        # after an error too, the others stop
            stop.set()
            pool.shutdown(cancel_futures=True)


def treat(sick: Sick, dataset: Dataset, treatment: Treatment, *, lr: float = 0.1, steps: int = 1000,
          tick: Tick = lambda what, n: None) -> Outcome:
    """One treatment of a copy of the sick network: first the prognosis, then the training, with every step recorded."""
    _check_kind(sick, Sick, "the network", ", the result of make_sick")
    _check_kind(dataset, Dataset, "the data")
    _check_kind(treatment, Treatment, "a treatment", ", such as TREATMENTS[0]")
    check_count(steps, "steps", least=0)
    model = _copy(sick.model, treatment.activation)
    units, optimizer = Units.of(model), treatment.optimizer(model, lr)
    predicted = prognosis(units, dataset.x, optimizer, horizon=max(steps, 1))
    layer = units.layers[0]
    claims = [unit for unit in predicted.units if unit.layer == layer.name]
    first = predicted.first(layer.name)
    followed = _followed(claims, first, layer, dataset.x)
    predicted_orbit = [] if followed is None else _predicted_orbit(layer, dataset.x, optimizer, *followed, steps)
    recorder = Recorder(units, dataset.x, None if followed is None else (0, *followed))
    training = _train(recorder, optimizer, dataset, steps, lambda n: tick(treatment.key, n))
    lives = [life for life in recorder.lives() if life.layer == layer.name]
    exact = bool(claims) and all(unit.exact for unit in claims)
    observed = [life.revived_at for life in lives if life.revived_at is not None and life.events[0][1] == "born dead"]
    leading = first or max(claims, key=lambda unit: unit.verdict != "never", default=None)
    healthy = f"no unit of the first layer is dead under {layer.activation_name}: nothing to predict"
    return Outcome(
        *training, treatment, treatment.eta_lambda(lr), treatment.threshold(), leading.reason if leading else healthy,
        first.step if first else None, min(observed, default=None), exact,
        _disagreements(claims, {life.unit: life.revived_at for life in lives}, steps) if exact else [],
        "nothing moves at rate 0" if lr == 0 else "" if isfinite(training[2]) else "the training diverged",
        followed, recorder.orbit, predicted_orbit)


def _check_kind(thing: object, kind: type, what: str, where: str = "") -> None:
    if not isinstance(thing, kind):
        raise TypeError(f"{what} is {said(thing)}, expected a {kind.__name__}{where}")


def _copy(model: MLP, activation: str | None) -> MLP:
    name = activation or str(getattr(model[1], "name", "maxout"))
    pieces = getattr(model[0], "pieces", 2)
    twin = MLP(model.widths, activation=name, dtype=model.parameters()[0].dtype, rng=0, pieces=pieces)
    for mine, theirs in zip(*([p for p in net.parameters() if p.kind != "slope"] for net in (twin, model))):
        mine.data = theirs.data
    return twin


def _train(recorder: Recorder, optimizer: Optimizer, dataset: Dataset, steps: int,
           tick: Callable[[int], None]) -> tuple[list[Array], list[tuple[int, float]], float]:
    """Full-batch steps, each recorded: the fields of `Training`."""
    accuracies = []

    def note(step: int, output: Tensor) -> None:
        accuracies.append((step, float((output.data.argmax(axis=1) == dataset.y).mean())))

    for step in range(steps):
        optimizer.zero_grad()
        output = recorder.forward()         # model(dataset.x), and the state of every unit
        if step % EVERY == 0:
            note(step, output)
        F.cross_entropy(output, dataset.y).backward()
        optimizer.step()
        if step % EVERY == EVERY - 1:
            tick(EVERY)
    tick(steps % EVERY)
    recorder.observe()
    with no_grad():
        output = recorder.model(dataset.x)
        note(steps, output)
        return recorder.states, accuracies, float(F.cross_entropy(output, dataset.y).item())


def _followed(claims: list[UnitPrognosis], first: UnitPrognosis | None, layer: HiddenLayer, x: Array) -> tuple[int, int] | None:
    """The unit to draw, and the sample: the first to return, or else the dead one that is nearest to life."""
    if first is not None and first.sample is not None:
        return first.unit, first.sample
    if not claims:
        return None
    z = layer.pre_activations(x).data[:, [unit.unit for unit in claims]]
    sample, place = np.unravel_index(z.argmax(), z.shape)
    return claims[place].unit, int(sample)


def _predicted_orbit(layer: HiddenLayer, x: Array, optimizer: Optimizer, unit: int, sample: int, steps: int) -> list[float]:
    """The pre-activation that the recurrence of SGD predicts; empty for other optimizers."""
    known = settings_of(optimizer, layer)
    if known is None or layer.affine.bias is None:
        return []
    settings, decay = known
    z_w, b = float(x[sample] @ layer.affine.weight.data[unit]), float(layer.affine.bias.data[unit])
    path = orbit(z_w, bias=b, decay=decay, **asdict(settings))
    return [z_w + b, *(float(z) for _, z in zip(range(steps), path))]


def _disagreements(claims: list[UnitPrognosis], observed: dict[int, int | None], steps: int) -> list[str]:
    """Where an exact prediction and the observation differ, within the steps that were made."""
    due = {unit.unit: unit.step if unit.step is not None and unit.step <= steps else None for unit in claims}
    return [f"unit {unit}: predicted {step}, observed {observed[unit]}" for unit, step in due.items() if step != observed[unit]]
