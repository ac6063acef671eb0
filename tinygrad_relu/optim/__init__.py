"""Update rules, each as named terms: gradient, decay, inertia."""
from .optimizer import Optimizer, Terms
from .rules import SGD, Adam, AdamW

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "Terms"]
