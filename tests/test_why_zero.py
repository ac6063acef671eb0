"""why_zero: each reason where it is known by construction, and zeros exactly where the gradient is zero."""
from __future__ import annotations

import json

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn
from tinygrad_relu.lab import Reason

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 5)), RNG.integers(0, 3, 60)
TYPES = ["float32", "float64"]


def mlp(dtype, *hidden, **options):
    return nn.MLP([5, *(hidden or (8, 8)), 3], rng=0, dtype=dtype, **options)


def edited(model, name, index, value):
    p = dict(model.named_parameters())[name]
    values = p.data.copy()
    values[index] = value
    p.data = values
    return model


class Clipped(nn.Module):
    def __init__(self, dtype):
        self.layer = nn.Linear(5, 3, rng=0, dtype=dtype)

    def forward(self, x):
        return self.layer(x).clip(-1e-9, 1e-9)


class Unused(nn.Module):
    def __init__(self, dtype):
        self.layer, self.unused = nn.Linear(5, 3, rng=0, dtype=dtype), nn.Linear(5, 3, rng=0, dtype=dtype)

    def forward(self, x):
        return self.layer(x)


class Twice(nn.Module):
    """relu(w) - relu(w): its gradients cancel each other exactly."""

    def __init__(self, dtype):
        self.layer = nn.Linear(5, 3, rng=0, dtype=dtype)

    def forward(self, x):
        z = self.layer(x)
        return z - z


def frozen(dtype):
    model = mlp(dtype)
    model[0].requires_grad_(False)
    return model


def dead_layer(dtype):
    model = mlp(dtype)
    lab.kill(model, X, layer=1)
    return model


def shut_weights(dtype):
    return edited(mlp(dtype), "2.weight", np.s_[:, 3], 0.0)


def zero_hinge(output, y, reduction):
    return F.relu(-1e6 - output).sum()


def tiny(output, y, reduction):
    """A gradient just above the smallest number of the type, which the next product takes below it."""
    return (output * np.finfo(output.dtype).smallest_subnormal).sum()


X_ZERO = X.copy()
X_ZERO[:, 2] = 0

# name: (model, part of a parameter, the reason, x, loss)
CASES = {
    "mask": (lambda t: edited(mlp(t), "0.bias", 1, -1e3), ("0.weight", 1), Reason.MASK, X, F.cross_entropy),
    "mask, high side": (lambda t: edited(mlp(t, activation="relu6"), "0.bias", 1, 1e3), ("0.weight", 1), Reason.MASK, X,
                        F.cross_entropy),
    "mask, a piece": (lambda t: edited(mlp(t, activation="maxout"), "0.bias", 0, -1e3), ("0.weight", 0), Reason.MASK, X,
                      F.cross_entropy),
    "mask, a step": (lambda t: mlp(t, activation="step"), ("0.bias", ...), Reason.MASK, X, F.cross_entropy),
    "saturation": (lambda t: edited(mlp(t, activation="sigmoid"), "0.bias", 1, -1e4), ("0.weight", 1), Reason.SATURATION, X,
                   F.cross_entropy),
    "saturation, elu": (lambda t: edited(mlp(t, activation="elu"), "0.bias", 1, -1e4), ("0.bias", 1), Reason.SATURATION, X,
                        F.cross_entropy),
    "underflow": (lambda t: edited(edited(mlp(t, activation="leaky_relu"), "4.weight", ..., 0.25), "0.bias", ..., -1e3),
                  ("0.weight", ...), Reason.UNDERFLOW, X, tiny),
    "satisfied loss": (mlp, ("0.bias", ...), Reason.SATISFIED_LOSS, X, zero_hinge),
    "dead downstream": (dead_layer, ("0.bias", ...), Reason.DEAD_DOWNSTREAM, X, F.cross_entropy),
    "zero input": (mlp, ("0.weight", np.s_[:, 2]), Reason.ZERO_INPUT, X_ZERO, F.cross_entropy),
    "zero input, a dead unit": (lambda t: edited(mlp(t), "0.bias", 1, -1e3), ("2.weight", np.s_[:, 1]), Reason.ZERO_INPUT, X,
                                F.cross_entropy),
    "zero input, a slope": (lambda t: edited(mlp(t, activation="prelu"), "0.bias", ..., 1e3), ("1.weight", ...),
                            Reason.ZERO_INPUT, X, F.cross_entropy),
    "zero weight": (shut_weights, ("0.weight", 3), Reason.ZERO_WEIGHT_DOWNSTREAM, X, F.cross_entropy),
    "clipped": (Clipped, ("layer.weight", ...), Reason.CLIPPED, X, F.cross_entropy),
    "frozen": (frozen, ("0.weight", ...), Reason.FROZEN, X, F.cross_entropy),
    "disconnected": (Unused, ("unused.weight", ...), Reason.DISCONNECTED, X, F.cross_entropy),
    "cancelled": (Twice, ("layer.weight", ...), Reason.CANCELLED, X, F.cross_entropy),
    "cancelled by a norm": (lambda t: mlp(t, norm="batch"), ("0.bias", ...), Reason.CANCELLED, X, F.cross_entropy),
    "cancelled by a norm of one unit": (lambda t: mlp(t, 1, norm="batch"), ("0.bias", ...), Reason.CANCELLED, X, F.cross_entropy),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CASES)
def test_reasons(name, dtype):
    make, (parameter, index), reason, x, loss = CASES[name]
    for batch_size in (4096, 25):
        found = lab.why_zero(make(dtype), x, Y, loss=loss, batch_size=batch_size)
        codes = found.reasons[parameter][index]
        assert {Reason(code) for code in np.ravel(codes)} == {reason}, found


def test_every_reason_has_a_case():
    assert {reason for _, _, reason, _, _ in CASES.values()} == set(Reason) - {Reason.NONE}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("options", [{}, {"activation": "maxout"}, {"activation": "hardtanh"}, {"activation": "prelu"},
                                     {"residual": True}, {"norm": "layer"}, {"activation": "tanh"}], ids=str)
def test_zeros_are_those_of_the_gradient(options, dtype):
    model = mlp(dtype, **options)
    edited(model, "0.bias", slice(0, 4), -3.0)
    parameters = dict(model.named_parameters())
    gradients = tg.grad(F.cross_entropy(model(X), Y, reduction="sum"), list(parameters.values()))
    before = [p.data.copy() for p in parameters.values()]
    found = lab.why_zero(model, X, Y)
    for (name, p), g in zip(parameters.items(), gradients):
        np.testing.assert_array_equal(found.reasons[name] == 0, g.data != 0)
        assert p.grad is None
    assert all(np.array_equal(p.data, old) for p, old in zip(parameters.values(), before))


@pytest.mark.parametrize("dtype", TYPES)
def test_the_unit_that_is_cut_off_is_told_from_the_dead_one(dtype):
    """Unit 0 is dead; unit 1 is alive only where every unit of the next layer is dead."""
    model = nn.MLP([1, 2, 1, 1], rng=0, dtype=dtype)
    for layer, weight, bias in ((0, [[1.0], [1.0]], [-9.0, 0.0]), (2, [[0.0, -1.0]], [0.5]), (4, [[1.0]], [0.0])):
        model[layer].weight.data, model[layer].bias.data = weight, bias
    x, y = np.array([[-1.0], [2.0]]), np.array([[1.0], [1.0]])
    found = lab.why_zero(model, x, y, loss=F.mse_loss).reasons
    assert found["0.bias"].tolist() == [Reason.MASK, Reason.DEAD_DOWNSTREAM] and not found["2.bias"].any()
    assert found["2.weight"].tolist() == [[Reason.ZERO_INPUT, Reason.MASK]]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_samples_that_cancel_each_other(batch_size, dtype):
    """In one batch, and in two."""
    model = nn.MLP([1, 1, 1], rng=0, dtype=dtype)
    model[0].weight.data, model[0].bias.data, model[2].weight.data = [[1.0]], [5.0], [[1.0]]
    found = lab.why_zero(model, [[-1.0], [1.0]], [0, 0], loss=lambda out, y, reduction: out.sum(), batch_size=batch_size)
    assert found.counts["0.weight"] == {"cancelled": 1} and found.counts["0.bias"] == {"not zero": 1}


def test_recurrent_nets_embeddings_and_populations():
    class Reader(nn.Module):
        def __init__(self):
            self.words, self.cell, self.out = nn.Embedding(9, 4, rng=0), nn.GRU(4, 3, rng=1), nn.Linear(3, 3, rng=2)

        def forward(self, x):
            return self.out(self.cell(self.words(x))[0])

    found = lab.why_zero(Reader(), RNG.integers(0, 5, 60), Y)
    assert set(found.reasons["words.weight"][5:].ravel()) == {Reason.DISCONNECTED} and not found.reasons["words.weight"][:5].any()
    many = nn.MLP([5, 4, 3], members=2, rng=0)
    lab.kill(many.member(1), X, [2])
    for asked in (None, "0.bias", many[0].bias):
        healthy, sick = (one.reasons["0.bias"] for one in lab.why_zero(many, X, Y, asked).each)
        assert not healthy.any() and sick[2] == Reason.MASK and not np.delete(sick, 2).any()
    assert [one.counts["0.bias[2]"] for one in lab.why_zero(many, X, Y, (0, 2)).each] == [{"not zero": 1}, {"mask": 1}]
    said = [line for line in str(lab.why_zero(many, X, Y)).splitlines() if ": " in line]
    assert len(said) > 2 and all(line.startswith("member ") for line in said)          # each reason says of whom


def test_one_parameter_one_unit_tables_and_data():
    model = mlp("float64")
    lab.kill(model, X, [3], layer=1)
    assert lab.why_zero(model, X, Y, (1, 3)).counts == lab.why_zero(lab.Units(model), X, Y, (1, 3)).counts == {"2.weight[3]": {"mask": 8}, "2.bias[3]": {"mask": 1}}
    assert list(lab.why_zero(model, X, Y, model[2].bias).reasons) == list(lab.why_zero(model, X, Y, "2.bias").reasons) == ["2.bias"]
    found = lab.why_zero(model, X, Y)
    data = json.loads(found.to_json())
    assert data["counts"]["2.bias"] == {"not zero": 7, "mask": 1} and data["reasons"]["2.bias"][3] == data["codes"]["mask"]
    assert "mask: its unit is on the flat side on every sample" in str(found) and len(found.plot().axes[0].patches) > 6
    for wrong, error, text in (((0, 9), IndexError, r"expected one of 2 hidden layers and one of its units, 8, 8"),
                               ("2.biass", ValueError, "2.bias"), ((1, 2, 3), ValueError, r"got \(1, 2, 3\), expected"), (nn.Parameter([1.0]), ValueError, "a parameter of this model")):
        with pytest.raises(error, match=text):
            lab.why_zero(model, X, Y, wrong)
    for x, y, error, text in ((X, Y[:3], ValueError, "y holds 3 labels for 60 samples"), (None, Y, TypeError, "x is None"),
                              (np.where(X > 2, np.nan, X), Y, ValueError, "x holds nan, expected finite numbers")):
        with pytest.raises(error, match=text):
            lab.why_zero(model, x, y)
    with pytest.raises(ValueError, match="why_zero: y holds nan, expected finite numbers"):
        lab.why_zero(model, X, np.full((60, 3), np.nan), loss=F.mse_loss)
