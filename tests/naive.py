"""The slow twin: every operation again in plain NumPy, by the textbook formula, independent of the package.

Gradients are computed by the complex step: with ``f(x + ih) = f(x) + ih f'(x)`` and h = 1e-30, the imaginary part is the
derivative to the last bits, because nothing is subtracted. NumPy's sums and products accept complex numbers. For a function with
a kink, or one that NumPy has for real numbers only, `dual` is given the slope.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

H = 1e-30


def dual(value, slope):
    """A real function of a real variable, extended to the arguments of a complex step."""

    def function(x, *p):
        if np.iscomplexobj(x):
            return value(x.real, *p) + 1j * np.where(x.imag == 0, 0.0, slope(x.real, *p)) * x.imag
        return value(x, *p)

    return function


def gradients(f: Callable, inputs, weights, which=None):
    """The gradient of ``sum(weights * f(*inputs))`` for each input (or those at the places `which`), entry by entry."""
    found = []
    for i in range(len(inputs)) if which is None else which:
        g = np.zeros(np.shape(inputs[i]))
        for entry in np.ndindex(g.shape):
            moved = [np.array(x, complex) if k == i else x for k, x in enumerate(inputs)]
            moved[i][entry] += 1j * H
            g[entry] = np.sum(weights * np.imag(f(*moved))) / H
        found.append(g)
    return found


# -- operations ------------------------------------------------------------------------------------------------------

def power(a, b):
    """a^b for a > 0, or for any a where b is a whole constant."""
    x, y = np.real(a), np.real(b)
    slope_b = np.log(x) * x**y * np.imag(b) if np.iscomplexobj(b) else 0.0
    return x**y + 1j * (y * x ** (y - 1.0) * np.imag(a) + slope_b)


def maximum(a, b):
    """In a tie the first gets the gradient. But a Python number has no slope, and neither has an entry that ties with it."""
    tie = b if type(b) is float else a              # np.float64, which a 0-d array becomes, is a float too
    return np.where(np.real(a) > np.real(b), a, np.where(np.real(a) < np.real(b), b, tie))


def minimum(a, b):
    return -maximum(-a, -b)


def largest(x, axis=None, keepdims=False):
    """The maximum. In a tie the lowest index gets the gradient, which is the index of np.argmax."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(sorted(a % x.ndim for a in np.atleast_1d(axis).astype(int)))
    rows = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim)).reshape(*(n for i, n in enumerate(x.shape) if i not in axes), -1)
    y = np.take_along_axis(rows, rows.real.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.expand_dims(y, axes) if keepdims else y


def smallest(x, axis=None, keepdims=False):
    return -largest(-x, axis, keepdims)


def var(x, axis=None, keepdims=False, ddof=0):
    d = x - x.mean(axis=axis, keepdims=True)
    total = np.sum(d * d, axis=axis, keepdims=keepdims)
    return total / (x.size / total.size - ddof)


def std(x, axis=None, keepdims=False, ddof=0):
    """The standard deviation. Where all numbers are equal, up to rounding, both the value and the slope are 0."""
    squares = var(x, axis, keepdims, ddof)
    equal = np.real(squares) < 1e-30
    return np.where(equal, 0.0, np.sqrt(np.where(equal, 1.0, squares)))


def logsumexp(x, axis=None, keepdims=False):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x.real, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    shifted = x - np.max(x.real, axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def reduced(losses, reduction, total=None):
    return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / (losses.size if total is None else total)}[reduction]


def cross_entropy(x, labels, reduction="mean", weight=None, ignore_index=-100, label_smoothing=0.0):
    return nll(log_softmax(x), labels, reduction, weight, ignore_index, label_smoothing)


def soft_cross_entropy(x, target, reduction="mean", weight=1.0, label_smoothing=0.0):
    """The cross-entropy of class probabilities along axis 1. The mean divides by the number of losses, whatever the weights."""
    asked = (1 - label_smoothing) * target + label_smoothing / x.shape[1]
    weight = np.reshape(weight, (-1, *[1] * (x.ndim - 2)))
    return reduced(-(weight * asked * log_softmax(x, axis=1)).sum(axis=1), reduction)


def at_places(loss, x, labels, reduction="mean", **options):
    """A loss of rows, applied at every place of x (rows, classes, d1, ...), or to the one row x (classes,)."""
    rows = np.moveaxis(np.atleast_2d(x), 1, -1)
    losses = loss(rows.reshape(-1, rows.shape[-1]), np.ravel(labels), reduction, **options)
    return losses.reshape(np.shape(labels)) if reduction == "none" else losses


def nll(logs, labels, reduction="mean", weight=None, ignore_index=-100, smoothing=0.0):
    """Row by row, by the formula in PyTorch's documentation."""
    classes = logs.shape[1]
    weight = np.ones(classes) if weight is None else np.asarray(weight)
    losses, total = [], 0.0
    for row, label in zip(logs, labels):
        if label == ignore_index:
            losses.append(0.0)
        else:
            losses.append(-(1 - smoothing) * weight[label] * row[label] - smoothing / classes * np.sum(weight * row))
            total += weight[label]
    return reduced(np.array(losses), reduction, total)


CLASSES = {"cross_entropy": cross_entropy, "nll_loss": nll}


def multi_margin(x, labels, p=1, margin=1.0, weight=None, reduction="mean"):
    losses = []
    for row, label in zip(x, labels):
        short = [margin - row[label] + row[c] for c in range(len(row)) if c != label]
        losses.append((1.0 if weight is None else weight[label]) * sum(z**p for z in short if z.real > 0) / len(row))
    return reduced(np.array(losses), reduction)


def hinge_embedding(x, target, margin=1.0, reduction="mean"):
    return reduced(np.where(target == 1, x, np.where(np.real(x) <= margin, margin - x, 0.0)), reduction)


def bce(x, target, weight=1.0, reduction="mean", pos_weight=1.0):
    p = 1 / (1 + np.exp(-x))
    return reduced(-weight * (pos_weight * target * np.log(p) + (1 - target) * np.log(1 - p)), reduction)


ERRORS = {      # losses of the error e: (value, slope)
    "mse_loss": (lambda e: e * e, lambda e: 2 * e),
    "l1_loss": (np.abs, np.sign),
    "huber_loss": (lambda e, d=1.0: np.where(abs(e) <= d, e * e / 2, d * (abs(e) - d / 2)), lambda e, d=1.0: np.clip(e, -d, d)),
    "smooth_l1_loss": (lambda e, b=1.0: np.where(abs(e) < b, e * e / 2, b * (abs(e) - b / 2)) / b,
                       lambda e, b=1.0: np.clip(e, -b, b) / b),
}


def error_loss(name, x, target, p=(), reduction="mean", weight=1.0, total=None):
    return reduced(weight * dual(*ERRORS[name])(x - target, *p), reduction, total)


def linear(x, weight, bias=0.0):
    return np.einsum("...i,oi->...o", x, weight) + bias


def maxout(x, pieces):
    """The largest of each group of neighbours."""
    return largest(x.reshape(*x.shape[:-1], x.shape[-1] // pieces, pieces), axis=-1)


def prelu(x, slopes):
    """There is one slope per channel: axis 1 (axis 0 of a vector)."""
    if np.size(slopes) > 1:
        slopes = np.reshape(slopes, (-1,) + (1,) * max(0, np.ndim(x) - 2))
    elif np.ndim(x) == 0:
        slopes = np.reshape(slopes, ())
    return np.where(np.real(x) > 0, x, slopes * x)


def gather(x, axis, index):
    """PyTorch's, entry by entry: ``out[i, j] = x[index[i, j], j]`` for axis 0 of two."""
    index = np.array(index)
    out = np.zeros(index.shape, x.dtype)
    for place in np.ndindex(index.shape):
        source = list(place)
        source[axis] = index[place]
        out[place] = x[tuple(source)]
    return out


def normalised(x, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axis=axes, keepdims=True) + eps)


def by_channel(values, x):
    """One number per channel, shaped so that they run along axis 1 of x."""
    return np.reshape(values, (-1,) + (1,) * (np.ndim(x) - 2))


def batch_norm(x, weight=1.0, bias=0.0, eps=1e-5):
    return normalised(x, (0, *range(2, np.ndim(x))), eps) * by_channel(weight, x) + by_channel(bias, x)


def batch_norm_by(x, mean, var, weight=1.0, bias=0.0, eps=1e-5):
    return (x - by_channel(mean, x)) / np.sqrt(by_channel(var, x) + eps) * by_channel(weight, x) + by_channel(bias, x)


def layer_norm(x, axes, weight=1.0, bias=0.0, eps=1e-5):
    return normalised(x, axes, eps) * weight + bias


def embedding(indices, weight, padding_idx=None):
    rows = weight[indices]
    return rows if padding_idx is None else np.where((indices == padding_idx)[..., None], rows.real, rows)


# -- random numbers by counting: Philox as in the paper, for words of 32 or 64 bits ----------------------------------

PHILOX = {      # the multipliers, and the numbers added to the key after each round
    32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
    64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
}


def philox(counter, key, bits=32):
    """Four words from a counter of four and a key of two, in ten rounds."""
    multipliers, steps = PHILOX[bits]
    counter, key = list(counter), list(key)
    for _ in range(10):
        high, low = zip(*(divmod(m * c, 2**bits) for m, c in zip(multipliers, (counter[0], counter[2]))))
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(k + step) % 2**bits for k, step in zip(key, steps)]
    return counter


@functools.cache
def words(key, start, n):
    """The words of n elements: in each tile of 256, the first 64 have the first words of 64 counters, the next the second ..."""
    counts = [start + i // 256 * 64 + i % 64 for i in range(n)]
    found = {c: philox([c % 2**32, c >> 32, 0, 0], [key % 2**32, key >> 32]) for c in counts}
    return np.array([found[c][i % 256 // 64] for i, c in enumerate(counts)], float)


def key_of(seed):
    return int(np.random.default_rng(seed).integers(2**63))


def dropout(x, p, key, start=0):
    dropped = words(key, start, np.size(x)).reshape(np.shape(x)) < p * 2**32
    return np.where(dropped, 0.0, x / (1 - p) if p < 1 else 0.0)


def drawn_slopes(shape, low, high, key, start=0):
    return low + (high - low) * (words(key, start, math.prod(shape)).reshape(shape) // 256) / 2**24


# -- optimizers, line by line as their papers (and PyTorch's documentation) have them --------------------------------

def sgd(p, g, state, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, decoupled=False):
    """One step: the new p. `state` is a dict, empty at the start."""
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    if momentum:
        if "v" in state:
            state["v"] = momentum * state["v"] + (1 - dampening) * g
        else:
            state["v"] = g
        g = g + momentum * state["v"] if nesterov else state["v"]
    return p - lr * g


def adam(p, g, state, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    b1, b2 = betas
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = b1 * state.get("m", 0.0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0.0) + (1 - b2) * g * g
    return p - lr * (state["m"] / (1 - b1**t)) / (np.sqrt(state["v"] / (1 - b2**t)) + eps)
