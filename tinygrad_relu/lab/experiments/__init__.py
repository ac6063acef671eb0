"""Experiments: each claim of the literature about dead units, shown on networks that are trained on the spot.

A chapter is a folder, an experiment is a file in it that holds an `EXPERIMENT`. A new file is found by itself.
"""
from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from ...checks import check_name
from .record import Claim as Claim, Experiment as Experiment, Finding as Finding, Result as Result

CHAPTERS = {"dying": "Dying", "slope_and_loss": "Slope and loss", "variants": "Variants", "depth": "Depth",
            "zero_derivative": "Learning with a zero derivative"}       # folder: title, in the order of the report


def _paths() -> dict[str, str]:
    """The module of each experiment by its name, chapter by chapter."""
    found = {}
    for chapter in CHAPTERS:
        folder = import_module(f".{chapter}", __name__)
        for module in iter_modules(folder.__path__):
            found[module.name.replace("_", "-")] = f".{chapter}.{module.name}"
    return found


def names() -> list[str]:
    """The names of all experiments, chapter by chapter."""
    return list(_paths())


def chosen(given: Sequence[str], *more: str) -> list[str]:
    """Names of experiments, from names of experiments and chapters and "all"; each once, in the order of the report. An error
    names `more` words that are known.

    >>> chosen(["window", "depth"])[-2:]
    ['zigzag', 'window']
    """
    known, chapters = _paths(), [chapter.replace("_", "-") for chapter in CHAPTERS]
    for name in given:
        check_name(name, [*known, *chapters, "all", *more], "the experiment")
    return [name for name, path in known.items() if {"all", name, path.split(".")[1].replace("_", "-")} & set(given)]


def find(name: str) -> Experiment:
    """The experiment of this name.

    >>> print(find("batch-size")(seed=0, fast=True).verdict)
    holds
    """
    paths = _paths()
    return import_module(paths[check_name(name, paths, "the experiment")], __name__).EXPERIMENT
