"""Modules with parameters."""
from . import init, utils
from .activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    GELUTanh,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Step,
    Tanh,
)
from .layers import MLP, Linear, Maxout
from .module import Buffer, Module, Parameter, Sequential

__all__ = ["CELU", "ELU", "GELU", "MLP", "SELU", "Activation", "Buffer", "GELUTanh", "Hardsigmoid", "Hardswish",
           "Hardtanh", "LeakyReLU", "Linear", "LogSigmoid", "Maxout", "Mish", "Module", "PReLU", "Parameter", "RReLU",
           "ReLU", "ReLU6", "Sequential", "SiLU", "Sigmoid", "Softplus", "Softsign", "Step", "Tanh", "init", "utils"]
