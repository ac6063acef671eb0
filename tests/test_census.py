"""The census tells the state of every unit: each state is built on purpose and must be found."""
import json

import numpy as np
import pytest

from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, no_grad, optim
from tinygrad_relu.lab.layers import flat_edges

X = np.random.default_rng(0).standard_normal((200, 3))
Y = np.random.default_rng(1).integers(0, 4, 200)


def model(activation, biases, scale=1.0, dtype="float64"):
    """3 inputs, one unit per bias, 4 outputs; every unit uses the first input only."""
    net = nn.MLP([3, len(biases), 4], activation=activation, rng=0, dtype=dtype)
    net[0].weight.data = np.tile([scale, 0.0, 0.0], (len(biases), 1))
    net[0].bias.data = biases
    return net


STATES = [
    # activation, scale of the weight, bias, the resulting state
    ("relu", 1.0, -100.0, "dead"),
    ("relu", 1.0, 0.0, "alive"),
    ("relu", 1.0, 100.0, "always on"),
    ("relu6", 1.0, 100.0, "dead on the high side"),
    ("relu6", 1.0, -100.0, "dead"),
    ("relu6", 0.1, 3.0, "always on"),
    ("hardtanh", 1.0, 100.0, "dead on the high side"),
    ("hardtanh", 1.0, 0.0, "alive"),
    ("hardtanh", 1e6, 0.0, "dead"),             # on the low side of some samples and the high side of others: no gradient at all
    ("hardsigmoid", 1.0, 50.0, "dead on the high side"),
    ("hardswish", 1.0, -50.0, "dead"),
    ("sigmoid", 1.0, 30.0, "saturated"),
    ("sigmoid", 1.0, 0.0, "alive"),
    ("tanh", 1.0, -30.0, "saturated"),
    ("leaky_relu", 1.0, -100.0, "affine"),
    ("leaky_relu", 1.0, 0.0, "alive"),
    ("leaky_relu", 1.0, 100.0, "always on"),
    ("prelu", 1.0, -100.0, "affine"),
    ("rrelu", 1.0, -100.0, "affine"),
    ("hardtanh", 0.1, 0.0, "affine"),
    ("hardtanh", 0.1, 0.6, "always on"),
    ("rrelu", 1.0, 100.0, "always on"),
    ("elu", 1.0, -100.0, "saturated"),
    ("softplus", 1.0, 0.0, "alive"),
    ("gelu", 1.0, 0.0, "alive"),
    ("step", 1.0, 0.0, "saturated"),
    (lambda: nn.LeakyReLU(-1.0), 1.0, 0.0, "alive"),                 # abs(x): slopes of one size, and of both signs
    (lambda: nn.LeakyReLU(-1.0), 1.0, -100.0, "affine"),
    ("relu", 1.0, np.inf, "diverged"),
    ("relu", 1.0, np.nan, "diverged"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_prelu_of_slope_zero_is_a_relu(dtype):
    """The weights get a gradient of exactly zero. But the slope gets a gradient and learns, so the unit revives."""
    net = model("relu", [-100.0, -100.0, -100.0, -100.0, 0.0, 100.0], dtype=dtype)
    net = nn.Sequential(net[0], nn.PReLU(6, dtype=dtype), net[2])
    net[1].weight.data = [0.0, 0.25, -0.25, -0.0, 0.0, 0.0]
    found = lab.census(net, X, Y)
    assert [unit["state"] for unit in found.units()] == ["dead", "affine", "affine", "dead", "alive", "always on"]
    assert found.dead == [2] and [u["gradient"] == 0 for u in found.units()] == [True, False, False, True, False, False]
    opt = optim.SGD(net.parameters(), lr=0.1)
    told = lab.prognosis(net, X.astype(dtype), opt).units
    assert [(u.unit, u.verdict, u.proved) for u in told] == [(0, "estimate", False), (3, "estimate", False)]
    assert all("its slope is exactly 0 but can still learn" in u.reason for u in told)
    fixed = optim.SGD([net[0].weight, net[0].bias], lr=0.1)         # the slopes stay 0: the theory of ReLU holds
    assert [u.verdict for u in lab.prognosis(net, X.astype(dtype), fixed).units] == ["never", "never"]
    F.cross_entropy(net(X.astype(dtype)), Y).backward()
    assert not net[0].weight.grad[[0, 3]].any() and net[1].weight.grad[[0, 3]].all()
    opt.step()
    assert [unit["state"] for unit in lab.census(net, X).units()][:4] == ["affine"] * 4


@pytest.mark.parametrize(("activation", "scale", "bias", "state"), STATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_state_is_recognised(activation, scale, bias, state, dtype):
    net = model(activation, [bias, 0.1], scale, dtype)
    assert lab.census(net, X).units()[0]["state"] == state


def skipping(activation, seed, widths):
    """A network with Residuals in Residuals, and of two layers."""
    layers = iter([nn.MLP([n, n, 1], activation=activation, rng=100 * seed + i, dtype="float64")[:-1] for i, n in enumerate(widths)])
    dense = nn.Linear(3, 4, rng=seed, dtype="float64")
    return nn.Sequential(next(layers), nn.Residual(next(layers), nn.Residual(next(layers)), next(layers)),
                         nn.Residual(next(layers)), dense, next(layers), nn.Linear(4, 4, rng=seed, dtype="float64"))


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "hardtanh", "step", "maxout"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_unit_is_cut_off_if_its_gradient_is_zero_and_its_slopes_are_not(activation, residual, seed):
    """Random networks of few units, most of them dead: the states by slopes agree with the gradients by backward."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)
    net = (skipping(activation, seed, [3, 3, 3, 3, 3, 4]) if residual else
           nn.MLP([3, 4, 3, 2, 3, 4], activation=activation, rng=seed, dtype="float64"))
    for p in net.parameters()[1:-1:2]:
        p.data = rng.normal(-0.7, 1.0, p.shape)
    wholes, parts = lab.census(net, x, y), lab.census(net, x, y, batch_size=3)
    recorder = lab.Recorder(net, x)
    recorder.forward()
    recorder.observe()
    for whole, part, (forward, observed) in zip(wholes.layers, parts.layers, recorder.states):
        state, flat = whole.state, whole.gradient == 0
        expected = flat & ~np.isin(state, [lab.State.DEAD, lab.State.DEAD_HIGH, lab.State.NEVER_WINS])
        if activation == "step":                        # its own slopes are zero, and those of later layers do not matter
            expected = np.zeros_like(flat)
            assert (state == lab.State.SATURATED).all()
        np.testing.assert_array_equal(state == lab.State.CUT_OFF, expected)
        for other in (part.state, forward, observed):
            np.testing.assert_array_equal(state, other)


def test_units_are_cut_off_sample_by_sample():
    """Unit 0 is alive on the samples x > 0 and unit 1 on x < 0; the second layer is alive on x > 0 only, the third everywhere."""
    net = nn.MLP([1, 3, 1, 2, 2], rng=0, dtype="float64")
    for i, (weight, bias) in enumerate([([[1.0], [-1.0], [0.0]], [0.0, 0.0, -1.0]), ([[1.0, -1.0, 1.0]], [0.0]),
                                        ([[1.0], [1.0]], [1.0, 1.0])]):
        net[2 * i].weight.data, net[2 * i].bias.data = weight, bias
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    found = lab.census(net, x, [0, 1, 0, 1])
    assert [u["state"] for u in found.units()] == ["alive", "cut off", "dead", "alive", "always on", "always on"]
    assert found.layers[0].gradient[1] == 0 < found.layers[0].gradient[0] and found.dead == [1, 0, 0]
    net[2].bias.data = [-5.0]
    assert [u["state"] for u in lab.census(net, x).units()] == ["cut off", "cut off", "dead", "dead", "always on", "always on"]
    net[2].weight.data = [[np.nan] * 3]         # a unit of the second layer has diverged, and says so
    assert lab.census(net, x).units()[3]["state"] == "diverged"


def test_the_numbers_are_those_of_plain_numpy():
    net = nn.MLP([3, 5, 6, 4], rng=3, dtype="float64")
    net[0].bias.data = [-100.0, 0.0, 1.0, 0.2, 100.0]
    found = lab.census(net, X, Y, batch_size=64)
    h = X
    for i, layer in enumerate(found.layers):
        linear = net[2 * i]
        z = h @ linear.weight.data.T + linear.bias.data
        h = np.where(z > 0, z, 0)
        np.testing.assert_allclose(layer.on_rate, (z > 0).mean(axis=0))
        np.testing.assert_allclose(layer.max_z, z.max(axis=0))
        np.testing.assert_allclose(layer.mean_z, z.mean(axis=0), atol=1e-13)
        np.testing.assert_allclose(layer.margin, z.max(axis=0) / np.linalg.norm(linear.weight.data, axis=1))
        np.testing.assert_allclose(layer.mean_h, h.mean(axis=0))
        np.testing.assert_allclose(layer.dormancy, h.mean(axis=0) / h.mean())
    F.cross_entropy(net(X), Y).backward()
    for i, layer in enumerate(found.layers):
        linear = net[2 * i]
        norms = np.sqrt((linear.weight.grad**2).sum(axis=1) + linear.bias.grad**2)
        np.testing.assert_allclose(layer.gradient, norms, rtol=1e-12, atol=1e-17)
    assert found.layers[0].gradient[0] == 0.0
    assert found.dead == [1, int(found.layers[1].dead)]


def flags_of(net, x=X, **options):
    return [unit["flags"] for unit in lab.census(net, x, **options).units()]


def test_flags_say_what_a_state_does_not():
    """Unit 0 is what it is; 1 and 4 are the same unit; 2 has no weights; 3 is nearly silent; 5 is dead."""
    net = model("relu", [0.0, 0.5, 0.2, -2.5, 0.5, -100.0])
    net[0].weight.data = np.where(np.arange(6)[:, None] == 2, 0.0, net[0].weight.data)
    assert flags_of(net) == [[], ["duplicate"], ["constant"], ["dormant"], ["duplicate"], ["constant", "dormant"]]
    assert flags_of(net, tau=0.0)[3] == [] and flags_of(net, tau=0.0)[5] == ["constant", "dormant"] and flags_of(net, tau=2.0)[0] == ["dormant"]
    assert flags_of(net, batch_size=7) == flags_of(net)
    found = lab.census(net, X)
    assert found.to_dict()["layers"][0]["units"][3]["flags"] == ["dormant"] == json.loads(found.to_json())["layers"][0]["units"][3]["flags"]
    assert found.summary().headings[-3:] == ["constant", "duplicate", "dormant"] and found.summary().rows[0][-3:] == ["2", "2", "2"]
    shown = {row[1]: row[-1] for row in found.table().rows}
    assert shown["5"] == "" and shown["3"] == "dormant"         # a dead unit is constant and dormant anyway
    for p in net[0].parameters():
        p.requires_grad = False
    assert flags_of(net)[0] == ["frozen"]
    assert not lab.census(net, X, np.zeros(len(X), int)).layers[0].gradient.any()       # none arrives
    net[0].bias.requires_grad = True                            # it can still move
    assert flags_of(net)[0] == []


def test_a_silent_layer_is_dormant():
    net = nn.MLP([3, 2, 2, 4], rng=0, dtype="float64")
    net[0].bias.data = [-100.0, -100.0]
    first, second = lab.census(net, X).layers
    assert first.dormancy.tolist() == [0, 0] and first.flags["dormant"].all()       # and not 0/0
    assert "nan" not in str(lab.census(net, X, Y).table()) and second.flags["constant"].all()


def test_duplicates_are_the_same_in_all_that_is_theirs():
    net = nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.PReLU(4), nn.Linear(4, 2, rng=0))
    net[0].weight.data = np.tile([1.0, -0.0, 2.0], (4, 1))
    net[0].weight.data[0, 1] = 0.0                                                  # the same number
    net[0].bias.data = np.zeros(4)
    x = X.astype("float32")
    assert ["duplicate" in flags for flags in flags_of(net, x)] == [True] * 4
    net[1].bias.data = [0.0, 0.0, 1.0, 0.0]
    net[2].weight.data = [0.25, 0.25, 0.25, 0.5]
    assert ["duplicate" in flags for flags in flags_of(net, x)] == [True, True, False, False]
    pieces = nn.MLP([3, 2, 4], activation="maxout", rng=0)
    pieces[0].weight.data = np.ones((4, 3))                     # of a Maxout, whole units are compared
    pieces[0].bias.data = [0.0, 1.0, 0.0, 1.0]
    assert ["duplicate" in flags for flags in flags_of(pieces, x)] == [True] * 4
    pieces[0].bias.data = [0.0, 0.0, 0.0, 1.0]
    assert ["duplicate" in flags for flags in flags_of(pieces, x)] == [False] * 4


@pytest.mark.parametrize(("norm", "idle"), [("batch", True), ("layer", False), (None, False)])
def test_a_bias_in_front_of_batch_normalisation_is_idle(norm, idle):
    net = nn.MLP([3, 4, 4], norm=norm, rng=0, dtype="float64")
    assert ["idle bias" in flags for flags in flags_of(net)] == [idle] * 4
    F.cross_entropy(net(X), Y).backward()
    size = abs(net[0].bias.grad).max()
    assert size < 1e-16 if idle else size > 1e-4
    without = nn.Sequential(nn.Linear(3, 4, bias=False, rng=0, dtype="float64"), *net[1:])
    assert not lab.census(without, X).layers[0].flags["idle bias"].any()


def test_batches_do_not_change_the_census():
    net = nn.MLP([3, 5, 6, 4], rng=3, dtype="float64")
    whole, parts = lab.census(net, X, Y), lab.census(net, X, Y, batch_size=7)
    for a, b in zip(whole.units(), parts.units()):
        assert a["state"] == b["state"]
        assert a["flags"] == b["flags"]
        np.testing.assert_allclose([a[k] for k in a if k not in ("state", "layer", "flags")],
                                   [b[k] for k in b if k not in ("state", "layer", "flags")], rtol=1e-11, atol=1e-13)


def test_a_maxout_piece_that_never_wins_is_found():
    net = nn.MLP([3, 2, 4], activation="maxout", pieces=3, rng=0, dtype="float64")
    bias = np.zeros(6)
    bias[4] = -1000.0
    net[0].bias.data = bias
    units = lab.census(net, X, Y).units()
    assert [(u["unit"], u["piece"]) for u in units] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert units[4]["state"] == "never wins" and units[4]["on_rate"] == 0 and units[4]["gradient"] == 0
    assert sum(u["on_rate"] for u in units[:3]) == pytest.approx(1)
    bias[3] = 1000.0
    net[0].bias.data = bias
    assert [u["state"] for u in lab.census(net, X).units()[3:]] == ["always on", "never wins", "never wins"]


def test_a_census_may_be_taken_without_gradients():
    net = nn.MLP([3, 6, 4], activation="prelu", rng=0)
    with no_grad():
        inside = lab.census(net, X, Y)
    assert inside.to_dict() == lab.census(net, X, Y).to_dict()


def test_a_census_changes_nothing():
    net = nn.MLP([3, 5, 4], activation="rrelu", rng=3)
    before = [p.data.copy() for p in net.parameters()]
    lab.census(net, X, Y)
    assert all(np.array_equal(a, p.data) and p.grad is None for a, p in zip(before, net.parameters()))
    assert net.training and net[1].training


def test_it_prints_and_converts():
    found = lab.census(model("relu", [-100.0, 0.0]), X)
    text = str(found)
    assert "dead" in text and "units" in text and "always on" not in text          # only the states that occur
    assert "always on" in str(lab.census(model("relu", [100.0]), X))
    read = json.loads(found.to_json())
    assert read["samples"] == 200 and [u["state"] for u in read["layers"][0]["units"]] == ["dead", "alive"]
    assert read["layers"][0]["units"][0]["gradient"] is None        # no labels were given


def test_flat_edges_come_from_the_records():
    assert flat_edges(nn.Hardtanh(-2.0, 3.0)) == (-2.0, 3.0)
    assert flat_edges(nn.Hardswish()) == (-3.0, np.inf)
    assert flat_edges(nn.LeakyReLU()) == (-np.inf, np.inf)
    assert flat_edges(nn.PReLU()) == (-np.inf, np.inf) and flat_edges(nn.PReLU(init=0.0)) == (0.0, np.inf)


BAD = [
    (lambda: lab.census(model("relu", [0.0]), [[0.0, 1.0, np.nan]]), ValueError, "x holds nan at row 0, column 2"),
    (lambda: lab.census(model("relu", [0.0]), X[:0]), ValueError, "empty"),
    (lambda: lab.census(model("relu", [0.0]), X[:, :2]), ValueError, "x has 2 features, expected 3"),
    (lambda: lab.census(model("relu", [0.0]), X, Y[:-1]), ValueError, "199 labels for 200 samples"),
    (lambda: lab.census(model("relu", [0.0]), X, Y + 0.5), TypeError, "expected integer labels"),
    (lambda: lab.census(model("relu", [0.0]), X, Y + 4), ValueError, "not a class|expected labels"),
    (lambda: lab.census(nn.Linear(3, 4, rng=0), X), ValueError, "no hidden layer in this model, expected at least one activation"),
    (lambda: lab.census([nn.Linear(3, 4, rng=0)], X), TypeError, "expected a Module such as nn.MLP"),
    (lambda: lab.census(nn.Sequential(nn.Linear(3, 4, rng=0)), X), ValueError, "no hidden layer"),
    (lambda: lab.Units(nn.Sequential(nn.Linear(3, 4, rng=0), nn.Linear(4, 4, rng=0))), ValueError, "no hidden layer"),
    (lambda: lab.Units(nn.Sequential(nn.ReLU(), nn.Linear(4, 4, rng=0))), ValueError, "no hidden layer"),
    (lambda: lab.census(model("relu", [0.0]), X, batch_size=0), ValueError, "batch_size is 0"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), BAD)
def test_bad_input_gets_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_units_that_are_stuck_on_the_high_side_count_as_dead():
    layer = nn.Linear(1, 3, rng=0)
    layer.weight.data, layer.bias.data = np.ones((3, 1)), np.array([9.0, 1.0, -9.0])
    found = lab.census(nn.Sequential(layer, nn.ReLU6(), nn.Linear(3, 1, rng=0)), np.linspace(-1, 1, 5)[:, None])
    assert found.dead == [2]
