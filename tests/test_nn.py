"""Modules: what they compute, which parameters they have and in which order, and where their randomness comes from."""
from __future__ import annotations

from contextlib import nullcontext

import naive
import numpy as np
import pytest
import table

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.door import watch
from tinygrad_relu.nn.activations import MODULES
from tinygrad_relu.nn.init import INITIALISERS

TYPES = [np.float32, np.float64]
every_type = pytest.mark.parametrize("dtype", TYPES, ids=["float32", "float64"])
X = np.random.default_rng(0).standard_normal((7, 4))


def naive_mlp(model, x):
    """Layer by layer, on float64 copies of the parameters."""
    for layer in model:
        if isinstance(layer, (nn.Linear, nn.Maxout)):
            x = naive.linear(x, layer.weight.data.astype(float), layer.bias.data.astype(float))
            x = naive.maxout(x, layer.pieces) if isinstance(layer, nn.Maxout) else x
        else:
            x = naive.ACTIVATIONS[layer.name][0](x)
    return x


# -- what modules compute --------------------------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("activation", [*MODULES, "maxout"])
def test_mlp_is_the_twins(activation, dtype):
    model = nn.MLP([4, 6, 5, 3], activation=activation, dtype=dtype, rng=0).eval()
    assert all(p.dtype == dtype for p in model.parameters())
    y = model(X)
    assert y.dtype == dtype
    table.close(y.data, naive_mlp(model, X.astype(dtype).astype(float)), ulps=200)      # three layers, sums of six
    assert model(X[0]).shape == (3,) and model(X.reshape(7, 1, 4)).shape == (7, 1, 3)


@every_type
def test_sequential_is_layer_by_layer_bit_for_bit(dtype):
    """Linear and ReLU run as one operation in Sequential: value and every gradient keep their bits."""
    model = nn.MLP([4, 16, 16, 3], dtype=dtype, rng=0)
    x = X.astype(dtype)
    F.cross_entropy(model(x), np.arange(7) % 3).backward()
    fused, model_grads = model(x).data, [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    y = tg.Tensor(x)
    for layer in model:
        y = layer(y)
    F.cross_entropy(y, np.arange(7) % 3).backward()
    np.testing.assert_array_equal(y.data, fused)
    for p, g in zip(model.parameters(), model_grads):
        np.testing.assert_array_equal(p.grad, g)


def test_sequential_fuses_only_an_elementwise_function_after_an_affine_layer():
    layers = [nn.ReLU(), nn.Linear(4, 4, rng=0), nn.PReLU(), nn.Linear(4, 4, rng=1), nn.Tanh(), nn.ReLU(),
              nn.Linear(4, 2, rng=2)]
    model = nn.Sequential(*layers)
    y = tg.Tensor(np.float32(X))
    for layer in layers:
        y = layer(y)
    np.testing.assert_array_equal(model(np.float32(X)).data, y.data)
    assert len(model) == 7 and list(model) == layers and model[2] is layers[2]


def test_prelu_shared_and_per_channel():
    """d loss / d slope is the sum of min(0, x) g: over everything, or over one channel."""
    g = np.random.default_rng(1).standard_normal(X.shape)
    for channels in (1, 4):
        layer = nn.PReLU(channels, init=0.3, dtype="float64")
        assert layer.weight.kind == "slope" and layer.weight.shape == (channels,)
        x = tg.Tensor(X, requires_grad=True)
        y = layer(x)
        y.backward(g)
        np.testing.assert_array_equal(y.data, np.where(X > 0, X, 0.3 * X))
        np.testing.assert_array_equal(x.grad, np.where(X > 0, g, 0.3 * g))
        products = np.minimum(X, 0) * g
        table.close(layer.weight.grad, products.sum(axis=0) if channels == 4 else [products.sum()])


@every_type
def test_rrelu_in_training_and_evaluation(dtype):
    """Seeded slopes within [lower, upper], drawn anew for every element and every call; their mean in evaluation."""
    x = np.full((100, 50), -1, dtype)
    layer, twin, other = (nn.RReLU(0.2, 0.6, rng=seed) for seed in (0, 0, 1))
    first, second = -layer(x).data, -layer(x).data
    assert first.dtype == dtype and first.min() >= np.float32(0.2) and first.max() <= np.float32(0.6)
    assert len(np.unique(first)) > 4900 and (first != second).mean() > 0.99
    # 5000 draws: the mean of U(0.2, 0.6) is off by 0.4 / sqrt(12 * 5000) = 0.0016, its variance by 2 % or so
    assert abs(first.mean() - 0.4) < 0.008 and abs(first.var() / (0.4**2 / 12) - 1) < 0.08
    np.testing.assert_array_equal(-twin(x).data, first)
    assert (-other(x).data != first).any()
    np.testing.assert_array_equal(layer.eval()(x).data, np.full(x.shape, -1, dtype) * dtype(0.4))
    assert layer.training is False and layer.train().training is True
    t = tg.Tensor(x, requires_grad=True)
    y = layer(t)
    y.backward(np.ones(x.shape))
    np.testing.assert_array_equal(t.grad, -y.data)      # the slope that was drawn
    np.testing.assert_array_equal(layer(-x).data, -x)   # the right side is never touched


@pytest.mark.parametrize("pieces, value, slope", [
    ([0.0, 1.0], *naive.ACTIVATIONS["relu"]), ([0.01, 1.0], *naive.ACTIVATIONS["leaky_relu"]),
    ([-1.0, 1.0], np.abs, np.sign)], ids=["relu", "leaky_relu", "absolute value"])
def test_maxout_of_two_pieces_is_exactly(pieces, value, slope):
    layer = nn.Maxout(1, 1, pieces=2, rng=0, dtype="float64")
    layer.weight.data, layer.bias.data = np.array(pieces)[:, None], [0.0, 0.0]
    x = tg.Tensor(np.linspace(-3, 3, 60)[:, None], requires_grad=True)
    y = layer(x)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, value(x.data))
    np.testing.assert_array_equal(x.grad, slope(x.data))


def test_maxout_fits_a_parabola_from_below():
    """k tangents of x^2, touching at the midpoints of k equal intervals of [-1, 1], are off by 1/k^2 at most; lifted by
    half of that, by 1/(2 k^2): claim B13 of the source."""
    k = 8
    t = (np.arange(k) + 0.5) * 2 / k - 1
    layer = nn.Maxout(1, 1, pieces=k, rng=0, dtype="float64")
    layer.weight.data, layer.bias.data = 2 * t[:, None], 0.5 / k**2 - t * t
    x = np.linspace(-1, 1, 1601)[:, None]
    assert abs(np.max(abs(layer(x).data - x * x)) - 0.5 / k**2) < 1e-15


def test_every_launch_passes_the_one_door():
    """A whole training step, watched: each kernel once, in order; watching changes no bit."""
    seen, weights = [], []

    def note(kernel, arguments):
        seen.append(kernel.__name__)
        kernel(*arguments)

    for watched in (True, False):
        model = nn.MLP([4, 6, 3], rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1)
        with watch(note) if watched else nullcontext():
            F.cross_entropy(model(X), np.arange(7) % 3).backward()
            opt.step()
        weights.append([p.data for p in model.parameters()])
    assert seen == ["linear_relu_in_place", "linear", "cross_entropy", "cross_entropy_pullback", "linear_pullback",
                    "linear_relu_pullback", "sgd"]
    for one, other in zip(*weights):
        np.testing.assert_array_equal(one, other)


# -- parameters ------------------------------------------------------------------------------------------------------

def test_names_and_order_of_parameters():
    names = [name for name, _ in nn.MLP([2, 3, 4, 1], activation="prelu", rng=0).named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias", "3.weight", "4.weight", "4.bias"]
    shapes = [p.shape for p in nn.MLP([2, 3, 1], activation="maxout", pieces=5, rng=0).parameters()]
    assert shapes == [(15, 2), (15,), (1, 3), (1,)]
    kinds = [p.kind for p in nn.MLP([2, 3, 1], activation="prelu", rng=0).parameters()]
    assert kinds == ["weight", "bias", "slope", "weight", "bias"]
    assert [name for name, _ in nn.Linear(2, 3, bias=False, rng=0).named_parameters()] == ["weight"]


def test_a_module_of_ones_own():
    """Parameters are found in attributes and lists, in the order in which they were set; a shared one comes once."""

    class Net(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter([2.0])
            self.blocks = [nn.Linear(2, 2, rng=0, dtype="float64"),
                           nn.Sequential(nn.Linear(2, 2, rng=1, dtype="float64"), nn.ReLU())]
            self.tied = self.blocks[0]
            self.note = "no module"

        def forward(self, x):
            for block in (*self.blocks, self.tied):
                x = block(x) * self.scale
            return x

    net = Net()
    names = [name for name, _ in net.named_parameters()]
    assert names == ["scale", "blocks.0.weight", "blocks.0.bias", "blocks.1.0.weight", "blocks.1.0.bias"]
    assert [name for name, _ in net.named_modules()][:3] == ["", "blocks.0", "blocks.1"]
    assert tg.gradcheck(lambda *_: net(np.array([[1.0, 2.0], [-0.5, 0.25]])), net.parameters())
    net(np.ones((1, 2))).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert not net.eval().blocks[1][1].training and net.train().blocks[1][1].training


def test_a_parameter_keeps_kind_values_and_repr():
    p = nn.Parameter([0.25], kind="slope", dtype="float32")
    assert p.requires_grad and p.dtype == np.float32 and repr(p) == "Parameter([0.25], dtype=float32, kind='slope')"
    assert repr(nn.Sequential(nn.Linear(2, 3, rng=0), nn.LeakyReLU(0.1))).splitlines() == [
        "Sequential(", "  (0): Linear(2, 3)", "  (1): LeakyReLU(negative_slope=0.1)", ")"]


# -- how parameters start --------------------------------------------------------------------------------------------

N, M = 300, 200     # inputs, outputs: 60,000 draws


@pytest.mark.parametrize("name, variance, bound", [
    ("he", 2 / N, None), ("lecun", 1 / N, None), ("normal", 1.0, None),
    ("glorot", 2 / (N + M), np.sqrt(6 / (N + M))), ("pytorch", 1 / (3 * N), 1 / np.sqrt(N))])
def test_initialisers(name, variance, bound):
    """Mean and variance within 5 standard errors (the mean of n draws has sigma / sqrt(n), the variance of normal ones
    sqrt(2/n) of itself, of uniform ones less); uniform ones keep to their bounds, and fill them."""
    w = INITIALISERS[name]((M, N), np.random.default_rng(0), "float64")
    assert w.shape == (M, N)
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size) and abs(w.var() / variance - 1) < 5 * np.sqrt(2 / w.size)
    if bound:
        assert 0.999 * bound < abs(w).max() <= bound
    else:
        assert abs((abs(w) < np.sqrt(variance)).mean() - 0.6827) < 0.01     # normal: 68 % within one sigma


@pytest.mark.parametrize("init", [*INITIALISERS, 0.5, lambda shape, rng, dtype: np.full(shape, 7, dtype)])
@every_type
def test_init_by_name_number_or_function(init, dtype):
    """The weight comes from the initialiser; the bias is 0, only PyTorch's default draws it, within 1/sqrt(inputs)."""
    layer = nn.Linear(16, 50, init=init, dtype=dtype, rng=0)
    assert layer.weight.dtype == layer.bias.dtype == dtype
    if init == "pytorch":
        assert 0.8 / 4 < abs(layer.bias.data).max() <= 1 / 4
    else:
        assert (layer.bias.data == 0).all()
    if not isinstance(init, str):
        assert (layer.weight.data == (7 if callable(init) else init)).all()


@pytest.mark.parametrize("make", [lambda rng: nn.MLP([3, 4, 2], rng=rng), lambda rng: nn.Linear(3, 4, rng=rng),
                                  lambda rng: nn.Maxout(3, 4, rng=rng),
                                  lambda rng: nn.MLP([3, 4, 2], activation="rrelu", rng=rng)])
def test_randomness_is_an_argument(make):
    """A seed, or a Generator that moves on; the same seed gives the same bits, in float32 those of float64 rounded."""
    one, same, other, generator = make(0), make(0), make(1), np.random.default_rng(0)
    from_generator, moved_on = make(generator), make(generator)
    for a, b, c, d, e in zip(*(m.parameters() for m in (one, same, other, from_generator, moved_on))):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, d.data)
        assert a.data.any() == (a.data != c.data).any() == (a.data != e.data).any()         # biases are 0
    for missing in (None, "0", 1.5, True):
        with pytest.raises(TypeError, match="needs rng: an integer seed or a numpy Generator"):
            make(missing)


def test_float32_starts_as_float64_does():
    single, double = (nn.MLP([5, 4, 3], dtype=dtype, rng=0).parameters() for dtype in ("float32", "float64"))
    for a, b in zip(single, double):
        np.testing.assert_array_equal(a.data, np.float32(b.data))
