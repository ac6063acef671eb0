"""RNN, LSTM and GRU over whole sequences, and their cells for one step, with PyTorch's equations, gates and parameters.

All of them run one operation of `ops.recurrent`: one layer in one direction over a sequence. A cell is a sequence of one step; a
single sequence is a batch of one; another direction or layer is the same operation again.
"""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from .. import functional as F
from ..autodiff.node import Node, Op, absent
from ..checks import check_count, check_dtype, check_name, check_probability, check_rng
from ..kernels.formulas import ACTIVATIONS
from ..ops import recurrent as ops
from ..ops.elementwise import operand_array
from ..ops.shape import concatenate, reshape, transpose
from ..parameters import Parameter
from .layers import Dropout
from .module import Module, in_dtype_of


class Kind(NamedTuple):
    """The properties in which RNN, LSTM and GRU differ."""

    gates: int                      # a weight has `hidden_size` rows for each
    states: tuple[str, ...]
    op: Op


NONLINEARITIES = ("tanh", "relu")
KINDS = {f"RNN_{name.upper()}": Kind(1, ("h",), ops.rnn_op(ACTIVATIONS[name])) for name in NONLINEARITIES}
KINDS |= {"LSTM": Kind(4, ("h", "c"), ops.lstm), "GRU": Kind(3, ("h",), ops.gru)}


class Recurrent(Module):
    """The base of layers and cells: parameters, and the checks of inputs and states."""

    mode: str           # one of KINDS
    input_size: int
    hidden_size: int
    bias: bool

    @property
    def kind(self) -> Kind:
        return KINDS[self.mode]

    def _set_nonlinearity(self, nonlinearity: str) -> None:
        self.nonlinearity = check_name(nonlinearity, NONLINEARITIES, f"{type(self).__name__}: nonlinearity")
        self.mode = f"RNN_{nonlinearity.upper()}"

    def _make_weights(self, inputs: int, suffix: str, rng: Generator, dtype: Any) -> None:
        """Draw the parameters of one layer and direction."""
        rows, bound = self.kind.gates * self.hidden_size, 1 / sqrt(self.hidden_size)
        for name, shape in zip(self._names(suffix), ((rows, inputs), (rows, self.hidden_size), (rows,), (rows,))):
            setattr(self, name, Parameter(rng.uniform(-bound, bound, shape).astype(dtype), kind=name.split("_")[0]))

    def _names(self, suffix: str) -> list[str]:
        return [name + suffix for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[:4 if self.bias else 2]]

    def _run(self, x: Any, states: Sequence[Any], suffix: str, reverse: bool = False) -> Any:
        """One layer in one direction over x (steps, rows, inputs): the packed states of `ops.recurrent`."""
        weight_ih, weight_hh, *biases = [getattr(self, name) for name in self._names(suffix)]
        if self.mode == "GRU":          # its gate r multiplies the second bias, so the biases cannot be added first
            bias, *rest = biases or (None, absent(weight_hh.array.ravel()))
        else:
            bias, rest = biases[0] + biases[1] if biases else None, []
        return self.kind.op(F.linear(x, weight_ih, bias), *states, weight_hh, *rest, reverse=reverse)

    def _input(self, x: Any, like: Node, *shapes: str) -> Any:
        """x, with as many axes as one of the `shapes`, which the error names."""
        who = type(self).__name__
        x = in_dtype_of(operand_array(x, like, f"{who}: x"), like)
        if len(x.shape) not in (text.count(",") + 1 for text in shapes) or x.shape[-1] != self.input_size:
            raise ValueError(f"{who}: x has shape {x.shape}, expected "
                             + " or ".join(f"({text})".replace("inputs", str(self.input_size)) for text in shapes))
        return x

    def _states(self, hx: Any, shape: tuple[int, ...], like: Node) -> list[Any]:
        """The given states, checked; zeros if there are none."""
        who, names = type(self).__name__, self.kind.states
        if hx is None:
            return [np.zeros(shape, like.dtype) for _ in names]
        if len(names) == 1:
            hx = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != len(names):
            raise TypeError(f"{who}: got a state of type {type(hx).__name__}, expected the tuple ({', '.join(names)})")
        found = [in_dtype_of(operand_array(state, like, f"{who}: {name}"), like) for name, state in zip(names, hx)]
        for name, state in zip(names, found):
            if state.shape != shape:
                raise ValueError(f"{who}: the state {name} has shape {state.shape}, expected {shape}")
        return found


def _plain(states: list[Any]) -> Any:
    """One state by itself, several as a tuple."""
    return states[0] if len(states) == 1 else tuple(states)


def _cut(x: Any, start: int, length: int = 1) -> Any:
    return ops.narrow(x, start=start, stop=start + length)


class RecurrentLayers(Recurrent):
    """One or more layers over a whole sequence, in one direction or both."""

    weight_ih_l0: Parameter

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        who = type(self).__name__
        for size, name in ((input_size, "input_size"), (hidden_size, "hidden_size"), (num_layers, "num_layers")):
            check_count(size, f"{who}: {name}")
        rng, dtype = check_rng(rng, who), check_dtype(dtype)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        for k in range(num_layers):
            for suffix in self._suffixes(k):
                self._make_weights(hidden_size * (1 + bidirectional) if k else input_size, suffix, rng, dtype)
        dropout = check_probability(dropout, f"{who}: dropout")
        self.between = Dropout(dropout, rng=rng) if dropout != 0 else None
        if dropout != 0 and num_layers == 1:
            caller = 2 if type(self).__init__ is RecurrentLayers.__init__ else 3
            warnings.warn(f"{who}: dropout={dropout} does nothing with num_layers=1: it acts between layers", stacklevel=caller)

    @property
    def dropout(self) -> float:
        """The probability of dropping; it may be changed if it was not 0 at first."""
        return 0.0 if self.between is None else self.between.p

    @dropout.setter
    def dropout(self, p: float) -> None:
        who = type(self).__name__
        p = check_probability(p, f"{who}: dropout")
        if self.between is not None:
            self.between.p = p
        elif p:
            raise ValueError(f"{who}: cannot set dropout to {p}: this layer was made without it and has no random state; "
                             f"make one with {who}(..., dropout={p}, rng=...)")

    def _suffixes(self, k: int) -> list[str]:
        """The suffixes of the parameter names of layer k, one for each direction."""
        return [f"_l{k}", f"_l{k}_reverse"][:1 + self.bidirectional]

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Any]:
        like = self.weight_ih_l0
        x = self._input(x, like, "batch, steps, inputs" if self.batch_first else "steps, batch, inputs", "steps, inputs")
        many, size = self.num_layers * (1 + self.bidirectional), self.hidden_size
        if len(x.shape) == 2:               # one sequence: a batch of one
            states = [reshape(s, shape=(many, 1, size)) for s in self._states(hx, (many, size), like)]
            output, states = self._layers(reshape(x, shape=(x.shape[0], 1, x.shape[1])), states)
            return reshape(output, shape=(x.shape[0], output.shape[2])), _plain([reshape(s, shape=(many, size)) for s in states])
        if self.batch_first:
            x = transpose(x, axes=(1, 0, 2))
        output, states = self._layers(x, self._states(hx, (many, x.shape[1], size), like))
        return transpose(output, axes=(1, 0, 2)) if self.batch_first else output, _plain(states)

    def _layers(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """All layers over x (steps, rows, inputs); the states are (layers and directions, rows, size), in and out."""
        if not x.shape[0]:
            raise ValueError(f"{type(self).__name__}: x is a sequence of no steps, expected at least one")
        steps = x.shape[0]
        ends: list[list[Any]] = []          # the last states of each layer and direction, each (1, rows, size)
        for k in range(self.num_layers):
            outputs = []
            for suffix, reverse in zip(self._suffixes(k), (False, True)):
                given = [reshape(_cut(s, len(ends)), shape=s.shape[1:]) for s in states]
                packed = self._run(x, given, suffix, reverse)
                outputs.append(_cut(packed, 0 if reverse else 1, steps))
                ends.append([_cut(packed, at) for at in (0 if reverse else steps, steps + 1)[:len(states)]])
            x = outputs[0] if len(outputs) == 1 else concatenate(outputs, axis=2)
            if self.between is not None and k < self.num_layers - 1:
                x = self.between(x)
        return x, [s[0] if len(s) == 1 else concatenate(s) for s in zip(*ends)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"        # on one line: the dropout inside is one of the options


class RecurrentCell(Recurrent):
    """One step of a layer."""

    weight_ih: Parameter

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = "float32",
                 rng: int | Generator | None = None) -> None:
        who = type(self).__name__
        check_count(input_size, f"{who}: input_size"), check_count(hidden_size, f"{who}: hidden_size")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self._make_weights(input_size, "", check_rng(rng, who), check_dtype(dtype))

    def forward(self, x: Any, hx: Any = None) -> Any:
        like = self.weight_ih
        x = self._input(x, like, "batch, inputs", "inputs")
        shape = (*x.shape[:-1], self.hidden_size)
        rows = x.shape[0] if len(x.shape) == 2 else 1
        states = [reshape(s, shape=(rows, self.hidden_size)) for s in self._states(hx, shape, like)]
        packed = self._run(reshape(x, shape=(1, rows, self.input_size)), states, "")      # a sequence of one step
        return _plain([reshape(_cut(packed, k), shape=shape) for k in range(1, len(states) + 1)])


class RNN(RecurrentLayers):
    """``h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`` over a sequence, with tanh or relu as f (Elman 1990, Cogn. Sci. 14).

    Called with x (steps, batch, input_size) and optionally the state h (num_layers * directions, batch, hidden_size), by default
    zeros. Returns the output of the last layer, (steps, batch, directions * hidden_size), and the last state, of the shape of the
    first. For a single sequence, leave out the batch axis everywhere.

    The parameters of the first layer are weight_ih_l0 (hidden_size, input_size), weight_hh_l0 (hidden_size, hidden_size), and
    bias_ih_l0 and bias_hh_l0 (hidden_size,), drawn from U(-a, a) with a = 1 / sqrt(hidden_size). The names of further layers end
    in l1, l2, ..., those of the backward direction in l0_reverse, ...; layers above the first have directions * hidden_size
    inputs.

    - `batch_first`: whether x and the output are (batch, steps, ...). States are not affected.
    - `dropout`: the probability of a `Dropout` after every layer but the last. It may be changed later if it was not 0 at first.
    - `bidirectional`: whether each layer also runs backwards in time, with its own weights; the outputs are concatenated.
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
    (output, (h, c)). Options and shapes as in `RNN`, but weights and biases have 4 * hidden_size rows. Projections of the state
    (PyTorch's `proj_size`) are not supported.

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

    Called with x (batch, input_size) and optionally h (batch, hidden_size), or with both without the batch axis. The parameters
    weight_ih, weight_hh, bias_ih and bias_hh are as in the first layer of `RNN`.

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
