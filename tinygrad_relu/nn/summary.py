"""The summary of a model: what runs on an input, in which order, with which shapes and how many numbers."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autodiff.node import no_grad, value
from ..text import aligned

if TYPE_CHECKING:
    from .module import Module


@dataclass(frozen=True)
class SummaryRow:
    """One module.

    Attributes
    ----------
    name : str
        In the model; empty for the model itself.
    type : str
    output : tuple
        The shape of what it returned; a tuple of shapes, where it returned several Tensors; None if it did not run.
    parameters, bytes : int
        Its own parameters; one that is shared counts where it comes first.
    flops : int or None
        Of the matrix products: two for each weight of an affine or recurrent layer, or a cell, and each row, and step, that
        goes through it; None for other modules.
    """

    name: str
    type: str
    output: Any
    parameters: int
    bytes: int
    flops: int | None


@dataclass(frozen=True)
class Summary:
    """What `Module.summary` returns: it prints as a table.

    Attributes
    ----------
    rows : list of SummaryRow
        In the order in which the modules ran; those that did not come last.
    total : SummaryRow
    """

    rows: list[SummaryRow]
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


def summarise(model: Module, inputs: tuple[Any, ...]) -> Summary:
    """See `Module.summary`."""
    if not inputs:
        raise TypeError("summary: got no input; expected what the model takes, or its shape, such as (64, 784)")
    dtype = next((p.dtype for p in model.parameters()), np.dtype(np.float32))
    given = tuple(np.zeros(x, dtype) if _is_shape(x) else x for x in inputs)
    ran: list[tuple[Module, Any, int | None]] = []

    def note(module: Module, inputs: tuple[Any, ...], output: Any) -> None:
        ran.append((module, _shape(output), _flops(module, inputs)))

    names = {id(module): name for name, module in reversed(list(model.named_modules()))}    # the first name of a shared one
    handles = [module.register_forward_hook(note) for module in {id(m): m for _, m in model.named_modules()}.values()]
    try:
        with evaluating(model), no_grad():
            model(*given)
    finally:
        for handle in handles:
            handle.remove()

    counted: set[int] = set()

    def row(module: Module, output: Any, flops: int | None) -> SummaryRow:
        own = [p for p in _own_parameters(module) if id(p) not in counted]
        counted.update(map(id, own))
        return SummaryRow(names[id(module)], type(module).__name__, output, sum(p.size for p in own),
                          sum(p.array.nbytes for p in own), flops)

    met = {id(module) for module, _, _ in ran}
    idle = [(m, None, None) for _, m in model.named_modules() if id(m) not in met]
    rows = [row(*entry) for entry in [*ran, *idle] if entry[0] is not model and _is_leaf(entry[0])]
    everything = model.parameters()
    outputs = [output for module, output, _ in ran if module is model]
    total = SummaryRow("", type(model).__name__, outputs[-1], sum(p.size for p in everything),
                       sum(p.array.nbytes for p in everything), sum(flops or 0 for _, _, flops in ran))
    return Summary(rows, total)


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in x)


def _is_leaf(module: Module) -> bool:
    """Whether a module does something itself: it has no modules inside, or parameters of its own."""
    return next(module.children(), None) is None or bool(_own_parameters(module))


def _own_parameters(module: Module) -> list[Any]:
    """The parameters of a module that belong to none of the modules inside."""
    inside = {id(p) for child in module.children() for p in child.parameters()}
    return [p for p in module.parameters() if id(p) not in inside]


def _shape(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return tuple(_shape(part) for part in output)
    return tuple(np.shape(value(output)))


def _flops(module: Any, inputs: tuple[Any, ...]) -> int | None:
    """Of layers that are made of matrix products: a multiplication and an addition for each weight and row."""
    width = getattr(module, "in_features", getattr(module, "input_size", None))
    if width is None:
        return None
    rows = int(np.size(value(inputs[0]))) // width
    return 2 * rows * sum(p.size for p in _own_parameters(module) if p.kind == "weight")


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Everything inside `model` in evaluation mode, and then each in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
