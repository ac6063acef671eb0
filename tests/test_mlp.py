"""The multi-layer perceptron: its options, its order of layers, its seeds, and its units in the laboratory."""
from __future__ import annotations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim

X = np.random.default_rng(0).standard_normal((40, 4))
Y = np.arange(40) % 3


def kinds(model):
    return " ".join(type(module).__name__ for module in model)


def test_the_order_is_affine_norm_activation_dropout():
    assert kinds(nn.MLP([4, 5, 6, 3], rng=0)) == "Linear ReLU Linear ReLU Linear"
    assert kinds(nn.MLP([4, 5, 3], norm="batch", dropout=0.2, rng=0)) == "Linear BatchNorm1d ReLU Dropout Linear"
    assert kinds(nn.MLP([4, 5, 3], norm="layer", rng=0)) == "Linear LayerNorm ReLU Linear"
    assert kinds(nn.MLP([4, 5, 3], activation="maxout", norm="batch", dropout=0.2, rng=0)) == "Maxout BatchNorm1d Dropout Linear"
    residual = nn.MLP([4, 4, 5, 5, 3], activation="tanh", dropout=0.2, residual=True, rng=0)
    assert kinds(residual) == "Residual Linear Tanh Dropout Residual Linear"
    assert kinds(residual[0]) == kinds(residual[4]) == "Linear Tanh Dropout"
    assert kinds(nn.MLP([4, 3], norm="batch", dropout=0.2, residual=True, rng=0)) == "Linear"
    assert residual[0][2].p == 0.2


@pytest.mark.parametrize("activation", ["relu", "prelu", "rrelu", "maxout"])
def test_options_change_no_weight_that_a_seed_draws(activation):
    plain = nn.MLP([4, 6, 6, 3], activation, rng=0)
    drawn = [p.data for p in plain.parameters() if p.data.ndim == 2]
    rng = np.random.default_rng(0)
    for affine in (m for m in plain if isinstance(m, (nn.Linear, nn.Maxout))):      # one after the other, as they always were
        bound = type(affine)(affine.in_features, affine.out_features, init="he", rng=rng)
        np.testing.assert_array_equal(affine.weight.data, bound.weight.data)
    for options in (dict(norm="batch"), dict(norm="layer"), dict(dropout=0.5), dict(residual=True),
                    dict(norm="batch", dropout=0.5, residual=True)):
        model = nn.MLP([4, 6, 6, 3], activation, rng=0, **options)
        for one, other in zip((p.data for p in model.parameters() if p.data.ndim == 2), drawn, strict=True):
            np.testing.assert_array_equal(one, other)


def test_names():
    names = [n for n, _ in nn.MLP([4, 5, 5, 3], norm="batch", residual=True, dropout=0.1, rng=0).named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "4.0.weight", "4.0.bias", "4.1.weight", "4.1.bias",
                     "5.weight", "5.bias"]
    buffers = [n for n, _ in nn.MLP([4, 5, 3], norm="batch", dropout=0.1, rng=0).named_buffers()]
    assert buffers == ["1.running_mean", "1.running_var", "1.num_batches_tracked", "3.rng_state"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_residual_block_adds_its_input(dtype):
    model = nn.MLP([4, 4, 3], residual=True, dtype=dtype, rng=0)
    x = tg.Tensor(X, requires_grad=True, dtype=dtype)
    inner = F.relu(F.linear(x, model[0][0].weight, model[0][0].bias))
    np.testing.assert_array_equal(model[0](x).data, inner.data + x.data)
    assert tg.gradcheck(lambda x: model.forward(x), tg.Tensor(X[:2], requires_grad=True)) if dtype == np.float64 else True
    assert model(X).dtype == dtype


@pytest.mark.parametrize("options", [dict(norm="batch"), dict(norm="layer"), dict(norm="batch", dropout=0.2, residual=True),
                                     dict(activation="maxout", norm="layer", dropout=0.2)], ids=str)
def test_it_learns(options):
    model = nn.MLP([4, 16, 16, 3], rng=0, **options)
    opt = optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        opt.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        opt.step()
    assert F.cross_entropy(model.eval()(X), Y).item() < 0.15 and (model(X).data.argmax(axis=1) == Y).mean() > 0.95


@pytest.mark.parametrize("call, error, message", [
    (lambda: nn.MLP([4, 5, 3], norm="btach", rng=0), ValueError, "MLP: norm is 'btach', expected one of: batch, layer; did you"),
    (lambda: nn.MLP([4, 5, 3], dropout=2, rng=0), ValueError, "MLP: dropout is 2, expected a probability"),
    (lambda: nn.Residual(1), TypeError, "got 1, expected modules"),
    (lambda: nn.Residual(nn.Linear(4, 3, rng=0))(X), ValueError, "(40, 3) and (40, 4) cannot be broadcast together"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


# -- the laboratory --------------------------------------------------------------------------------------------------

def sick(**options):
    """A model whose unit 1 of the first layer is dead, because the bias of the norm, or else of the layer, is far below 0."""
    model = nn.MLP([4, 6, 5, 3], dtype="float64", rng=0, **options)
    (model[1] if "norm" in options else model[0]).bias.data[1] = -100.0
    return model


@pytest.mark.parametrize("options", [dict(norm="batch"), dict(norm="layer"), dict(dropout=0.5), dict(norm="batch", dropout=0.5)],
                         ids=str)
def test_a_census_sees_what_evaluation_computes(options):
    model = sick(**options)
    model(X), model(X)                                      # running statistics, draws
    before = {n: b.data.copy() for n, b in model.named_buffers()}
    found = lab.census(model, X, Y, batch_size=16)
    for name, buffer in model.named_buffers():              # looking changes nothing
        np.testing.assert_array_equal(buffer.data, before[name])
    assert model.training and found.layers[0].state[1] == lab.State.DEAD
    if options.get("norm") != "layer":                      # a layer norm passes gradients from unit to unit
        assert found.layers[0].gradient[1] == 0
    model.eval()
    h = tg.Tensor(X)
    z = []                                                  # what the activations see
    for module in model:
        z += [h.data] if isinstance(module, nn.ReLU) else []
        h = module(h)
    for layer, seen in zip(found.layers, z, strict=True):
        np.testing.assert_allclose(layer.max_z, seen.max(axis=0), rtol=1e-12)
        np.testing.assert_allclose(layer.on_rate, (seen > 0).mean(axis=0), rtol=1e-12)
        assert np.isnan(layer.margin).all() == ("norm" in options)


def test_a_prognosis_claims_nothing_of_a_normalised_layer():
    model = sick(norm="batch")
    model(X)
    units = lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)).units
    dead = next(u for u in units if u.layer == "0" and u.unit == 1)
    assert (dead.verdict, dead.step, dead.proved) == ("estimate", None, False) and "nothing is claimed" in dead.reason


def test_a_prognosis_is_as_exact_before_dropout():
    """Dropout after the activation changes nothing about a unit whose gradient is zero."""
    answers = []
    for options in ({}, dict(dropout=0.5)):
        model = sick(**options)
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        answers.append(next(u for u in lab.prognosis(model, X, opt).units if u.layer == "0"))
    assert answers[0].proved and answers[0].step == answers[1].step and answers[1].proved
    for _ in range(answers[1].step):                        # as predicted: the weights of unit 1 get no gradient
        assert (F.linear(X, model[0].weight, model[0].bias).data[:, 1] <= 0).all()
        opt.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        assert not model[0].weight.grad[1].any()
        opt.step()
    assert (F.linear(X, model[0].weight, model[0].bias).data[:, 1] > 0).any()


class Doubled(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * 2


class Centred(nn.Linear):
    def forward(self, x):
        return super().forward(x) - 1


def dense(n, m, seed=0):
    return nn.Linear(n, m, rng=seed, dtype="float64")


FOUND = [
    # a model; of each hidden layer: name, whether no parameter acts on its inputs, whether the layer before it gives them, what is not claimed
    (nn.MLP([4, 5, 5, 3], rng=0), [("0", True, False, ""), ("2", False, True, "")]),
    (nn.MLP([4, 4, 4, 3], rng=0, residual=True), [("0.0", True, False, ""), ("1.0", False, False, "")]),
    (nn.MLP([4, 5, 5, 3], rng=0, dropout=0.5), [("0", True, False, ""), ("3", False, True, "Dropout")]),
    (nn.MLP([4, 5, 5, 5, 3], rng=0, activation="rrelu"),
     [("0", True, False, "activation"), ("2", False, True, "activation"), ("4", False, True, "activation")]),
    (nn.Sequential(dense(4, 5), nn.RReLU(rng=0), dense(5, 5), nn.ReLU(), dense(5, 5), nn.Tanh()),
     [("0", True, False, "activation"), ("2", False, True, "RReLU"), ("4", False, True, "RReLU")]),
    (nn.MLP([4, 5, 5, 3], rng=0, activation="maxout", norm="batch"),
     [("0", True, False, "never wins"), ("2", False, False, "never wins")]),
    (nn.MLP([4, 5, 5, 3], rng=0, norm="layer"), [("0", True, False, "a norm"), ("3", False, True, "a norm")]),
    (nn.Sequential(nn.Flatten(), nn.Identity(), nn.Dropout(0.5, rng=0), dense(4, 5), nn.ReLU(), dense(5, 3)),
     [("3", True, False, "Dropout")]),
    (nn.Sequential(nn.Dropout(0.0, rng=0), dense(4, 5), nn.Identity(), nn.ReLU()), [("1", True, False, "")]),
    (nn.Sequential(nn.BatchNorm1d(4, dtype="float64"), dense(4, 5), nn.ReLU(), dense(5, 3), nn.Softmax()),
     [("1", False, False, "BatchNorm1d")]),
    (nn.Sequential(nn.Sequential(dense(4, 5), nn.ReLU()), nn.Sequential(nn.Sequential(dense(5, 5)), nn.Tanh()), dense(5, 3)),
     [("0.0", True, False, ""), ("1.0.0", False, True, "")]),
    (nn.Sequential(dense(4, 5), nn.Residual(nn.LayerNorm(5, dtype="float64"), dense(5, 5, 1), nn.ReLU(), dense(5, 5, 2)),
                   nn.Residual(dense(5, 5, 3), nn.ReLU(), nn.Residual(dense(5, 5, 4), nn.Tanh())), dense(5, 3)),
     [("1.1", False, False, ""), ("2.0", False, False, ""), ("2.2.0", False, True, "")]),
    (nn.Sequential(dense(4, 5), nn.Dropout(rng=0), nn.ReLU()), [("0", True, False, "")]),
    (nn.Sequential(nn.Residual(dense(4, 4)), nn.ReLU()), [("0.0", False, False, "one affine map")]),
    (nn.Sequential(Doubled(dense(4, 5), nn.ReLU())), [("0.0", True, False, "")]),
    (nn.Sequential(Centred(4, 5, rng=0, dtype="float64"), nn.ReLU()), [("0", False, False, "one affine map")]),
]


@pytest.mark.parametrize(("model", "expected"), FOUND)
def test_what_the_laboratory_finds(model, expected):
    """And the inputs, pre-activations and outputs that it looks at are those of the model."""
    units = lab.Units(model)
    for layer, before, (name, fixed, follows, words) in zip(units.layers, [None, *units.layers[:-1]], expected, strict=True):
        assert (layer.name, layer.fixed) == (name, fixed)
        assert layer.follows is (before if follows else None)
        assert words in layer.unclaimed and bool(words) == bool(layer.unclaimed)
    x = units.data(np.random.default_rng(0).standard_normal((20, 4)))
    seen = []
    model.eval()
    modules = dict(model.named_modules())
    for layer in units.layers:
        modules[layer.name].register_forward_hook(lambda _, inputs, out: seen.append(inputs[0]))
    output = model(x)
    looks = list(units.walk(x))
    for look, inputs in zip(looks, seen, strict=True):
        if look.layer.weight is not None:
            np.testing.assert_array_equal(look.inputs, np.asarray(inputs))
    assert output.shape[0] == len(looks[-1].h)


def test_images_are_flattened_for_a_model_that_begins_so():
    x = np.random.default_rng(0).standard_normal((20, 2, 2))
    model = nn.Sequential(nn.Flatten(), dense(4, 5), nn.ReLU(), dense(5, 3))
    assert lab.census(model, x).to_dict() == lab.census(model[1:], x.reshape(20, 4)).to_dict() | {"layers": [
        layer | {"name": "1", "units": [unit | {"layer": "1"} for unit in layer["units"]]}
        for layer in lab.census(model[1:], x.reshape(20, 4)).to_dict()["layers"]]}
    with pytest.raises(ValueError, match=r"images\? pass x.reshape\(len\(x\), -1\)"):
        lab.census(model[1:], x)
