"""The report: one HTML page, without links to the network, of experiments with their claims, figures, numbers and verdicts."""
from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...missing import needing
from ...notebook import address, drawn
from . import CHAPTERS
from .record import Result
from .running import KINDS

MARKS = {"holds": "yes", "holds as corrected": "corrected", "does not hold": "no"}       # verdict: class in the style sheet


def template() -> Any:
    """report.html as a template. An ImportError without jinja2."""
    with needing("writing a report needs", "lab"):
        from jinja2 import Environment
    shelf = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shelf.filters["paragraphs"] = paragraphs
    return shelf.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def html(results: Sequence[Result], figures: Path) -> str:
    """The page. `figures` is a folder with a NAME.svg for each result."""
    claims = sorted(((claim, result) for result in results for claim in result.experiment.claims), key=lambda one: one[0].place)
    chapters = {title: [result for result in results if result.experiment.chapter == chapter]
                for chapter, title in CHAPTERS.items()}
    return template().render(
        results=results, chapters={title: found for title, found in chapters.items() if found}, marks=MARKS,
        kinds={title: found for letter, title in KINDS.items() if (found := [one for one in claims if one[0].key[0] == letter])},
        homes={claim.key: result.experiment.name for claim, result in claims},
        pictures={result.experiment.name: _picture(result, figures) for result in results},
        corrected=sum(bool(claim.correction) for claim, _ in claims), claims=len(claims),
        findings=sum(len(result.findings) for result in results), seconds=sum(result.seconds for result in results),
        machine=f"Python {platform.python_version()}, {platform.machine()}")


def _picture(result: Result, figures: Path) -> str:
    """The figure as the address of an image that contains it."""
    return address((figures / f"{result.experiment.name}.svg").read_bytes(), lambda: drawn(result.figure(), "png"))


def paragraphs(text: str) -> list[list[tuple[str, bool]]]:
    """The paragraphs of a docstring, each as pieces of text, with whether the piece is code.

    >>> paragraphs("One `x`.\\n\\nTwo\\nlines.")
    [[('One ', False), ('x', True), ('.', False)], [('Two lines.', False)]]
    """
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        pieces: list[Any] = re.split(r"`+([^`]*)`+", " ".join(paragraph.split()))
        found.append([(piece, i % 2 == 1) for i, piece in enumerate(pieces) if piece])
    return found
