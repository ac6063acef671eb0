"""The slow twins of the recurrent layers: PyTorch's equations, one step, one layer and one direction at a time."""
from __future__ import annotations

import exact
import numpy as np

sigmoid = exact.twin("sigmoid")
NONLINEARITIES = {name: exact.twin(name) for name in ("tanh", "relu")}


def rnn_step(x, states, weights, f=np.tanh):
    (h,), (w, u, b, d) = states, weights
    return [f(x @ w.T + b + h @ u.T + d)]


def lstm_step(x, states, weights):
    (h, c), (w, u, b, d) = states, weights
    i, f, g, o = np.split(x @ w.T + b + h @ u.T + d, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def gru_step(x, states, weights):
    (h,), (w, u, b, d) = states, weights
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x @ w.T + b, 3, axis=-1), np.split(h @ u.T + d, 3, axis=-1)
    n, z = np.tanh(x_n + sigmoid(x_r + h_r) * h_n), sigmoid(x_z + h_z)
    return [(1 - z) * n + z * h]


STEPS = {"RNN": rnn_step, "LSTM": lstm_step, "GRU": gru_step}


def layers(step, x, states, weights, directions=1):
    """The output and all last states of layers over x (steps, batch, inputs). For each layer and direction, `weights` has four
    entries, and each state has one entry along its first axis."""
    count = len(states[0])
    last = []
    for k in range(0, count, directions):
        outputs = []
        for way in range(directions):
            now, found = [s[k + way] for s in states], [None] * len(x)
            for t in range(len(x))[::-1 if way else 1]:
                now = step(x[t], now, weights[4 * (k + way):][:4])
                found[t] = now[0]
            outputs.append(np.stack(found))
            last.append(now)
        x = np.concatenate(outputs, axis=-1)
    return x, *(np.stack(s) for s in zip(*last))
