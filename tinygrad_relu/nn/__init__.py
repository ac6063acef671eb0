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
from .loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SmoothL1Loss,
)
from .module import Buffer, Module, Parameter, Sequential

__all__ = ["CELU", "ELU", "GELU", "MLP", "SELU", "Activation", "BCEWithLogitsLoss", "Buffer", "CrossEntropyLoss",
           "GELUTanh", "Hardsigmoid", "Hardswish", "Hardtanh", "HingeEmbeddingLoss", "HuberLoss", "L1Loss", "LeakyReLU",
           "Linear", "LogSigmoid", "MSELoss", "Maxout", "Mish", "Module", "MultiMarginLoss", "NLLLoss", "PReLU",
           "Parameter", "RReLU", "ReLU", "ReLU6", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "Softplus", "Softsign",
           "Step", "Tanh", "init", "utils"]
