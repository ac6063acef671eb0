"""State dicts and files can be moved between PyTorch and this package, and training continues from the same state."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from parity.peer import DIALECTS, TYPES, torch_groups, torch_twin

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

X, LABELS = np.random.default_rng(0).standard_normal((32, 6)), np.random.default_rng(1).integers(0, 3, 32)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def make(dialect, seed):
    kind, options, torch_kind, theirs = DIALECTS[dialect]
    model = nn.MLP([6, 8, 3], "prelu", dtype="float64", rng=seed)
    peer = torch_twin(model)
    return model, kind(model.parameters(), **options), peer, torch_kind(torch_groups(peer), **{**options, **theirs})


def ours(model, opt, steps):
    for _ in range(steps):
        opt.zero_grad()
        F.cross_entropy(model(X), LABELS).backward()
        opt.step()


def theirs(peer, opt, steps):
    for _ in range(steps):
        opt.zero_grad()
        torch.nn.functional.cross_entropy(peer(torch.from_numpy(X)), torch.from_numpy(LABELS)).backward()
        opt.step()


def tensors(tree):
    """The arrays of a state as PyTorch's tensors."""
    if isinstance(tree, dict):
        return {key: tensors(value) for key, value in tree.items()}
    return torch.from_numpy(tree) if isinstance(tree, np.ndarray) else tree


def agree(model, peer):
    assert list(model.state_dict()) == list(peer.state_dict())
    for name, values in peer.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], values.numpy(), rtol=1e-12, atol=1e-12)


@every_dialect
def test_a_run_of_pytorch_continues_here(dialect):
    model, opt, *_ = make(dialect, 0)
    _, _, peer, peer_opt = make(dialect, 1)
    theirs(peer, peer_opt, 7)
    model.load_state_dict(peer.state_dict())
    opt.load_state_dict(peer_opt.state_dict())
    ours(model, opt, 7), theirs(peer, peer_opt, 7)
    agree(model, peer)


@every_dialect
def test_a_run_of_ours_continues_in_pytorch(dialect):
    model, opt, *_ = make(dialect, 0)
    _, _, peer, peer_opt = make(dialect, 1)
    ours(model, opt, 7)
    peer.load_state_dict(tensors(model.state_dict()))
    peer_opt.load_state_dict(tensors(opt.state_dict()))
    ours(model, opt, 7), theirs(peer, peer_opt, 7)
    agree(model, peer)


@pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
def test_parameters_tensors_and_types(dtype):
    """Parameters that require gradients, bfloat16 and float16, float64 into float32: as by PyTorch's own copy_."""
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64):
        peer = torch.nn.Linear(3, 2).to(TYPES[dtype])
        values = {name: torch.nn.Parameter((p * 5).to(kind), requires_grad=kind.is_floating_point) for name, p in peer.named_parameters()}
        model = nn.Linear(3, 2, dtype=dtype, rng=0)
        model.load_state_dict(values)
        peer.load_state_dict(values)
        for name, p in peer.state_dict().items():
            np.testing.assert_array_equal(model.state_dict()[name], p.numpy())
    for values, words in ((torch.ones(2).to_sparse(), "bias is not a plain array: can't convert Sparse"),
                          (torch.ones(2, device="meta"), "bias is not a plain array: Cannot copy out of meta")):
        with pytest.raises(ValueError, match=words):
            nn.Linear(3, 2, rng=0).load_state_dict({"bias": values}, strict=False)


@pytest.mark.parametrize("options, words", [
    (dict(amsgrad=True), "amsgrad is True, expected False"), (dict(maximize=True), "maximize is True"), (dict(foreach=True), "foreach is True"),
    (dict(capturable=True), "capturable is True"), (dict(differentiable=True), "differentiable is True"), (dict(fused=True), "fused is True")])
def test_options_that_are_not_here(options, words):
    model, peer = nn.Linear(3, 2, rng=0), torch.nn.Linear(3, 2)
    state = torch.optim.Adam(peer.parameters(), **options).state_dict()
    with pytest.raises(ValueError, match=words):
        optim.Adam(model.parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match="decoupled_weight_decay is True"):
        optim.Adam(model.parameters()).load_state_dict(torch.optim.AdamW(peer.parameters()).state_dict())


def test_schedules_leave_notes_that_are_passed_over():
    peer = torch.nn.Linear(3, 2)
    peer_opt = torch.optim.SGD(peer.named_parameters(), lr=torch.tensor(0.5), momentum=0.9)
    torch.optim.lr_scheduler.StepLR(peer_opt, 3)
    opt = optim.SGD(nn.Linear(3, 2, rng=0).parameters())
    opt.load_state_dict(peer_opt.state_dict())
    assert opt.param_groups[0]["lr"] == 0.5 and opt.param_groups[0]["momentum"] == 0.9


def test_files_of_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model, peer = nn.MLP([6, 8, 3], "prelu", rng=0), torch_twin(nn.MLP([6, 8, 3], "prelu", rng=1))
    safetensors.save_file(peer.state_dict(), tmp_path / "theirs.safetensors")
    tg.load(tmp_path / "theirs.safetensors", model)
    agree(model, peer)
    model = nn.MLP([6, 8, 3], "prelu", rng=2)
    tg.save(tmp_path / "ours.safetensors", model)
    peer.load_state_dict(safetensors.load_file(tmp_path / "ours.safetensors"))
    agree(model, peer)
    safetensors.save_file({name: p.to(torch.bfloat16) for name, p in peer.state_dict().items()}, tmp_path / "half.safetensors")
    tg.load(tmp_path / "half.safetensors", model)
    for name, p in peer.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], p.to(torch.bfloat16).float().numpy())
