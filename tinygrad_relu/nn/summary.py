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
    """One module, or the total."""

    name: str               # in the model; empty for the model itself
    type: str
    output: Any             # the shape of its result; a tuple of shapes, if there were several; None if it did not run
    parameters: int         # its own; a shared one counts where it comes first
    bytes: int
    flops: int | None       # of matrix products, two for each weight and each row (and step); None for other modules


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


def summarise(model: Any, inputs: tuple[Any, ...]) -> Summary:
    """Run the model once, with a hook on every module."""
    if not inputs:
        raise TypeError("summary: got no input; expected what the model takes, or its shape, such as (64, 784)")
    for x in inputs:
        if _is_shape(x) and min(x, default=0) < 0:
            raise ValueError(f"summary: got the shape {x}; expected sizes of 0 or more, such as (64, 784)")
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    ran: list[tuple[Any, Any, int | None]] = []

    def note(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ran.append((module, _shape_of(output), _flops(module, inputs[0]) if inputs else None))

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        model(*(np.zeros(x, dtype) if _is_shape(x) else x for x in inputs))
    finally:
        for handle in handles:
            handle.remove()

    names = {id(module): name for name, module in reversed(list(model.named_modules()))}     # the first name of a shared one
    counted: set[int] = set()

    def row(module: Any, output: Any, parameters: Sequence[Parameter], flops: int | None) -> SummaryRow:
        own = [p for p in parameters if id(p) not in counted]
        counted.update(map(id, own))
        return SummaryRow(names[id(module)], type(module).__name__, output, sum(p.size for p in own),
                          sum(p.array.nbytes for p in own), flops)

    _, output, _ = ran[-1]
    total = row(model, output, model.parameters(), sum(flops or 0 for _, _, flops in ran))
    counted.clear()
    met = {id(module) for module, _, _ in ran}
    idle = [(module, None, None) for _, module in model.named_modules() if id(module) not in met]
    rows = [row(module, output, _own_parameters(module), flops) for module, output, flops in [*ran, *idle] if module is not model
            and (_own_parameters(module) or next(module.children(), None) is None)]     # no mere containers
    return Summary(rows, total)


def _own_parameters(module: Any) -> list[Parameter]:
    """Those that belong to none of the modules inside."""
    inside = {id(p) for child in module.children() for p in child.parameters()}
    return [p for p in module.parameters() if id(p) not in inside]


def _flops(module: Any, x: Any) -> int | None:
    width = getattr(module, "in_features", getattr(module, "input_size", None))
    if width is None:
        return None
    return 2 * (np.size(value(x)) // width) * sum(p.size for p in _own_parameters(module) if p.kind == "weight")


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _shape_of(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return tuple(_shape_of(part) for part in output)
    return tuple(np.shape(value(output)))
