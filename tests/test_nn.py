"""Modules: the functions that they compute, their parameters and the order of these, and their random numbers."""
from __future__ import annotations

from functools import partial

import exact
import naive
import numpy as np
import pytest
import table
from common import every_type, launches

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.nn.activations import MODULES
from tinygrad_relu.nn.init import INITIALISERS

X = np.random.default_rng(0).standard_normal((7, 4))


def naive_mlp(model, x):
    """Layer by layer, on float64 copies of the parameters."""
    for layer in model:
        if isinstance(layer, (nn.Linear, nn.Maxout)):
            x = naive.linear(x, layer.weight.data.astype(float), layer.bias.data.astype(float))
            x = naive.maxout(x, layer.pieces) if isinstance(layer, nn.Maxout) else x
        else:
            x = exact.value(layer.name)(x)
    return x


@pytest.mark.parametrize("make", [lambda: nn.Identity(5), lambda: nn.Module(size=5)])
def test_a_module_without_an_init_takes_no_arguments(make):
    with pytest.raises(TypeError, match="takes no arguments"):
        make()



# -- what modules compute --------------------------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("activation", [*MODULES, "maxout"])
def test_mlp_agrees_with_the_twin(activation, dtype):
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
    """Random slopes in [lower, upper], drawn for every element in every call; their mean in evaluation."""
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
    ([0.0, 1.0], exact.value("relu"), exact.slope("relu")), ([0.01, 1.0], exact.value("leaky_relu"), exact.slope("leaky_relu")),
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
    """The maximum of k tangents of x^2, at the midpoints of k equal intervals of [-1, 1], is off by at most 1/k^2; raised by
    half of that, by at most 1/(2 k^2)."""
    k = 8
    t = (np.arange(k) + 0.5) * 2 / k - 1
    layer = nn.Maxout(1, 1, pieces=k, rng=0, dtype="float64")
    layer.weight.data, layer.bias.data = 2 * t[:, None], 0.5 / k**2 - t * t
    x = np.linspace(-1, 1, 1601)[:, None]
    assert abs(np.max(abs(layer(x).data - x * x)) - 0.5 / k**2) < 1e-15


def test_every_launch_passes_the_one_door():
    """A whole training step, watched: each kernel once, in order; watching changes no bit."""
    weights = []

    def train():
        model = nn.MLP([4, 6, 3], rng=0)
        opt = optim.SGD(model.parameters(), lr=0.1)
        F.cross_entropy(model(X), np.arange(7) % 3).backward()
        opt.step()
        weights.append([p.data for p in model.parameters()])

    train()
    assert launches(train) == ["linear_relu_forward", "linear", "cross_entropy", "linear_pullback", "linear_relu_pullback",
                    "sgd"]
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
    """Parameters are found in attributes and lists, in the order in which they were set; a shared one is listed once."""

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
    assert [name for name, _ in net.named_modules()] == ["", "blocks.0", "blocks.1", "blocks.1.0", "blocks.1.1", "tied"]
    linear, sequence = net.blocks
    assert list(net.modules()) == [net, linear, sequence, *sequence]
    assert list(net.children()) == [linear, sequence, linear] and list(sequence.children()) == list(sequence)
    seen = []
    assert net.apply(seen.append) is net and seen == [linear, *sequence, sequence, linear, net]
    assert tg.gradcheck(lambda *_: net(np.array([[1.0, 2.0], [-0.5, 0.25]])), net.parameters())
    net(np.ones((1, 2))).sum().backward()
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert not net.eval().blocks[1][1].training and net.train().blocks[1][1].training


def test_parameters_and_buffers_come_in_the_order_of_their_names():
    """In nested lists, tuples and dicts, shared ones once; a hook that is a module is none of the model's."""
    shared = nn.BatchNorm1d(2)
    net = nn.Sequential(nn.Linear(2, 2, rng=0), shared, nn.LSTM(2, 3, num_layers=2, dropout=0.5, rng=0))
    net.extra = {"a": [nn.Parameter([1.0]), (shared, nn.PReLU())], "b": nn.Dropout(0.5, rng=0), "c": [[nn.Buffer(np.ones(2))]]}
    net.alone, net.words = nn.Parameter([2.0]), ["no", 3, None]
    net.register_forward_hook(nn.Linear(2, 2, rng=0))
    for listed, named in ((net.parameters(), net.named_parameters()), (net.buffers(), net.named_buffers())):
        assert [id(entry) for entry in listed] == [id(entry) for _, entry in named]
    assert (len(net.parameters()), len(net.buffers())) == (15, 6)


def test_a_parameter_keeps_kind_values_and_repr():
    p = nn.Parameter([0.25], kind="slope", dtype="float32")
    assert p.requires_grad and p.dtype == np.float32 and repr(p) == "Parameter([0.25], dtype=float32, kind='slope')"
    assert repr(nn.Sequential(nn.Linear(2, 3, rng=0), nn.LeakyReLU(0.1))).splitlines() == [
        "Sequential(", "  (0): Linear(2, 3)", "  (1): LeakyReLU(negative_slope=0.1)", ")"]


# -- how parameters start --------------------------------------------------------------------------------------------

N, M = 300, 200     # inputs, outputs: 60,000 draws


@pytest.mark.parametrize("name, variance, bound", [
    ("he", 2 / N, None), ("lecun", 1 / N, None), ("normal", 1.0, None),
    ("glorot", 2 / (N + M), np.sqrt(6 / (N + M))), ("pytorch", 1 / (3 * N), 1 / np.sqrt(N)),
    ("kaiming_normal", 2 / N, None), ("kaiming_uniform", 2 / N, np.sqrt(6 / N)),
    ("xavier_normal", 2 / (N + M), None), ("xavier_uniform", 2 / (N + M), np.sqrt(6 / (N + M)))])
def test_initialisers(name, variance, bound):
    """Mean and variance within 5 standard errors (the mean of n draws has sigma / sqrt(n), the variance of normal ones
    sqrt(2/n) of itself, of uniform ones less); uniform ones keep to their bounds, and fill them."""
    drawn = INITIALISERS[name]((M, N), np.random.default_rng(0), "float64")
    w = drawn[0] if isinstance(drawn, tuple) else drawn         # (weight, bias) where the bias is drawn too
    assert w.shape == (M, N)
    assert abs(w.mean()) < 5 * np.sqrt(variance / w.size) and abs(w.var() / variance - 1) < 5 * np.sqrt(2 / w.size)
    if bound:
        assert 0.999 * bound < abs(w).max() <= bound
    else:
        assert abs((abs(w) < np.sqrt(variance)).mean() - 0.6827) < 0.01     # normal: 68 % within one sigma


@pytest.mark.parametrize("name, options, std", [
    ("kaiming_normal", dict(mode="fan_out", nonlinearity="tanh"), 5 / 3 / np.sqrt(M)),
    ("kaiming_uniform", dict(a=0.5), np.sqrt(2 / 1.25 / N)), ("xavier_normal", dict(gain=3.0), 3 * np.sqrt(2 / (N + M))),
    ("xavier_uniform", dict(gain=3.0), 3 * np.sqrt(2 / (N + M))), ("kaiming_normal", dict(nonlinearity="selu"), 0.75 / np.sqrt(N))])
def test_options_of_initialisers(name, options, std):
    """`partial` fixes options; the standard deviation of 60,000 draws has a relative error of at most 5/sqrt(120,000)."""
    layer = nn.Linear(N, M, init=partial(getattr(nn.init, name), **options), dtype="float64", rng=0)
    assert abs(layer.weight.data.std() / std - 1) < 5 / np.sqrt(2 * N * M)


def test_the_first_initialisers_are_pytorchs_with_their_defaults():
    for ours, theirs in (("he", "kaiming_normal"), ("glorot", "xavier_uniform")):
        a, b = (INITIALISERS[name]((M, N), np.random.default_rng(0), "float64") for name in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-15)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (1, 4), (4, 1)])
@every_type
def test_orthogonal(shape, dtype):
    """Orthonormal rows or columns, whichever are fewer; and both signs on the diagonal: Q alone would be biased."""
    w = nn.init.orthogonal(shape, np.random.default_rng(0), dtype, gain=2.0)
    assert w.dtype == dtype and w.shape == shape and w.flags.c_contiguous
    product = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(min(shape)), rtol=0, atol=32 * np.finfo(dtype).eps)
    corners = [nn.init.orthogonal(shape, np.random.default_rng(seed), dtype)[0, 0] for seed in range(200)]
    assert abs(np.mean(np.sign(corners))) < 0.3         # the mean of 200 signs: four standard errors


def test_randomized_asymmetric_rows():
    """One entry of each row of [W b] is from Beta(2, 1), with mean 2/3 and variance 1/18; the others have variance 0.6007^2/n.
    The test separates them by size: with 300 inputs, five standard deviations of the others are 0.17."""
    weight, bias = nn.init.rai((4000, N), np.random.default_rng(0), "float64")
    both = np.column_stack([weight, bias])
    large = both > 5 * 0.6007 / np.sqrt(N)
    assert large.sum(axis=1).max() == 1 and large.mean() > 0.95 / (N + 1)       # P(Beta(2, 1) < 0.17) = 0.03
    chosen, others = both.max(axis=1), np.sort(both, axis=1)[:, :-1]
    assert abs(chosen.mean() - 2 / 3) < 0.02 and abs(chosen.var() * 18 - 1) < 0.1
    assert abs(others.std() * np.sqrt(N) / 0.6007 - 1) < 0.01
    assert abs(large[:, -1].sum() / large.sum() - 1 / (N + 1)) < 5 / np.sqrt(4000 * N)      # the bias is one entry of many


def test_randomized_asymmetric_networks_are_rarely_born_dead():
    """Width 2, ten layers, one input: 88 % of all networks are constant with "he", 23 % with "rai" (Lu et al. 2019)."""
    x = np.random.default_rng(1).uniform(-np.sqrt(3), np.sqrt(3), (50, 1))
    dead = {}
    for init in ("he", "rai"):
        outputs = [nn.MLP([1, *[2] * 9, 1], init=init, dtype="float64", rng=seed)(x).data for seed in range(1000)]
        dead[init] = np.mean([np.ptp(y) == 0 for y in outputs])
    assert abs(dead["he"] - 0.88) < 0.05 and abs(dead["rai"] - 0.23) < 0.06


@pytest.mark.parametrize("init", ["pytorch", "rai", "he", nn.init.pytorch])
def test_a_layer_without_a_bias(init):
    """The weight is the same as with a bias. With init="pytorch" nothing is drawn for the missing bias; the other initialisers
    leave the generator in the same state as with a bias."""
    first, second = (np.random.default_rng(0) for _ in range(2))
    with_bias, without = nn.Linear(3, 2, init=init, rng=first), nn.Linear(3, 2, bias=False, init=init, rng=second)
    np.testing.assert_array_equal(with_bias.weight.data, without.weight.data)
    if init in ("pytorch", nn.init.pytorch):
        second.random(2)
    assert first.random() == second.random()


@pytest.mark.parametrize("number", [2, 0.5, np.float32(0.5), np.float64(0.5), np.int64(2)])
def test_a_start_is_any_number(number):
    assert (nn.Linear(3, 2, init=number, rng=0).weight.data == number).all()


def test_a_layer_without_bias_takes_the_weight_of_a_pair():
    assert nn.Linear(3, 2, bias=False, init="rai", rng=0).bias is None
    weight, bias = nn.init.rai((4, 3), np.random.default_rng(0), "float32")
    layer = nn.Maxout(3, 2, pieces=2, init="rai", rng=0)
    np.testing.assert_array_equal(layer.weight.data, weight)
    np.testing.assert_array_equal(layer.bias.data, bias)


@pytest.mark.parametrize("init", [*INITIALISERS, 0.5, lambda shape, rng, dtype: np.full(shape, 7, dtype)])
@every_type
def test_init_by_name_number_or_function(init, dtype):
    """The weight comes from the initialiser; the bias is 0, only "pytorch" (within 1/sqrt(inputs)) and "rai" draw it."""
    layer = nn.Linear(16, 50, init=init, dtype=dtype, rng=0)
    assert layer.weight.dtype == layer.bias.dtype == dtype
    if init == "pytorch":
        assert 0.8 / 4 < abs(layer.bias.data).max() <= 1 / 4
    elif init == "rai":
        assert (layer.bias.data != 0).all()
    else:
        assert (layer.bias.data == 0).all()
    if not isinstance(init, str):
        assert (layer.weight.data == (7 if callable(init) else init)).all()


@pytest.mark.parametrize("make", [lambda rng: nn.MLP([3, 4, 2], rng=rng), lambda rng: nn.Linear(3, 4, rng=rng),
                                  lambda rng: nn.Maxout(3, 4, rng=rng),
                                  lambda rng: nn.MLP([3, 4, 2], activation="rrelu", rng=rng)])
def test_randomness_is_an_argument(make):
    """A seed, or a Generator that advances; the same seed gives the same bits, in float32 the rounded float64 weights."""
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
