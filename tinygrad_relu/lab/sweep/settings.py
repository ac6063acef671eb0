"""What a sweep shall run: a TOML file, or the same as a dict, read into the settings of each run; and the key of a run.

The settings of a run are kept in one form: every name known, every value checked, numbers of one type. The key is a digest of
those that differ from their defaults. So the same run has the same key however it is written, and a setting that a later version
adds does not change the keys of today. A file of data counts by its content, not by its path.
"""
from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from ...checks import (
    check_below_one,
    check_bool,
    check_count,
    check_dtype,
    check_name,
    check_number,
    check_probability,
    check_real,
    said,
)
from ...data.named import NAMED
from ...files import AnyPath, reading
from ...nn.activations import NAMES
from ...nn.init import INITIALISERS
from ...nn.mlp import NORMS
from ...optim import SGD
from ...optim.rules import check_betas
from ..experiments import chosen, names
from ..treatments import RULES, SCHEDULES, yours

Settings = dict[str, Any]
Check = Callable[[Any, str], Any]       # of a value and its name


def _one_of(*known: str) -> Check:
    return lambda value, name: check_name(value, known, name)


def _whole(least: int) -> Check:
    return lambda value, name: check_count(value, name, least)


def _widths(value: Any, name: str) -> list[int]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} is {said(value)}, expected a list, such as [64, 64]")
    return [check_count(width, name) for width in value]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {said(value)}, expected text")
    return value


# The settings of a training, those of `tinygrad-relu train`: the default and the check of each.
TRAINING: dict[str, tuple[Any, Check]] = {
    "data": ("digits", _one_of(*NAMED)), "path": (None, _text), "target": (None, _text), "delimiter": (None, _text),
    "regression": (None, lambda value, name: check_bool(value, name) or None), "samples": (None, _whole(1)),
    "standardise": (None, check_bool), "held_out": (0.2, check_below_one),
    "seed": (0, _whole(0)), "data_seed": (None, _whole(0)),
    "widths": ([64, 64], _widths), "activation": ("relu", _one_of(*NAMES)),
    "init": ("he", lambda value, name: (_one_of(*INITIALISERS) if isinstance(value, str) else check_real)(value, name)),
    "norm": (None, _one_of(*NORMS)), "dropout": (0.0, check_probability),
    "dtype": ("float32", lambda value, name: check_dtype(value).name),
    "optimizer": ("sgd", _one_of(*RULES)), "lr": (0.1, check_number), "momentum": (None, check_below_one),
    "betas": ([0.9, 0.999], lambda value, name: [*map(float, check_betas(value))]), "weight_decay": (0.0, check_number),
    "schedule": (None, _one_of(*SCHEDULES)),
    "batch_size": (64, _whole(1)), "epochs": (None, _whole(1)), "steps": (None, _whole(1))}
EXPERIMENT: dict[str, tuple[Any, Check]] = {
    "experiment": (None, _one_of(*names())), "fast": (False, check_bool), "seed": (0, _whole(0))}
DIGEST = 10             # bytes of the key of a run
EPOCHS = 20             # if neither epochs nor steps are given
SEEDS = "seed", "data_seed"


class Run(NamedTuple):
    """A run: its key, and those of its settings that differ from their defaults."""

    key: str
    given: Settings

    @property
    def settings(self) -> Settings:
        """All settings that have a value."""
        known = EXPERIMENT if "experiment" in self.given else TRAINING
        unused = "betas" if "momentum" in self.given else None         # given for all rules that take it
        return {name: value for name, (default, _) in known.items()
                if (value := self.given.get(name, default)) is not None and name != unused}


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep: what all have in common, and grids of the settings in which they differ."""

    common: Settings
    grids: list[dict[str, list[Any]]]       # of each setting its values; the combinations of all grids together are the runs

    def __len__(self) -> int:
        """With a run that is in two grids counted twice."""
        return sum(prod(map(len, grid.values())) for grid in self.grids)

    @property
    def axes(self) -> list[str]:
        """The names of the settings in which runs differ."""
        return list(dict.fromkeys(name for grid in self.grids for name in grid))

    def runs(self) -> Iterator[Run]:
        """All runs; those that differ only in settings which the members of a population may have come one after the other."""
        for grid in self.grids:
            for values in product(*grid.values()):
                yield run_of({**self.common, **dict(zip(grid, values))})

    def to_json(self) -> str:
        return json.dumps({"common": self.common, "grids": self.grids}, sort_keys=True)


OWN = "init", "weight_decay", "betas", "momentum", "lr", *SEEDS     # the settings that each member of a population has for itself


def canonical(settings: Settings) -> Settings:
    """The settings of one run that differ from their defaults, in one form; an error if they do not go together."""
    known = EXPERIMENT if "experiment" in settings else TRAINING
    if known is TRAINING:
        _check_rule(settings.get("optimizer", "sgd"), settings.get("momentum"), tuple(settings.get("betas", ())))
        if "steps" in settings and "epochs" in settings:
            raise ValueError(f"got {settings['steps']} steps and {settings['epochs']} epochs, expected one of them")
        rule, usual = RULES[settings.get("optimizer", "sgd")]
        settings = {"momentum": usual.get("momentum", 0.0), "data_seed": settings.get("seed", 0),
                    **({} if "steps" in settings else {"epochs": EPOCHS}), **settings}
        if rule is not SGD:
            del settings["momentum"]
    return {name: settings[name] for name in known if name in settings and settings[name] != known[name][0]}


@cache
def _check_rule(optimizer: str, momentum: float | None, betas: tuple[Any, ...]) -> None:
    yours(optimizer, momentum, betas=betas or None)


def run_of(settings: Settings) -> Run:
    """The run of these settings.

    >>> run_of({"data": "moons", "lr": 0.1}).key == run_of({"momentum": 0.0, "data": "moons", "epochs": 20}).key
    True
    """
    given = canonical(settings)
    content = {**given, "path": content_of(given["path"])} if "path" in given else given
    return Run(blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=DIGEST).hexdigest(), given)


def content_of(path: str) -> str:
    """A digest of a file, or of the files in a folder, as they are now."""
    with reading(path, "a file of data") as place:
        files = sorted(file for file in place.iterdir() if file.is_file()) if place.is_dir() else [place]
        return _digest(*((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache
def _digest(*files: tuple[Path, int, int]) -> str:
    return blake2b(b"".join(file.read_bytes() for file, *_ in files), digest_size=10).hexdigest()


# -- reading -------------------------------------------------------------------------------------------------------------------

TABLES = "seeds", "training", "experiment", "grid"


def read_plan(source: AnyPath | Mapping[str, Any]) -> Plan:
    """The plan in a TOML file or a dict; one sentence says what is wrong in it.

    >>> plan = read_plan({"seeds": 3, "training": {"data": "moons"}, "grid": {"lr": [0.1, 1]}})
    >>> len(plan), [run.settings["lr"] for run in plan.runs()]
    (6, [0.1, 0.1, 0.1, 1.0, 1.0, 1.0])
    """
    if isinstance(source, Mapping):
        return _plan(source)
    with reading(source, "the TOML file of a sweep") as file:
        text = file.read_bytes()
    try:
        found = tomllib.loads(text.decode())
    except ValueError as error:
        raise ValueError(f"{source} is not TOML: {error}") from error
    with naming(source):
        return _plan(found)


@contextmanager
def naming(source: AnyPath | Mapping[str, Any]) -> Iterator[None]:
    """An error in what a file says names the file."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if isinstance(source, Mapping):
            raise
        kind = next(kind for kind in (FileNotFoundError, OSError, TypeError, ValueError) if isinstance(error, kind))
        raise kind(f"{source}: {error}") from error


def _plan(found: Mapping[str, Any]) -> Plan:
    for name in found:
        check_name(name, TABLES, "an entry")
    if ("training" in found) == ("experiment" in found):
        raise ValueError("expected a table [training] or a table [experiment], and not both")
    kind = "training" if "training" in found else "experiment"
    known = TRAINING if kind == "training" else EXPERIMENT
    common = {name: known[name][1](value, name) for name, value in _table(found[kind], f"[{kind}]", known).items()}
    grids, seeds = found.get("grid", {}), _seeds(found.get("seeds", 1))
    read = []
    for grid in grids if isinstance(grids, list) and grids else [grids]:
        axes = {name: _values(known, name, values) for name, values in _table(grid, "[grid]", known).items()}
        for name in axes:
            if name in common:
                raise ValueError(f"{name} is in [{kind}] and in [grid], expected it in one of them")
        if "seed" in axes or "seed" in common:
            if "seeds" in found:
                raise ValueError("got seeds, and seed as a setting; expected one of them")
        else:
            axes["seed"] = seeds
        read.append({name: axes[name] for name in sorted(axes, key=lambda name: OWN.index(name) if name in OWN else -1)})
    if kind == "experiment" and not all("experiment" in {**common, **axes} for axes in read):
        raise ValueError('expected the name of an experiment: name = "rates" in [experiment], or name = ["rates", ...] in [grid]')
    return Plan(common, read)


def _table(table: Any, name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Its entries, under the names of settings."""
    if not isinstance(table, Mapping):
        raise TypeError(f"{name} is {said(table)}, expected a table of settings")
    found = {}
    for entry, value in table.items():
        setting = str(entry).replace("-", "_")
        setting = "experiment" if known is EXPERIMENT and setting == "name" else setting
        check_name(setting, known, f"a setting in {name}")
        found[setting] = value
    return found


def _values(known: Mapping[str, tuple[Any, Check]], name: str, values: Any) -> list[Any]:
    if not isinstance(values, (list, tuple)) or not values:
        raise TypeError(f"{name} in [grid] is {said(values)}, expected a list of its values")
    if name == "experiment":
        return list(chosen(values))
    found: list[Any] = []
    for value in (known[name][1](value, name) for value in values):
        if value not in found:
            found.append(value)
    return found


def _seeds(given: Any) -> list[int]:
    if isinstance(given, (list, tuple)) and given:
        return list(dict.fromkeys(check_count(seed, "a seed of seeds", 0) for seed in given))
    return list(range(check_count(given, "seeds")))
