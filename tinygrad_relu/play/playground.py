"""The state behind the page: a network that trains, everything that was done to it, and what is foretold of its units.

Nothing here knows of a browser. A link holds the seed and every action with its step; followed, it gives the same bits.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Self
from urllib.parse import parse_qs, urlencode

import numpy as np

from .. import data as sources
from .. import functional as F
from ..autodiff.node import Array, no_grad
from ..capture import Program, capture
from ..checks import check_count, check_name, counted
from ..data import Dataset
from ..lab import BumpBias, Census, DataInit, Intervention, Recorder, ReDo, Units, census, kill, mirror, prognosis
from ..lab.layers import GONE, State
from ..lab.outcomes import refuted
from ..lab.rehearsal import rehearsed_orbit
from ..lab.treatments import TREATMENTS, Treatment
from ..nn import MLP
from ..nn.activations import MODULES, activation_module
from ..optim import SGD, Optimizer

SETS: dict[str, tuple[Callable[[int], Dataset], tuple[int, ...]]] = {       # from the seed; and the widths of the hidden layers
    "moons": (lambda seed: sources.moons(200, rng=seed), (16, 16)),
    "spiral": (lambda seed: sources.spirals(300, rng=seed), (16, 16)),
    "digits": (lambda seed: sources.digits().head(600), (32, 32))}
ACTIVATIONS = [name for name in MODULES if name != "rrelu"]     # which draws its slopes anew in each pass
TREATED: dict[str, Treatment] = {t.key: t for t in TREATMENTS if t.key != "own-steps"}      # which is "coast" after another death
MENDED: dict[str, tuple[str, Callable[[Array], Intervention]]] = {      # of the dead units: a label, and the intervention
    "redo": ("ReDo: new weights", lambda x: ReDo()), "data-init": ("new weights, fitted to the data", DataInit),
    "bump-bias": ("raise the bias", BumpBias)}
RATE = 0.1              # of the treatments, as in the main job
MOST_UNITS = 500
HORIZON = 300           # steps of a prognosis, which goes on to a later return that a formula predicts
LONGEST = 5000          # steps of an orbit that is foretold
LOOK = 10               # steps between two looks at the chosen unit, which may have died,
ASK = 100               # and between two at all others


@dataclass(frozen=True)
class Claim:
    """What is foretold of a dead unit, in steps of the whole training; `between` are the first and last possible steps."""

    layer: int
    unit: int
    made: int
    verdict: str
    step: int | None
    between: tuple[int, int] | None
    sample: int | None
    reason: str

    def fails(self, came: int) -> bool:
        """Whether a return at this step refutes the claim."""
        return self.verdict != "estimate" and refuted(self.between, came, came)

    def __str__(self) -> str:
        when = "" if self.step is None else f" at step {self.step:,}"
        return {"revives": f"returns{when}", "estimate": f"returns{when}, by an estimate" if when else "nothing is claimed",
                "never": "never returns"}.get(self.verdict, f"does not return within {HORIZON:,} steps")


class Playground:
    """A network, its optimizer, and the actions so far.

    `do` performs an action, given in words, and foretells the future of all dead units; `advance` trains, full batch, in float64.

    >>> play = Playground("moons")
    >>> play.do("treat", "momentum-l2-inside")      # momentum 0.9 and decay 0.05, inside the window of returns
    >>> play.do("kill", 0, 3)
    >>> play.claims[0, 3].step
    48
    >>> play.advance(60)
    >>> [(claim.unit, came) for claim, came in play.settled if claim.layer == 0]
    [(3, 48)]
    >>> Playground.of(play.link()).replay().fingerprint() == play.fingerprint()
    True
    """

    def __init__(self, data: str = "moons", seed: int = 0, widths: tuple[int, ...] | None = None) -> None:
        make, usual = SETS[check_name(data, SETS, "the data")]
        self.name, self.seed = data, check_count(seed, "the seed", least=0)
        self.widths = tuple(check_count(width, "a width of a hidden layer") for width in widths or usual)
        if sum(self.widths) > MOST_UNITS:
            raise ValueError(f"the hidden layers have {sum(self.widths)} units, expected at most {MOST_UNITS}")
        self.dataset = make(seed)
        self.x, self.y = self.dataset.x, self.dataset.y
        classes: Any = self.dataset.classes
        self.model = MLP([self.dataset.features, *self.widths, classes], "relu", init="he", rng=seed, dtype="float64")
        self.units = Units(self.model)
        self.optimizer: Optimizer = SGD(self.model.parameters(), lr=RATE)
        self.recorder = Recorder(self.units, self.x)
        self.recorder.observe()
        self.step, self.diverged = 0, False
        self.log: list[tuple[int, list[str]]] = []          # each action, with the number of steps made before it
        self.pending: list[tuple[int, list[str]]] = []      # those of a link that are still to come
        self.target = 0                                     # the step at which the link was made
        self.claims: dict[tuple[int, int], Claim] = {}      # open ones, by layer and unit
        self.settled: list[tuple[Claim, int]] = []          # and those of units that have returned, with the step
        self.watched: tuple[int, int] | None = None
        self.since = 0                                      # the step of the first entry of `recorder.orbit`
        self.foretold: tuple[int, list[float]] = 0, []      # a step, and z of the watched unit from then on,
        self._path_of: Claim | None = None                  # by this claim
        self._seen = 0                                      # the next step whose states are to be compared with the claims
        self._begin()

    # -- links ---------------------------------------------------------------------------------------------------------------

    def link(self) -> str:
        """The query of a link to this state."""
        actions = [("do", " ".join([str(step), *words])) for step, words in self.log]
        setup = {"data": self.name, "seed": self.seed, "widths": "-".join(map(str, self.widths))}
        return urlencode([*setup.items(), *actions, ("step", self.step)])

    @classmethod
    def of(cls, query: str) -> Self:
        """The beginning of the state to which a link leads; `replay` does the rest."""
        parts = parse_qs(query, keep_blank_values=True)
        for key in parts:
            check_name(key, ["data", "seed", "widths", "do", "step"], "the link: a part")
        said = {key: values[-1] for key, values in parts.items()}
        actions = [(_whole(when, "the step of an action"), words)
                   for when, *words in (action.split() or [""] for action in parts.get("do", []))]
        target = _whole(said.get("step", "0"), "the step")
        widths = tuple(_whole(width, "a width") for width in said["widths"].split("-")) if "widths" in said else None
        found = cls(said.get("data", "moons"), _whole(said.get("seed", "0"), "the seed"), widths)
        order = [step for step, _ in actions]
        if order != sorted(order) or max(order, default=0) > target:
            raise ValueError(f"the link has actions at steps {order} and ends at step {target}, expected them in order")
        found.pending, found.target = actions, target
        found._due()
        return found

    @property
    def behind(self) -> int:
        """How many steps are left of a replay."""
        return 0 if self.diverged else max(self.target - self.step, 0)

    def replay(self) -> Self:
        """All that the link says."""
        self.advance(self.behind)
        return self

    def fingerprint(self) -> str:
        """Eight digits that depend on every bit of the parameters and of the optimizer's buffers."""
        digest = sha256()
        for p in self.model.parameters():
            digest.update(p.data.tobytes())
            for name, buffer in sorted(self.optimizer.state_of(p).items()):
                digest.update(name.encode() + np.asarray(buffer).tobytes())
        return digest.hexdigest()[:8]

    # -- training ------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Capture the training step of the present model and optimizer."""
        self._program: Program = capture(partial(_trained, self.model, self.optimizer, self.x, self.y))

    def advance(self, steps: int) -> None:
        """Train for so many steps, until the training diverges. The actions of a link are performed at their steps."""
        for _ in range(steps):
            if self.diverged:
                break
            loss, *through = self._program()
            self.step += 1
            self.recorder.see(list(zip(through[::2], through[1::2])), self.step)
            self.diverged = not math.isfinite(loss.item())
            if self.step % LOOK == 0:
                self._ask()
            self._due()
        self._settle()

    def _due(self) -> None:
        """The actions of a link that are to be performed now. One that cannot be ends the replay."""
        while self.pending and (self.pending[0][0] <= self.step or self.diverged):
            _, words = self.pending.pop(0)
            try:
                self._do(*words)
            except (ValueError, IndexError):
                self._stay()
                raise

    def _stay(self) -> None:
        self.pending, self.target = [], self.step

    def _settle(self) -> None:
        """Take the units that have returned since the last look out of the open claims."""
        new = np.arange(self._seen, self.step + 1)               # the recorder looks once at each step
        for i, changes in enumerate(self.recorder.changes()):
            alive = ~GONE[changes.matrix(new)]
            for j in np.flatnonzero(alive.any(axis=0)).tolist():
                if (i, j) in self.claims:
                    self.settled.append((self.claims.pop((i, j)), int(new[alive[:, j].argmax()])))
        self._seen = self.step + 1

    def _ask(self) -> None:
        """Foretell what becomes of the watched unit if it has died, and at times of all that have died."""
        self._settle()
        dead = {(i, j) for i, changes in enumerate(self.recorder.changes()) for j in np.flatnonzero(GONE[changes.last]).tolist()}
        new = dead - {key for key, claim in self.claims.items() if self.step + ASK <= claim.made + HORIZON
                      or claim.verdict != "not within the horizon"}         # these are made anew before they run out
        if self.watched in new or (new and self.step % ASK == 0):
            self.claims = {key: claim for key, claim in self.claims.items() if key not in new}
            self._foretell()

    # -- what is foretold ----------------------------------------------------------------------------------------------------

    def _foretell(self) -> None:
        """The future of every dead unit of which nothing is foretold yet, and the orbit of the watched one."""
        names = {layer.name: i for i, layer in enumerate(self.units.layers)}
        for unit in prognosis(self.units, self.x, self.optimizer, horizon=HORIZON).units if not self.diverged else []:
            between = None if unit.between is None else (self.step + unit.between[0], self.step + unit.between[1])
            step = None if unit.step is None else self.step + unit.step
            key = names[unit.layer], unit.unit
            why = unit.reason.removeprefix(f"step {unit.step}, through sample {unit.sample}: ").removeprefix("never: ")
            self.claims.setdefault(key, Claim(*key, self.step, unit.verdict, step, between, unit.sample, why))
        if self.watched is None:
            return
        i, j = self.watched
        claim = self.claims.get(self.watched)
        sample = None if claim is None else claim.sample
        look, follow = list(self.units.walk(self.x))[i], self.recorder.follow
        if follow is None or follow[:2] != self.watched or sample not in (None, follow[2]):
            self.recorder.follow = i, j, int(look.z[:, j].argmax()) if sample is None else sample
            self.recorder.orbit.clear()
            self.since, self.foretold, self._path_of = self.step, (self.step, []), None
        _, _, sample = self.recorder.follow or (i, j, 0)
        self.recorder.orbit[self.step - self.since:] = [float(look.z[sample, j])]
        if claim is not None and claim is not self._path_of:
            steps = HORIZON if claim.step is None else min(claim.step - self.step, LONGEST)
            self.foretold = self.step, rehearsed_orbit(look.layer, j, look.inputs[sample], self.optimizer, steps)
            self._path_of = claim

    # -- actions -------------------------------------------------------------------------------------------------------------

    def do(self, action: str, *words: Any) -> None:
        """Perform an action (one of `ACTIONS`) with its words. A ValueError or IndexError says what cannot be done."""
        self._stay()
        self._do(action, *map(str, words))

    def _do(self, *said: str) -> None:
        action, *words = said or [""]
        self._settle()
        ACTIONS[check_name(action, ACTIONS, "the action")](self, words)
        if action in REPLACED and self.log and self.log[-1][0] == self.step and self.log[-1][1][0] == action:
            self.log.pop()
        self.log.append((self.step, [action, *words]))
        self._seen = self.step + 1
        if action != "watch":
            self.claims.clear()             # they were made of another training, and so was the rest of the path
            start, path = self.foretold
            self.foretold = start, path[:self.step - start + 1]
        self._foretell()

    def _set(self, words: list[str], name: str) -> None:
        """A setting of the optimizer. Only the first of its groups decays, if some parameters do not."""
        value: Any = _number(words, name)
        if name in ("momentum", "decoupled") and not isinstance(self.optimizer, SGD):
            raise ValueError(f"{type(self.optimizer).__name__} has no {name} to set, expected SGD: treat with it first")
        for group in self.optimizer.param_groups[:1 if name == "weight_decay" else None]:
            group[name] = bool(value) if name == "decoupled" else value

    def setting(self, name: str) -> Any:
        """A setting of the optimizer; None if it has none of this name."""
        return self.optimizer.param_groups[0].get(name)

    @property
    def activation(self) -> str:
        return self.units.layers[0].activation_name

    def _activate(self, words: list[str]) -> None:
        """Another activation for the same weights. The slopes of PReLU are trained like these, without decay."""
        name = check_name(_words(words, 1, "activation")[0], ACTIVATIONS, "the activation")
        for i in range(1, len(self.model), 2):
            self.model[i] = activation_module(name, dtype="float64", rng=np.random.default_rng(self.seed))
        if slopes := [p for p in self.model.parameters() if p.kind == "slope"]:
            self.optimizer.add_param_group({**self.optimizer.param_groups[0], "params": slopes, "weight_decay": 0.0})
        self.units = Units(self.model)
        self.recorder = self.recorder.going_on(self.units)
        self._begin()

    def _kill(self, words: list[str]) -> None:
        layer, *units = (_whole(word, "kill: a layer or unit") for word in words or [""])
        if layer >= len(self.units.layers):
            raise IndexError(f"kill: layer is {layer}, expected one from 0 to {len(self.units.layers) - 1}")
        kill(self.units, self.x, units or None, layer=layer)

    def _treat(self, words: list[str]) -> None:
        """One of the treatments of the main job, or an intervention on the units that are dead."""
        (key,) = _words(words, 1, "treat")
        check_name(key, [*TREATED, *MENDED], "the treatment")
        if key in MENDED:
            dead = {i: np.flatnonzero(GONE[layer.state]) for i, layer in enumerate(self.census().layers)}
            MENDED[key][1](self.x).apply(self.units, self.optimizer, dead, rng=np.random.default_rng([self.seed, len(self.log)]))
            return
        treatment = TREATED[key]
        if treatment.keeps:
            if not isinstance(self.optimizer, SGD):
                raise ValueError(f"{treatment.name} goes on with the buffers of an SGD, got {type(self.optimizer).__name__}")
            for group in self.optimizer.param_groups:
                group.update(lr=RATE * treatment.rate, weight_decay=0.0, **treatment.options)
        if treatment.activation:
            self._activate([treatment.activation])
        for i in range(len(self.units.layers) if treatment.mirror is not None else 0):      # each changes the inputs of the next
            mirror(self.units, self.units.gone(self.x)[i], treatment.mirror or 1.0, layer=i)
        if not treatment.keeps:
            self.optimizer = treatment.optimizer(self.model, RATE)
        self._begin()

    def _watch(self, words: list[str]) -> None:
        layer, unit = (_whole(word, "watch: a layer or unit") for word in _words(words, 2, "watch"))
        if layer >= len(self.widths) or unit >= self.widths[layer]:
            raise IndexError(f"watch: there is no unit {unit} in hidden layer {layer} (counted from 0); their widths are "
                             f"{', '.join(map(str, self.widths))}")
        self.watched = layer, unit

    # -- what can be seen ----------------------------------------------------------------------------------------------------

    def census(self) -> Census:
        return census(self.units, self.x)

    def predictions(self, x: Array) -> Array:
        """The probabilities of the classes, (samples, classes)."""
        with no_grad(), np.errstate(all="ignore"):
            return np.asarray(F.softmax(self.model(x), axis=1).data)

    def measured(self) -> tuple[float, float, Array]:
        """Loss, accuracy, and the confusion matrix: how many samples of each class (rows) are taken for each class (columns)."""
        with no_grad():
            logits = self.model(self.x)
            loss = F.cross_entropy(logits, self.y).item()
        taken = logits.data.argmax(axis=1)
        confused = np.zeros((self.model.widths[-1],) * 2, int)
        np.add.at(confused, (self.y, taken), 1)
        return loss, float((taken == self.y).mean()), confused

    def lives(self, most: int) -> tuple[Array, int]:
        """The states of all units (rows, layer by layer) over the steps, and the steps from one column to the next: a power of
        two, so that there are at most about `most` columns, and old ones do not change. The last column is the state now."""
        n = self.step + 1
        stride = 1 << max(0, math.ceil(math.log2(n / most)))
        now = np.concatenate([extremes.states() for extremes in self.units.extremes(self.x)])
        past = np.concatenate([changes.matrix(np.arange(0, n - 1, stride)) for changes in self.recorder.changes()], axis=1)
        return np.concatenate([past, now[None]]).T, stride

    def edge(self) -> Array:
        """Two points far apart on the line w.x + b = 0 of the watched unit, (points, 2); none, if its inputs are not points of a
        plane."""
        first: Any = self.model[0]
        if self.watched is None or self.watched[0] or self.x.shape[1] != 2:
            return np.empty((0, 2))
        w, b = first.weight.data[self.watched[1]], first.bias.data[self.watched[1]]
        with np.errstate(all="ignore"):
            ends = (-b * w + 1e3 * np.array([[-w[1], w[0]], [w[1], -w[0]]])) / (w @ w)
        return np.asarray(ends) if np.isfinite(ends).all() else np.empty((0, 2))

    def _last(self) -> tuple[Claim | None, int | None]:
        """What is foretold of the watched unit; or the last claim that was settled, and when."""
        settled = ((claim, came) for claim, came in reversed(self.settled) if (claim.layer, claim.unit) == self.watched)
        claim = self.claims.get(self.watched) if self.watched else None
        return (claim, None) if claim else next(settled, (None, None))

    def due(self) -> int | None:
        """The foretold step of the watched unit's return."""
        claim, _ = self._last()
        return None if claim is None else claim.step

    def story(self, now: Census) -> str:
        """The watched unit in a few words: its state, what is foretold, and whether it has come true."""
        if self.watched is None:
            return "Choose a unit to see what is foretold of it, and whether it comes true."
        i, j = self.watched
        claim, came = self._last()
        said = f"Unit {j} of layer {i} is {State(now.layers[i].state[j]).label}."
        if claim is None:
            return said
        if came is None:
            return f"{said} Foretold at step {claim.made:,}: {claim}. ({claim.reason[0].upper()}{claim.reason[1:]}.)"
        true = claim.verdict != "estimate" and not claim.fails(came)
        return f"{said} It returned at step {came:,}, " + ("as foretold." if true else f"and was foretold: {claim}.")

    def told(self, now: Census) -> list[str]:
        """What is foretold of the dead units, and how many claims have come true."""
        kinds = Counter(f"in layer {claim.layer}: {claim}" for claim in self.claims.values())
        new = sum(now.dead) - len(self.claims)
        parts = [f"{n} {kind}" for kind, n in sorted(kinds.items())] + [f"nothing yet of {counted(new, 'dead unit')}"] * (new > 0)
        claimed = [claim.fails(came) for claim, came in self.settled if claim.verdict != "estimate"]
        return [f"Foretold: {'; '.join(parts) or 'no unit is dead'}.",
                f"So far: {counted(claimed.count(False), 'return')} at the foretold step, {sum(claimed)} not as foretold."]


ACTIONS: Mapping[str, Callable[[Playground, list[str]], None]] = {
    **{name: partial(Playground._set, name=name) for name in ("lr", "momentum", "weight_decay", "decoupled")},
    "activation": Playground._activate, "kill": Playground._kill, "treat": Playground._treat, "watch": Playground._watch}
REPLACED = {"lr", "momentum", "weight_decay", "decoupled", "watch"}     # of two in a row, the first leaves no trace


def _trained(model: MLP, optimizer: Optimizer, x: Array, y: Array) -> list[Any]:
    """One step; returned are the loss before it, and after it z and h of each hidden layer."""
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    found, h, layers = [loss], x, list(model)
    with no_grad():
        for affine, activation in zip(layers[:-1:2], layers[1::2]):
            z = affine(h)
            h = activation(z)
            found += [z, h]
    return found


def _words(words: list[str], n: int, action: str) -> list[str]:
    if len(words) != n:
        raise ValueError(f"{action}: got {counted(len(words), 'word')} ({' '.join(words)}), expected {n}")
    return words


def _number(words: list[str], action: str) -> float:
    (word,) = _words(words, 1, action)
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{action}: got {word!r}, expected a number") from None


def _whole(word: str, what: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{what} is {word!r}, expected a whole number")
    return int(word)
