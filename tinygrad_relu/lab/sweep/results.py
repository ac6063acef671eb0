"""What a sweep has found: tables of means over the seeds, a plot, columns of all runs, a Parquet file."""
from __future__ import annotations

import json
import time
from collections.abc import Sequence
from math import floor, isnan, log10, nan, sqrt
from typing import Any

import numpy as np

from ...autodiff.node import Array
from ...checks import check_name, counted
from ...files import AnyPath, write_through
from ...missing import needing
from ...text import Table
from ..readings import Reading
from .settings import EXPERIMENT, SEEDS, TRAINING, Plan
from .store import Store

PLAIN = "seconds", "code", "machine", "key"
RESULT = ("loss", "accuracy", "valid_loss", "valid_accuracy", "dead", "diverged", "weights",
          "verdict", "holds", "findings_holding", "findings")       # of a training, and of an experiment
SHOWN = "loss", "valid_accuracy", "valid_loss", "dead", "holds", "findings_holding"     # in a table; valid_loss if no accuracy
COLUMNS = {**dict.fromkeys([*TRAINING, *EXPERIMENT], "settings"), **dict.fromkeys(RESULT, "result"),
           **dict.fromkeys(PLAIN, "")}      # of a run, and the JSON that they are in
RECENT = 300            # seconds, over which the speed is measured


class Sweep(Reading):
    """The runs in a database of `lab.sweep`. Printed, it is a table of means over the seeds.

    >>> training = {"data": "moons", "widths": [8], "steps": 20}
    >>> found = lab.sweep({"seeds": 4, "training": training, "grid": {"lr": [0.1, 1]}}, jobs=1)
    >>> found.columns()["lr"], found.columns()["seed"]
    ([0.1, 0.1, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0], [0, 1, 2, 3, 0, 1, 2, 3])
    """

    def __init__(self, path: AnyPath | Store, new: int = 0) -> None:
        self.store = path if isinstance(path, Store) else Store(path)
        self.new = new              # how many runs were carried out for this object
        self.plans = self.store.plans()

    def __len__(self) -> int:
        """The number of runs with a result."""
        return int(self.store.ask("SELECT count(*) FROM runs WHERE result IS NOT NULL")[0][0])

    # -- names -----------------------------------------------------------------------------------------------------------------

    def axes(self) -> list[str]:
        """The settings in which runs differ, as the plans tell; those with the most seeds last."""
        plans: list[Plan] = [plan for plan, _ in self.plans]
        names = dict.fromkeys(name for plan in plans for name in plan.axes)
        for plan in plans[1:]:
            names |= dict.fromkeys(name for name in {**plan.common, **plans[0].common}
                                   if plan.common.get(name) != plans[0].common.get(name))
        return [name for name in names if name not in SEEDS] + [name for name in names if name in SEEDS]

    def _places(self, name: str) -> dict[Any, int]:
        """The values of a setting, with their places in the plans."""
        values = [value for plan, _ in self.plans for grid in plan.grids for value in grid.get(name, [plan.common.get(name)])]
        return {_text(value) if isinstance(value, list) else value: i for i, value in reversed([*enumerate(values)])}

    def _has(self, name: str) -> bool:
        """Whether some run has a value in this column."""
        return bool(self.store.ask(f"SELECT 1 FROM runs WHERE result IS NOT NULL AND {_place(name)} IS NOT NULL LIMIT 1"))

    # -- tables ----------------------------------------------------------------------------------------------------------------

    def groups(self, by: Sequence[str] | None = None, of: Sequence[str] | None = None) -> tuple[list[str], list[str], list[Any]]:
        """Names of settings and of numbers; and for each group of runs that agree in the settings: their values, the number of
        runs, and of each number the mean and its standard error (None for an unknown one)."""
        by, of = ([given] if isinstance(given, str) else given for given in (by, of))
        by = [name for name in self.axes() if name not in SEEDS] if by is None else list(by)
        known = [name for name in SHOWN if self._has(name)] if of is None else []
        of = [name for name in known if name != "valid_loss" or "valid_accuracy" not in known] if of is None else list(of)
        keys, values = [_place(name) for name in by], [_place(name) for name in of]
        moments = [f"count({v}), avg({v}), avg({v} * {v}), max(typeof({v}) = 'text')" for v in values]
        rows = self.store.ask(f"SELECT {', '.join([*keys, 'count(*)', *moments])} FROM runs WHERE result IS NOT NULL"
                              + f" GROUP BY {', '.join(keys)}" * bool(keys))
        n, places = len(by), [self._places(name) for name in by]
        for i, name in enumerate(of):
            if any(row[n + 4 * i + 4] for row in rows):
                raise ValueError(f"{name} is text in some runs, expected a column of numbers")
        rows.sort(key=lambda row: [place.get(value, -1) for value, place in zip(row, places)])
        return by, of, [(row[:n], row[n], [_mean(*row[i:i + 3]) for i in range(n + 1, len(row), 4)]) for row in rows]

    def table(self, by: Sequence[str] | None = None, of: Sequence[str] | None = None, *, rows: int | None = None) -> Table:
        """Means over all runs that agree in the settings `by` (by default, those of the grid), each with its standard error."""
        by, of, groups = self.groups(by, of)
        shown = [(*(f"{value:g}" if isinstance(value, float) else value for value in values), n, *map(_shown, means))
                 for values, n, means in groups]
        return Table(f"{counted(len(self), 'run')}: mean ± standard error", [*by, "runs", *of], shown, most=rows)

    def parts(self) -> list[str | Table]:
        """The table, and what should be known of its rows."""
        return [self.table(), *self.notes()]

    def status(self) -> Table:
        """For each plan, how many of its runs are done and failed, and, while a sweep runs, how long the others will take."""
        kept, failed = self.store.keys(), self.store.keys("WHERE error IS NOT NULL")
        now, running = time.time(), self.store.running()
        table = Table(f"{self.store.path}: " + ("a sweep is running" if running else "no sweep is running"),
                      ["begun", "runs", "done", "failed", "left", "time left"])
        for i, (plan, begun) in enumerate(self.plans):
            keys = self.store.keys_of(plan)
            lost = _among(keys, failed)
            done = _among(keys, kept) - lost
            left = len(keys) - done
            since = max(begun, now - RECENT)
            speed = self.store.ask("SELECT count(*) FROM runs WHERE finished > ?", (since,))[0][0] / (now - since + 0.1)
            table.add(time.strftime("%Y-%m-%d %H:%M", time.localtime(begun)), len(keys), done, lost, left,
                      duration(left / speed) if running and i == len(self.plans) - 1 and left * speed else "-")
        return table

    def notes(self) -> list[str]:
        """Sentences: the first errors, each with the settings in which runs differ; and the versions of the code, if several."""
        errors = self.store.ask("SELECT settings, error FROM runs WHERE error IS NOT NULL LIMIT 5")
        one, other, diverged = self.store.ask(f"SELECT min(code), max(code), sum({_place('diverged')}) FROM runs")[0]
        told = [f"Failed: {', '.join(f'{name} {json.loads(settings).get(name)}' for name in self.axes())}: {error}"
                for settings, error in errors]
        if diverged:
            told.append(f"{counted(diverged, 'run')} diverged: the mean of a number that they lack is that of the others.")
        if one != other:
            codes = self.store.ask("SELECT code, count(*) FROM runs GROUP BY code ORDER BY 2 DESC")
            which = ', '.join(f'{code} ({n:,} runs)' for code, n in codes)
            told.append(f"Computed by {len(codes)} versions of the code: {which}."
                        " With --renew, runs of other versions than the present one run again.")
        return told

    @property
    def failed(self) -> int:
        return int(self.store.ask("SELECT count(*) FROM runs WHERE error IS NOT NULL")[0][0])

    # -- all runs --------------------------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, list[Any]]:
        """A list for each setting and each number, with an entry for each run: ``pandas.DataFrame(found.columns())``.

        Runs are in the order of the settings in which they differ. Lists are texts of JSON.
        """
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for settings, result, *rest in self.store.ask(
                "SELECT settings, result, seconds, code, machine, key FROM runs WHERE result IS NOT NULL"):
            row = {**json.loads(settings), **json.loads(result), **dict(zip(PLAIN, rest))}
            for name, column in columns.items():
                value = row.get(name)
                column.append(_text(value) if isinstance(value, list) else value)
        places = [[place.get(value, -1) for value in columns[name]] for name in self.axes() for place in [self._places(name)]]
        order = sorted(range(len(columns["key"])), key=lambda i: [place[i] for place in places])
        return {name: [column[i] for i in order] for name, column in columns.items() if any(v is not None for v in column)}

    def to_dict(self) -> dict[str, Any]:
        return {"columns": self.columns()}

    def to_parquet(self, path: AnyPath) -> None:
        """Write `columns` as a Parquet file, with pyarrow."""
        with needing("Parquet files need", "cluster"):
            import pyarrow
            from pyarrow import parquet
        columns = {name: [str(v) for v in values] if len({type(v) for v in values if v is not None}) > 1 else values
                   for name, values in self.columns().items()}
        write_through(path, lambda file: parquet.write_table(pyarrow.table(columns), file))

    def plot(self, x: str | None = None, y: str | None = None, by: str | None = None) -> Any:
        """The mean of `y` over the setting `x`, with error bars of two standard errors, and a line for each value of `by`. Where
        the values of `x` are no numbers, there are only dots, a little aside of each other, so that bars do not overlap."""
        from ..drawing import axes_of

        axes = [name for name in self.axes() if name not in SEEDS]
        x = x or (axes[0] if axes else "seed")
        y = y or next(filter(self._has, ("valid_accuracy", "accuracy", "findings_holding", "valid_loss", "loss")), "seconds")
        rest = [name for name in axes if name != x]
        by = by or (rest[0] if rest else None)
        _, _, groups = self.groups([*([by] if by else []), x], [y])
        missing = sum(found is None for _, _, (found,) in groups)       # all runs have diverged
        left_out = f", except of {counted(missing, 'setting')} without one" * bool(missing)
        figure, drawn = axes_of(7.5, 4.2, f"{counted(len(self), 'run')}: {y} over {x}{left_out}", x, y)
        ticks = list(dict.fromkeys(values[-1] for values, _, _ in groups))
        numeric = all(isinstance(tick, (int, float)) for tick in ticks)
        at = dict(zip(ticks, ticks if numeric else range(len(ticks))))
        lines: dict[Any, list[Any]] = {}
        for values, _, (found,) in groups:
            if found is not None:
                lines.setdefault(values[0] if by else None, []).append((at[values[-1]], *found))
        for k, (value, points) in enumerate(lines.items()):
            where, means, errors = np.transpose(points)
            aside = 0 if numeric else 0.3 * ((k + 0.5) / len(lines) - 0.5)
            mark = "os^D"[k // 10 % 4]              # there are ten colours
            drawn.errorbar(where + aside, means, 2 * errors, fmt=mark + "-" * numeric, markersize=4, capsize=3,
                           label=None if by is None else f"{by} {value}")
        if numeric and ticks and 0 < 20 * min(ticks) <= max(ticks):
            drawn.set_xscale("log")
        if not numeric:
            drawn.set_xticks(range(len(ticks)), ticks, rotation=90 * (sum(len(str(tick)) for tick in ticks) > 60))
        elif drawn.get_xscale() == "linear":
            drawn.locator_params(axis="x", integer=all(isinstance(tick, int) for tick in ticks), min_n_ticks=1)
        if by is not None and lines:
            figure.legend(loc="outside right", frameon=False, fontsize=9)
        return figure


def _among(keys: Array, known: Array) -> int:
    """How many of the keys are known; both are sorted."""
    return int((np.append(known, b"")[np.searchsorted(known, keys)] == keys).sum())


def _text(value: list[Any]) -> str:
    """As SQLite writes it."""
    return json.dumps(value, separators=(",", ":"))


def _place(name: str) -> str:
    """A column, as an expression of SQL."""
    part = COLUMNS[check_name(name, COLUMNS, "a column")]
    return f"json_extract({part}, '$.{name}')" if part else name


def _mean(n: int, mean: float | None, square: float | None) -> tuple[float, float] | None:
    """Mean and standard error (NaN for one number) of n numbers, from the means of the numbers and their squares."""
    if mean is None or square is None:
        return None
    variance = square - mean * mean
    return mean, sqrt(variance / (n - 1) if variance > 1e-15 * square else 0.0) if n > 1 else nan       # below, it is rounding


def _shown(found: tuple[float, float] | None) -> str:
    """With one digit of the error."""
    if found is None:
        return "-"
    mean, error = found
    if 1e-6 < error < 1e3:
        digits = max(0, -floor(log10(error)))
        return f"{mean:.{digits}f} ± {error:.{digits}f}"
    return f"{mean:.4g}" if isnan(error) else f"{mean:.4g} ± {error:.1g}"


def duration(seconds: float) -> str:
    """In words: "3 min 20 s".

    >>> duration(200.4), duration(7300)
    ('3 min 20 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s" if minutes else f"{rest} s"
