"""The summary of a model: its numbers are those of the model, which is not changed."""
from __future__ import annotations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import nn

X = np.random.default_rng(0).standard_normal((5, 4))


def test_numbers():
    summary = nn.MLP([4, 6, 3], dtype="float64", rng=0).summary(X)
    assert summary.to_dicts() == [
        {"name": "0", "type": "Linear", "output": (5, 6), "parameters": 30, "bytes": 240, "flops": 2 * 5 * 24},
        {"name": "1", "type": "ReLU", "output": (5, 6), "parameters": 0, "bytes": 0, "flops": None},
        {"name": "2", "type": "Linear", "output": (5, 3), "parameters": 21, "bytes": 168, "flops": 2 * 5 * 18}]
    total = summary.total
    assert (total.parameters, total.bytes, total.flops, total.output) == (51, 408, 240 + 180, (5, 3))
    assert str(summary) == repr(summary) and str(summary).count("\n") == 5


@pytest.mark.parametrize("activation", ["relu", "maxout", "prelu"])
def test_totals_are_the_models(activation):
    model = nn.MLP([4, 6, 6, 3], activation=activation, rng=0)
    summary = model.summary((5, 4))
    assert summary.total.parameters == sum(row.parameters for row in summary.rows) == sum(p.size for p in model.parameters())
    assert summary.total.flops == sum(row.flops or 0 for row in summary.rows)
    assert summary.total.flops == 2 * 5 * sum(p.size for p in model.parameters() if p.kind == "weight")


@pytest.mark.parametrize("kind, gates", [("RNN", 1), ("LSTM", 4), ("GRU", 3)])
def test_recurrent_layers_and_cells(kind, gates):
    """The FLOPs of every layer, direction and step, and of both matrices, computed by hand."""
    steps, batch, inputs, size = 7, 5, 4, 6
    once = lambda width: 2 * gates * size * (width + size)      # of one row: its input, and the state
    layer = getattr(nn, kind)
    for options, shape, expected in [
            ({}, (steps, batch, inputs), steps * batch * once(inputs)),
            ({}, (steps, inputs), steps * once(inputs)),
            (dict(batch_first=True, bias=False), (batch, steps, inputs), steps * batch * once(inputs)),
            (dict(num_layers=3, dropout=0.5), (steps, batch, inputs), steps * batch * (once(inputs) + 2 * once(size))),
            (dict(num_layers=2, bidirectional=True), (steps, batch, inputs),
             steps * batch * 2 * (once(inputs) + once(2 * size)))]:
        model = nn.Sequential(layer(inputs, size, rng=0, **options))
        (*between, row), total = model.summary(shape).rows, model.summary(shape).total
        assert (row.type, row.flops, total.flops) == (kind, expected, expected)
        assert row.parameters == total.parameters == sum(p.size for p in model.parameters())
        assert [r.flops for r in between] == [None, None] * ("dropout" in options)      # it ran twice inside
    cell = nn.Sequential(getattr(nn, f"{kind}Cell")(inputs, size, rng=0))
    assert cell.summary((batch, inputs)).rows[0].flops == batch * once(inputs)
    assert cell.summary((inputs,)).rows[0].flops == once(inputs)


def test_a_shape_is_as_good_as_an_array():
    model = nn.MLP([4, 6, 3], rng=0)
    assert str(model.summary((5, 4))) == str(model.summary(X)) == str(model.summary(tg.Tensor(X, dtype="float32")))
    assert model.summary((2, 3, 4)).total.output == (2, 3, 3) and model.summary((2, 3, 4)).total.flops == 6 * 2 * 42


class Outer(nn.Module):
    """Runs its second child first, twice; returns two things; has a parameter of its own and a child that never runs."""

    def __init__(self):
        self.scale = nn.Parameter([2.0], dtype="float32")
        self.late = nn.ReLU()
        self.early = nn.Linear(4, 4, rng=0)
        self.idle = nn.Linear(4, 2, rng=0)

    def forward(self, x):
        h = self.late(self.early(self.early(x)))
        return h * self.scale, h


def test_the_order_is_that_of_the_run():
    summary = nn.Sequential(Outer()).summary(X)
    assert [(r.name, r.output, r.parameters) for r in summary.rows] == [
        ("0.early", (5, 4), 20), ("0.early", (5, 4), 0), ("0.late", (5, 4), 0), ("0", ((5, 4), (5, 4)), 1),
        ("0.idle", None, 10)]
    assert summary.total.parameters == 31 and "not run" in str(summary)


@pytest.mark.parametrize("shape", [4, "5,4", (None, 4), (5.0, 4), (-1, 4)])
def test_invalid_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"summary: got the shape .*; expected a tuple of sizes of 0 or more"):
        nn.MLP([4, 6, 3], rng=0).summary(shape)


def test_several_inputs_and_a_model_of_one_module():
    class Pair(nn.Module):
        def forward(self, a, b):
            return tg.Tensor(a) + tg.Tensor(b)

    assert Pair().summary((2, 3), np.ones(3)).total.output == (2, 3)
    summary = nn.Linear(4, 3, rng=0).summary((1, 4))
    assert summary.rows == [] and summary.total.parameters == 15 and summary.total.flops == 24


def test_the_model_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.RReLU(rng=0), nn.Linear(4, 2, rng=0))
    model[1].eval()
    seen = []
    model[0].register_forward_hook(lambda m, inputs, output: seen.append(output.requires_grad))
    bits = [p.data.tobytes() for p in model.parameters()]
    position = str(model[1].rng_state.data)
    model.train()
    model[0].eval()
    model.summary(X)
    assert [m.training for _, m in model.named_modules()] == [True, False, True, True]
    assert bits == [p.data.tobytes() for p in model.parameters()] and all(p.grad is None for p in model.parameters())
    assert str(model[1].rng_state.data) == position        # evaluation: nothing is drawn
    assert seen == [False] and len(model[0]._hooks) == 1 and not model[1]._hooks


def test_a_model_that_fails_is_left_in_order():
    model = nn.MLP([4, 6, 3], rng=0)
    with pytest.raises(ValueError, match="linear: x has shape"):
        model.summary((5, 7))
    assert model.training and not any(m._hooks for _, m in model.named_modules())
    with pytest.raises(TypeError, match="summary: got no input"):
        model.summary()
