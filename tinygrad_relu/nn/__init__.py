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
from .layers import MLP, Linear, Maxout
from .module import Buffer, Module, Parameter, Sequential
from .rnn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = ["CELU", "ELU", "GELU", "MLP", "SELU", "Activation", "Buffer", "GELUTanh", "Hardsigmoid", "Hardswish",
           "Hardtanh", "LeakyReLU", "Linear", "LogSigmoid", "Maxout", "Mish", "Module", "PReLU", "Parameter", "RReLU",
           "ReLU", "ReLU6", "Sequential", "SiLU", "Sigmoid", "Softplus", "Softsign", "Step", "Tanh", "init"]
__all__ += ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]
