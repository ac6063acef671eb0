"""gradient_profile: the numbers of each layer, against their definitions computed with plain NumPy and tg.grad."""
from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((80, 5)), RNG.integers(0, 3, 80)
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch_size", [4096, 33])
def test_numbers_by_definition(dtype, batch_size):
    model = nn.MLP([5, 8, 6, 3], rng=0, dtype=dtype)
    optimizer = optim.Adam(model.parameters(), lr=0.01, weight_decay=0.1)
    found = lab.gradient_profile(model, X, Y, optimizer, batch_size=batch_size)
    linear = [model[i] for i in (0, 2, 4)]
    z, h = [], [tg.Tensor(X.astype(dtype))]
    for layer in linear:
        z.append(layer(h[-1]))
        h.append(F.relu(z[-1]))
    total = F.cross_entropy(z[-1], Y, reduction="sum")
    signals = tg.grad(total, z, retain_graph=True)
    gradients = [g.data / len(X) for g in tg.grad(total, [layer.weight for layer in linear], retain_graph=True)]
    before = [layer.weight.data.copy() for layer in linear]
    trial, same = copy.deepcopy((model, optimizer))
    F.cross_entropy(trial(X), Y).backward()
    same.step()
    for i, layer in enumerate(found.layers):
        values = np.linalg.svd(h[i + 1].data.astype("float64"), compute_uv=False)
        shares = values / values.sum()
        moved = np.linalg.norm(trial[2 * i].weight.data - before[i])
        expected = {"inputs": [5, 8, 6][i], "units": [8, 6, 3][i], "signal": np.sqrt((signals[i].data**2).mean()),
                    "gradient": np.linalg.norm(gradients[i]), "weight": np.linalg.norm(before[i]), "update": moved,
                    "ratio": moved / np.linalg.norm(before[i])}
        if i < 2:
            expected |= {"size": np.sqrt((h[i + 1].data**2).mean()),
                         "rank": np.exp(-(shares * np.log(np.maximum(shares, 1e-300))).sum())}
        for name, number in expected.items():
            assert getattr(layer, name) == pytest.approx(number, rel=TOLERANCE[dtype]), name
    assert np.isnan(found.layers[2].rank) and found.layers[2].activation == ""
    assert found.per_layer == pytest.approx((found.layers[0].signal / found.layers[2].signal) ** 0.5)
    assert all(np.array_equal(layer.weight.data, old) for layer, old in zip(linear, before)) and linear[0].weight.grad is None


def test_a_sigmoid_chain_follows_the_product_formula():
    """A chain of one unit a layer: the signal of layer l is that of layer l + 1 times |w sigma'(z)|."""
    model = nn.MLP([1, 1, 1, 1, 1], activation="sigmoid", rng=3, dtype="float64")
    x, y = np.array([[0.7]]), np.array([[2.0]])
    found = lab.gradient_profile(model, x, y, loss=F.mse_loss)
    h, slopes = x, []
    for i in (0, 2, 4):
        h = 1 / (1 + np.exp(-(h @ model[i].weight.data.T + model[i].bias.data)))
        slopes.append(float((h * (1 - h)).item()))
    for i, slope in enumerate(slopes):
        factor = abs(float(model[2 * i + 2].weight.item())) * slope
        assert found.layers[i].signal == pytest.approx(found.layers[i + 1].signal * factor, rel=1e-12)


@pytest.mark.parametrize("options", [{"activation": "maxout"}, {"norm": "batch", "residual": True}, {"dropout": 0.5}], ids=str)
def test_any_model_that_the_laboratory_can_look_into(options):
    model = nn.MLP([5, 8, 8, 3], rng=0, **options)
    state = model.state_dict()
    found = lab.gradient_profile(model, X, Y)
    assert len(found.layers) == 3 and all(0 < layer.rank <= layer.units for layer in found.layers[:2])
    assert all(np.array_equal(state[name], values) for name, values in model.state_dict().items()) and model.training


def test_frozen_and_silent_layers_tables_and_data():
    model = nn.MLP([5, 8, 8, 3], rng=0)
    lab.kill(model, X, layer=1)
    model[0].requires_grad_(False)
    found = lab.gradient_profile(model, X, Y, optim.SGD(model.parameters(), lr=1.0))
    first, second, _ = found.layers
    assert first.gradient == first.signal == second.rank == second.size == 0 < first.rank
    data = json.loads(found.to_json())
    assert data["layers"][2]["rank"] is None and data["layers"][0]["name"] == "0"
    assert "per layer, the signal is multiplied by 0 on its way back" in str(found)
    assert len(found.plot().axes[0].lines) == 2             # the signal and the activations; the rest is zero everywhere


def test_a_network_that_has_diverged_has_no_rank():
    model = nn.MLP([2, 4, 2], rng=0)
    model[0].bias.data = np.full(4, np.nan)
    found = lab.gradient_profile(model, np.ones((5, 2)), np.zeros(5, int))
    assert np.isnan(found.layers[0].rank)
    assert [text.get_text() for text in found.plot().axes[0].texts] == ["all numbers are 0, NaN or infinite"]


def test_the_names_of_many_layers_do_not_overlap_in_the_picture():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for widths in [2, 8, 3], [2] + [8] * 25 + [3]:
        figure = lab.gradient_profile(nn.MLP(widths, rng=0), X[:, :2], Y).plot()
        FigureCanvasAgg(figure).draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].get_xticklabels()]
        assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]))
