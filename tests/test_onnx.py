"""Exported models give the same numbers in onnxruntime, on batches of any size."""
from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.nn.activations import MODULES
from tinygrad_relu.nn.module import evaluating


class Functions(nn.Module):
    """Arithmetic, reductions, selections and shapes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))

    def forward(self, x):
        x = tg.Tensor(x) if isinstance(x, np.ndarray) else x
        y = (x @ self.weight).square() - x[:, 1:] * 2.0 + tg.exp(-x[:, :1].abs()) / (1.0 + tg.sqrt(x.square()).sum(axis=1)[:, None])
        z = tg.concatenate([y.T.T, tg.maximum(y, 0.5)], axis=1)
        return F.log_softmax(z.reshape(-1, 3, 2)[:, ::-1, 0] ** 2.0) + z.mean(axis=1)[:, None] + z.max(axis=1, keepdims=True)


def activation(name, **options):
    return nn.Sequential(nn.Linear(4, 5, rng=0), nn.LayerNorm(5), MODULES[name](**options), nn.Linear(5, 5, rng=1), MODULES[name](**options))


MODELS = {
    **{name: lambda name=name: activation(name, **({"rng": 0} if name == "rrelu" else {})) for name in MODULES},
    "leaky 0.3": lambda: activation("leaky_relu", negative_slope=0.3), "softplus 2, 1": lambda: activation("softplus", beta=2.0, threshold=1.0),
    "batch norm": lambda: nn.MLP([4, 6, 6, 2], norm="batch", rng=0), "maxout": lambda: nn.MLP([4, 6, 2], activation="maxout", rng=0),
    "residual": lambda: nn.Sequential(nn.Linear(4, 4, bias=False, rng=0), nn.Residual(nn.Linear(4, 4, rng=1), nn.ReLU()),
                                      nn.Dropout(0.5, rng=0), nn.Softmax()),
    "functions": Functions}


def compare(tmp_path, model, x, again, batch_axis=0):
    tg.onnx.export(model, x, tmp_path / "model.onnx", batch_axis=batch_axis)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for inputs in (x, again):
        with evaluating(model):
            expected = model(inputs)
        expected = expected[0] if isinstance(expected, tuple) else expected
        (found,) = session.run(["output"], {"input": inputs})
        np.testing.assert_allclose(found, expected.data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path, name):
    model, rng = MODELS[name](), np.random.default_rng(0)
    if name == "batch norm":
        model(rng.standard_normal((50, 4), np.float32) * 3 + 1)        # running statistics
    compare(tmp_path, model, rng.standard_normal((3, 4), np.float32), rng.standard_normal((8, 4), np.float32) * 3)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent(tmp_path, kind, batch_first):
    model, rng = kind(4, 5, num_layers=2, bidirectional=True, batch_first=batch_first, rng=0), np.random.default_rng(0)
    shapes = ((3, 7, 4), (8, 7, 4)) if batch_first else ((7, 3, 4), (7, 8, 4))
    compare(tmp_path, model, *(rng.standard_normal(shape, np.float32) for shape in shapes), batch_axis=0 if batch_first else 1)


def test_embedding_and_flatten(tmp_path):
    model = nn.Sequential(nn.Embedding(10, 4, rng=0), nn.Flatten(), nn.Linear(12, 2, rng=1), nn.ReLU())
    compare(tmp_path, model, np.arange(6).reshape(2, 3), np.arange(9).reshape(3, 3))


class Of(nn.Module):
    def __init__(self, function):
        self.weight, self.function = nn.Parameter(np.ones((4, 4), np.float32)), function

    def forward(self, x):
        return self.function(F.as_tensor(x) @ self.weight)


@pytest.mark.parametrize("key", [np.s_[::-1], np.s_[2:], np.s_[5:], np.s_[:2], np.s_[-2:], np.s_[:-1], np.s_[:, 2::-1],
                                 np.s_[:, -3], np.s_[:, None, 1:3], np.s_[None, :, 0], np.s_[-1]], ids=str)
def test_slices_of_batches_of_any_size(tmp_path, key):
    model, x = Of(lambda y: y[key]), np.random.default_rng(0).standard_normal((8, 4), np.float32)
    for n in (1, 2, 7):
        compare(tmp_path, model, x[:3], x[:n] if key != np.s_[-1] else x)


@pytest.mark.parametrize(("function", "said"), [
    (lambda y: y - y.mean(axis=0), "div takes 3.0, which depends on the batch"), (lambda y: y * len(y), "mul takes 3.0, which depends"),
    (lambda y: y * y.data.mean(), "depends on the batch and is not computed"), (lambda y: y + y.data, "add takes ndarray of shape"),
    (lambda y: y[:len(y) // 2], "cut has options that depend on the size"), (lambda y: y[[-1]], "take has options that depend")])
def test_what_depends_on_the_size_of_the_batch_is_refused(tmp_path, function, said):
    with pytest.raises(ValueError, match=said):
        tg.onnx.export(Of(function), np.arange(12, dtype=np.float32).reshape(3, 4), tmp_path / "model.onnx")


def test_the_axis_of_the_batch(tmp_path):
    compare(tmp_path, nn.Linear(4, 2, rng=0), np.ones((3, 5, 4), np.float32), np.ones((3, 7, 4), np.float32), batch_axis=-2)
    with pytest.raises(ValueError, match=r"narrow has .*; for a recurrent layer without batch_first pass batch_axis=1"):
        tg.onnx.export(nn.LSTM(4, 2, rng=0), np.ones((3, 5, 4), np.float32), tmp_path / "model.onnx")
    positions = nn.Embedding(3, 2, rng=0)
    positions.forward = lambda x: F.embedding(x, positions.weight) + F.embedding(np.array([[0, 1]]), positions.weight)
    compare(tmp_path, positions, np.array([[0, 1]]), np.array([[2, 2], [1, 0], [0, 1]]))


def test_errors(tmp_path):
    x, path = np.zeros((2, 4), np.float32), tmp_path / "model.onnx"
    cube = tg.activation("cube", lambda x: x * x * x, lambda g, x, y: type(x)(3) * g * x * x)
    with pytest.raises(ValueError, match=r"no ONNX operator for the activation 'cube'"):
        tg.onnx.export(nn.Sequential(nn.Linear(4, 2, rng=0), cube.Module()), x, path)
    with pytest.raises(ValueError, match="at least one sample"):
        tg.onnx.export(nn.Linear(4, 2, rng=0), x[:0], path)
    with pytest.raises(TypeError, match="expected a Module"):
        tg.onnx.export(np.tanh, x, path)
    assert not path.exists()
