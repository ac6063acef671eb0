"""Recurrent layers and cells: every kind in every arrangement, with the checks of the table; and special cases."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import table
from common import TYPES, every_type, on_threads
from recurrent_table import ROWS, names_of

import tinygrad_relu as tg
from tinygrad_relu import nn
from tinygrad_relu.autodiff.node import Op
from tinygrad_relu.autodiff.tape import derivative
from tinygrad_relu.kernels.machine import panels
from tinygrad_relu.ops.elementwise import mul

nan, inf = float("nan"), float("inf")
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
pytestmark = pytest.mark.usefixtures("poisoned_memory")
every_kind = pytest.mark.parametrize("kind", GATES)
rng = np.random.default_rng(0)


every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@every_row
def test_row(row):
    for check in (table.check_twin, table.check_fused, table.check_subsets, table.check_accumulation):
        check(row)


@pytest.mark.sample(3)
@every_row
def test_finite_differences(row):
    table.check_differences(row)


@pytest.mark.parametrize("row", [ROWS[0], ROWS[9], ROWS[18], ROWS[-3]], ids=lambda row: row.name)
def test_memory_layouts(row):
    table.check_layouts(row)


# -- states as inputs and outputs --------------------------------------------------------------------------------------

def made(kind, dtype="float64", inputs=3, size=4, **options):
    return getattr(nn, kind)(inputs, size, rng=0, dtype=dtype, **options)


def states_of(h):
    return h if isinstance(h, tuple) else (h,)


def detached(h):
    return tuple(s.detach() for s in h) if isinstance(h, tuple) else h.detach()


@every_kind
def test_a_sequence_in_two_calls_is_the_sequence(kind):
    """The last state of the first call is the first state of the second: values and gradients equal those of one call."""
    layer, x = made(kind, num_layers=2), rng.standard_normal((7, 2, 3))
    whole, h = layer(x)
    (whole * whole).sum().backward()
    grads = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    first, between = layer(x[:3])
    second, last = layer(x[3:], between)
    ((first * first).sum() + (second * second).sum()).backward()
    table.close(np.concatenate([first.data, second.data]), whole.data)
    for a, b in zip(states_of(last), states_of(h)):
        table.close(a.data, b.data)
    for p, g in zip(layer.parameters(), grads):
        table.close(p.grad, g)


@every_kind
def test_a_detached_state_cuts_the_gradient_and_nothing_else(kind):
    """Truncated back-propagation through time: the values continue, and the gradient is that of the second part alone."""
    layer, x = made(kind), tg.Tensor(rng.standard_normal((7, 2, 3)), requires_grad=True)
    start, between = layer(x.data[:3])
    second = layer(x.data[3:], between)[0]
    cut = detached(between)
    assert not any(s.requires_grad for s in states_of(cut)) and start.requires_grad
    truncated = layer(x.data[3:], cut)[0]
    np.testing.assert_array_equal(truncated.data, second.data)
    (truncated * truncated).sum().backward()
    grads = [p.grad.copy() for p in layer.parameters()]
    layer.zero_grad()
    constant = [tg.Tensor(s.data) for s in states_of(between)]
    again = layer(x.data[3:], tuple(constant) if len(constant) == 2 else constant[0])[0]
    (again * again).sum().backward()
    for p, g in zip(layer.parameters(), grads):
        np.testing.assert_array_equal(p.grad, g)
    layer.zero_grad()
    (second * second).sum().backward()
    assert any((p.grad != g).any() for p, g in zip(layer.parameters(), grads))


@every_kind
def test_a_cell_step_by_step_is_the_layer(kind):
    layer, x = made(kind), tg.Tensor(rng.standard_normal((5, 2, 3)), requires_grad=True)
    cell = getattr(nn, f"{kind}Cell")(3, 4, rng=1, dtype="float64")
    for p, q in zip(cell.parameters(), layer.parameters()):
        p.data = q.data
    y, h = layer(x)
    y.sum().backward()
    state, total = None, 0.0
    for t in range(5):
        state = cell(x.data[t], state)
        table.close(states_of(state)[0].data, y.data[t])
        total = total + states_of(state)[0].sum()
    total.backward()
    for a, b in zip(states_of(state), states_of(h)):
        table.close(a.data, b.data[0])
    for p, q in zip(cell.parameters(), layer.parameters()):
        table.close(p.grad, q.grad)


@every_kind
def test_no_state_is_zeros_and_one_sequence_a_batch_of_one(kind):
    layer, x = made(kind, bidirectional=True), rng.standard_normal((4, 3))
    zeros = [np.zeros((2, 4))] * (2 if kind == "LSTM" else 1)
    y, h = layer(x)
    given, h_given = layer(x, tuple(zeros) if kind == "LSTM" else zeros[0])
    batch, h_batch = layer(x[:, None])
    np.testing.assert_array_equal(given.data, y.data)
    np.testing.assert_array_equal(batch.data[:, 0], y.data)
    for a, b, c in zip(states_of(h), states_of(h_given), states_of(h_batch)):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, c.data[:, 0])


# -- dropout between layers --------------------------------------------------------------------------------------------

@every_kind
def test_dropout_is_between_the_layers(kind):
    """No dropout in evaluation, and new draws in every call in training. The same seed gives the same bits, and the same weights
    as without dropout. If everything is dropped, the upper layer gets zeros, and its own output is not dropped."""
    x = tg.Tensor(rng.standard_normal((4, 2, 3)), requires_grad=True)
    plain, layer, same = (made(kind, num_layers=2, dropout=p) for p in (0.0, 0.5, 0.5))
    first, second = layer(x)[0].data, layer(x)[0].data
    assert (first != second).any() and (first != plain(x)[0].data).any()
    np.testing.assert_array_equal(same(x)[0].data, first)
    np.testing.assert_array_equal(layer.eval()(x)[0].data, plain(x)[0].data)
    deaf = made(kind, num_layers=2, dropout=1.0)
    y, _ = deaf(x)
    np.testing.assert_array_equal(y.data, deaf(np.zeros((4, 2, 3)))[0].data)
    y.sum().backward()
    assert (y.data != 0).all() and (deaf.weight_ih_l1.grad == 0).all() and (deaf.weight_hh_l1.grad != 0).any()
    assert (x.grad == 0).all() and (deaf.weight_hh_l0.grad == 0).all()


@every_kind
def test_dropout_may_be_changed(kind):
    """A new value takes effect at once, 0 and back, and the masks continue. A layer made without dropout refuses one."""
    x = np.ones((3, 2, 3))
    layer, same, plain = (made(kind, num_layers=2, dropout=p) for p in (0.5, 0.25, 0.0))
    layer.dropout = 0
    assert layer.dropout == 0 and "dropout" not in repr(layer)
    np.testing.assert_array_equal(layer(x)[0].data, plain(x)[0].data)
    layer.dropout = np.float64(0.25)
    assert "dropout=0.25" in repr(layer)
    np.testing.assert_array_equal(layer(x)[0].data, same(x)[0].data)
    assert copy.deepcopy(layer).dropout == pickle.loads(pickle.dumps(layer)).dropout == 0.25
    with pytest.raises(ValueError, match=rf"{kind}: dropout is 1\.5, expected a probability"):
        layer.dropout = 1.5
    plain.dropout = 0.0
    with pytest.raises(ValueError, match=rf"{kind}: cannot set dropout to 0\.5: this layer was made without it"):
        plain.dropout = 0.5
    assert layer.dropout == 0.25 and plain.dropout == 0


def test_dropout_with_one_layer_is_warned_of():
    with pytest.warns(UserWarning, match=r"GRU: dropout=0\.5 does nothing with num_layers=1: it acts between layers"):
        layer = made("GRU", dropout=0.5)
    assert repr(layer) == "GRU(3, 4, dropout=0.5)"
    np.testing.assert_array_equal(layer(np.ones((2, 3)))[0].data, made("GRU")(np.ones((2, 3)))[0].data)


# -- special numbers ---------------------------------------------------------------------------------------------------

@every_type
@every_kind
def test_nan_spreads_forward_in_time_in_its_row_alone(kind, dtype):
    layer, x = made(kind, dtype), tg.Tensor(rng.standard_normal((5, 3, 3)), requires_grad=True, dtype=dtype)
    x.data[2, 1, 0] = nan
    y, h = layer(x)
    bad = np.isnan(y.data)
    assert bad[2:, 1].all() and bad.sum() == bad[2:, 1].size
    assert all(np.isnan(s.data[0, 1]).all() and np.isfinite(s.data[0, [0, 2]]).all() for s in states_of(h))
    y.sum().backward()
    assert np.isnan(x.grad[:, 1]).all() and np.isfinite(x.grad[:, [0, 2]]).all()


@every_type
@every_kind
def test_huge_inputs_saturate(kind, dtype):
    layer, x = made(kind, dtype), tg.Tensor(1e30 * rng.standard_normal((4, 2, 3)), requires_grad=True, dtype=dtype)
    y, h = layer(x)
    y.sum().backward()
    assert np.isfinite(y.data).all() and (abs(y.data) <= 1).all() and np.isfinite(x.grad).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("shift", [-20.0, -9.0, 9.0, 20.0])
def test_slopes_on_the_plateau_keep_their_digits(kind, shift):
    """In float32 a sigmoid is 1 from 16.6 on, and the slope from y (1 - y) would be 0. Here every slope has a small relative
    error, so saturated gates pass back the same gradients as in float64. (One step of one row, because sums could cancel.)"""
    grads = []
    for dtype in TYPES:
        layer = made(kind, dtype, inputs=2, size=3)
        for p in layer.parameters():
            p.data = np.float32(p.data)
        layer.bias_ih_l0.data = layer.bias_ih_l0.data + np.float32(shift)
        x = np.random.default_rng(1).standard_normal((1, 2)).astype(np.float32)
        states = tuple(tg.Tensor(np.full((1, 3), v), dtype=dtype) for v in (0.5, 0.25))
        y, _ = layer(x.astype(dtype), states if kind == "LSTM" else states[0])
        y.backward(np.ones(y.shape))
        grads.append(layer.bias_ih_l0.grad)
    assert (grads[1] != 0).all()
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-4)


def test_a_dead_unit_of_a_relu_rnn_gets_exactly_zero():
    """This holds for an infinite gradient too, because relu selects."""
    layer = made("RNN", nonlinearity="relu", inputs=1, size=2)
    layer.weight_ih_l0.data, layer.weight_hh_l0.data = [[1.0], [-1.0]], np.zeros((2, 2))
    layer.bias_ih_l0.data, layer.bias_hh_l0.data = [0.0, 0.0], [0.0, 0.0]
    y, _ = layer(np.array([[[1.0]], [[2.0]]]))
    np.testing.assert_array_equal(y.data[..., 1], 0.0)
    y.backward(np.array([[[1.0, inf]], [[1.0, inf]]]))
    np.testing.assert_array_equal(layer.weight_ih_l0.grad, [[3.0], [0.0]])


@every_kind
def test_an_empty_batch(kind):
    layer, x = made(kind), tg.Tensor(np.ones((3, 0, 3)), requires_grad=True)
    y, h = layer(x)
    assert y.shape == (3, 0, 4) and all(s.shape == (1, 0, 4) for s in states_of(h))
    y.sum().backward()
    assert x.grad.shape == (3, 0, 3) and all((p.grad == 0).all() for p in layer.parameters())


# -- threads, memory, parameters ---------------------------------------------------------------------------------------

@every_kind
def test_any_number_of_threads_gives_the_same_bits(kind):
    x = rng.standard_normal((16, 64, 96)).astype(np.float32)
    assert 16 * 64 * GATES[kind] * 256 * 96 >= panels.SHARED

    def train():
        layer = made(kind, "float32", inputs=96, size=256, bidirectional=True)
        y, h = layer(x)
        (y * y).sum().backward()
        return [y, *states_of(h), *(p.grad for p in layer.parameters())]

    on_threads(train, (1, 2, 3))


@every_kind
def test_a_second_backward_gives_the_same_gradients(kind):
    """The pullback kernels write to no array that the graph holds."""
    layer, x = made(kind, num_layers=2), tg.Tensor(rng.standard_normal((4, 2, 3)), requires_grad=True)
    y, h = layer(x)
    loss = (y * y).sum() + sum(s.sum() for s in states_of(h))
    once = tg.grad(loss, [x, *layer.parameters()], retain_graph=True)
    again = tg.grad(loss, [x, *layer.parameters()], retain_graph=True)
    for a, b in zip(once, again):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("options", [{}, dict(bias=False), dict(num_layers=3), dict(num_layers=2, bidirectional=True)], ids=str)
@every_kind
def test_names_shapes_kinds_and_start_of_the_parameters(kind, options):
    layer = made(kind, inputs=3, size=9, **options)
    ways = ["", "_reverse"] if layer.bidirectional else [""]
    expected = {}
    for k in range(layer.num_layers):
        for way in ways:
            inputs = 9 * len(ways) if k else 3
            for name, tail in (("weight_ih", (inputs,)), ("weight_hh", (9,)), ("bias_ih", ()), ("bias_hh", ())):
                if layer.bias or name.startswith("weight"):
                    expected[f"{name}_l{k}{way}"] = (9 * GATES[kind], *tail)
    assert {name: p.shape for name, p in layer.named_parameters()} == expected
    assert names_of(layer) == list(expected)
    values = np.concatenate([p.data.ravel() for p in layer.parameters()])
    assert 0.3 < abs(values).max() <= 1 / 3 and abs(values.mean()) < 5 / 3 / np.sqrt(3 * values.size)
    assert all(p.kind == name.split("_")[0] for name, p in layer.named_parameters())
    single = made(kind, "float32", inputs=3, size=9, **options)
    for a, b in zip(single.parameters(), layer.parameters()):
        np.testing.assert_array_equal(a.data, np.float32(b.data))


@pytest.mark.parametrize("make", [lambda rng: nn.LSTM(2, 3, rng=rng), lambda rng: nn.GRUCell(2, 3, rng=rng)])
def test_randomness_is_an_argument(make):
    for missing in (None, "0", True):
        with pytest.raises(TypeError, match=r"(LSTM|GRUCell) needs rng: an integer seed or a numpy Generator"):
            make(missing)
    generator = np.random.default_rng(0)
    one, moved_on = make(generator), make(generator)
    assert (one.weight_hh.data if hasattr(one, "weight_hh") else one.weight_hh_l0.data).any()
    assert all((a.data != b.data).any() for a, b in zip(one.parameters(), moved_on.parameters()))


def test_copies_pickles_and_prints():
    layer = nn.LSTM(2, 3, num_layers=2, bias=False, batch_first=True, bidirectional=True, rng=0)
    assert repr(layer) == "LSTM(2, 3, num_layers=2, bias=False, batch_first=True, bidirectional=True)"
    assert repr(nn.RNNCell(2, 3, nonlinearity="relu", rng=0)) == "RNNCell(2, 3, nonlinearity='relu')"
    assert repr(nn.RNN(2, 3, rng=0)) == "RNN(2, 3)" and repr(nn.GRUCell(2, 3, bias=False, rng=0)) == "GRUCell(2, 3, bias=False)"
    x = np.ones((2, 3, 2))
    for twin_of in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(twin_of(x)[0].data, layer(x)[0].data)


# -- what is refused -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call, error, sentence", [
    (lambda: made("RNN")(np.ones((0, 2, 3))), ValueError, "RNN: x is a sequence of no steps, expected at least one"),
    (lambda: made("LSTM")(np.ones((0, 3))), ValueError, "LSTM: x is a sequence of no steps"),
    (lambda: made("GRU")(np.ones((5, 2, 4))), ValueError,
     r"GRU: x has shape \(5, 2, 4\), expected \(steps, batch, 3\) or \(steps, 3\)"),
    (lambda: made("GRU", batch_first=True)(np.ones(3)), ValueError, r"expected \(batch, steps, 3\) or \(steps, 3\)"),
    (lambda: nn.GRUCell(3, 4, rng=0)(np.ones((1, 2, 3))), ValueError, r"GRUCell: x has shape .* expected \(batch, 3\) or \(3\)"),
    (lambda: made("RNN")(np.ones((5, 2, 3)), np.ones((1, 3, 4))), ValueError,
     r"RNN: the state h has shape \(1, 3, 4\), expected \(1, 2, 4\)"),
    (lambda: made("RNN")(np.ones((5, 3)), np.ones((1, 1, 4))), ValueError, r"has shape \(1, 1, 4\), expected \(1, 4\)"),
    (lambda: made("LSTM")(np.ones((5, 2, 3)), (np.ones((1, 2, 4)), np.ones((1, 2, 5)))), ValueError,
     r"LSTM: the state c has shape \(1, 2, 5\), expected \(1, 2, 4\)"),
    (lambda: made("LSTM")(np.ones((5, 2, 3)), np.ones((1, 2, 4))), TypeError,
     r"LSTM: got a state of type ndarray, expected the tuple \(h, c\)"),
    (lambda: nn.LSTMCell(3, 4, rng=0)(np.ones((2, 3)), [np.ones((2, 4))]), TypeError, r"expected the tuple \(h, c\)"),
    (lambda: nn.LSTM(3, 4, proj_size=2, rng=0), ValueError, "LSTM: proj_size is 2, expected 0; projections .* not supported"),
    (lambda: nn.RNN(3, 4, nonlinearity="rleu", rng=0), ValueError, "RNN: nonlinearity is 'rleu'.*did you mean 'relu'"),
    (lambda: nn.RNNCell(3, 0, rng=0), ValueError, "RNNCell: hidden_size is 0, expected at least 1"),
    (lambda: nn.GRU(3, 4, num_layers=0, rng=0), ValueError, "GRU: num_layers is 0, expected at least 1"),
    (lambda: nn.GRU(3, 4, dtype="float16", rng=0), ValueError, "dtype is 'float16'"),
])
def test_bad_input(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


# -- the derivative of a definition --------------------------------------------------------------------------------------

def test_the_derivative_of_a_definition():
    """On arrays and on nodes, for inputs that depend on each other, and inside no_grad."""
    product = Op("product of three", lambda a, b, c: a * b * c, pull=derivative(lambda a, b, c: mul(mul(a, b), c)))
    x = tg.Tensor([2.0, -3.0], requires_grad=True)

    def f(x):
        return product(x, x * x, np.array([0.5, 2.0]))      # x^3 / 2 and 2 x^3; the second input depends on the first

    assert tg.gradcheck(f, x, order=2)
    np.testing.assert_allclose(tg.grad(f(x).sum(), x)[0].data, [6.0, 54.0])         # fused is missing: the rule on arrays
    y = f(x).sum()
    with tg.no_grad():
        (slope,) = tg.grad(y, x, create_graph=True)
    np.testing.assert_allclose(slope.data, [6.0, 54.0])
