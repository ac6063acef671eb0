"""Optimizers, whose steps have named terms: gradient, decay, inertia. Schedules of the rate, and the clipping of gradients."""
from ..nn.utils import clip_grad_norm_, clip_grad_value_
from .optimizer import Optimizer, Terms
from .rules import SGD, Adam, AdamW
from .schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

__all__ = ["SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
           "Optimizer", "ReduceLROnPlateau", "SequentialLR", "StepLR", "Terms", "clip_grad_norm_", "clip_grad_value_"]
