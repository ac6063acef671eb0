"""How well does each layer learn? Sizes of gradients, updates and activations, and the rank of the activations, by layer."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, Node, recording
from ..autodiff.tape import grad
from ..checks import counted
from ..nn import Module, Parameter
from ..ops.indexing import embedding
from ..ops.linalg import product
from ..optim import Optimizer
from ..tensor import Tensor
from ..text import Table
from .drawing import LABELS, axes_of, explain
from .lethal import next_steps
from .passes import GATES, RNNS, passed
from .readings import Reading, for_members, plain, shown
from .units import BATCH, Units, labelled


@dataclass(frozen=True)
class LayerProfile:
    """The weight of one layer: of a Linear or Maxout, an embedding, or the inputs or the state of a recurrent layer.

    - `activation`: the activation after it; empty for a layer without one, such as the last. "lstm", "gru": all its gates.
    - `signal`: the gradient of a sample's loss with respect to the outputs of the affine map (of a Maxout: after the maximum), as
      a root mean square over samples and units. It is what the later layers pass back.
    - `gradient`, `weight`, `update`: norms (roots of sums of squares) of the gradient of the mean loss with respect to the
      weights, of the weights, and of their next step; NaN without an optimizer.
    - `ratio`: ``update / weight``. About 1e-3 is usual; a layer with far less is frozen.
    - `size`: root mean square of the activations over samples and units.
    - `rank`: effective rank of the activations, (samples, units): the exponential of the entropy of the singular values, divided
      by their sum (Roy & Vetterli 2007). At most the number of units; 0 for a layer that is silent.
    """

    name: str
    activation: str
    inputs: int
    units: int
    signal: float
    gradient: float
    weight: float
    update: float
    ratio: float
    size: float
    rank: float


@dataclass(frozen=True, repr=False)
class GradientProfile(Reading):
    """All layers, first to last. Printing it gives a table, and what happens to the gradient on its way back."""

    samples: int
    layers: list[LayerProfile]

    @property
    def per_layer(self) -> float:
        """By which factor the signal changes from layer to layer on its way back: below 1 it vanishes, above 1 it explodes.

        The geometric mean from the last layer to the first; NaN for a single layer."""
        first, last, steps = self.layers[0].signal, self.layers[-1].signal, len(self.layers) - 1
        return float((first / last) ** (1 / steps)) if steps and last > 0 else np.nan

    def to_dict(self) -> Any:
        return plain({"samples": self.samples, "per_layer": self.per_layer, "layers": self.layers})

    def table(self) -> Table:
        """One row per layer."""
        numbers = {"signal": "signal", "gradient": "gradient", "weight": "weight", "update": "update", "update/weight": "ratio",
                   "activations": "size", "rank": "rank"}
        return Table(f"gradients on {counted(self.samples, 'sample')}", ["layer", "activation", "shape", *numbers], [
            (layer.name, layer.activation or "-", f"{layer.inputs}→{layer.units}",
             *(shown(getattr(layer, name), ".3g") for name in numbers.values())) for layer in self.layers])

    def parts(self) -> list[str | Table]:
        return [self.table(), f"per layer, the signal is multiplied by {shown(self.per_layer, '.3g')} on its way back"]

    def plot(self) -> Any:
        """The sizes of each layer on a logarithmic axis, with the rank of the activations."""
        names = [f"{layer.name} {layer.activation}\nrank {shown(layer.rank, '.3g')} of {layer.units}"
                 if layer.activation else layer.name for layer in self.layers]
        lengths = [max(map(len, name.split("\n"))) for name in names]
        upright = sum(lengths) > 100            # side by side, they would overlap
        figure, axes = axes_of(9, 3.8 + 0.05 * max(lengths) * upright,
                               f"Gradients by layer, {counted(self.samples, 'sample')}", "", "root mean square, norm or ratio")
        for name, what, colour in zip(("signal", "gradient", "ratio", "size"),
                                      ("signal", "gradient of the weights", "update / weight", "activations"), LABELS):
            numbers = np.array([getattr(layer, name) for layer in self.layers])
            if (np.isfinite(numbers) & (numbers > 0)).any():
                axes.plot(np.where(numbers > 0, numbers, np.nan), "o-", color=colour, label=what)
        axes.set_yscale("log")
        axes.set_xticks(range(len(names)), names, fontsize=8, rotation=90 * upright)
        explain(figure, axes, "all numbers are 0, NaN or infinite", "outside lower center", ncols=4)
        return figure


@for_members
def gradient_profile(model: Module | Units, x: Any, y: Any, optimizer: Optimizer | None = None, *,
                     loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> GradientProfile:
    """The sizes of gradients, updates and activations of each layer, over a whole data set in batches, as in evaluation.

    - `y`: labels (or targets of `loss`).
    - `optimizer`: with it, the next step is measured too, with its buffers and its decay. Nothing is changed.
    - `loss`: ``loss(output, y, reduction="sum")``

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    >>> deep = nn.MLP([4, *[8] * 10, 3], activation="sigmoid", rng=0)
    >>> lab.gradient_profile(deep, x, y).per_layer < 0.3
    True
    """
    units = Units.of(model, x)
    x = units.data(x)
    samples, rows = units.samples(x), list[_Weight]()
    for part, targets in labelled(x, y, units.axis, loss, batch_size, "gradient_profile"):
        output, nodes = passed(units.model, part)
        rows = rows or _weights(units, nodes)
        with recording():
            total = loss(output, targets, reduction="sum")
        looks = dict(zip(units.layers, units.seen(nodes, units.samples(part))))
        learning = [row for row in rows if row.parameter.requires_grad]
        signals = [[nodes[i] for i in row.signals] for row in rows]
        found = iter(grad(total, [*(row.parameter for row in learning), *(node for several in signals for node in several)]))
        for row in learning:
            row.gradient += next(found).data / samples
        for row, several in zip(rows, signals):
            for node in several:
                row.signal += float(np.square(next(found).data, dtype=np.float64).sum()) / node.shape[-1] / samples
            states = [nodes[i].array[:-1] for i in row.uses if nodes[i].op in (*GATES, *RNNS)]
            h = looks[row.layer].out.array if row.layer is not None else np.concatenate(states) if states else None
            if h is not None:
                h = h.reshape(-1, h.shape[-1]).astype(np.float64)
                row.rows, row.product = row.rows + len(h), row.product + h.T @ h
    gradients = {row.parameter: row.gradient for row in rows}
    steps = {} if optimizer is None else next_steps(optimizer, gradients, "gradient_profile")
    return GradientProfile(samples, [row.profile(steps.get(row.parameter)) for row in rows])


class _Weight:
    """A weight of a model, where it is used in a pass, and the sums over the batches."""

    def __init__(self, name: str, parameter: Parameter, uses: list[int], nodes: Sequence[Node], units: Units) -> None:
        self.name, self.parameter, self.uses, first = name.removesuffix(".weight"), parameter, uses, nodes[uses[0]]
        inputs, outputs = parameter.shape[::-1] if first.op not in (product, embedding) else parameter.shape
        self.inputs, self.outputs = (outputs, inputs) if first.params.get("transpose_b") else (inputs, outputs)
        layers = [layer for layer in units.layers if parameter in layer.parts]
        self.layer = layers[0] if layers and not layers[0].is_recurrent else None
        self.activation = self.layer.activation_name if self.layer else first.op.name if first.op in (*GATES, *RNNS) else ""
        self.pieces = self.layer.pieces if self.layer else 1
        place = {id(node): i for i, node in enumerate(nodes)}
        self.signals = ([place.out for place in self.layer.places] if self.layer and self.pieces > 1 else
                        [place[id(nodes[i].parents[0])] if nodes[i].op in (*GATES, *RNNS) else i for i in uses])
        self.gradient, self.signal, self.rows = np.zeros_like(parameter.array), 0.0, 0
        self.product: Any = 0.0

    def profile(self, step: Array | None) -> LayerProfile:
        weight, update = (np.nan if array is None else float(np.linalg.norm(array)) for array in (self.parameter.array, step))
        size = float(np.sqrt(np.trace(self.product) / self.rows / len(self.product))) if self.rows else np.nan
        return LayerProfile(self.name, self.activation, self.inputs, self.outputs // self.pieces, float(np.sqrt(self.signal)),
                            float(np.linalg.norm(self.gradient)), weight, update, update / weight if weight else np.nan, size,
                            effective_rank(self.product) if self.rows else np.nan)


def _weights(units: Units, nodes: Sequence[Node]) -> list[_Weight]:
    """The weights that multiply something in a pass, in the order of their first use."""
    names = {id(p): name for name, p in units.model.named_parameters()}
    uses: dict[Any, list[int]] = {}
    for i, node in enumerate(nodes):
        for p in node.parents:
            if isinstance(p, Parameter) and p.kind == "weight" and len(p.shape) == 2 and (
                    node.op.multiplies or node.op in (*GATES, *RNNS, embedding)):
                uses.setdefault(p, []).append(i)
    return [_Weight(names[id(p)], p, where, nodes, units) for p, where in uses.items()]


def effective_rank(product: Array) -> float:
    """The effective rank of a matrix H, from its product H' H: the exponential of the entropy of its singular values, divided by
    their sum (Roy & Vetterli 2007).

    >>> round(effective_rank(np.diag([4.0, 4.0, 4.0, 0.0])), 12)
    3.0
    """
    if not np.isfinite(product).all():          # the network has diverged
        return np.nan
    squares = np.linalg.eigvalsh(product)
    values = np.sqrt(squares[squares > len(squares) * np.finfo(np.float64).eps * squares[-1]])
    if not values.size:
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
