"""`fit`, a whole training run in one call: batches, validation, early stopping, a file to resume from; and `evaluate`.

Everything that decides how a run continues is in one dict, `Run.parts`: model, optimizer, schedule, generator, and the run itself
with its position, its history and the best weights. A checkpoint holds their states, so a resumed run has the bits of one that
was never interrupted. To the same states a run returns if a step is broken off, or if the loss is no longer finite.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite, nan
from pathlib import Path
from time import perf_counter
from typing import Any
from warnings import warn

import numpy as np

from .autodiff.guard import CaptureError
from .autodiff.node import no_grad
from .capture import Program, capture
from .checkpoint import load, restore, save, state_of
from .checks import Array, as_numbers, check_bool, check_count, check_name, check_rng, counted, said
from .files import AnyPath
from .kernels.machine.host import interruptions
from .nn import Module
from .nn.module import evaluating
from .nn.utils import clip_grad_norm_
from .notebook import SHOWN
from .optim import LRScheduler, Optimizer, ReduceLROnPlateau
from .tensor import Tensor
from .text import Shown, Table, ends, progress

KEPT, SPACED = 10.0, 50     # seconds from one copy of the whole state to the next; more if a copy takes more than 1/50 of them
ROWS = 1024                 # samples that are evaluated at a time
MOST_ROWS, ENDS = 60, 5     # epochs that a table shows, and how many of the first and of the last if there are more

Loss = Callable[[Any, Any], Tensor]                         # of predictions and targets
Metrics = Mapping[str, Callable[[Array, Array], float]]     # of predictions and targets, by name


class History(Shown):
    """What `fit` returns: numbers by epoch. ``history["loss"]`` is a list; printed, it is a table.

    The columns are "loss" (the mean over the training samples, each loss taken before the step on its batch), "lr" (of the first
    group and member), "seconds", and, with a validation set, "valid_loss" and one of each metric ("valid_accuracy"). `steps`
    counts the optimizer steps, `batch_loss` is the loss of the last one, `best` is the epoch of the lowest validation loss (from
    1), and `stopped` says why the run ended before its last epoch; `diverged`, whether because a number was not finite.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {}
        self.steps, self.batch_loss, self.stopped, self.diverged = 0, inf, "", False

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise KeyError(f"the history has no {name!r}; it has {', '.join(self.columns) or 'no epoch'}")
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns.get("loss", ()))

    @property
    def best(self) -> int | None:
        losses = self.columns.get("valid_loss")
        return 1 + int(np.argmin(np.nan_to_num(losses, nan=inf))) if losses else None

    def add(self, **numbers: float) -> None:
        """Append the numbers of one epoch; NaN where this or an earlier epoch has none."""
        epochs = len(self)
        for name in {**self.columns, **numbers}:
            self.columns.setdefault(name, [nan] * epochs).append(float(numbers.get(name, nan)))

    def parts(self) -> list[str | Table]:
        rows = [[str(i), *(f"{x:.4g}" for x in row)] for i, row in enumerate(zip(*self.columns.values()), 1)]
        table = Table("", ["epoch", *self.columns], ends(rows, MOST_ROWS, ENDS))
        return [*[table] * bool(rows), *[self.stopped] * bool(self.stopped)]

    def __repr__(self) -> str:
        last = f", loss {self['loss'][-1]:.4g}" if len(self) else ""
        return f"History({counted(len(self), 'epoch')}, {counted(self.steps, 'step')}{last})"


# -- evaluation ------------------------------------------------------------------------------------------------------------------


def accuracy(scores: Array, labels: Array) -> float:
    """The share of samples whose largest score is that of their class."""
    return float(np.mean(scores.argmax(axis=1) == labels))


def evaluate(model: Module, loss: Loss, dataset: Any, *, metrics: Metrics | None = None) -> dict[str, float]:
    """The loss of a model on a whole data set, and its metrics; in evaluation mode, without a graph.

    `dataset` is a `data.Dataset` or a pair of arrays (x, y). `metrics` are functions of predictions and targets (arrays) by name;
    by default, "accuracy" if the targets are labels and the predictions scores of classes.

    >>> train, test = data.digits(dtype="float32").split(0.8, rng=0)
    >>> tg.evaluate(nn.MLP([64, 10], rng=0), F.cross_entropy, test)["accuracy"] < 0.5
    True
    """
    x, y = _pair(dataset, "evaluate")
    with evaluating(model), no_grad():
        parts = [as_numbers(model(x[i:i + ROWS]), "evaluate: the output of the model") for i in range(0, len(x), ROWS)]
        scores = np.concatenate(parts, axis=0 if model.members is None else 1)       # a population: (members, samples, ...)
        value = loss(Tensor(scores), y).item()
    if metrics is None:         # one column is a logit of two classes, or a number
        of_classes = y.dtype.kind in "iu" and (scores.ndim, y.ndim) == (2, 1) and scores.shape[1] > 1
        metrics = {"accuracy": accuracy} if of_classes else {}
    return {"loss": value, **{name: float(metric(scores, y)) for name, metric in metrics.items()}}


def _pair(dataset: Any, who: str) -> tuple[Array, Array]:
    """Samples and targets of a Dataset or a pair, of the same length and not empty."""
    if hasattr(dataset, "x") and hasattr(dataset, "y"):
        dataset = dataset.x, dataset.y
    if not isinstance(dataset, Sequence) or len(dataset) != 2:
        raise TypeError(f"{who}: got {said(dataset)}, expected a data.Dataset, or a pair of arrays (x, y)")
    x, y = (as_numbers(part, f"{who}: {name}") for part, name in zip(dataset, "xy"))
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"{who}: got x of shape {x.shape} and y of shape {y.shape}, expected one target for each sample")
    return x, y


# -- training --------------------------------------------------------------------------------------------------------------------


def fit(model: Module, optimizer: Optimizer, loss: Loss, dataset: Any, *, epochs: int,
        batch_size: int = 64, rng: int | np.random.Generator | None = None, validation: Any = None, patience: int | None = None,
        schedule: LRScheduler | None = None, schedule_each: str = "epoch", max_norm: float | None = None,
        metrics: Metrics | None = None, callbacks: Sequence[Callable[[History], Any]] = (), every: int | None = None,
        checkpoint: AnyPath | None = None, resume: bool = False, shuffle: bool = True, drop_last: bool = False,
        quiet: bool = False, notes: Mapping[str, Any] | None = None) -> History:
    """Train a model: `epochs` passes over a data set in shuffled batches. Returns a `History`; printed, it is a table.

    `loss` is a function of predictions and targets, such as ``F.cross_entropy``; `dataset` and `validation` are a `data.Dataset`
    or a pair of arrays. The bits are those of a loop over ``dataset.batches(batch_size, rng)``. Afterwards the model is in
    evaluation mode.

    - `patience`: training ends when the validation loss has not improved for so many epochs. The best weights are restored,
      however it ends.
    - `schedule` takes a step after each "epoch" or, with `schedule_each`, after each "step". ReduceLROnPlateau gets the
      validation loss, or else the training loss.
    - `max_norm` clips the norm of all gradients; `metrics` are those of `evaluate`.
    - `callbacks` are called with the history after each epoch and, with `every`, after every so many steps. One that returns
      True ends the training.
    - `checkpoint`: a file (.npz or .safetensors) for the whole state, written every ten seconds and at the end. With `resume`,
      a run continues from this file, if it exists, and has the bits of a run without an interruption. `notes` are plain values
      that the file holds too, such as the settings of the model: ``tg.load(path)["notes"]``.

    Ctrl-C ends the training after the current step; `fit` returns, with a warning. A second Ctrl-C breaks off the step. Then, and
    if the loss is no longer finite, everything goes back to the last good state, at most about ten seconds old. On a terminal, a
    progress bar is drawn (by rich, if it is installed), unless `quiet`.

    >>> digits = data.digits(dtype="float32")
    >>> train, valid = digits.split(0.8, rng=0)
    >>> model = nn.MLP([64, 32, 10], rng=0)
    >>> opt = optim.Adam(model.parameters(), lr=0.01)
    >>> history = tg.fit(model, opt, F.cross_entropy, train, epochs=5, rng=0, validation=valid)
    >>> history["valid_accuracy"][-1] > 0.9
    True
    """
    if not isinstance(model, Module) or not isinstance(optimizer, Optimizer) or not callable(loss):
        raise TypeError(f"fit: got {type(model).__name__}, {type(optimizer).__name__} and {said(loss)}; expected a module, an "
                        "optimizer and a loss function, such as F.cross_entropy")
    if not any(optimizer.holds(p) for p in model.parameters()):
        raise ValueError("fit: the optimizer moves no parameter of this model; expected one of model.parameters()")
    if schedule is not None and not (isinstance(schedule, LRScheduler) and schedule.optimizer is optimizer):
        raise TypeError(f"fit: schedule is {said(schedule)}, expected one of this optimizer")
    check_name(schedule_each, ("epoch", "step"), "fit: schedule_each")
    if isinstance(schedule, ReduceLROnPlateau) and schedule_each == "step":
        raise ValueError("fit: ReduceLROnPlateau judges epochs; expected schedule_each='epoch'")
    if metrics is not None and (not isinstance(metrics, Mapping) or "loss" in metrics):
        raise TypeError(f"fit: metrics is {said(metrics)}, expected functions by name (any but 'loss'): {{'recall': f}}")
    if (metrics or patience is not None) and validation is None:
        raise ValueError("fit: patience and metrics judge a validation set; expected validation=...")
    if callable(callbacks) or not all(map(callable, callbacks := [*callbacks])):
        raise TypeError(f"fit: callbacks is {said(callbacks)}, expected a list of functions")
    if check_bool(resume, "fit: resume") and checkpoint is None:
        raise ValueError("fit: resume continues from a file; expected checkpoint='run.npz'")
    rng = check_rng(rng if check_bool(shuffle, "fit: shuffle") else 0, "fit")
    held_out = None if validation is None else _pair(validation, "fit")
    run = Run(model, optimizer, partial(train_step, model, optimizer, loss, max_norm), *_pair(dataset, "fit"),
              check_count(epochs, "fit: epochs"), check_count(batch_size, "fit: batch_size"), rng, shuffle, drop_last,
              None if held_out is None else partial(evaluate, model, loss, held_out, metrics=metrics),
              None if patience is None else check_count(patience, "fit: patience"), schedule, schedule_each, callbacks,
              None if every is None else check_count(every, "fit: every"), checkpoint, notes)
    if resume and checkpoint is not None and Path(checkpoint).exists():
        load(checkpoint, **run.parts)
        run.best["epoch"] = run.best["epoch"] if run.best["weights"] else run.epoch     # patience begins now if there was none
        run.rewind()
    if held_out is not None:        # a first sample, so that a set of another shape is refused before the training
        with suppress(FloatingPointError):      # of anomaly detection, which tells more in the training
            evaluate(model, loss, [part[:1] for part in held_out], metrics={})
    run.go(check_bool(quiet, "fit: quiet"))
    return run.history


def train_step(model: Module, optimizer: Optimizer, loss: Loss, max_norm: float | None, x: Array, y: Array) -> Tensor:
    """A step on one batch; returns the loss before it."""
    optimizer.zero_grad()
    value = loss(model(x), y)
    if not isinstance(value, Tensor) or value.size != 1:
        raise TypeError(f"fit: the loss returned {said(value)}, expected a Tensor of one number, as F.cross_entropy returns")
    value.backward()
    if max_norm is not None:
        clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return value


class Diverged(Exception):
    """The loss or a parameter is not finite."""


@dataclass
class Run:
    """A training run: its settings, and its position."""

    model: Module
    optimizer: Optimizer
    step: Callable[[Array, Array], Tensor]
    x: Array
    y: Array
    epochs: int
    batch_size: int
    rng: np.random.Generator
    shuffle: bool
    drop_last: bool
    judge: Callable[[], dict[str, float]] | None
    patience: int | None
    schedule: Any
    schedule_each: str
    callbacks: Sequence[Callable[[History], Any]]
    every: int | None
    path: AnyPath | None
    notes: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        self.history = History()
        self.epoch = self.batch = 0         # how many epochs are complete, and how many batches of the next one
        self.total = 0.0                    # of the losses of the samples of these batches
        self.best: dict[str, Any] = {"epoch": 0, "loss": inf, "weights": {}}
        self.before = deepcopy(self.rng)    # as it was when the order of the present epoch was drawn
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "rng": self.before, "fit": self}
        if self.schedule is not None:
            self.parts["schedule"] = self.schedule
        self.kept: dict[str, Any] = {}      # the last good state
        self.due = 0.0                      # when the next copy is made

    # -- the state, in memory and in a file ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The position, and what must be as it was for a resumed run to have the same bits."""
        plan = {"samples": len(self.x), "batch_size": self.batch_size, "shuffle": self.shuffle, "drop_last": self.drop_last,
                "schedule": type(self.schedule).__name__, "schedule_each": self.schedule_each}
        return {"plan": plan, "epoch": self.epoch, "batch": self.batch, "total": self.total, "steps": self.history.steps,
                "columns": deepcopy(self.history.columns), "best": dict(self.best)}

    def load_state_dict(self, state: Any) -> None:
        own = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != own.keys():
            raise ValueError("this is not the state of a run of fit")
        if state["plan"] != own["plan"]:
            other = [f"{name} {state['plan'][name]!r}" for name, value in own["plan"].items() if state["plan"][name] != value]
            raise ValueError(f"the run was begun with {', '.join(other)}; expected the same settings")
        self.epoch, self.batch, self.total = state["epoch"], state["batch"], state["total"]
        self.history.steps, self.history.columns = state["steps"], deepcopy(state["columns"])
        self.best = dict(state["best"])

    def keep(self) -> None:
        """Copy the state, if it is good, and write it to the file."""
        start = perf_counter()
        bad = [name for name, p in self.model.named_parameters() if not np.isfinite(p.array).all()] if self.kept else []
        if bad:
            raise Diverged(f"{bad[0]} was not finite after step {self.history.steps}{self.whose()}")
        self.kept = {name: state_of(part) for name, part in self.parts.items()}
        if self.path is not None:
            save(self.path, self.kept if self.notes is None else {**self.kept, "notes": dict(self.notes)})
        now = perf_counter()
        self.due = now + max(KEPT, SPACED * (now - start))

    def whose(self) -> str:
        """The members of a population that have parameters which are not finite."""
        parameters = [] if self.model.members is None else self.model.parameters()
        bad = sorted({int(k) for p in parameters for k in np.nonzero(~np.isfinite(p.array))[0]})
        return f" (members {said(bad).strip('[]')})" if bad else ""

    def rewind(self) -> None:
        """After a state has been loaded: draw the order of its epoch again."""
        self.rng.bit_generator.state = self.before.bit_generator.state

    def go_back(self) -> None:
        """Restore the last good state."""
        restore(self.parts, self.kept)
        self.rewind()
        self.optimizer.zero_grad()

    # -- the loop -----------------------------------------------------------------------------------------------------------

    def go(self, quiet: bool) -> None:
        """All epochs that are left."""
        history, alarm = self.history, ""
        step: Callable[[Array, Array], Tensor] = capture(self.step)
        for p in [] if self.is_over() else self.optimizer._parameters():
            if p.grad is None and p.requires_grad:      # the first step begins as all others do, so that one recording serves all
                p.set_grad_to_zeros()
        total = self.epochs * -(-len(self.x) // self.batch_size)
        with interruptions() as pressed, progress(total, "epoch 1", quiet=quiet) as tick:
            try:
                self.keep()
                while not self.is_over():
                    try:
                        self.pass_over(step, tick, pressed)
                    except CaptureError as error:
                        warn(f"{error}; fit runs every step eagerly", stacklevel=3)
                        self.go_back()
                        step = self.step
                self.keep()
            except (KeyboardInterrupt, Diverged) as error:
                pressed.clear()             # a third Ctrl-C must not break off this
                self.go_back()
                alarm, history.diverged = str(error) or "interrupted in the middle of a step", isinstance(error, Diverged)
                history.stopped = f"{alarm}; back at the state after step {history.steps}"
        if pressed or alarm:
            warn(f"fit: {history.stopped or 'interrupted after the last epoch'}", stacklevel=3)
        if self.patience is not None and self.best["weights"]:
            self.model.load_state_dict(self.best["weights"])
        self.model.eval()

    def is_over(self) -> bool:
        waited = self.epoch - self.best["epoch"]
        if self.patience is not None and waited >= self.patience and not self.history.stopped:
            self.history.stopped = f"no lower validation loss in {counted(waited, 'epoch')}"
        return bool(self.history.stopped) or self.epoch >= self.epochs

    def pass_over(self, step: Callable[[Array, Array], Tensor], tick: Callable[[str, int], None], pressed: list[int]) -> None:
        """The rest of the present epoch."""
        from .data.dataset import Batches  # here, because `import tinygrad_relu` does not need it

        history, start, shown, ticks = self.history, perf_counter(), 0.0, 0
        self.model.train()
        self.before.bit_generator.state = self.rng.bit_generator.state
        batches = Batches(self.x, self.y, self.batch_size, self.rng if self.shuffle else None, self.drop_last, self.shuffle)
        homes = {"homes": step.homes} if isinstance(step, Program) else {}      # batches that a replay reads where they are made
        for x, y in batches.refilled(self.batch, **homes):
            value = step(x, y).item()
            history.steps += 1
            if not isfinite(value):
                bad = not (np.isfinite(x).all() and np.isfinite(y).all())
                raise Diverged(f"the loss of step {history.steps} was {value}" + ", as its batch holds such numbers" * bad
                               + self.whose())
            history.batch_loss = value
            self.batch, self.total = self.batch + 1, self.total + value * len(x)
            if self.schedule is not None and self.schedule_each == "step":
                self.schedule.step()
            if self.every is not None and history.steps % self.every == 0:
                self.call()
                self.model.train()
            if pressed:
                history.stopped = f"interrupted after step {self.batch} of epoch {self.epoch + 1}"
            if history.stopped:
                return
            now, ticks = perf_counter(), ticks + 1
            if now >= self.due:
                self.keep()
            if now >= shown:
                tick(f"epoch {self.epoch + 1}, loss {value:.3g}", ticks)
                shown, ticks = now + SHOWN, 0
        tick(f"epoch {self.epoch + 1}", ticks)
        self.end_epoch(perf_counter() - start)
        if pressed:
            history.stopped = f"interrupted after epoch {self.epoch}"

    def end_epoch(self, seconds: float) -> None:
        """The numbers of an epoch, the best weights, the schedule and the callbacks."""
        loss = self.total / min(self.batch * self.batch_size, len(self.x))
        judged = {f"valid_{name}": number for name, number in (self.judge() if self.judge else {}).items()}
        self.history.add(loss=loss, **judged, lr=np.ravel(self.optimizer.param_groups[0]["lr"])[0], seconds=seconds)
        self.epoch, self.batch, self.total = self.epoch + 1, 0, 0.0
        if self.patience is not None and judged["valid_loss"] < self.best["loss"]:
            self.best = {"epoch": self.epoch, "loss": judged["valid_loss"], "weights": self.model.state_dict()}
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(judged.get("valid_loss", loss))
        elif self.schedule is not None and self.schedule_each == "epoch":
            self.schedule.step()
        self.call()
        self.before.bit_generator.state = self.rng.bit_generator.state

    def call(self) -> None:
        for callback in self.callbacks:
            if isinstance(end := callback(self.history), (bool, np.bool_)) and end:
                self.history.stopped = f"a callback ended the training after step {self.history.steps}"
