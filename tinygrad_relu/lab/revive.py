"""The main job: make a network sick, give the same sick network each treatment, and compare with the predictions."""
from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..autodiff.tape import grad
from ..capture import capture
from ..checks import check_count, said
from ..data import Dataset
from ..data.named import prepared
from ..kernels.machine.host import aligned
from ..kernels.machine.pool import num_threads
from ..nn import MLP, Maxout, population
from ..nn.module import evaluating
from ..optim import SGD, Optimizer
from ..tensor import Tensor
from .interventions import kill, mirror
from .layers import GONE, HiddenLayer
from .outcomes import Outcome, Prediction, Run, Sick
from .prescription import Option, prescribe
from .prognosis import Prognosis, UnitPrognosis, prognosis
from .recorder import Life, Recorder, Recorders
from .rehearsal import rehearsed_orbit
from .treatments import SCHEDULES, STARTS, Treatment
from .units import Units

Record = tuple[list[Array], list[tuple[int, float]], list[tuple[int, float]], float]       # the fields of a `Training`
Tick = Callable[[str, int], None]       # (name, steps done): for a progress bar
T = TypeVar("T")
EVERY = 10                              # steps between two accuracies
FEW = 4                                 # treatments that are not worth two populations
TOGETHER = 150_000                      # activations of a population: beyond, a step is a quarter slower, as they leave the cache


def make_sick(dataset: Dataset, *, hidden: Sequence[int] = (64, 64), activation: str = "relu", seed: int = 0,
              kill_lr: float = 3.0, kill_steps: int = 250, momentum: float = 0.0, shock: float | None = None,
              held_out: Dataset | None = None, tick: Tick = lambda what, n: None) -> Sick:
    """Train a He-initialised MLP by full-batch gradient descent at a rate that pushes its units off the data.

    With `shock`, the rate may be a healthy one: after the training, the biases of the first layer are lowered until z of each of
    its units is at most -shock on all data (`interventions.kill`). The momentum buffers are kept.
    """
    _check_kind(dataset, Dataset, "the data")
    if dataset.classes is None or len(np.unique(dataset.y)) < 2:
        what = "targets of a regression" if dataset.classes is None else "samples of one class, which cannot be learned"
        raise ValueError(f"the data set {dataset.name!r} has {what}; expected samples of at least two classes")
    check_count(kill_steps, "kill_steps", least=0)
    if not isinstance(hidden, Iterable):
        raise TypeError(f"hidden is {said(hidden)}, expected the widths of the hidden layers, such as [64, 64]")
    model = MLP([dataset.features, *hidden, dataset.classes], activation=activation, init="he", dtype=dataset.x.dtype, rng=seed)
    optimizer = SGD(model.parameters(), lr=kill_lr, momentum=momentum)
    recorder = Recorder(model, dataset.x)
    with num_threads(1):
        (training,) = _train(recorder, optimizer, dataset, held_out, kill_steps, lambda n: tick("sick", n),
                             last=None if shock is None else lambda: kill(recorder.units, dataset.x, margin=shock))
        gradients = grad(F.cross_entropy(model(dataset.x), dataset.y), [p for p in model.parameters() if p.kind != "slope"])
    *hidden_ones, weight, bias = (float(np.abs(found.data).max()) for found in gradients)
    largest = float(np.max(hidden_ones))                            # NaN stays NaN
    return Sick(*training, model, optimizer, largest, max(largest, weight, bias) < 1e-12)


def revive(sick: Sick | Mapping[str, Sick], dataset: Dataset, treatments: Sequence[Treatment], *, lr: float = 0.1,
           steps: int = 1000, held_out: Dataset | None = None, tick: Tick = lambda what, n: None) -> list[Outcome]:
    """Give the same sick network each treatment: several at once as a population, and a population on each processor.

    `sick` may hold several networks, by the names of `STARTS`: each treatment gets the one that it starts with. `dataset` is that
    of their training; on `held_out` only the accuracy is measured. Ctrl-C stops the treatments that are running, and returns
    those that have finished, if any.
    """
    if isinstance(treatments, Treatment):
        raise TypeError("treatments is one Treatment, expected a list of them")
    networks = [sick[t.start] if isinstance(sick, Mapping) and isinstance(t, Treatment) else sick for t in treatments]
    for network, treatment in zip(networks, treatments):
        _check_kind(network, Sick, "the network", ", the result of make_sick")
        _check_kind(dataset, Dataset, "the data")
        _check_kind(treatment, Treatment, "a treatment", ", such as TREATMENTS[0]")
    if not treatments:
        return []
    options: dict[str, Any] = {"lr": lr, "steps": steps, "held_out": held_out}
    most = TOGETHER // (len(dataset) * sum(networks[0].model.widths[1:-1]))
    groups = _groups(treatments, steps, min(len(treatments), os.cpu_count() or 1), max(1, most))
    found = _side_by_side([partial(_treat, [networks[i] for i in group], dataset, [treatments[i] for i in group], **options)
                           for group in groups], tick)
    outcomes = {i: outcome for group, several in zip(groups, found) for i, outcome in zip(group, several or ())}
    return [outcomes[i] for i in sorted(outcomes)]


def _side_by_side(jobs: Sequence[Callable[..., T]], tick: Tick) -> list[T | None]:
    """The results of `jobs`, each with one thread, as the matrices are small, and one on each processor. Ctrl-C stops those that
    are running, and returns None for them, if any has finished."""
    stop = Event()

    def tick_or_stop(what: str, n: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        tick(what, n)

    pool = ThreadPoolExecutor(min(len(jobs), os.cpu_count() or 1))
    with num_threads(1):
        runs = [pool.submit(job, tick=tick_or_stop) for job in jobs]
        try:
            return [run.result() for run in runs]
        except KeyboardInterrupt:
            done = [run.done() and run.exception() is None for run in runs]
            if not any(done):
                raise
            return [run.result() if finished else None for run, finished in zip(runs, done)]
        finally:                        # after an error too, the others stop; one that compiles a kernel, seconds later
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def main_job(dataset: Dataset, treatments: Sequence[Treatment], *, held_out: float = 0.5, hidden: Sequence[int] = (64, 64),
             activation: str = "relu", seed: int = 0, kill_lr: float = 3.0, kill_steps: int = 250, lr: float = 0.1,
             steps: int = 1000, standardise: bool = False, tick: Tick = lambda what, n: None) -> Run:
    """Make the sick networks with which the treatments start, and give each network its treatments.

    A share `held_out` of the samples is not trained on; only the accuracy is measured on it. With `standardise`, each feature
    gets mean 0 and deviation 1 over the samples that are trained on.
    """
    train, test = prepared(dataset, held_out, seed, standardise)
    if len(np.unique(train.y)) < min(2, len(np.unique(dataset.y))):
        raise ValueError(f"held_out {held_out} leaves samples of one class to train on, expected 0, or more samples")
    train = replace(train, x=aligned(train.x))          # the gradient of the first weights takes a third less time
    options: dict[str, Any] = {"hidden": hidden, "activation": activation, "seed": seed, "held_out": test}
    starts = list(dict.fromkeys(["sick", *(t.start for t in treatments)]))
    sick = _side_by_side([partial(make_sick, train, **{"kill_lr": kill_lr, "kill_steps": kill_steps, **options, **STARTS[start]})
                          for start in starts], tick)
    networks = {start: network for start, network in zip(starts, sick) if network is not None}
    if len(networks) < len(starts):
        raise KeyboardInterrupt
    return Run(seed, train, test, networks, revive(networks, train, treatments, lr=lr, steps=steps, held_out=test, tick=tick))


def fill(dataset: Dataset, treatment: Treatment, at: int, option: Option = "weight_decay", *, lr: float = 0.1,
         tick: Tick = lambda what, n: None, **options: Any) -> Run:
    """Prescribe the value of an option for which the first unit returns at step `at`, and train at both ends of its interval and
    just outside. The other options are those of `main_job`."""
    if treatment.start != "sick" or treatment.mirror is not None:
        what = "starts with another network" if treatment.mirror is None else "brings the units back by itself"
        raise ValueError(f"the treatment {treatment.key!r} {what}, expected one in which dead units wait for decay and momentum")
    run = main_job(dataset, [], tick=tick, **options)
    model = _copy(run.networks["sick"].model, treatment.activation)
    found = prescribe(model, run.dataset.x, treatment.optimizer(model, lr), at, option)
    last = max(step for _, step in found.ends if step is not None)
    doses = [treatment.at(option, value, lr, last) for value, _ in found.ends]
    outcomes = revive(run.networks, run.dataset, doses, lr=lr, steps=last, held_out=run.held_out, tick=tick)
    return replace(run, outcomes=outcomes, prescription=found)


def _groups(treatments: Sequence[Treatment], steps: int, workers: int, most: int) -> list[list[int]]:
    """The treatments that can be members of one population, the longest first, in groups of at most `most`, small enough to share
    out evenly."""
    alike: dict[Any, list[int]] = {}
    for i, t in enumerate(treatments):
        alike.setdefault(i if t.schedule else (t.rule, t.activation, t.steps), []).append(i)
    parts = []
    for found in alike.values():
        size = min(most, max(FEW, -(-len(found) // workers)))
        parts += [found[start:start + size] for start in range(0, len(found), size)]
    return sorted(parts, key=lambda part: -len(part) * (treatments[part[0]].steps or steps))


class _Plan(NamedTuple):
    """A copy of the sick network before its treatment, and what is foretold of it."""

    units: Units
    optimizer: Optimizer
    schedule: Any
    foretold: Prognosis
    claims: list[UnitPrognosis]
    mine: list[UnitPrognosis]               # the claims about the first layer,
    first: UnitPrognosis | None             # and the first return in it
    followed: tuple[int, int] | None
    predicted_orbit: list[float]


def _plan(sick: Sick, dataset: Dataset, treatment: Treatment, lr: float, steps: int) -> _Plan:
    if treatment.keeps:
        model, optimizer = deepcopy((sick.model, sick.optimizer))
        for group in optimizer.param_groups:
            group["lr"] = lr * treatment.rate
    else:
        model = _copy(sick.model, treatment.activation)
        optimizer = treatment.optimizer(model, lr)
    units = Units.of(model)
    if treatment.mirror is not None:
        for i in range(len(units.layers)):                  # one after the other: each changes the inputs of the next
            mirror(units, units.gone(dataset.x)[i], treatment.mirror, layer=i)
    schedule = SCHEDULES[treatment.schedule](optimizer, steps) if treatment.schedule else None
    foretold = prognosis(units, dataset.x, optimizer, schedule=schedule, horizon=max(steps, 1))
    claims = [unit for unit in foretold.units if unit.verdict != "estimate"]
    layer = units.layers[0]
    mine = [unit for unit in claims if unit.layer == layer.name]
    first = min((unit for unit in mine if unit.step is not None), key=lambda unit: unit.step or 0, default=None)
    followed = _followed(mine, first, layer, dataset.x)
    predicted = [] if followed is None or schedule else rehearsed_orbit(
        layer, followed[0], dataset.x[followed[1]], optimizer, steps)
    return _Plan(units, optimizer, schedule, foretold, claims, mine, first, followed, predicted)


def _treat(networks: Sequence[Sick], dataset: Dataset, treatments: Sequence[Treatment], *, lr: float, steps: int,
           held_out: Dataset | None, tick: Tick) -> list[Outcome]:
    """The treatments of copies of the sick networks, as members of one population, or a single one as it is: first the prognosis,
    then the training, with every step recorded."""
    steps = min(check_count(steps, "steps", least=0), treatments[0].steps or steps)
    plans = [_plan(sick, dataset, treatment, lr, steps) for sick, treatment in zip(networks, treatments)]
    follow = [None if plan.followed is None else (0, *plan.followed) for plan in plans]
    recorder: Any = Recorder(plans[0].units, dataset.x, follow[0])
    optimizer, recorders = plans[0].optimizer, [recorder]
    if len(plans) > 1:
        models = [plan.units.model for plan in plans]
        together = population(models)
        optimizer = optimizer.population([plan.optimizer for plan in plans[1:]], [model.parameters() for model in models],
                                         together.parameters())
        recorder = Recorders(together, dataset.x, follow)
        recorders = recorder.each

    def ticks(n: int) -> None:
        for treatment in treatments:
            tick(treatment.key, n)

    trainings = _train(recorder, optimizer, dataset, held_out, steps, ticks, schedule=plans[0].schedule)
    return [_outcome(*each, lr, steps) for each in zip(networks, treatments, plans, recorders, trainings)]


def _outcome(sick: Sick, treatment: Treatment, plan: _Plan, recorder: Recorder, training: Record, lr: float,
             steps: int) -> Outcome:
    """The predictions, compared with what was recorded."""
    layer, first, opens = plan.units.layers[0], plan.first, plan.foretold.opens
    lives = {(life.layer, life.unit): life for life in recorder.lives()}
    predictions = [_compared(unit, lives[unit.layer, unit.unit], steps) for unit in plan.claims]
    observed = [p.observed for p in predictions if p.layer == layer.name and p.observed is not None]
    leading = first or max(plan.mine, key=lambda unit: unit.verdict != "never", default=None)
    healthy = f"no unit of the first layer is dead under {layer.activation_name}: nothing to predict"
    return Outcome(
        *training, sick, treatment, lr, treatment.threshold(), leading.reason if leading else healthy,
        treatment.why_not() if leading and first is None else "", first.step if first else None, min(observed, default=None),
        predictions, (opens[1] if opens else None, _opening(training[0])), opens, plan.followed, recorder.orbit,
        plan.predicted_orbit)


def _compared(unit: UnitPrognosis, life: Life, steps: int) -> Prediction:
    lost = [step - 1 for step, event in life.events if event == "diverged"]
    return Prediction(unit.layer, unit.unit, unit.step, unit.between, unit.proved, life.revived_at, min([*lost, steps]))


def _opening(states: list[Array]) -> int | None:
    """The first step at which a unit lives in the last of the layers that are entirely dead at first: until then, no gradient
    reaches this layer or any before it."""
    lives = next((alive for layer in states[::-1] if not (alive := np.any(~GONE[layer], axis=1))[0]), None)
    return None if lives is None or not lives.any() else int(lives.argmax())


def _check_kind(thing: object, kind: type, what: str, where: str = "") -> None:
    if not isinstance(thing, kind):
        raise TypeError(f"{what} is {said(thing)}, expected a {kind.__name__}{where}")


def _copy(model: MLP, activation: str | None) -> MLP:
    if activation and isinstance(model[0], Maxout):
        raise ValueError(f"the treatment takes {activation} units, expected a network without Maxout")
    name = activation or str(getattr(model[1], "name", "maxout"))
    twin = MLP(model.widths, activation=name, dtype=model.parameters()[0].dtype, rng=0, pieces=getattr(model[0], "pieces", 2))
    for mine, theirs in zip(*([p for p in net.parameters() if p.kind != "slope"] for net in (twin, model))):
        mine.data = theirs.data
    return twin


def _train(recorder: Recorder | Recorders, optimizer: Optimizer, dataset: Dataset, held_out: Dataset | None, steps: int,
           tick: Callable[[int], None], *, schedule: Any = None, last: Callable[[], None] | None = None
           ) -> list[Record]:
    """Full-batch steps, each recorded, and perhaps `last`, which counts as one more. Each network has a `Training`."""
    recorders = recorder.each if isinstance(recorder, Recorders) else [recorder]
    accuracies: list[list[tuple[int, float]]] = [[] for _ in recorders]
    elsewhere: list[list[tuple[int, float]]] = [[] for _ in recorders]

    def note(curves: list[list[tuple[int, float]]], step: int, output: Tensor, samples: Dataset) -> None:
        """Add a point to the curve of each network."""
        right = output.data.argmax(axis=-1) == samples.y
        for curve, accuracy in zip(curves, right.mean(axis=-1).reshape(-1).tolist()):
            curve.append((step, accuracy))

    def note_elsewhere(step: int) -> None:
        if held_out is not None:
            with no_grad(), evaluating(recorder.model):
                note(elsewhere, step, recorder.model(held_out.x), held_out)

    def look(step: int) -> Tensor:
        """Note units and accuracies, without training."""
        output = recorder.forward()
        note(accuracies, step, output, dataset)
        note_elsewhere(step)
        return output

    program = capture(partial(_step, optimizer, recorder, dataset.y)) if recorder.is_plain else None
    for step in range(steps):
        if step % EVERY == 0:
            note_elsewhere(step)
        if program is None:
            output = _stepped(optimizer, recorder.forward(), dataset.y)
        else:
            output, found = program()
            recorder.note(found)
        if step % EVERY == 0:
            note(accuracies, step, output, dataset)
        if schedule is not None:
            schedule.step()
        if step % EVERY == EVERY - 1:
            tick(EVERY)
    tick(steps % EVERY)
    with no_grad():
        output = look(steps)
        if last is not None:
            last()
            output = look(steps + 1)
        final = _losses(output, dataset.y).data.reshape(-1).tolist()
    return list(zip([one.states for one in recorders], accuracies, elsewhere, final))


def _losses(output: Tensor, y: Array) -> Tensor:
    return F.cross_entropy(output, y) if output.ndim == 2 else F.per_member(F.cross_entropy, output, y)


def _stepped(optimizer: Optimizer, output: Tensor, y: Array) -> Tensor:
    """The output, after a step down its loss."""
    optimizer.zero_grad()
    _losses(output, y).sum().backward()
    optimizer.step()
    return output


def _step(optimizer: Optimizer, recorder: Recorder | Recorders, y: Array) -> tuple[Tensor, list[Array]]:
    """A step to be captured, which looks at the units on the way."""
    output, found = recorder.look()
    return _stepped(optimizer, output, y), found


def _followed(claims: list[UnitPrognosis], first: UnitPrognosis | None, layer: HiddenLayer, x: Array) -> tuple[int, int] | None:
    """The unit to draw, and the sample: those of the first return, or else the dead unit whose z is nearest to 0."""
    if first is not None and first.sample is not None:
        return first.unit, first.sample
    if not claims:
        return None
    z = F.linear(x, layer.weight, layer.bias).data[:, [unit.unit for unit in claims]]
    sample, place = np.unravel_index(z.argmax(), z.shape)
    return claims[place].unit, int(sample)
