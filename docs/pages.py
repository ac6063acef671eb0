"""The pages of the site that are made, not written: a reference from the docstrings, and the claims with their figures.

conf.py calls `reference` and `claims`. The pages go to a folder that git ignores.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from inspect import getsourcefile, getsourcelines, isclass, unwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import tinygrad_relu
from tinygrad_relu import Tensor, data, functional, inside, lab, nn, optim, sklearn
from tinygrad_relu.lab.experiments import CHAPTERS, Experiment, Result, find, names
from tinygrad_relu.lab.experiments.page import paragraphs
from tinygrad_relu.lab.experiments.running import claims, run_all

PACKAGE = Path(tinygrad_relu.__file__).parent
ROOTS: dict[str, Any] = {"tg": tinygrad_relu, "F": functional, "nn": nn, "optim": optim, "lab": lab, "data": data,
                         "inside": inside, "sklearn": sklearn, "Tensor": Tensor, "Module": nn.Module,
                         "Optimizer": optim.Optimizer, "Dataset": data.Dataset}
NAME = re.compile(rf"`(?:tinygrad_relu\.)?((?:{'|'.join(ROOTS)})\.[\w.]+)`")


# -- the reference ----------------------------------------------------------------------------------------------------------


class Reference:
    """The public names and the entry of each, in the sections of api.md. (A test shows that api.md lacks no public name.)"""

    def __init__(self, api: str) -> None:
        self.entries: dict[str, list[str]] = {}         # title of a section: the full names of its objects
        self.homes: dict[int, str] = {}                 # id of an object: its full name. F.exp and tg.exp are one object
        for title, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", api, re.M | re.S):
            for name in NAME.findall(text):
                room, thing = found(name)
                if callable(thing) and isinstance(room, ModuleType) and id(thing) not in self.homes:
                    self.homes[id(thing)] = f"{room.__name__}.{name.rpartition('.')[2]}"
                    self.entries.setdefault(title, []).append(self.homes[id(thing)])

    def home(self, name: str) -> str | None:
        """The full name of the entry about `name`, which may be a method: of `F.relu`, 'tinygrad_relu.functional.relu'."""
        room, thing = found(name)
        if id(thing) in self.homes:
            return self.homes[id(thing)]
        return f"{self.homes[id(room)]}.{name.rpartition('.')[2]}" if id(room) in self.homes else None

    def write(self, folder: Path) -> None:
        for title, full_names in self.entries.items():
            lines = heading(f"Reference: {title[0].lower()}{title[1:]}", "=")
            lines += ["The docstrings. :doc:`/api` has all names in tables.", ""]
            for full in full_names:
                room, _, name = full.rpartition(".")
                thing = found(full)[1]
                lines += [f".. py:currentmodule:: {room}", "", f".. auto{'class' if isclass(thing) else 'function'}:: {name}"]
                if isclass(thing) and (methods := self._methods(thing)):
                    lines.append(f"   :members: {', '.join(methods)}")
                lines.append("")
            write(folder / f"{slug(title)}.rst", lines)

    def _methods(self, cls: type) -> list[str]:
        """Methods and properties with docstrings; those of a base that has an entry are documented there."""
        elsewhere = {base for entry in cls.__mro__[1:] if id(entry) in self.homes for base in entry.__mro__}
        bases = [base for base in cls.__mro__ if base.__module__.startswith("tinygrad_relu") and base not in elsewhere]
        return sorted({name for base in bases for name, member in vars(base).items() if not name.startswith("_")
                       and (callable(member) or isinstance(member, property | classmethod | staticmethod))
                       and member.__doc__ and hasattr(cls, name)})


def found(name: str) -> tuple[Any, Any]:
    """The object that the documentation calls `name`, after the room or class that holds it. (None, None) if there is none.

    >>> found("F.relu") == (functional, functional.relu), found("F.relo")
    (True, (None, None))
    """
    first, *rest = name.removeprefix("tinygrad_relu.").split(".")
    room, thing = None, ROOTS.get(first, vars(tinygrad_relu).get(first))
    for part in rest:
        room, thing = thing, getattr(thing, part, None)
    return (None, None) if thing is None else (room, thing)


def line_of(thing: Any) -> str | None:
    """'tinygrad_relu/tensor.py#L-60': the file and the first line of a function or class."""
    thing = unwrap(thing.fget if isinstance(thing, property) else thing)
    for cell in getattr(thing, "__closure__", None) or ():      # a decorated function is in the closure of the one that calls it
        inner = cell.cell_contents
        thing = inner if getattr(inner, "__name__", "") == thing.__name__ and hasattr(inner, "__code__") else thing
    if not hasattr(thing, "__code__") and not isclass(thing):
        return None
    file, line = getsourcefile(thing), getsourcelines(thing)[1] if isclass(thing) else thing.__code__.co_firstlineno
    return f"{Path(file).relative_to(PACKAGE.parent)}#L-{line}" if file and PACKAGE in Path(file).parents else None


# -- the claims -------------------------------------------------------------------------------------------------------------


def write_claims(folder: Path, *, run: bool) -> None:
    """One page for each chapter of experiments. With `run`, they are run in their fast forms, and have figures and findings.

    What has been run is kept until the package changes, and not replaced by pages without figures.
    """
    stamp = sha256(b"".join(file.read_bytes() for file in sorted(PACKAGE.rglob("*.py")))).hexdigest() if run else ""
    before = (folder / "stamp").read_text() if (folder / "stamp").is_file() else ""
    if before and before == (stamp or before):
        return
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    results = {one.experiment.name: one for one in run_all(names(), fast=True, figures=folder / "figures")} if run else {}
    keys = {claim.key: experiment for claim, experiment in claims()}
    for chapter, title in CHAPTERS.items():
        lines = heading(f"Claims: {title.lower()}", "=")
        lines += ["Experiments on :doc:`claims of the literature </claims>`, here in their fast forms.", ""]
        for name in names():
            if find(name).chapter == chapter:
                lines += experiment_section(find(name), results.get(name), keys)
        write(folder / f"{chapter}.rst", lines)
    (folder / "stamp").write_text(stamp)


def experiment_section(one: Experiment, result: Result | None, keys: dict[str, Experiment]) -> Iterator[str]:
    """Explanation, claims with their corrections, figure, findings and verdict of an experiment."""
    yield from [f".. _experiment-{one.name}:", "", *heading(one.title, "-")]
    for paragraph in paragraphs(one.explanation):
        yield from ["".join(f"``{piece}``" if code else plain(piece) for piece, code in paragraph), ""]
    for claim in one.claims:
        yield from [f".. admonition:: {claim.key}: {plain(claim.source)}", "", f"   {plain(claim.says)}", ""]
        if claim.correction:
            yield from [f"   **Corrected:** {plain(claim.correction)}", ""]
    if result is not None:
        yield from [f".. image:: figures/{one.name}.svg", f"   :alt: {plain(one.title)}", "   :class: experiment", ""]
        table = result.table()
        yield from [".. list-table::", "   :header-rows: 1", "   :class: findings", ""]
        for row in [table.headings, *table.rows]:
            yield from [f"   {' ' if i else '*'} - {plain(cell)}" for i, cell in enumerate([row[-1], *row[:-1]])]
        yield from ["", f"**The claim {result.verdict}.**" if one.claims else f"**Verdict: {result.verdict}.**", ""]
    also = ", ".join(f":ref:`{key} <experiment-{keys[key].name}>`" if key in keys else key for key in one.also)
    yield from [f"Speaks to {also}, too. " * bool(also) + f"``tinygrad-relu experiment {one.name}`` runs it at full size.", ""]


# -- reStructuredText -------------------------------------------------------------------------------------------------------


def heading(title: str, line: str) -> list[str]:
    return [plain(title), line * (len(title) + 9), ""]


def plain(text: str) -> str:
    r"""Text whose signs mean themselves.

    >>> print(plain("|x| * w_"))
    \|x\| \* w\_
    """
    return re.sub(r"([*`|_\\])", r"\\\1", text)


def slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def write(file: Path, lines: Sequence[str]) -> None:
    """Write a page, unless it has this text already: then it is not built again."""
    text = "\n".join([*lines, ""])
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
