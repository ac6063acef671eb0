"""The summary of a model: which modules run on an input, in which order, with which shapes and how many numbers."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..autodiff.node import value
from ..parameters import Parameter
from ..text import aligned


@dataclass(frozen=True)
class SummaryRow:
    """One module: `flops` are those of matrix products, two for each weight and each row (and step), None for other modules."""

    name: str               # in the model; empty for the model itself
    type: str
    output: Any             # the shape of its result; a tuple of shapes, if there were several; None if it did not run
    parameters: int         # its own; a shared one counts where it comes first
    bytes: int
    flops: int | None

    @classmethod
    def of(cls, name: str, type: str, output: Any, parameters: Sequence[Parameter], flops: int | None) -> SummaryRow:
        return cls(name, type, output, sum(p.size for p in parameters), sum(p.array.nbytes for p in parameters), flops)


@dataclass(frozen=True)
class Summary:
    """The result of `Module.summary`, which prints as a table."""

    rows: list[SummaryRow]      # in the order in which the modules ran; those that did not run come last
    total: SummaryRow

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, without the total."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        cells = [[row.name, row.type, "not run" if row.output is None else str(row.output), f"{row.parameters:,}",
                  f"{row.bytes:,}", "-" if row.flops is None else f"{row.flops:,}"] for row in [*self.rows, self.total]]
        headings = ["name", "type", "output", "parameters", "bytes", "FLOPs"]
        return aligned(headings, cells, right=headings[3:])

    __repr__ = __str__


def is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def shape_of(output: Any) -> Any:
    """The shape of a result, or the shapes of several."""
    if isinstance(output, (tuple, list)):
        return tuple(shape_of(part) for part in output)
    return tuple(np.shape(value(output)))
