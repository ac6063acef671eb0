"""The main job: make a network sick, give the same sick network each treatment, and compare with the predictions."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import isfinite
from threading import Event
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..checks import check_count, said
from ..data import Dataset
from ..kernels.machine.host import num_threads
from ..nn import MLP
from ..nn.module import evaluating
from ..optim import SGD, Optimizer
from ..tensor import Tensor
from .census import Recorder, census, finite
from .prognosis import UnitPrognosis, prognosis, settings_of
from .roll_forward import orbit
from .treatments import Treatment
from .units import GONE, HiddenLayer, Units

Tick = Callable[[str, int], None]       # (name, steps done): for a progress bar
EVERY = 10                              # steps between two accuracies


@dataclass(frozen=True, eq=False)
class Training:
    """The record of a training run."""

    states: list[Array]                     # per layer, (steps + 1, units)
    accuracies: list[tuple[int, float]]     # at every tenth step, and at the last
    held_out: list[tuple[int, float]]       # at the same steps, on data that are not trained on; empty if there are none
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


@dataclass(frozen=True)
class Prediction:
    """What was foretold of one dead unit, and what was observed. A step is None for no return (in this training)."""

    layer: str
    unit: int
    step: int | None
    between: tuple[int, int] | None     # the first and the last step at which rounding lets it return
    proved: bool                        # to the step, for this computer's training
    observed: int | None

    def fails(self, steps: int) -> bool:
        """Whether a training of so many steps contradicts it."""
        if self.observed is not None:
            return self.between is None or not self.between[0] <= self.observed <= self.between[1]
        return self.between is not None and self.between[1] <= steps

    def __str__(self) -> str:
        return f"unit {self.unit} of layer {self.layer}: predicted {in_words(self.between)}, observed {self.observed or 'never'}"


def in_words(between: tuple[int, int] | None) -> str:
    """The steps of a prediction: "never", "472", or "470 to 474" where rounding decides."""
    return "never" if between is None else str(between[0]) if between[0] == between[1] else f"{between[0]} to {between[1]}"


@dataclass(frozen=True, eq=False)
class Outcome(Training):
    """The predictions for one treatment, and its result. `predicted_step` and `observed_step` are those of the first return of a
    dead unit of the first hidden layer; None for never."""

    sick: Sick                          # the network it began with
    treatment: Treatment
    eta_lambda: float
    threshold: float | None
    verdict: str                        # the prediction in one sentence
    why: str                            # why no unit of the first layer is to return, in three words; empty if one is
    predicted_step: int | None          # may be later than the end of training
    observed_step: int | None
    predictions: list[Prediction]       # one for every dead unit about which something is claimed
    opens: tuple[int | None, int | None]    # the step at which a network that is cut off has its first open path again:
                                        # (predicted, observed); None for none within the training
    untested: str                       # why the training could not contradict the prediction; empty if it could
    followed: tuple[int, int] | None    # (unit, sample) of the pre-activation in the two orbits
    observed_orbit: list[float]
    predicted_orbit: list[float]

    @property
    def disagreements(self) -> list[Prediction]:
        """The predictions that the training contradicts."""
        return [prediction for prediction in self.predictions if prediction.fails(self.steps)]

    @property
    def learned(self) -> bool:
        """Whether the accuracy has risen visibly."""
        return self.accuracy > self.sick.accuracy + 0.05

    @property
    def claims(self) -> bool:
        """Whether something is claimed of the first layer."""
        return any(prediction.layer == "0" for prediction in self.predictions)

    @property
    def proved(self) -> int:
        """The number of predictions that are proved to the step."""
        return sum(prediction.proved for prediction in self.predictions)

    @property
    def ends_before(self) -> bool:
        """Whether the training ends before the predicted return."""
        return self.predicted_step is not None and self.predicted_step > self.steps

    def to_dict(self) -> dict[str, Any]:
        """The entry in the JSON file. A predicted step is None for never; an observed one, for not within the training."""
        return {"name": self.treatment.key, "title": self.treatment.name, "eta_lambda": self.eta_lambda,
                "threshold": self.threshold, "verdict": self.verdict, "predicted_step": self.predicted_step,
                "observed_step": self.observed_step, "opens_predicted": self.opens[0], "opens_observed": self.opens[1],
                "dead": self.dead, "accuracy": self.accuracy, "held_out": dict(self.held_out).get(self.steps),
                "loss": finite(self.loss), "wrong": len(self.disagreements), "proved": self.proved,
                "predictions": [asdict(prediction) for prediction in self.predictions]}


def make_sick(dataset: Dataset, *, hidden: Sequence[int] = (64, 64), activation: str = "relu", seed: int = 0,
              kill_lr: float = 3.0, kill_steps: int = 250, held_out: Dataset | None = None,
              tick: Tick = lambda what, n: None) -> Sick:
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
        training = _train(recorder, optimizer, dataset, held_out, kill_steps, lambda n: tick("sick", n))
        found = census(recorder.units, dataset.x, dataset.y)
    return Sick(*training, model, float(np.max([np.max(layer.gradient) for layer in found.layers])))     # NaN stays NaN


def revive(sick: Sick, dataset: Dataset, treatments: Sequence[Treatment], *, lr: float = 0.1, steps: int = 1000,
           held_out: Dataset | None = None, tick: Tick = lambda what, n: None) -> list[Outcome]:
    """Give the same sick network each treatment, as many in parallel as there are processors (with the same results).

    `dataset` is that of the sick network's training; on `held_out` only the accuracy is measured. Ctrl-C stops the treatments
    that are running, and returns those that have finished, if any.
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
        options: dict[str, Any] = {"lr": lr, "steps": steps, "held_out": held_out, "tick": tick_or_stop}
        runs = [pool.submit(treat, sick, dataset, treatment, **options) for treatment in treatments]
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
          held_out: Dataset | None = None, tick: Tick = lambda what, n: None) -> Outcome:
    """One treatment of a copy of the sick network: first the prognosis, then the training, with every step recorded."""
    _check_kind(sick, Sick, "the network", ", the result of make_sick")
    _check_kind(dataset, Dataset, "the data")
    _check_kind(treatment, Treatment, "a treatment", ", such as TREATMENTS[0]")
    check_count(steps, "steps", least=0)
    model = _copy(sick.model, treatment.activation)
    units, optimizer = Units.of(model), treatment.optimizer(model, lr)
    foretold = prognosis(units, dataset.x, optimizer, horizon=max(steps, 1))
    claims = [unit for unit in foretold.units if unit.proved]
    layer = units.layers[0]
    mine = [unit for unit in claims if unit.layer == layer.name]
    first = min((unit for unit in mine if unit.step is not None), key=lambda unit: unit.step or 0, default=None)
    followed = _followed(mine, first, layer, dataset.x)
    predicted_orbit = [] if followed is None else _predicted_orbit(layer, dataset.x, optimizer, *followed, steps)
    recorder = Recorder(units, dataset.x, None if followed is None else (0, *followed))
    training = _train(recorder, optimizer, dataset, held_out, steps, lambda n: tick(treatment.key, n))
    back = {(life.layer, life.unit): life.revived_at for life in recorder.lives()}
    predictions = [Prediction(unit.layer, unit.unit, unit.step, unit.between, unit.proved, back[unit.layer, unit.unit])
                   for unit in claims]
    observed = [p.observed for p in predictions if p.layer == layer.name and p.observed is not None]
    leading = first or max(mine, key=lambda unit: unit.verdict != "never", default=None)
    healthy = f"no unit of the first layer is dead under {layer.activation_name}: nothing to predict"
    return Outcome(
        *training, sick, treatment, treatment.eta_lambda(lr), treatment.threshold(), leading.reason if leading else healthy,
        treatment.why_not() if leading and first is None else "", first.step if first else None, min(observed, default=None),
        predictions, (None, _opening(training[0][-1])),
        "nothing moves at rate 0" if lr == 0 else "" if isfinite(training[-1]) else "the training diverged",
        followed, recorder.orbit, predicted_orbit)


def _opening(last: Array) -> int | None:
    """The first step at which a unit of the last hidden layer lives, if at first all are dead: as long as they are, the gradient
    is exactly zero in every hidden unit."""
    lives = np.any(~GONE[last], axis=1)
    return int(lives.argmax()) if lives.any() and not lives[0] else None


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


def _train(recorder: Recorder, optimizer: Optimizer, dataset: Dataset, held_out: Dataset | None, steps: int,
           tick: Callable[[int], None]) -> tuple[list[Array], list[tuple[int, float]], list[tuple[int, float]], float]:
    """Full-batch steps, each recorded: the fields of `Training`."""
    accuracies: list[tuple[int, float]] = []
    elsewhere: list[tuple[int, float]] = []

    def note(step: int, output: Tensor) -> None:
        accuracies.append((step, _accuracy(output, dataset)))
        if held_out is not None:
            with no_grad(), evaluating(recorder.model):
                elsewhere.append((step, _accuracy(recorder.model(held_out.x), held_out)))

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
        return recorder.states, accuracies, elsewhere, float(F.cross_entropy(output, dataset.y).item())


def _accuracy(output: Tensor, dataset: Dataset) -> float:
    return float((output.data.argmax(axis=1) == dataset.y).mean())


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
