"""Hooks behave as in PyTorch: the same calls, in the same order, with the same numbers."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.peer import torch_twin

from tinygrad_relu import Tensor, nn

X = np.random.default_rng(0).standard_normal((5, 4))


def numbers(g):
    return None if g is None else (g.detach().numpy() if isinstance(g, torch.Tensor) else np.array(g)).copy()


def record(model, x, *, replacing):
    """The events of one forward and backward pass, and the resulting gradients."""
    events = []

    def pre(name):
        def hook(module, inputs):
            events.append((name, "before", [numbers(v) for v in inputs]))
            return inputs[0] * 2 if replacing else None
        return hook

    def after(name):
        def hook(module, inputs, output):
            events.append((name, "after", [numbers(output)]))
            return output * 3 if replacing else None
        return hook

    def back(name):
        def hook(module, into, out):
            events.append((name, "backward", [numbers(g) for g in (*into, *out)]))
            return tuple(None if g is None else g * 5 for g in into) if replacing and into[0] is not None else None
        return hook

    for name, layer in [*zip("0123", model), ("all", model)]:
        layer.register_forward_pre_hook(pre(name))
        layer.register_forward_hook(after(name))
        layer.register_full_backward_hook(back(name))
    y = model(x)
    y.register_hook(lambda g: g * 7)
    (y * y).sum().backward()
    return events, [numbers(p.grad) for p in model.parameters()]


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")      # where no input requires a gradient
@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("data_want_gradients", [False, True])
def test_events_and_gradients(data_want_gradients, replacing):
    model = nn.Sequential(nn.Linear(4, 6, dtype="float64", rng=0), nn.Tanh(), nn.Linear(6, 3, dtype="float64", rng=0), nn.ReLU())
    peer = torch_twin(model)
    ours = record(model, Tensor(X, requires_grad=data_want_gradients), replacing=replacing)
    theirs = record(peer, torch.tensor(X, requires_grad=data_want_gradients), replacing=replacing)
    assert [event[:2] for event in ours[0]] == [event[:2] for event in theirs[0]]
    for (_, _, a), (_, _, b) in zip(ours[0], theirs[0]):
        assert len(a) == len(b)
        for v, w in zip(a, b):
            assert (v is None) == (w is None)
            assert v is None or np.abs(v - w).max() <= 1e-12 * max(1.0, np.abs(w).max())
    for v, w in zip(ours[1], theirs[1]):
        np.testing.assert_allclose(v, w, rtol=1e-12, atol=1e-12)
