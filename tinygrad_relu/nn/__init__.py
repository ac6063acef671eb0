"""Layers, activations, losses, and networks of them: functions with parameters."""
from ..parameters import Parameter as Parameter
from . import init as init, utils as utils
from .activations import *  # noqa: F403        # every class that it defines
from .layers import BatchNorm1d as BatchNorm1d, Dropout as Dropout, Embedding as Embedding, Flatten as Flatten
from .layers import Identity as Identity, LayerNorm as LayerNorm, Linear as Linear, Maxout as Maxout, Softmax as Softmax
from .loss import *  # noqa: F403
from .members import population as population
from .mlp import MLP as MLP, ModuleDict as ModuleDict, ModuleList as ModuleList, Residual as Residual, Sequential as Sequential
from .module import Buffer as Buffer, Module as Module
from .recurrent import GRU as GRU, LSTM as LSTM, RNN as RNN, GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
