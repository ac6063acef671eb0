"""Recurrent layers and cells, side by side with PyTorch's: outputs, states, gradients, and fifty training steps."""
from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from parity.peer import TYPES

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

STEPS, BATCH, INPUTS, HIDDEN = 6, 4, 3, 5
ARRANGEMENTS = [
    {}, dict(bias=False), dict(batch_first=True), dict(num_layers=2), dict(bidirectional=True),
    dict(num_layers=2, bidirectional=True, batch_first=True)]
CASES = [(kind, options) for kind in ("RNN", "LSTM", "GRU") for options in ARRANGEMENTS]
CASES += [("RNN", dict(nonlinearity="relu")), ("RNN", dict(nonlinearity="relu", num_layers=2, bidirectional=True))]
every_case = pytest.mark.parametrize("kind, options", CASES, ids=lambda case: str(case))
CELLS = [("RNNCell", {}), ("RNNCell", dict(nonlinearity="relu")), ("LSTMCell", {}), ("GRUCell", {}), ("GRUCell", dict(bias=False))]
OPTIMIZERS = {
    "momentum": (lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "adam": (lambda p: optim.Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
}


def pair(kind, options, dtype=np.float64):
    """Ours and theirs, with the same names and numbers."""
    ours = getattr(nn, kind)(INPUTS, HIDDEN, rng=0, dtype=dtype, **options)
    theirs = getattr(torch.nn, kind)(INPUTS, HIDDEN, **options).to(TYPES[dtype])
    theirs.load_state_dict({name: torch.from_numpy(p.data.copy()) for name, p in ours.named_parameters()}, strict=True)
    return ours, theirs


def several(h):
    return list(h) if isinstance(h, tuple) else [h]


def result(layer, x, states):
    """Output (of a cell: none) and states, as a list."""
    h = layer(x, tuple(states) if len(states) == 2 else states[0])
    return [h[0], *several(h[1])] if "Cell" not in type(layer).__name__ else several(h)


def arrays_for(kind, options, rng):
    """An x, and the states to start from."""
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    if "Cell" in kind:
        x, state = (BATCH, INPUTS), (BATCH, HIDDEN)
    else:
        x, state = (BATCH, STEPS, INPUTS) if options.get("batch_first") else (STEPS, BATCH, INPUTS), (layers, BATCH, HIDDEN)
    return rng.standard_normal(x), [rng.standard_normal(state) for _ in range(2 if "LSTM" in kind else 1)]


def difference(pairs):
    """The largest one, relative to the largest number or to 1."""
    return max(abs(a - b.detach().numpy()).max() / max(1.0, abs(a).max()) for a, b in pairs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind, options", CASES + CELLS, ids=lambda case: str(case))
def test_fifty_training_steps(kind, options, optimizer):
    """The weights are trained, and so are the first states; outputs, states, the gradients of x, of the first states and of
    the weights, and the weights agree in every step. Measured 2e-15 at most; 1e-12 is allowed."""
    ours, theirs = pair(kind, options)
    rng = np.random.default_rng(1)
    _, starts = arrays_for(kind, options, rng)
    states, peers = [nn.Parameter(s) for s in starts], [torch.nn.Parameter(torch.from_numpy(s.copy())) for s in starts]
    make, make_peer = OPTIMIZERS[optimizer]
    opt, opt_peer = make([*ours.parameters(), *states]), make_peer([*theirs.parameters(), *peers])
    first = None
    for step in range(50):
        data, _ = arrays_for(kind, options, np.random.default_rng(step % 3))
        x, t = tg.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
        got, expected = result(ours, x, states), result(theirs, t, peers)
        target = np.random.default_rng(step % 3).uniform(-0.5, 0.5, got[0].shape)
        loss = F.mse_loss(got[0], target) + sum((s * s).mean() for s in got[1:])
        loss_peer = torch.nn.functional.mse_loss(expected[0], torch.from_numpy(target)) + sum((s * s).mean() for s in expected[1:])
        opt.zero_grad(), opt_peer.zero_grad()
        loss.backward(), loss_peer.backward()
        named = dict(theirs.named_parameters())
        both = [*((p, named[name]) for name, p in ours.named_parameters()), *zip(states, peers)]
        assert difference([(a.data, b) for a, b in zip(got, expected)]) < 1e-12
        assert difference([(x.grad, t.grad), *((p.grad, q.grad) for p, q in both)]) < 1e-12
        opt.step(), opt_peer.step()
        assert difference([(p.data, q) for p, q in both]) < 1e-12
        first = loss.item() if first is None else first
    assert loss.item() < first                  # it did train


@pytest.mark.parametrize("kind, options", CASES + CELLS, ids=lambda case: str(case))
def test_float32(kind, options):
    """Forward and backward once: sums of some ten numbers of the order of 1, over six steps."""
    ours, theirs = pair(kind, options, np.float32)
    data, starts = arrays_for(kind, options, np.random.default_rng(0))
    x, *states = [tg.Tensor(a, requires_grad=True, dtype="float32") for a in (data, *starts)]
    t, *peers = [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in (data, *starts)]
    got, expected = result(ours, x, states), result(theirs, t, peers)
    sum((y * y).sum() for y in got).backward(), sum((y * y).sum() for y in expected).backward()
    named = dict(theirs.named_parameters())
    pairs = [*((a.data, b) for a, b in zip(got, expected)), (x.grad, t.grad), *((a.grad, b.grad) for a, b in zip(states, peers)),
             *((p.grad, named[name].grad) for name, p in ours.named_parameters())]
    assert all(a.dtype == np.float32 for a, _ in pairs)
    assert difference(pairs) < 64 * np.finfo(np.float32).eps


@every_case
def test_one_sequence_without_a_batch_and_no_state(kind, options):
    ours, theirs = pair(kind, options)
    x = np.random.default_rng(0).standard_normal((STEPS, INPUTS))
    (y, h), (u, g) = ours(x), theirs(torch.from_numpy(x))
    assert difference([(a.data, b) for a, b in zip([y, *several(h)], [u, *several(g)])]) < 1e-14


def masks_of(layer, *shapes):
    """The next masks of a layer's dropout, read off a copy of the layer."""
    between = copy.deepcopy(layer.between)
    return [between(np.ones(shape)).data for shape in shapes]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_dropout_between_layers(kind, bidirectional):
    """Single layers of PyTorch with our masks between them: outputs, states, and all gradients. (PyTorch's own masks differ.)"""
    layers, width = 3, HIDDEN * (1 + bidirectional)
    ours = getattr(nn, kind)(INPUTS, HIDDEN, layers, dropout=0.4, bidirectional=bidirectional, rng=0, dtype="float64")
    theirs = [getattr(torch.nn, kind)(width if k else INPUTS, HIDDEN, bidirectional=bidirectional).double() for k in range(layers)]
    for k, peer in enumerate(theirs):
        peer.load_state_dict({name: torch.from_numpy(dict(ours.named_parameters())[name.replace("_l0", f"_l{k}")].data.copy())
                              for name, _ in peer.named_parameters()})
    masks = masks_of(ours, *[(STEPS, BATCH, width)] * (layers - 1))
    assert all(set(np.unique(mask)) == {0, 1 / 0.6} for mask in masks) and (masks[0] != masks[1]).any()
    data = np.random.default_rng(0).standard_normal((STEPS, BATCH, INPUTS))
    x, t = tg.Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    y, h = ours(x)
    u, ends = t, []
    for peer, mask in zip(theirs, [*masks, None]):
        u, end = peer(u)
        u = u if mask is None else u * torch.from_numpy(mask)
        ends.append(several(end))
    got, expected = [y, *several(h)], [u, *(torch.cat(parts) for parts in zip(*ends))]
    sum((a * a).sum() for a in got).backward(), sum((b * b).sum() for b in expected).backward()
    named = {name.replace("_l0", f"_l{k}"): p for k, peer in enumerate(theirs) for name, p in peer.named_parameters()}
    pairs = [*((a.data, b) for a, b in zip(got, expected)), (x.grad, t.grad),
             *((p.grad, named[name].grad) for name, p in ours.named_parameters())]
    assert difference(pairs) < 1e-13


@pytest.mark.parametrize("kind, options", [case for case in CASES if case[1] in ({}, dict(nonlinearity="relu"))], ids=str)
def test_second_derivatives(kind, options):
    """The gradient of the squared gradients; PyTorch's own, where it has one."""
    ours, theirs = pair(kind, options)
    data, starts = arrays_for(kind, options, np.random.default_rng(0))
    x, *states = [tg.Tensor(a, requires_grad=True) for a in (data, *starts)]
    t, *peers = [torch.tensor(a, requires_grad=True) for a in (data, *starts)]
    inputs, inputs_peer = [x, *states, *ours.parameters()], [t, *peers, *theirs.parameters()]
    first = tg.grad(sum((y * y * y).sum() for y in result(ours, x, states)), inputs, create_graph=True)
    firsts = torch.autograd.grad(sum((y * y * y).sum() for y in result(theirs, t, peers)), inputs_peer, create_graph=True)
    second = tg.grad(sum((g * g).sum() for g in first), inputs)
    seconds = torch.autograd.grad(sum((g * g).sum() for g in firsts), inputs_peer)
    assert difference([(a.data, b) for a, b in zip([*first, *second], [*firsts, *seconds])]) < 1e-12


@every_case
def test_a_state_dict_has_the_same_names_in_the_same_order(kind, options):
    ours, theirs = pair(kind, options)
    assert [(name, p.shape) for name, p in ours.named_parameters()] == [
        (name, tuple(p.shape)) for name, p in theirs.state_dict().items()]
