"""Optimizers, whose steps have named terms (gradient, decay, inertia); schedules of the rate; clipping of gradients."""
from ..nn.utils import clip_grad_norm_ as clip_grad_norm_, clip_grad_value_ as clip_grad_value_
from .lr_scheduler import CosineAnnealingLR as CosineAnnealingLR, ExponentialLR as ExponentialLR, LambdaLR as LambdaLR
from .lr_scheduler import LinearLR as LinearLR, LRScheduler as LRScheduler, MultiStepLR as MultiStepLR
from .lr_scheduler import ReduceLROnPlateau as ReduceLROnPlateau, SequentialLR as SequentialLR, StepLR as StepLR
from .optimizer import Optimizer as Optimizer, Terms as Terms
from .rules import SGD as SGD, Adam as Adam, AdamW as AdamW
