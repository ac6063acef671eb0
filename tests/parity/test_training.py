"""A hundred training steps, side by side with PyTorch: losses, gradients and weights."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.peer import DIALECTS, MODULES, SLOPE_OF_FLOAT32, TYPES, torch_groups, torch_twin

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

STEPS = 100
WIDTHS, ROWS = [6, 12, 8, 3], 32
DATA = np.random.default_rng(0)
X, LABELS, TARGETS = DATA.standard_normal((ROWS, 6)), DATA.integers(0, 3, ROWS), DATA.standard_normal((ROWS, 3))


def train_both(activation, dialect, dtype, steps=STEPS, loss="cross_entropy"):
    """The largest difference of losses, gradients and weights, relative to the largest number among them (or to 1).
    In float64 it is about 1e-15 for everything here; 1e-12 is allowed."""
    kind, options, torch_kind, theirs = DIALECTS[dialect]
    init = "lecun" if activation == "selu" else "glorot" if activation in ("sigmoid", "tanh") else "he"
    model = nn.MLP(WIDTHS, activation=activation, init=init, dtype=dtype, rng=1).eval()     # eval: rrelu without draws
    peer = torch_twin(model).eval()
    opt = kind(model.parameters(), **options)
    peer_opt = torch_kind(torch_groups(peer), **{**options, **theirs})
    x, labels, targets = X.astype(dtype), torch.from_numpy(LABELS), TARGETS.astype(dtype)
    worst = 0.0
    for step in range(steps):
        rows = np.arange(ROWS) if step % 3 else np.arange(0, ROWS, 3)       # whole batches and parts
        opt.zero_grad(), peer_opt.zero_grad()
        if loss == "cross_entropy":
            ours, other = F.cross_entropy(model(x[rows]), LABELS[rows]), torch.nn.functional.cross_entropy(
                peer(torch.from_numpy(x[rows])), labels[rows])
        else:
            ours, other = F.mse_loss(model(x[rows]), targets[rows]), torch.nn.functional.mse_loss(
                peer(torch.from_numpy(x[rows])), torch.from_numpy(targets[rows]))
        ours.backward(), other.backward()
        pairs = [(ours.data, other.detach().numpy())]
        pairs += [(p.grad, q.grad.numpy()) for p, q in zip(model.parameters(), peer.parameters())]
        opt.step(), peer_opt.step()
        pairs += [(p.data, q.detach().numpy()) for p, q in zip(model.parameters(), peer.parameters())]
        worst = max(worst, *(abs(a - b).max() / max(1.0, abs(b).max()) for a, b in pairs))
        assert np.isfinite(worst) and all(a.dtype == dtype for a, _ in pairs)
    assert ours.item() < 10          # it did train, and did not run away
    return worst


@pytest.mark.parametrize("activation", MODULES)
def test_every_activation_in_float64(activation):
    allowed = 1e-12 if activation not in SLOPE_OF_FLOAT32 else 1e-7     # 2^-25 in every step
    assert train_both(activation, "momentum, l2", np.float64) < allowed


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "prelu"])
def test_every_optimizer_in_float64(activation, dialect):
    assert train_both(activation, dialect, np.float64) < 1e-12


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_optimizer_in_float32(dialect):
    """A step rounds numbers of order 1 to 2^-24 = 6e-8, some of them a dozen times, and descent on a smooth loss (tanh:
    at a kink a rounding can switch a unit) forgets old errors: measured 3e-7. Adam divides by the root of squares that
    may be small: 5e-6. Ten times that is allowed."""
    assert train_both("tanh", dialect, np.float32) < (5e-5 if dialect.startswith("adam") else 4e-6)


@pytest.mark.parametrize("activation", MODULES)
def test_every_activation_in_float32(activation):
    """Twenty steps; as above."""
    assert train_both(activation, "sgd", np.float32, steps=20) < 4e-6


@pytest.mark.parametrize("dialect", ["sgd", "momentum, l2", "adam"])
def test_regression_in_float64(dialect):
    assert train_both("relu", dialect, np.float64, loss="mse") < 1e-12


def test_slopes_of_prelu_decay_on_request():
    """As PyTorch does by default: one group of all parameters."""
    model = nn.MLP(WIDTHS, activation="prelu", dtype="float64", rng=0)
    peer = torch_twin(model)
    opt = optim.SGD([{"params": model.parameters(), "weight_decay": 0.1}], lr=0.1)
    peer_opt = torch.optim.SGD(peer.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(20):
        opt.zero_grad(), peer_opt.zero_grad()
        F.cross_entropy(model(X), LABELS).backward()
        torch.nn.functional.cross_entropy(peer(torch.from_numpy(X)), torch.from_numpy(LABELS)).backward()
        opt.step(), peer_opt.step()
    for p, q in zip(model.parameters(), peer.parameters()):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
def test_weights_move_between_the_two(dtype):
    """Shapes and order of parameters are PyTorch's, so that a state dict fits as it is."""
    model = nn.MLP([4, 5, 2], activation="prelu", dtype=dtype, rng=0)
    peer = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.PReLU(), torch.nn.Linear(5, 2)).to(TYPES[dtype])
    state = peer.state_dict()
    assert list(state) == [name for name, _ in model.named_parameters()]
    for name, p in model.named_parameters():
        p.data = state[name].numpy()
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
    theirs = peer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model(x).data, theirs, rtol=0, atol=32 * np.finfo(dtype).eps)
