"""The data sets that have a name: on the command line, and in the file of a sweep."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..checks import as_finite_floats, check_name
from .dataset import Dataset, digits, moons, spirals
from .from_files import csv, fashion_mnist, mnist

Options = Mapping[str, Any]
OPTIONS = "path", "samples", "target", "delimiter", "regression"
NAMED: dict[str, tuple[tuple[str, ...], Callable[[int, Options], Dataset]]] = {     # the options of each, and what makes it
    "digits": ((), lambda seed, given: digits()),
    "spiral": ((), lambda seed, given: spirals(rng=seed)),
    "moons": ((), lambda seed, given: moons(rng=seed)),
    "fashion-mnist": (("path", "samples"), lambda seed, given: fashion_mnist(given["path"], dtype="float64")),
    "mnist": (("path", "samples"), lambda seed, given: mnist(given["path"], dtype="float64")),
    "csv": (OPTIONS, lambda seed, given: csv(
        given["path"], -1 if given.get("target") is None else given["target"],
        delimiter=(given.get("delimiter") or ",").replace(r"\t", "\t"), regression=bool(given.get("regression"))))}


def named(name: str, seed: int, given: Options, dash: str = "") -> Dataset:
    """The data set of this name, in float64; `given` are some of the `OPTIONS`, None if not given.

    `seed` is that of synthetic data; `dash` stands before the names of options in errors.

    >>> named("moons", 0, {})
    Dataset('moons': 300 samples, 2 features, 2 classes, float64)
    """
    takes, make = NAMED[check_name(name, NAMED, f"{dash}data")]
    for option, value in given.items():
        if value is not None and option not in takes:
            users = [user for user, (taken, _) in NAMED.items() if option in taken]
            raise ValueError(f"{dash}{option} is for {', '.join(users)}; {dash}data {name} takes none")
    if takes and not given.get("path"):
        what = "the CSV file" if name == "csv" else "the folder with its IDX files (nothing is downloaded)"
        raise ValueError(f"{dash}data {name} needs {dash}path, {what}")
    found = make(seed, given)
    return found if given.get("samples") is None else found.head(given["samples"])


def prepared(found: Dataset, held_out: float, seed: int, standardise: bool, dtype: Any = None) -> tuple[Dataset, Dataset | None]:
    """The samples to train on, and a share that is held out, of each class alike. Both are standardised like the first."""
    parts: tuple[Dataset, ...] = found.split(1 - held_out, rng=seed, stratify=found.classes is not None) if held_out else (found,)
    if standardise:
        parts = tuple(part.standardise(like=parts[0]) for part in parts)
    train, *rest = (replace(part, name=found.name, x=as_finite_floats(part.x, dtype or part.x.dtype, "x")) for part in parts)
    return train, rest[0] if rest else None
