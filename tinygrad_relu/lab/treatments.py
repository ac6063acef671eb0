"""Treatments: what one may try on a dead network. Each is an optimizer with settings, given as data."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Literal

from ..nn import Module
from ..optim import SGD, Adam, Optimizer


@dataclass(frozen=True)
class Treatment:
    """One treatment.

    Attributes
    ----------
    key : str
        Its name on the command line.
    name : str
        Its name in tables and figures.
    rule : callable
        `SGD` or `Adam`.
    options : dict
        The optimizer's settings, without the learning rate and the decay.
    weight_decay : float
    decay_on : {"all", "weights", "biases"}
    rate : float
        What the learning rate is multiplied by (Adam takes steps of the size of the rate itself, whatever the gradient).
    activation : str, optional
        Another activation in the place of the sick network's.
    """

    key: str
    name: str
    rule: Callable[..., Optimizer] = SGD
    options: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights", "biases"] = "all"
    rate: float = 1.0
    activation: str | None = None

    def optimizer(self, model: Module, lr: float) -> Optimizer:
        """A fresh optimizer for `model`."""
        kinds = {"all": ("weight", "bias"), "weights": ("weight",), "biases": ("bias",)}[self.decay_on]
        parameters = model.parameters()
        decayed = [p for p in parameters if p.kind in kinds]
        spared = [p for p in parameters if p.kind not in kinds]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": spared, "weight_decay": 0.0}]
        return self.rule([g for g in groups if g["params"]], lr=lr * self.rate, **self.options)

    def eta_lambda(self, lr: float) -> float:
        """Learning rate times decay: the number on which the fate of a dead unit depends."""
        return lr * self.rate * self.weight_decay

    def threshold(self) -> float | None:
        """What `eta_lambda` must exceed for the unit to swing back from rest; None where no such threshold exists."""
        momentum = self.options.get("momentum", 0.0)
        if self.rule is not SGD or not momentum or self.options.get("decoupled") or self.decay_on != "all":
            return None
        if self.options.get("nesterov"):
            return float(((1 - momentum) / (1 + momentum)) ** 2)
        return float((1 - sqrt(momentum)) ** 2)


TREATMENTS = (
    Treatment("sgd", "SGD"),
    Treatment("sgd-l2", "SGD + L2", weight_decay=5e-4),
    Treatment("momentum", "momentum .9", options={"momentum": 0.9}),
    Treatment("momentum-l2-below", "momentum .9, L2 below", options={"momentum": 0.9}, weight_decay=5e-4),
    Treatment("momentum-l2-inside", "momentum .9, L2 inside", options={"momentum": 0.9}, weight_decay=0.05),
    Treatment("heavy-l2", "momentum .99 + L2", options={"momentum": 0.99}, weight_decay=5e-4),
    Treatment("heavy-decoupled", "momentum .99 decoupled", options={"momentum": 0.99, "decoupled": True},
              weight_decay=5e-4),
    Treatment("nesterov-l2", "Nesterov .99 + L2", options={"momentum": 0.99, "nesterov": True}, weight_decay=5e-4),
    Treatment("bias-decay", "SGD, biases decay", weight_decay=0.05, decay_on="biases"),
    Treatment("weight-decay", "SGD, weights decay", weight_decay=0.05, decay_on="weights"),
    Treatment("adam", "Adam", rule=Adam, rate=0.01),
    Treatment("adam-l2", "Adam + L2", rule=Adam, weight_decay=5e-4, rate=0.01),
    Treatment("leaky", "leaky twin, SGD", activation="leaky_relu"),
)
