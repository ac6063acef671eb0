"""Fifty training steps of each module that is not an activation, side by side with PyTorch's, in float64.

Weights, outputs and running statistics agree to 1e-10; parameters and buffers have PyTorch's names and shapes, and the two
start from PyTorch's state dict. PyTorch gets our random numbers.
"""
from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import torch.nn.functional as TF
from common import every_type
from parity.test_functions import agree, ours_and_theirs

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

STEPS, ROWS = 50, 16
DATA = np.random.default_rng(0)
OPTIMIZERS = {
    "sgd": (lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "adam": (lambda p: optim.Adam(p, lr=0.01, eps=1e-5), lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-5)),
}       # eps: the bias of a layer before a batch norm has rounding errors for a gradient, 1e-17, which lr / eps magnifies


class Pooled(nn.Module):
    """Embedding, mean over the words, affine."""

    def __init__(self, **options):
        self.table = nn.Embedding(11, 6, rng=0, dtype="float64", **options)
        self.head = nn.Linear(6, 3, rng=1, dtype="float64")

    def forward(self, x):
        return self.head(self.table(x).mean(axis=1))


class TorchPooled(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.table, self.head = torch.nn.Embedding(11, 6, **options), torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.table(x).mean(dim=1))


class TorchResidual(torch.nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class TorchDropout(torch.nn.Dropout):
    """PyTorch's dropout, with the mask of one of our layers."""

    def __init__(self, layer):
        super().__init__(layer.p)
        self.layer = deepcopy(layer)

    def forward(self, x):
        return x * torch.from_numpy(self.layer(np.ones(x.shape)).data != 0) / (1 - self.p) if self.training else super().forward(x)


class TorchRReLU(torch.nn.RReLU):
    """PyTorch's rrelu, with the slopes that one of our layers draws."""

    def __init__(self, layer):
        super().__init__(layer.lower, layer.upper)
        self.layer = deepcopy(layer)

    def forward(self, x):
        slopes = torch.from_numpy(-self.layer(-np.ones(x.shape)).data)
        return torch.where(x > 0, x, slopes * x) if self.training else super().forward(x)


def drawn(layer, peer):
    """The layer between two affine ones."""
    return (nn.Sequential(nn.Linear(6, 8, rng=0, dtype="float64"), layer, nn.Linear(8, 3, rng=1, dtype="float64")),
            torch.nn.Sequential(torch.nn.Linear(6, 8), peer(layer), torch.nn.Linear(8, 3)),
            lambda: DATA.standard_normal((ROWS, 6)))


def alone(ours, theirs, shape):
    """A module by itself: its output is trained towards a target."""
    return lambda: (ours(), theirs(), lambda: DATA.standard_normal((ROWS, *shape)) * 2 + 1)


def norm_options(*names):
    return [dict(zip(names, values)) for values in ((), (0.1,), (1e-3, None), (1e-5, 0.3))]


def perceptron(**options):
    return nn.MLP([6, 8, 8, 3], dtype="float64", rng=0, **options)


def torch_perceptron(norm, residual=False):
    def block(n, m):
        return torch.nn.Linear(n, m), norm(m), torch.nn.ReLU()
    second = [TorchResidual(*block(8, 8))] if residual else block(8, 8)
    return torch.nn.Sequential(*block(6, 8), *second, torch.nn.Linear(8, 3))


MODULES = {
    **{f"batch norm {options} of {shape}": alone(lambda o=options: nn.BatchNorm1d(5, dtype="float64", **o),
                                                 lambda o=options: torch.nn.BatchNorm1d(5, **o), shape)
       for options in (*norm_options("eps", "momentum"), dict(affine=False), dict(track_running_stats=False), dict(bias=False))
       for shape in ((5,), (5, 4))},
    **{f"layer norm {options}": alone(lambda o=options: nn.LayerNorm(dtype="float64", **o),
                                      lambda o=options: torch.nn.LayerNorm(**o), (4, 5))
       for options in (dict(normalized_shape=5), dict(normalized_shape=(4, 5), eps=0.1), dict(normalized_shape=5, bias=False),
                       dict(normalized_shape=5, elementwise_affine=False))},
    **{f"embedding {options}": lambda o=options: (Pooled(**o), TorchPooled(**o), lambda: DATA.integers(0, 11, (ROWS, 4)))
       for options in ({}, dict(padding_idx=0), dict(padding_idx=-1))},
    "dropout": lambda: drawn(nn.Dropout(0.3, rng=0), TorchDropout),
    "rrelu": lambda: drawn(nn.RReLU(rng=0), TorchRReLU),
    "mlp, batch norm": lambda: (perceptron(norm="batch"), torch_perceptron(torch.nn.BatchNorm1d),
                                lambda: DATA.standard_normal((ROWS, 6))),
    "mlp, layer norm": lambda: (perceptron(norm="layer"), torch_perceptron(torch.nn.LayerNorm),
                                lambda: DATA.standard_normal((ROWS, 6))),
    "mlp, batch norm, residual": lambda: (perceptron(norm="batch", residual=True), torch_perceptron(torch.nn.BatchNorm1d, True),
                                          lambda: DATA.standard_normal((ROWS, 6))),
}


def match(ours, theirs):
    """Pairs (array, tensor) of everything in the state, by name; PyTorch's have no state of random numbers."""
    mine = {**{n: p.data for n, p in ours.named_parameters()},
            **{n: b.data for n, b in ours.named_buffers() if not b.optional}}
    state = theirs.state_dict()
    assert set(mine) == set(state)
    return [(mine[name], state[name]) for name in state]


def worst(ours, theirs):
    assert all(a.shape == tuple(t.shape) and str(t.dtype).endswith(str(a.dtype)) for a, t in match(ours, theirs))
    return max((abs(a - t.numpy()).max() for a, t in match(ours, theirs)), default=0.0)


@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("name", MODULES)
def test_fifty_steps(name, rule):
    ours, theirs, draw = MODULES[name]()
    theirs = theirs.double()
    with torch.no_grad():
        for t in theirs.state_dict().values():
            if t.is_floating_point():
                t += torch.from_numpy(0.1 * DATA.standard_normal(t.shape) ** 2)
    ours.load_state_dict(theirs.state_dict())
    trained = ours.parameters() != []
    opt, peer = (make(list(m.parameters())) if trained else None for make, m in zip(OPTIMIZERS[rule], (ours, theirs)))
    for _ in range(STEPS):
        x = draw()
        y, u = ours(x), theirs(torch.from_numpy(x))
        target = DATA.standard_normal(y.shape)
        if trained:
            opt.zero_grad(), peer.zero_grad()
            F.mse_loss(y, target).backward(), TF.mse_loss(u, torch.from_numpy(target)).backward()
            opt.step(), peer.step()
        assert abs(y.data - u.detach().numpy()).max() < 1e-10 and worst(ours, theirs) < 1e-10
    ours.eval(), theirs.eval()
    x = draw()
    assert abs(ours(x).data - theirs(torch.from_numpy(x)).detach().numpy()).max() < 1e-10
    assert worst(ours, theirs) < 1e-10


MEAN, VAR = DATA.standard_normal(3), DATA.uniform(0.5, 2, 3)
INDICES = DATA.integers(0, 5, (4, 3))


def constant(array, like):
    return torch.tensor(array, dtype=like.dtype)


FUNCTIONS = {
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
                   lambda x, w, b: TF.batch_norm(x, None, None, w, b, training=True), [(6, 3), (3,), (3,)]),
    "batch_norm of a series": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 1e-3),
                               lambda x, w, b: TF.batch_norm(x, None, None, w, b, True, 0.1, 1e-3), [(6, 3, 4), (3,), (3,)]),
    "batch_norm, evaluation": (
        lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b),
        lambda x, w, b: TF.batch_norm(x, constant(MEAN, x), constant(VAR, x), w, b), [(6, 3), (3,), (3,)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4, 3), w, b), lambda x, w, b: TF.layer_norm(x, (4, 3), w, b),
                   [(5, 4, 3), (4, 3), (4, 3)]),
    "embedding": (lambda w: F.embedding(INDICES, w, padding_idx=2) ** 2,
                  lambda w: TF.embedding(torch.from_numpy(INDICES), w, padding_idx=2) ** 2, [(5, 3)]),
}


@every_type
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, dtype):
    """Values, gradients and second derivatives: sums of up to 24 numbers, divided by their spread."""
    f, g, shapes = FUNCTIONS[name]
    agree(ours_and_theirs(f, g, [2 * DATA.standard_normal(shape) for shape in shapes], dtype, order=2), dtype, ulps=256)


def test_dropout_extremes():
    """The draws differ from PyTorch's, but with p = 0 and p = 1 the results are the same."""
    x = DATA.standard_normal((4, 3))
    for p, training in ((0.0, True), (1.0, True), (0.5, False)):
        theirs = TF.dropout(torch.from_numpy(x), p, training).numpy()
        np.testing.assert_array_equal(F.dropout(x, p, training, rng=0).data, theirs)
