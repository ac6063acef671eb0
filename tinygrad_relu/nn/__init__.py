"""Modules with parameters."""
from . import init
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
from .dropout import Dropout
from .embedding import Embedding
from .layers import Linear, Maxout
from .mlp import MLP, Residual
from .module import Buffer, Module, Parameter, Sequential
from .normalization import BatchNorm1d, LayerNorm

__all__ = ["CELU", "ELU", "GELU", "MLP", "SELU", "Activation", "BatchNorm1d", "Buffer", "Dropout", "Embedding",
           "GELUTanh", "Hardsigmoid", "Hardswish", "Hardtanh", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "Maxout",
           "Mish", "Module", "PReLU", "Parameter", "RReLU", "ReLU", "ReLU6", "Residual", "Sequential", "SiLU", "Sigmoid",
           "Softplus", "Softsign", "Step", "Tanh", "init"]
