"""The table of modules and functions that have a counterpart in PyTorch, and how to make the two equal."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as TF

from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.formulas import ACTIVATIONS

torch.set_num_threads(1)        # for matrices this small, two thread pools would only slow each other down

TYPES = {np.float32: torch.float32, np.float64: torch.float64}

# PyTorch's functions with our defaults, by name of the record. Comments give the intended differences.
SPECIAL = {
    "prelu": lambda x: TF.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
    "softplus": lambda x: TF.softplus(x, threshold=1e9),        # PyTorch's default returns x from 20 on; ours does not
    "gelu_tanh": lambda x: TF.gelu(x, approximate="tanh"),
}       # (rrelu is compared in evaluation: in training the draws are others)
WITHOUT_PEER = {"step"}                     # torch.heaviside has no derivative at all
WITHOUT_SECOND = {"hardsigmoid"}            # "derivative for aten::hardsigmoid_backward is not implemented"
SLOPE_OF_FLOAT32 = {"hardsigmoid"}          # PyTorch multiplies by the float32 number nearest to 1/6, in float64 too

FUNCTIONS = SPECIAL | {name: getattr(TF, name, None) or getattr(torch, name)
                       for name in ACTIVATIONS if name not in {*SPECIAL, *WITHOUT_PEER}}
MODULES = {name: getattr(torch.nn, cls.__name__) for name, cls in nn.activations.MODULES.items()
           if name not in {*WITHOUT_PEER, "gelu_tanh"}}
MODULES |= {"softplus": lambda: torch.nn.Softplus(threshold=1e9), "gelu_tanh": lambda: torch.nn.GELU(approximate="tanh")}

SGD = torch.optim.SGD
DIALECTS = {        # name: (our class, options, PyTorch's class, options of PyTorch where they differ)
    "sgd": (optim.SGD, dict(lr=0.1), SGD, {}),
    "l2": (optim.SGD, dict(lr=0.1, weight_decay=0.01), SGD, {}),
    "momentum": (optim.SGD, dict(lr=0.03, momentum=0.9), SGD, {}),
    "momentum, l2": (optim.SGD, dict(lr=0.03, momentum=0.9, weight_decay=0.01), SGD, {}),
    "dampening": (optim.SGD, dict(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01), SGD, {}),
    "nesterov": (optim.SGD, dict(lr=0.03, momentum=0.9, nesterov=True), SGD, {}),
    "nesterov, l2": (optim.SGD, dict(lr=0.03, momentum=0.9, nesterov=True, weight_decay=0.01), SGD, {}),
    "adam": (optim.Adam, dict(lr=0.01), torch.optim.Adam, {}),
    "adam, l2": (optim.Adam, dict(lr=0.01, betas=(0.8, 0.99), weight_decay=0.01), torch.optim.Adam, {}),
    "adamw": (optim.AdamW, dict(lr=0.01, eps=1e-6), torch.optim.AdamW, {}),
}       # decoupled SGD has no peer: test_optim.py holds it to its twin


def torch_twin(model: nn.Sequential) -> torch.nn.Sequential:
    """The same model in PyTorch, with a copy of the weights."""
    layers = []
    for layer in model:
        if isinstance(layer, nn.Linear):
            made = torch.nn.Linear(layer.in_features, layer.out_features)
        else:
            made = MODULES[layer.name]()
        made = made.to(TYPES[model[0].weight.dtype.type])
        with torch.no_grad():
            for theirs, ours in zip(made.parameters(), layer.parameters()):
                theirs.copy_(torch.from_numpy(ours.data))
        layers.append(made)
    return torch.nn.Sequential(*layers)


def torch_groups(model: torch.nn.Sequential) -> list[dict]:
    """Our default groups: the slopes of PReLU stay out of the decay. (PyTorch by itself would decay them.)"""
    slopes = [p for layer in model if isinstance(layer, torch.nn.PReLU) for p in layer.parameters()]
    others = [p for p in model.parameters() if not any(p is s for s in slopes)]
    return [{"params": others}, *([{"params": slopes, "weight_decay": 0.0}] if slopes else [])]
