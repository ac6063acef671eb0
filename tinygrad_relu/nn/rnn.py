"""RNN, LSTM and GRU over whole sequences, and their cells for one step. The state goes in and comes out.

The equations, the order of the gates (i, f, g, o and r, z, n), and names, shapes and start of the parameters are PyTorch's.
"""
from __future__ import annotations

from typing import Any

from numpy.random import Generator

from ..checks import check_name
from .recurrent import NONLINEARITIES, RecurrentCell, RecurrentLayers


class RNN(RecurrentLayers):
    """``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`` over a sequence, f being tanh or relu (Elman 1990, Cogn. Sci. 14).

    Called with x (steps, batch, input_size) and, if it shall not start from zeros, the state h (num_layers * directions,
    batch, hidden_size). Returns the output of the last layer, (steps, batch, directions * hidden_size), and the last
    state, of the shape of the first. For one sequence, all of them without the axis of the batch.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Layers on top of each other: each takes the output of the one below.
    nonlinearity : {"tanh", "relu"}
    bias : bool
    batch_first : bool
        Whether x and the output are (batch, steps, ...). The state is not affected.
    dropout : float
        The probability with which, in training, the outputs of all layers but the last are dropped (`Dropout`). It may be
        changed later, where it was not 0 at first.
    bidirectional : bool
        Whether each layer also runs backwards in time, with weights of its own; the two outputs stand side by side.
    dtype : dtype
    rng : int or Generator
        A seed or a generator. Required: randomness is an argument.

    Attributes
    ----------
    weight_ih_l0 : Parameter, shape (hidden_size, input_size)
        For the input. Further layers have l1, l2, ...; what runs backwards is called weight_ih_l0_reverse, and so on. Above
        the first layer there are directions * hidden_size inputs.
    weight_hh_l0 : Parameter, shape (hidden_size, hidden_size)
        For the state.
    bias_ih_l0, bias_hh_l0 : Parameter, shape (hidden_size,)
        All start from U(-a, a), a = 1 / sqrt(hidden_size).

    Raises
    ------
    ValueError
        If x, or a state, does not have the expected shape, or x no step.
    TypeError
        If dtypes differ, or the state is no Tensor or array.

    Examples
    --------
    >>> import numpy as np
    >>> layer = RNN(3, 4, rng=0)
    >>> output, h = layer(np.ones((5, 2, 3)))
    >>> output.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    >>> output, h = layer(np.ones((5, 2, 3)), h.detach())       # goes on from there; the graph does not
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        self.nonlinearity = check_name(nonlinearity, NONLINEARITIES, "RNN: nonlinearity")
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng)


class LSTM(RecurrentLayers):
    """Long short-term memory over a sequence (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000).

    With the gates i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``, each with its
    rows of the weights: ``c_t = f c_(t-1) + i g`` and ``h_t = o tanh(c_t)``. The state is the tuple (h, c); returns
    (output, (h, c)).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As in `RNN`.
    proj_size : int
        Only 0: PyTorch's projections of the state are not supported.
    dtype, rng
        As in `RNN`.

    Attributes
    ----------
    weight_ih_l0 : Parameter, shape (4 * hidden_size, input_size)
    weight_hh_l0 : Parameter, shape (4 * hidden_size, hidden_size)
    bias_ih_l0, bias_hh_l0 : Parameter, shape (4 * hidden_size,)
        As in `RNN`.

    Raises
    ------
    ValueError, TypeError
        As `RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LSTM(3, 4, num_layers=2, rng=0)
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
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng)


class GRU(RecurrentLayers):
    """Gated recurrent units over a sequence (Cho et al. 2014, arXiv 1406.1078).

    With the gates r, z = sigmoid of ``W_ih x_t + b_ih + W_hh h_(t-1) + b_hh``, each with its rows of the weights:
    ``n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn))`` and ``h_t = (1 - z) n + z h_(t-1)``. That r acts behind the
    product with W_hn, and not before it, is PyTorch's (and cuDNN's) variant. The state is h; returns (output, h).

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng
        As in `RNN`.

    Attributes
    ----------
    weight_ih_l0 : Parameter, shape (3 * hidden_size, input_size)
    weight_hh_l0 : Parameter, shape (3 * hidden_size, hidden_size)
    bias_ih_l0, bias_hh_l0 : Parameter, shape (3 * hidden_size,)
        As in `RNN`.

    Raises
    ------
    ValueError, TypeError
        As `RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GRU(3, 4, bidirectional=True, batch_first=True, rng=0)
    >>> output, h = layer(np.ones((2, 5, 3)))
    >>> output.shape, h.shape
    ((2, 5, 8), (2, 2, 4))
    """

    mode = "GRU"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, rng)


class RNNCell(RecurrentCell):
    """One step of `RNN`: ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``, f being tanh or relu.

    Called with x (batch, input_size) and h (batch, hidden_size), or both without the axis of the batch; without h it starts
    from zeros. Returns h'.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    dtype : dtype
    rng : int or Generator
        A seed or a generator. Required: randomness is an argument.

    Attributes
    ----------
    weight_ih : Parameter, shape (hidden_size, input_size)
    weight_hh : Parameter, shape (hidden_size, hidden_size)
    bias_ih, bias_hh : Parameter, shape (hidden_size,)
        All start from U(-a, a), a = 1 / sqrt(hidden_size).

    Raises
    ------
    ValueError, TypeError
        As `RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> cell = RNNCell(3, 4, rng=0)
    >>> h = None
    >>> for x in np.ones((5, 2, 3)):
    ...     h = cell(x, h)
    >>> h.shape
    (2, 4)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *,
                 dtype: Any = "float32", rng: int | Generator | None = None) -> None:
        self.nonlinearity = check_name(nonlinearity, NONLINEARITIES, "RNNCell: nonlinearity")
        self.mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(input_size, hidden_size, bias, dtype=dtype, rng=rng)


class LSTMCell(RecurrentCell):
    """One step of `LSTM`: x (batch, input_size) and (h, c), each (batch, hidden_size), give (h', c').

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, rng
        As in `RNNCell`.

    Attributes
    ----------
    weight_ih : Parameter, shape (4 * hidden_size, input_size)
    weight_hh : Parameter, shape (4 * hidden_size, hidden_size)
    bias_ih, bias_hh : Parameter, shape (4 * hidden_size,)

    Raises
    ------
    ValueError, TypeError
        As `RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> h, c = LSTMCell(3, 4, rng=0)(np.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    mode = "LSTM"


class GRUCell(RecurrentCell):
    """One step of `GRU`: x (batch, input_size) and h (batch, hidden_size) give h'.

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, rng
        As in `RNNCell`.

    Attributes
    ----------
    weight_ih : Parameter, shape (3 * hidden_size, input_size)
    weight_hh : Parameter, shape (3 * hidden_size, hidden_size)
    bias_ih, bias_hh : Parameter, shape (3 * hidden_size,)

    Raises
    ------
    ValueError, TypeError
        As `RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> GRUCell(3, 4, rng=0)(np.ones((2, 3))).shape
    (2, 4)
    """

    mode = "GRU"
