"""Modules with parameters."""
from ..parameters import Parameter
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
from .layers import Embedding, Linear, Maxout, Sequential
from .loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeEmbeddingLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SmoothL1Loss,
)
from .mlp import MLP, Residual
from .module import Buffer, Module
from .normalization import BatchNorm1d, Dropout, LayerNorm
from .rnn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__all__ = ["CELU", "ELU", "GELU", "GRU", "LSTM", "MLP", "RNN", "SELU", "Activation", "BCEWithLogitsLoss", "BatchNorm1d", "Buffer",
           "CrossEntropyLoss", "Dropout", "Embedding", "GELUTanh", "GRUCell", "Hardsigmoid", "Hardswish", "Hardtanh",
           "HingeEmbeddingLoss", "HuberLoss", "L1Loss", "LSTMCell", "LayerNorm", "LeakyReLU", "Linear", "LogSigmoid", "Loss",
           "MSELoss", "Maxout", "Mish", "Module", "MultiMarginLoss", "NLLLoss", "PReLU", "Parameter", "RNNCell", "RReLU", "ReLU",
           "ReLU6", "Residual", "Sequential", "SiLU", "Sigmoid", "SmoothL1Loss", "Softplus", "Softsign", "Step", "Tanh", "init",
           "utils"]
