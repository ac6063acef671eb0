"""Modules as rows of the table: layers with their parameters as inputs, and losses with their settings."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exact
import naive
import numpy as np
from recurrent_table import with_weights
from table import CENTER, INDICES, LABELS, SIGNS, SPREAD, Row, positive

from tinygrad_relu import nn
from tinygrad_relu.functional import REDUCTIONS


def row(name: str, layer: nn.Module, twin: Callable[..., Any], shape: Any) -> Row:
    """A layer whose inputs are x and all its parameters. In training each call starts from the same random state and counts."""
    return Row(name, lambda x, *p: with_weights(layer, p)(x), twin, (shape, *(p.shape for p in layer.parameters())))


def evaluated(layer: nn.BatchNorm1d) -> nn.Module:
    layer.running_mean.data[:], layer.running_var.data[:] = CENTER, SPREAD
    return layer.eval()


def drawn(layer: Any, start: int) -> Any:
    """A layer that has drawn random numbers before: its counter is `start`."""
    layer.rng_state.data[1] = start
    return layer


def rrelu(x: Any, start: int) -> Any:
    return np.where(np.real(x) > 0, x, x * naive.drawn_slopes(np.shape(x), 0.2, 0.6, naive.key_of(5), start))


def affine(name: str) -> Callable[..., Any]:
    """An affine layer and an activation: one operation in a Sequential."""
    return lambda x, *p: exact.twin(name)(naive.linear(x, *p))


def perceptron(model: nn.MLP) -> Callable[..., Any]:
    """An MLP whose hidden layers have a norm, tanh and dropout each; the second one adds its input."""
    keys = [int(m.rng_state.data[0]) for _, m in model.named_modules() if isinstance(m, nn.Dropout)]

    def block(x, key, w, b, *p):
        return naive.dropout(np.tanh(naive.layer_norm(naive.linear(x, w, b), -1, *p)), 0.25, key)

    def twin(x, *p):
        x = block(x, keys[0], *p[:4])
        return naive.linear(block(x, keys[1], *p[4:8]) + x, *p[8:])
    return twin


def _affine(n: int, m: int, **options: Any) -> nn.Linear:
    return nn.Linear(n, m, rng=0, dtype="float64", **options)


MLP = nn.MLP([3, 4, 4, 2], activation="tanh", norm="layer", dropout=0.25, residual=True, rng=0, dtype="float64")

LAYERS = [
    row("Linear", _affine(4, 3), naive.linear, (2, 4)),
    row("Linear without bias", _affine(4, 3, bias=False), naive.linear, (2, 2, 4)),
    row("Maxout", nn.Maxout(3, 2, pieces=3, rng=0, dtype="float64"), lambda x, *p: naive.maxout(naive.linear(x, *p), 3), (4, 3)),
    row("PReLU", nn.PReLU(dtype="float64"), naive.prelu, (2, 3)),
    row("PReLU per channel", nn.PReLU(3, dtype="float64"), naive.prelu, (2, 3, 2)),
    row("RReLU", nn.RReLU(0.2, 0.6, rng=5).eval(), lambda x: np.where(np.real(x) > 0, x, 0.4 * x), (2, 3)),
    *(row(f"RReLU in training from {n} on", drawn(nn.RReLU(0.2, 0.6, rng=5), n), lambda x, n=n: rrelu(x, n), (3, 4)) for n in (0, 128)),
    *(row(f"Dropout from {n} on", drawn(nn.Dropout(0.3, rng=5), n), lambda x, n=n: naive.dropout(x, 0.3, naive.key_of(5), n), (3, 5))
      for n in (0, 128, 2**32 - 64)),
    row("Softmax", nn.Softmax(dim=0), lambda x: naive.softmax(x, 0), (3, 4)),
    row("Flatten", nn.Flatten(), lambda x: x.reshape(2, 12), (2, 3, 4)),
    row("Dropout in evaluation", nn.Dropout(0.3, rng=5).eval(), lambda x: x, (3, 5)),
    row("BatchNorm1d", nn.BatchNorm1d(3, eps=0.1, dtype="float64"), lambda *p: naive.batch_norm(*p, eps=0.1), (4, 3)),
    row("BatchNorm1d of a series", nn.BatchNorm1d(3, eps=0.1, dtype="float64"), lambda *p: naive.batch_norm(*p, eps=0.1), (2, 3, 2)),
    row("BatchNorm1d in evaluation", evaluated(nn.BatchNorm1d(3, dtype="float64")),
        lambda x, *p: naive.batch_norm_by(x, CENTER, SPREAD, *p), (4, 3)),
    row("LayerNorm", nn.LayerNorm(4, eps=0.1, dtype="float64"), lambda x, *p: naive.layer_norm(x, -1, *p, eps=0.1), (3, 4)),
    row("LayerNorm over two axes", nn.LayerNorm((2, 3), eps=0.1, dtype="float64"),
        lambda x, *p: naive.layer_norm(x, (-2, -1), *p, eps=0.1), (2, 2, 3)),
    *(row(f"Sequential of Linear and {cls.__name__}", nn.Sequential(_affine(3, 4), cls()), affine(name), (2, 3))
      for name, cls in nn.activations.MODULES.items() if issubclass(cls, nn.Activation)),
    row("Residual", nn.Residual(_affine(3, 3), nn.Tanh()), lambda x, *p: np.tanh(naive.linear(x, *p)) + x, (2, 3)),
    row("MLP", MLP, perceptron(MLP), (3, 3)),
    *(Row(f"Embedding, padding {padding}", lambda w, p=padding: with_weights(
        nn.Embedding(5, 3, padding_idx=p, rng=0, dtype="float64"), [w])(INDICES),
        lambda w, p=padding: naive.embedding(INDICES, w, p), ((5, 3),)) for padding in (None, 4)),
]

WEIGHT, MASS = [0.5, 2.0, 1.5], np.array([0.5, 2.0, 1.5, 1.0])
LABELED = {     # of scores (5, 3): (settings, the twin of the scores and a reduction)
    nn.CrossEntropyLoss: (dict(weight=WEIGHT, label_smoothing=0.3, ignore_index=0),
                          lambda x, how: naive.cross_entropy(x, LABELS, how, WEIGHT, 0, 0.3)),
    nn.NLLLoss: (dict(weight=WEIGHT, ignore_index=0), lambda x, how: naive.nll(x, LABELS, how, WEIGHT, 0)),
    nn.MultiMarginLoss: (dict(p=2, margin=0.5, weight=WEIGHT), lambda x, how: naive.multi_margin(x, LABELS, 2, 0.5, WEIGHT, how)),
}
PAIRED = {      # of x and a target (3, 4)
    nn.MSELoss: ({}, lambda x, t, how: naive.error_loss("mse_loss", x, t, (), how)),
    nn.L1Loss: ({}, lambda x, t, how: naive.error_loss("l1_loss", x, t, (), how)),
    nn.HuberLoss: (dict(delta=0.75), lambda x, t, how: naive.error_loss("huber_loss", x, t, (0.75,), how)),
    nn.SmoothL1Loss: (dict(beta=0.75), lambda x, t, how: naive.error_loss("smooth_l1_loss", x, t, (0.75,), how)),
    nn.BCEWithLogitsLoss: (dict(pos_weight=MASS), lambda x, t, how: naive.bce(x, t, 1.0, how, MASS)),
}

LOSSES = [
    Row(f"{cls.__name__}, {how}", lambda x, c=cls, o=options, how=how: c(reduction=how, **o)(x, LABELS),
        lambda x, f=twin, how=how: f(x, how), ((5, 3),))
    for cls, (options, twin) in LABELED.items() for how in REDUCTIONS
] + [
    Row(f"{cls.__name__}, {how}", lambda x, t, c=cls, o=options, how=how: c(reduction=how, **o)(x, t),
        lambda x, t, f=twin, how=how: f(x, t, how), ((3, 4), positive(3, 4) if cls is nn.BCEWithLogitsLoss else (3, 4)))
    for cls, (options, twin) in PAIRED.items() for how in REDUCTIONS
] + [
    Row(f"HingeEmbeddingLoss, {how}", lambda x, how=how: nn.HingeEmbeddingLoss(0.75, how)(x, SIGNS),
        lambda x, how=how: naive.hinge_embedding(x, SIGNS, 0.75, how), ((3, 4),))
    for how in REDUCTIONS
]

ROWS = LAYERS + LOSSES
