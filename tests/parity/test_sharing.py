"""One memory for PyTorch and this engine, by DLPack and by np.asarray: both directions, writes, life times, refusals."""
from __future__ import annotations

import copy
import gc
import pickle
import weakref
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from common import every_type
from parity.peer import TYPES

import tinygrad_relu as tg

shapes = pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0)], ids=str)
exports = pytest.mark.parametrize("export", [torch.from_dlpack, lambda x: torch.from_dlpack(x.__dlpack__()), lambda x: torch.from_numpy(np.asarray(x))],
                                  ids=["from_dlpack", "capsule", "from_numpy"])


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@every_type
@shapes
@exports
def test_from_here_to_there(export, shape, dtype):
    x = tg.Tensor(np.ones(shape), dtype=dtype)
    t = export(x)
    assert t.dtype == TYPES[dtype] and tuple(t.shape) == shape
    x[...] = 2
    assert (t == 2).all()
    t.fill_(3)
    assert (x.data == 3).all()
    assert not t.numel() or t.data_ptr() == x.data.ctypes.data


@every_type
@shapes
def test_from_there_to_here(shape, dtype):
    t = torch.ones(shape, dtype=TYPES[dtype])
    x = tg.from_dlpack(t)
    assert x.dtype == dtype and x.shape == shape
    t.fill_(2)
    assert (x.data == 2).all()
    x[...] = 3
    assert (t == 3).all()
    assert not t.numel() or t.data_ptr() == x.data.ctypes.data


def test_weights_are_trained_here_and_used_there():
    """Both libraries see the steps of an optimizer, for parameters in its flat buffer too."""
    p = tg.Parameter(np.ones((2, 3)), dtype="float32")
    opt = tg.optim.SGD([p], lr=0.5)
    t = torch.from_dlpack(p.detach())
    (p * p).sum().backward()
    opt.step()
    np.testing.assert_array_equal(t.numpy(), np.zeros((2, 3)))
    layer = torch.nn.Linear(3, 2)
    layer.weight.data = t
    p.data = np.full((2, 3), 2.0)
    np.testing.assert_allclose((layer(torch.ones(1, 3)) - layer.bias).detach().numpy(), [[6, 6]])


def test_each_keeps_the_memory_of_the_other_alive(collector_off):
    x = tg.Tensor(np.full(1000, 5.0))
    t, gone = torch.from_dlpack(x), weakref.ref(x)
    del x
    assert gone() is None
    u = torch.full((1000,), 7.0, dtype=torch.float64)
    y = tg.from_dlpack(u)
    del u
    others = [np.zeros(1000) for _ in range(100)], [torch.zeros(1000, dtype=torch.float64) for _ in range(100)]
    assert (t == 5).all() and (y.data == 7).all() and len(others) == 2
    back = tg.from_dlpack(torch.from_dlpack(y))
    del y, t
    assert (back.data == 7).all()


def test_what_is_not_contiguous_there_is_copied():
    t = torch.arange(6.0).reshape(2, 3)
    for view in (t.T, t[:, ::2], t.expand(2, 2, 3)):
        x = tg.from_dlpack(view)
        np.testing.assert_array_equal(x.data, view.numpy())
        assert x.data.flags.carray and x.data.ctypes.data != t.data_ptr()
        with pytest.raises(ValueError, match=r"from_dlpack: the Tensor of shape .* is not C-contiguous"):
            tg.from_dlpack(view, copy=False)


@pytest.mark.parametrize("bad, kind, words", [
    (lambda: tg.from_dlpack(torch.ones(2, requires_grad=True)), BufferError, "require gradient"),
    (lambda: torch.from_dlpack(tg.Tensor([1.0], requires_grad=True)), BufferError, "__dlpack__: this Tensor requires a gradient"),
    (lambda: tg.from_dlpack(torch.ones(2, dtype=torch.bfloat16)), TypeError, "from_dlpack: the Tensor holds torch.bfloat16 numbers, expected float32"),
    (lambda: tg.from_dlpack(torch.ones(2, dtype=torch.int32)), TypeError, "from_dlpack: the Tensor holds torch.int32 numbers, expected float32"),
    (lambda: tg.from_dlpack(torch.ones(2, dtype=torch.float16)), TypeError, "from_dlpack: the Tensor holds torch.float16 numbers"),
])
def test_refusals(bad, kind, words):
    with pytest.raises(kind, match=words.replace(".", r"\.")):
        bad()


def test_copies_keep_the_same_as_in_pytorch():
    """deepcopy copies the gradient of a leaf, pickle does not, as in PyTorch (except for its Parameter, which loses it)."""
    x, t = tg.Tensor([1.0], requires_grad=True), torch.ones(1, requires_grad=True)
    for leaf in (x, t):
        (leaf * 2).sum().backward()
        assert copy.deepcopy(leaf).grad == 2 and pickle.loads(pickle.dumps(leaf)).grad is None


def test_their_tensors_in_our_operations():
    """On the right of an operator, and as input of a function, a torch tensor is an array of numbers."""
    x, t = tg.Tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])
    y = (x * t).sum()
    y.backward()
    assert y.item() == 11 and x.grad.tolist() == [3, 4] and tg.functional.relu(-t).data.tolist() == [0, 0]


if find_spec("jax"):        # defined, and so collected, where it is installed
    def test_jax():
        """Its arrays are read-only, and so are copied; it takes ours without a copy."""
        import jax

        theirs = jax.numpy.arange(3.0, dtype="float32")
        assert tg.from_dlpack(theirs).data.tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match="is read-only"):
            tg.from_dlpack(theirs, copy=False)
        assert jax.numpy.from_dlpack(tg.Tensor([1.0, 2.0], dtype="float32")).tolist() == [1, 2]
