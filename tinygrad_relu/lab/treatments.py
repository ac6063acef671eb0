"""The treatments of the main job, as data: optimizers with their settings, and what is done before the first step."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..checks import check_name, check_number
from ..nn import MLP, Module
from ..optim import SGD, Adam, AdamW, CosineAnnealingLR, LinearLR, LRScheduler, Optimizer, StepLR
from .layers import flat_edges
from .prescription import Option
from .recurrence import Settings

# How each network is made sick: options of `make_sick` that differ from its defaults.
STARTS: dict[str, dict[str, Any]] = {
    "sick": {},
    "shocked": {"kill_lr": 0.01, "kill_steps": 60, "momentum": 0.99, "shock": 0.2},
    "own steps": {"kill_lr": 0.2, "kill_steps": 60, "momentum": 0.99}}
SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {       # from the optimizer and the number of steps
    "cosine": lambda optimizer, steps: CosineAnnealingLR(optimizer, T_max=max(1, steps)),
    "linear": lambda optimizer, steps: LinearLR(optimizer, 1.0, 0.0, total_iters=max(1, steps)),
    "step": lambda optimizer, steps: StepLR(optimizer, step_size=max(1, steps // 3)),
    "warmup": lambda optimizer, steps: LinearLR(optimizer, 0.01, total_iters=max(1, steps // 10))}


@dataclass(frozen=True)
class Treatment:
    """What is done to a dead network: an optimizer with its settings, and perhaps a change before the first step."""

    key: str                            # on the command line
    name: str                           # in tables and figures
    rule: Callable[..., Optimizer] = SGD
    options: dict[str, Any] = field(default_factory=dict)       # of the optimizer, apart from learning rate and decay
    weight_decay: float = 0.0
    decay_on: Literal["all", "weights", "biases"] = "all"
    rate: float = 1.0                   # a factor on the learning rate: small for Adam, whose steps are as long as the rate
    activation: str | None = None       # in place of the sick network's
    schedule: str = ""                  # of the learning rate, one of SCHEDULES
    start: str = "sick"                 # the network that it is given, one of STARTS
    steps: int | None = None            # at most this number of steps
    keeps: bool = False                 # whether it goes on with the optimizer of that network and its momentum buffers
    mirror: float | None = None         # each dead unit is first replaced by its mirror image, at this scale

    def described(self, lr: float) -> str:
        """The optimizer and its settings, in words."""
        settings = {key.replace("_", " "): value for key, value in {**self.options, "weight_decay": self.weight_decay}.items()}
        options = [name if value is True else f"{name} {value}" for name, value in settings.items() if value]
        schedule = [f"schedule {self.schedule}"] * bool(self.schedule)
        return f"{self.rule.__name__} with {', '.join([f'rate {lr * self.rate:g}', *options, *schedule])}"

    def optimizer(self, model: Module, lr: float) -> Optimizer:
        decayed = {"all": ("weight", "bias"), "weights": ("weight",), "biases": ("bias",)}[self.decay_on]
        groups = [{"params": [p for p in model.parameters() if (p.kind in decayed) == decays],
                   "weight_decay": self.weight_decay if decays else 0.0} for decays in (True, False)]
        return self.rule([g for g in groups if g["params"]], lr=lr * self.rate, **self.options)

    def eta_lambda(self, lr: float) -> float:
        """Learning rate times decay, on which the fate of a dead unit depends."""
        return lr * self.rate * self.weight_decay

    def threshold(self) -> float | None:
        """The lower edge of the window, above which `eta_lambda` swings a unit back from rest; None if there is none."""
        if self.rule is not SGD or self.decay_on != "all" or self.schedule:
            return None
        return Settings(1.0, **{"momentum": 0.0, **self.options}).threshold

    def at(self, option: Option, value: float, lr: float, steps: int) -> Treatment:
        """The same treatment with another weight decay, learning rate (`lr` is the common one) or momentum."""
        possible: dict[str, dict[str, Any]] = {"weight_decay": {"weight_decay": value}, "lr": {"rate": value / lr},
                                               "momentum": {"options": {**self.options, "momentum": value}}}
        name = {"weight_decay": "decay", "lr": "rate", "momentum": "momentum"}[option]
        return replace(self, key=f"{option}={value}", name=f"{name} {value}", steps=steps, **possible[option])

    def suits(self, activation: str) -> bool:
        """Whether units with this activation can be killed or mirrored, if the treatment does that."""
        if activation == "maxout" and self.activation:
            return False                                    # its weights fit no other activation
        flat = activation != "maxout" and np.isfinite(flat_edges(MLP([1, 1, 1], activation, rng=0)[1])[0])
        return bool(flat) or (self.mirror is None and STARTS[self.start].get("shock") is None)

    def why_not(self) -> str:
        """Why the treatment brings no unit of the first layer back from rest, in a few words for a caption."""
        if self.keeps:
            return "momentum points away"
        if not self.weight_decay:
            return "no gradient, no buffer" if self.rule is SGD and not self.options.get("momentum") else "buffer empty"
        if self.options.get("decoupled") or self.rule is AdamW:
            return "decoupled: no swing"
        return {"all": "same sign for ever", "weights": "no positive bias", "biases": "no positive w·x"}[self.decay_on]


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
    Treatment("mirror", "mirrored, momentum .99", options={"momentum": 0.99}, mirror=0.1),
    Treatment("coast", "momentum alone", options={"momentum": 0.99}, rate=0.1, start="shocked", steps=300, keeps=True),
    Treatment("coast-emptied", "buffers emptied", options={"momentum": 0.99}, rate=0.1, start="shocked", steps=300),
    Treatment("own-steps", "killed by own steps", options={"momentum": 0.99}, rate=0.1, start="own steps", steps=300,
              keeps=True),
)

RULES: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {       # for treatments of your own
    "sgd": (SGD, {}), "nesterov": (SGD, {"nesterov": True, "momentum": 0.9}), "sgdw": (SGD, {"decoupled": True}),
    "adam": (Adam, {}), "adamw": (AdamW, {})}


def yours(optimizer: str = "sgd", momentum: float | None = None, weight_decay: float = 0.0, schedule: str = "",
          betas: tuple[float, float] | None = None) -> Treatment:
    """A treatment of your own. Adam and AdamW take a hundredth of the learning rate, as in the other treatments.

    >>> round(yours(momentum=0.95, weight_decay=1e-3).threshold(), 6)
    0.000641
    """
    rule, options = RULES[check_name(optimizer, RULES, "the optimizer")]
    if momentum is not None:
        if rule is not SGD:
            raise ValueError(f"got momentum {momentum} for {optimizer}, expected it for sgd, nesterov or sgdw")
        options = {**options, "momentum": momentum}
    if betas is not None:
        if rule is SGD:
            raise ValueError(f"got betas {list(betas)} for {optimizer}, expected them for adam or adamw")
        options = {**options, "betas": betas}
    if schedule:
        check_name(schedule, SCHEDULES, "the schedule")
    found = Treatment("yours", "yours", rule=rule, options=options, weight_decay=check_number(weight_decay, "weight_decay"),
                      rate=1.0 if rule is SGD else 0.01, schedule=schedule)
    found.optimizer(MLP([1, 1], rng=0), lr=0.1)         # a setting out of range is an error now, and not after the first training
    return found
