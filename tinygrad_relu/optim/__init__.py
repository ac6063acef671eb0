"""Update rules, each as named terms: gradient, decay, inertia. Schedules of the rate, and the clipping of gradients."""
from ..nn.utils import clip_grad_norm_, clip_grad_value_
from .formulas import CosineAnnealingLR, ExponentialLR, LinearLR, MultiStepLR, StepLR
from .optimizer import Optimizer, Terms
from .plateau import ReduceLROnPlateau
from .rules import SGD, Adam, AdamW
from .schedule import LambdaLR, LRScheduler, SequentialLR

__all__ = ["SGD", "Adam", "AdamW", "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR",
           "Optimizer", "ReduceLROnPlateau", "SequentialLR", "StepLR", "Terms", "clip_grad_norm_", "clip_grad_value_"]
