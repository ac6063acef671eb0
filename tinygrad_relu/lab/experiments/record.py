"""The record that all experiments share: claims, expected numbers, the same numbers measured, a verdict, and a figure."""
from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from inspect import cleandoc
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ...checks import check_count
from ...notebook import picture
from ...text import Shown, Table
from ..drawing import DPI, check_format, page, save
from ..readings import Reading, plain

Series = dict[str, Any]                                             # arrays and numbers that the figure shows, by name
Verdict = Literal["holds", "holds as corrected", "does not hold"]


@dataclass(frozen=True)
class Claim:
    """A sentence of the literature; and the correction that it needs, if it needs one."""

    key: str                    # by which other experiments and the documentation name it: A1 to D18; N1, N2, ...: newer results
    says: str
    source: str
    correction: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """For sorting: A2 before A10."""
        return self.key[0], int(self.key[1:])


@dataclass(frozen=True)
class Finding:
    """One number, expected by a formula or a paper, and measured.

    It holds if the two differ by at most `tolerance`; with the relation ">=" or "<=", if the measured number is at least or at
    most the expected one, give or take the tolerance. Infinity stands for "never".

    >>> Finding("step of return", 472, 472, claimed=np.inf).holds, Finding("share", 0.5, 0.4, relation=">=").holds
    (True, False)
    """

    what: str
    expected: float
    measured: float
    tolerance: float = 0.0
    relation: Literal["=", ">=", "<="] = "="
    claimed: float | None = None        # what would be expected by a claim that needs a correction
    timed: bool = False                 # a ratio of times: another number in each run, and not asserted by tests

    @property
    def holds(self) -> bool:
        more = 0.0 if self.measured == self.expected else float(self.measured - self.expected)      # infinities may be equal
        return bool({"=": abs(more), ">=": -more, "<=": more}[self.relation] <= self.tolerance)

    def to_dict(self) -> dict[str, Any]:
        return {**plain(self), "holds": self.holds}

    def cells(self) -> tuple[str, str, str, str, str]:
        """Claimed, expected, measured, whether it holds, and what it is, for a table."""
        claimed, expected, measured = ("" if number is None else _shown(number, self.tolerance)
                                       for number in (self.claimed, self.expected, self.measured))
        relation = {"=": "", ">=": "≥ ", "<=": "≤ "}[self.relation]
        tolerance = f" ± {self.tolerance:.2g}" if self.tolerance else ""
        return claimed, f"{relation}{expected}{tolerance}", measured, "yes" if self.holds else "NO", self.what


# A number that is expected to be this large, or larger; and one that is expected to be this large, or smaller.
at_least, at_most = partial(Finding, relation=">="), partial(Finding, relation="<=")


@dataclass(frozen=True, repr=False)
class Experiment(Shown):
    """A file of a chapter: its docstring explains it, and its `EXPERIMENT` is called with a seed.

    - `run`: from the seed, and whether it shall be `fast` (smaller, for tests), to the findings and the series of the figure.
    - `draw`: fills a matplotlib Figure with the series.
    - `claims`: those that are stated here; each claim is stated in one experiment.
    - `also`: keys of claims, stated elsewhere, to which the findings speak.
    """

    title: str
    run: Callable[[int, bool], tuple[list[Finding], Series]]
    draw: Callable[[Any, Series], None]
    claims: Sequence[Claim]
    also: Sequence[str] = ()

    @property
    def name(self) -> str:
        return self.run.__module__.rpartition(".")[2].replace("_", "-")

    @property
    def chapter(self) -> str:
        return self.run.__module__.split(".")[-2]

    @property
    def explanation(self) -> str:
        return cleandoc(sys.modules[self.run.__module__].__doc__ or "")

    def stated(self) -> list[str]:
        """The claims in words, each with its correction."""
        return [line for claim in self.claims for line in (f"{claim.key}  {claim.says} ({claim.source})",
                                                           *[f"    Corrected: {claim.correction}"] * bool(claim.correction))]

    def parts(self) -> list[str]:
        paragraphs = [" ".join(paragraph.split()) + "\n" for paragraph in self.explanation.split("\n\n")]
        return [self.title, "", *paragraphs, *self.stated()]

    def __call__(self, seed: int = 0, fast: bool = False) -> Result:
        start = perf_counter()
        findings, series = self.run(check_count(seed, "seed", least=0), fast)
        return Result(self, seed, fast, findings, series, perf_counter() - start)


@dataclass(frozen=True, repr=False)
class Result(Reading):
    """What one run of an experiment found. Printed, it is a table."""

    experiment: Experiment
    seed: int
    fast: bool
    findings: list[Finding]
    series: Series
    seconds: float

    @property
    def verdict(self) -> Verdict:
        if not all(finding.holds for finding in self.findings):
            return "does not hold"
        return "holds as corrected" if any(claim.correction for claim in self.experiment.claims) else "holds"

    def to_dict(self) -> dict[str, Any]:
        experiment = self.experiment
        return {"name": experiment.name, "chapter": experiment.chapter, "title": experiment.title, "seed": self.seed,
                "fast": self.fast, "verdict": self.verdict, "seconds": round(self.seconds, 3),
                "claims": [asdict(claim) for claim in experiment.claims], "also": list(experiment.also),
                "findings": [finding.to_dict() for finding in self.findings],
                "series": plain(self.series)}

    def table(self) -> Table:
        """One row per finding."""
        rows = [finding.cells() for finding in self.findings]
        first = 0 if any(row[0] for row in rows) else 1         # without claimed numbers, without their column
        return Table("", ["claimed", "expected", "measured", "holds", "what"][first:], [row[first:] for row in rows])

    def parts(self) -> list[str | Table]:
        return [self.experiment.title, *self.experiment.stated(), "", self.table(), "", f"Verdict: {self.verdict}."]

    def _repr_html_(self) -> str:
        return super()._repr_html_() + picture(self.figure())

    def figure(self) -> Any:
        """The figure that tells it, as a matplotlib Figure."""
        figure = page(self.experiment.title)
        self.experiment.draw(figure, self.series)
        return figure

    def plot(self, path: str | Path) -> None:
        """Write the figure to a PNG, SVG or PDF file."""
        check_format(path)
        save(self.figure(), path, dpi=DPI)


def _shown(value: float, tolerance: float) -> str:
    """With the digits that the tolerance leaves, and one more."""
    if value == np.inf:
        return "never"
    uncertain = tolerance and value and np.isfinite(value)
    digits = np.floor(np.log10(abs(value))) - np.floor(np.log10(tolerance)) + 2 if uncertain else 6
    return f"{value:.{int(np.clip(digits, 1, 8))}g}"
