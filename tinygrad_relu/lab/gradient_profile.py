"""How well does each layer learn? Sizes of gradients, updates and activations, and the rank of the activations, by layer."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import functional as F
from ..autodiff.node import Array, recording
from ..autodiff.tape import grad
from ..checks import check_count
from ..nn import Linear, Maxout, Module, Parameter
from ..nn.module import evaluating
from ..optim import Optimizer
from ..tensor import Tensor
from ..text import Table
from .lethal import next_steps
from .readings import Reading, plain
from .units import BATCH, Units, check_targets


@dataclass(frozen=True)
class LayerProfile:
    """One Linear or Maxout layer.

    Attributes
    ----------
    activation : the activation after it; empty for a layer without one, such as the last.
    signal : the gradient of a sample's loss with respect to the outputs of the affine map (of a Maxout: after the maximum), as a
        root mean square over samples and units. It is what the later layers pass back.
    gradient, weight, update : norms (roots of sums of squares) of the gradient of the mean loss with respect to the weights, of
        the weights, and of their next step; NaN without an optimizer.
    ratio : ``update / weight``. About 1e-3 is usual; a layer with far less is frozen.
    size : root mean square of the activations over samples and units.
    rank : effective rank of the activations, (samples, units): the exponential of the entropy of the singular values, divided by
        their sum (Roy & Vetterli 2007). At most the number of units; 0 for a layer that is silent.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN and infinities become None."""
        found: dict[str, Any] = plain({"samples": self.samples, "per_layer": self.per_layer,
                                       "layers": [asdict(layer) for layer in self.layers]})
        return found

    def table(self) -> Table:
        """One row per layer."""
        numbers = {"signal": "signal", "gradient": "gradient", "weight": "weight", "update": "update", "update/weight": "ratio",
                   "activations": "size", "rank": "rank"}
        return Table(f"gradients on {self.samples} samples", ["layer", "activation", "shape", *numbers], [
            (layer.name, layer.activation or "-", f"{layer.inputs}→{layer.units}",
             *(_shown(getattr(layer, name)) for name in numbers.values())) for layer in self.layers])

    def parts(self) -> list[str | Table]:
        return [self.table(), f"per layer, the signal is multiplied by {_shown(self.per_layer)} on its way back"]

    def plot(self) -> Any:
        """The sizes of each layer on a logarithmic axis, with the rank of the activations."""
        from .figure import LABELS
        from .plots import axes_of

        figure, axes = axes_of(9, 3.8, f"Gradients by layer, {self.samples} samples", "", "root mean square, norm or ratio")
        places = np.arange(len(self.layers))
        for name, what, colour in zip(("signal", "gradient", "ratio", "size"),
                                      ("signal", "gradient of the weights", "update / weight", "activations"), LABELS):
            numbers = np.array([getattr(layer, name) for layer in self.layers])
            if (numbers > 0).any():
                axes.plot(places, np.where(numbers > 0, numbers, np.nan), "o-", color=colour, label=what)
        axes.set_yscale("log")
        axes.set_xticks(places, [f"{layer.name} {layer.activation}\nrank {_shown(layer.rank)} of {layer.units}"
                                 if layer.activation else layer.name for layer in self.layers], fontsize=8)
        figure.legend(loc="outside lower center", frameon=False, ncols=4, fontsize=9)
        return figure


def gradient_profile(model: Module | Units, x: Any, y: Any, optimizer: Optimizer | None = None, *,
                     loss: Callable[..., Tensor] = F.cross_entropy, batch_size: int = BATCH) -> GradientProfile:
    """The sizes of gradients, updates and activations of each layer, over a whole data set in batches, as in evaluation.

    Parameters
    ----------
    y : labels (or targets of `loss`).
    optimizer : with it, the next step is measured too, with its buffers and its decay. Nothing is changed.
    loss : ``loss(output, y, reduction="sum")``

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.standard_normal((50, 4)), rng.integers(0, 3, 50)
    >>> deep = nn.MLP([4, *[8] * 10, 3], activation="sigmoid", rng=0)
    >>> lab.gradient_profile(deep, x, y).per_layer < 0.3
    True
    """
    units = Units.of(model)
    x = units.data(x)
    check_count(batch_size, "gradient_profile: batch_size")
    targets = check_targets(y, len(x), loss, "gradient_profile")
    affine: dict[str, Any] = {name: m for name, m in units.model.named_modules() if isinstance(m, (Linear, Maxout))}
    names: dict[Any, str] = {layer.affine: layer.activation_name for layer in units.layers}
    weights = [m.weight for m in affine.values()]
    learning = [p for p in weights if p.requires_grad]
    gradients: dict[Parameter, Array] = {p: np.zeros_like(p.array) for p in weights}
    signals, products = dict.fromkeys(affine, 0.0), dict[Any, Any]()        # sums of squares; H' H of the activations
    outputs: dict[str, Tensor] = {}
    with evaluating(units.model), recording(), ExitStack() as hooks:
        for name, module in affine.items():
            hooks.enter_context(module.register_forward_hook(lambda _, inputs, output, name=name: outputs.update({name: output})))
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            total = loss(units.model(x[part]), targets[part], reduction="sum")
            passed = [name for name, output in outputs.items() if output.requires_grad]
            found = [one.data for one in grad(total, [*learning, *(outputs[name] for name in passed)])]
            gradients |= {p: gradients[p] + g for p, g in zip(learning, found)}
            for name, g in zip(passed, found[len(learning):]):
                signals[name] += float(np.square(g, dtype=np.float64).sum()) / g.shape[-1]
            for layer, _, _, out in units.through(x[part]):
                h = out.data.astype(np.float64)
                products[layer.affine] = products.get(layer.affine, 0.0) + h.T @ h
    gradients = {p: g / len(x) for p, g in gradients.items()}
    steps = {} if optimizer is None else next_steps(optimizer, gradients)
    return GradientProfile(len(x), [
        _profile(name, module, names.get(module, ""), len(x), signals[name], gradients[module.weight], steps.get(module.weight),
                 products.get(module)) for name, module in affine.items()])


def _profile(name: str, module: Linear | Maxout, activation: str, samples: int, signal: float, gradient: Array,
             step: Array | None, product: Array | None) -> LayerProfile:
    outputs, inputs = module.weight.shape
    weight, update = (np.nan if array is None else float(np.linalg.norm(array)) for array in (module.weight.array, step))
    size = np.nan if product is None else float(np.sqrt(np.trace(product) / samples / len(product)))
    return LayerProfile(name, activation, inputs, outputs // getattr(module, "pieces", 1), float(np.sqrt(signal / samples)),
                        float(np.linalg.norm(gradient)), weight, update, update / weight if weight else np.nan, size,
                        np.nan if product is None else effective_rank(product))


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


def _shown(number: float) -> str:
    return "-" if np.isnan(number) else f"{number:.3g}"
