"""RNN, LSTM and GRU over whole sequences, and their cells for one step.

The equations, the order of the gates (i, f, g, o and r, z, n), and names, shapes and initial values of parameters are PyTorch's.
"""
from __future__ import annotations

from typing import Any

from numpy.random import Generator

from .recurrent import RecurrentCell, RecurrentLayers


class RNN(RecurrentLayers):
    """``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`` over a sequence, with tanh or relu as f (Elman 1990, Cogn. Sci. 14).

    Called with x (steps, batch, input_size) and optionally the state h (num_layers * directions, batch, hidden_size), which
    otherwise starts from zeros. Returns the output of the last layer, (steps, batch, directions * hidden_size), and the last
    state, of the shape of the first. For a single sequence, leave out the batch axis everywhere.

    The parameters of the first layer are weight_ih_l0 (hidden_size, input_size), weight_hh_l0 (hidden_size, hidden_size), and
    bias_ih_l0 and bias_hh_l0 (hidden_size,), drawn from U(-a, a) with a = 1 / sqrt(hidden_size). Those of further layers end in
    l1, l2, ..., and of the backward direction in l0_reverse, ...; layers above the first have directions * hidden_size inputs.

    - `num_layers`: layers on top of each other; each takes the output of the one below.
    - `batch_first`: whether x and the output are (batch, steps, ...). States are not affected.
    - `dropout`: the probability with which, in training, the outputs of all layers but the last are dropped (`Dropout`). It may
      be changed later if it was not 0 at first.
    - `bidirectional`: whether each layer also runs backwards in time, with weights of its own; the outputs are concatenated.
    - `rng` is required.

    >>> layer = nn.RNN(3, 4, rng=0)
    >>> output, h = layer(np.ones((5, 2, 3)))
    >>> output.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    >>> output, h = layer(np.ones((5, 2, 3)), h.detach())       # continues from h, with a new graph
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng)


class LSTM(RecurrentLayers):
    """Long short-term memory over a sequence (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000).

    With the gates i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``, each with its
    rows of the weights: ``c_t = f c_(t-1) + i g`` and ``h_t = o tanh(c_t)``. The state is the tuple (h, c); returns
    (output, (h, c)). Options and shapes as in `RNN`, but weights and biases have 4 * hidden_size rows. PyTorch's `proj_size`,
    a projection of the state, must be 0.

    >>> layer = nn.LSTM(3, 4, num_layers=2, rng=0)
    >>> output, (h, c) = layer(np.ones((5, 2, 3)))
    >>> output.shape, h.shape, c.shape
    ((5, 2, 4), (2, 2, 4), (2, 2, 4))
    """

    mode = "LSTM"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        if proj_size != 0:
            raise ValueError(f"LSTM: proj_size is {proj_size!r}, expected 0; projections of the state are not supported")
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype, rng=rng)


class GRU(RecurrentLayers):
    """Gated recurrent units over a sequence (Cho et al. 2014, arXiv 1406.1078).

    With the gates r, z = sigmoid of ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``, each with its rows of the weights:
    ``n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))`` and ``h_t = (1 - z) n + z h_(t-1)``. As in PyTorch and cuDNN, r
    multiplies the product with W_hn, not h. The state is h; returns (output, h). Options and shapes as in `RNN`, but weights and
    biases have 3 * hidden_size rows.

    >>> layer = nn.GRU(3, 4, bidirectional=True, batch_first=True, rng=0)
    >>> output, h = layer(np.ones((2, 5, 3)))
    >>> output.shape, h.shape
    ((2, 5, 8), (2, 2, 4))
    """

    mode = "GRU"


class RNNCell(RecurrentCell):
    """One step of `RNN`: ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``, with tanh or relu as f.

    Called with x (batch, input_size) and optionally h (batch, hidden_size), or with both without the batch axis. Parameters are
    those of the first layer of `RNN`, named weight_ih, weight_hh, bias_ih, bias_hh.

    >>> cell, h = nn.RNNCell(3, 4, rng=0), None
    >>> for x in np.ones((5, 2, 3)):
    ...     h = cell(x, h)
    >>> h.shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *,
                 dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        self._set_nonlinearity(nonlinearity)
        super().__init__(input_size, hidden_size, bias, dtype=dtype, rng=rng)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`: x (batch, input_size) and (h, c), each (batch, hidden_size), give (h', c'). See `RNNCell`.

    >>> h, c = nn.LSTMCell(3, 4, rng=0)(np.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    mode = "LSTM"


class GRUCell(RecurrentCell):
    """One step of `GRU`: x (batch, input_size) and h (batch, hidden_size) give h'. See `RNNCell`.

    >>> nn.GRUCell(3, 4, rng=0)(np.ones((2, 3))).shape
    (2, 4)
    """

    mode = "GRU"
