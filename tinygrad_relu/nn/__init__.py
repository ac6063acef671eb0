"""Modules with parameters."""
from ..parameters import Parameter as Parameter
from . import init as init, utils as utils
from .activations import *  # noqa: F403        # every class that it defines
from .layers import Embedding as Embedding, Linear as Linear, Maxout as Maxout, Sequential as Sequential
from .loss import *  # noqa: F403
from .mlp import MLP as MLP, Residual as Residual
from .module import Buffer as Buffer, Module as Module
from .normalization import BatchNorm1d as BatchNorm1d, Dropout as Dropout, LayerNorm as LayerNorm
from .rnn import GRU as GRU, LSTM as LSTM, RNN as RNN, GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
