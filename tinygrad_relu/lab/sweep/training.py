"""The runs of a sweep, carried out: trainings of one shape side by side as a population, and experiments one by one.

A training is that of `tinygrad-relu train` with the same options, and has its bits: a member of a population computes what it
would compute alone. So it does not matter which runs share a population or a process.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from hashlib import blake2b, sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ... import __version__
from ... import functional as F
from ...data import Dataset
from ...data.named import OPTIONS, named, prepared
from ...kernels.machine.native import target
from ...nn import MLP, population
from ...tensor import Tensor
from ...training import evaluate
from ..census import census
from ..experiments import find
from ..experiments.common import stepper
from ..readings import plain
from ..treatments import SCHEDULES, yours
from .settings import OWN, Run, Settings, content_of

MEMBERS, WEIGHTS, SAMPLES = 64, 1 << 18, 1 << 24    # of a population: most networks; most numbers in their weights and data


def shape_of(run: Run) -> Any:
    """Runs with the same shape can train in one population."""
    if "experiment" in run.given:
        return run.key
    return tuple((name, str(value)) for name, value in run.given.items() if name not in OWN)


def size_of(run: Run) -> int:
    """How many runs of this shape share a population: 64 small networks, one large one."""
    if "experiment" in run.given:
        return 1
    train, _ = load(run.settings)
    weights = sum(p.size for p in _network(run.settings, train).parameters())
    return max(1, min(MEMBERS, WEIGHTS // weights, SAMPLES // train.x.size))


def load(settings: Settings) -> tuple[Dataset, Dataset | None]:
    """The samples to train on, and those held out."""
    names = "data", "standardise", "held_out", "dtype", "data_seed", *OPTIONS
    return _load(*map(settings.get, names), content_of(settings["path"]) if "path" in settings else "")     # which may change


@lru_cache(maxsize=2 * MEMBERS)
def _load(name: str, standardise: bool | None, held_out: float, dtype: str, seed: int,
          *source: Any) -> tuple[Dataset, Dataset | None]:
    found = _source(name, seed if name in ("spiral", "moons") else 0, *source)
    return prepared(found, held_out, seed, standardise or (standardise is None and name == "csv"), dtype)


@lru_cache(maxsize=2)
def _source(name: str, seed: int, *given: Any) -> Dataset:
    return named(name, seed, dict(zip(OPTIONS, given)))


def loss_of(samples: Dataset) -> Callable[..., Tensor]:
    """Cross-entropy; of a regression the squared loss."""
    return F.cross_entropy if samples.classes else F.mse_loss


def carry_out(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The rows of these runs, which have one shape: the task of every executor. If they fail together, each is tried alone, and
    its row says what went wrong."""
    start = perf_counter()
    try:
        found = map(_experiment, runs) if "experiment" in runs[0].given else train([run.settings for run in runs])
        results: list[dict[str, Any]] = [{"result": result, "error": None} for result in found]
    except Exception as error:          # of any kind: the other runs of the sweep go on
        if len(runs) > 1:
            return [row for run in runs for row in carry_out([run])]
        results = [{"result": None, "error": f"{type(error).__name__}: {error}"}]
    at = {"seconds": (perf_counter() - start) / len(runs), "code": code(), "machine": target()[1]}
    return [{"key": run.key, **result, **at} for run, result in zip(runs, results)]


@cache
def code() -> str:
    """The version of this package, and a digest of its sources."""
    files = sorted(Path(__file__).parents[2].rglob("*.py"))
    return f"{__version__} {sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:12]}"


def _experiment(run: Run) -> dict[str, Any]:
    found = find(run.given["experiment"])(run.settings["seed"], run.settings["fast"])
    holding = sum(finding.holds for finding in found.findings)
    return plain({"verdict": found.verdict, "holds": found.verdict != "does not hold", "findings_holding": holding,
                  "findings": [finding.to_dict() for finding in found.findings]})


def train(settings: Sequence[Settings]) -> list[dict[str, Any]]:
    """Train networks of one shape as a population, and measure each."""
    first = settings[0]
    sets = [load(one) for one in settings]
    model = population([_network(one, train) for one, (train, _) in zip(settings, sets)])
    each: dict[str, Any] = {name: np.array([one[name] for one in settings]) for name in OWN if name in first and name != "init"}
    rule = yours(first["optimizer"], first.get("momentum"))
    own = {"momentum": each["momentum"]} if "momentum" in first else {"betas": tuple(each["betas"].T)}
    rule = replace(rule, rate=1.0, options={**rule.options, **own}, weight_decay=each["weight_decay"])
    optimizer = rule.optimizer(model, each["lr"])
    samples, size, loss = len(sets[0][0]), first["batch_size"], loss_of(sets[0][0])
    per_epoch = -(-samples // size)
    steps = first.get("steps") or first["epochs"] * per_epoch
    schedule: Any = SCHEDULES[first["schedule"]](optimizer, -(-steps // per_epoch)) if "schedule" in first else None
    step = stepper(model, optimizer, loss)
    drawn = {one["data_seed"]: pair[0] for one, pair in zip(settings, sets)}        # of each seed; their samples are joined
    x, y = (np.concatenate([getattr(part, name) for part in drawn.values()]) for name in ("x", "y"))
    starts = samples * np.array([[list(drawn).index(seed)] for seed in each["data_seed"]])
    generators = [np.random.default_rng(seed) for seed in each["seed"]]
    while steps:
        orders = np.stack([rng.permutation(samples) for rng in generators]) + starts
        for begin in range(0, min(samples, steps * size), size):
            rows = orders[:, begin:begin + size]
            step(x[rows], y[rows])
            steps -= 1
        if schedule is not None:
            schedule.step()
    model.eval()
    return [_measured(model.member(k), *pair) for k, pair in enumerate(sets)]


def prepare(run: Run) -> None:
    """Raise an error if runs of this shape cannot begin."""
    if "experiment" not in run.given:
        _network(run.settings, load(run.settings)[0])


def _network(settings: Settings, train: Dataset) -> MLP:
    return MLP([train.features, *settings["widths"], train.classes or train.y[0].size], settings["activation"], settings["init"],
               settings["dtype"], settings["seed"], norm=settings.get("norm"), dropout=settings["dropout"])


def _measured(model: MLP, train: Dataset, held_out: Dataset | None) -> dict[str, Any]:
    """The numbers of a trained network: those of `evaluate`, the share of dead units, and a digest of all weights."""
    loss = loss_of(train)
    numbers = evaluate(model, loss, train)
    if held_out is not None:
        numbers |= {f"valid_{name}": number for name, number in evaluate(model, loss, held_out).items()}
    weights = [p.data for p in model.parameters()]
    diverged = not (np.isfinite(numbers["loss"]) and all(np.isfinite(weight).all() for weight in weights))
    layers = [] if diverged or len(model.widths) == 2 else census(model, train.x).layers
    dead = sum(layer.dead for layer in layers) / sum(len(layer.state) for layer in layers) if layers else None
    digest = blake2b(b"".join(weight.tobytes() for weight in weights), digest_size=8).hexdigest()
    return plain({**numbers, "dead": dead, "diverged": diverged, "weights": digest})
