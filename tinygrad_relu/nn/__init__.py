"""Modules with parameters."""
from ..parameters import Parameter as Parameter
from . import init as init, utils as utils
from .activations import (
    CELU as CELU,
    ELU as ELU,
    GELU as GELU,
    SELU as SELU,
    Activation as Activation,
    GELUTanh as GELUTanh,
    Hardsigmoid as Hardsigmoid,
    Hardswish as Hardswish,
    Hardtanh as Hardtanh,
    LeakyReLU as LeakyReLU,
    LogSigmoid as LogSigmoid,
    Mish as Mish,
    PReLU as PReLU,
    ReLU as ReLU,
    ReLU6 as ReLU6,
    RReLU as RReLU,
    Sigmoid as Sigmoid,
    SiLU as SiLU,
    Softplus as Softplus,
    Softsign as Softsign,
    Step as Step,
    Tanh as Tanh,
)
from .layers import Embedding as Embedding, Linear as Linear, Maxout as Maxout, Sequential as Sequential
from .loss import (
    BCEWithLogitsLoss as BCEWithLogitsLoss,
    CrossEntropyLoss as CrossEntropyLoss,
    HingeEmbeddingLoss as HingeEmbeddingLoss,
    HuberLoss as HuberLoss,
    L1Loss as L1Loss,
    Loss as Loss,
    MSELoss as MSELoss,
    MultiMarginLoss as MultiMarginLoss,
    NLLLoss as NLLLoss,
    SmoothL1Loss as SmoothL1Loss,
)
from .mlp import MLP as MLP, Residual as Residual
from .module import Buffer as Buffer, Module as Module
from .normalization import BatchNorm1d as BatchNorm1d, Dropout as Dropout, LayerNorm as LayerNorm
from .rnn import GRU as GRU, LSTM as LSTM, RNN as RNN, GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
