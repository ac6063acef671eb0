"""Random numbers by counting, and the layers that draw: the same seed gives the same bits, however the work is divided."""
from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import naive
import numpy as np
import pytest
from common import TYPES, every_type, on_threads

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.loops import random as kernels
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.ops import elementwise

nan, inf = float("nan"), float("inf")


# -- the generator ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("counter, key, expected", [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_the_published_vectors(counter, key, expected):
    """The known answers that come with the authors' library (Random123, kat_vectors), for twin and kernel alike."""
    counter, key, expected = ([int(word, 16) for word in text.split()] for text in (counter, key, expected))
    assert naive.philox(counter, key) == expected
    assert [int(word) for word in kernels.philox(*map(np.uint64, counter + key))] == expected


def test_the_rounds_are_those_of_numpy():
    """NumPy has Philox with words of 64 bits: the rounds of the twin, with the constants of that variant, give its numbers."""
    key, start = (2**63 + 11, 5), 2**64 - 3
    theirs = np.random.Philox(key=np.array(key, np.uint64), counter=np.array([start, 7, 0, 0], np.uint64)).random_raw(16)
    ours = [w for i in range(1, 5) for w in naive.philox([(start + i) % 2**64, 7 + (start + i) // 2**64, 0, 0], key, bits=64)]
    assert theirs.tolist() == ours          # it counts before it draws


@pytest.mark.parametrize("key", [0, 1, 2**32 - 1, 2**32, 2**63 - 1])
@pytest.mark.parametrize("start", [0, 64, 2**32 - 64, 2**32 - 1, 2**40])
def test_words_agree_with_the_twin(key, start):
    """Over two full tiles and part of a third, and where the counter exceeds 32 bits."""
    n = 600
    out = np.empty(n)
    kernels.uniform(np.array([key, start]), 0, 0.0, 2.0**24, out)
    np.testing.assert_array_equal(out, naive.words(key, start, n) // 256)


def test_bits_are_fair():
    """2^20 draws: mean 1/2 and variance 1/12 within 5 standard errors, neighbours (in the array, in a tile, of the next key)
    without correlation, and each of 256 bins as full as chance has it (chi^2 of 255 degrees: 255 +- 5 * 22.6)."""
    n = 2**20
    u = elementwise.uniform(np.array([3, 0]), (n,), np.float64, 0.0, 1.0)
    other = elementwise.uniform(np.array([4, 0]), (n,), np.float64, 0.0, 1.0)
    error = 5 / np.sqrt(n)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < error * np.sqrt(1 / 12) and abs(u.var() * 12 - 1) < error * 0.9
    for shifted in (np.roll(u, 1), np.roll(u, 64), np.roll(u, 256), other):
        assert abs(np.corrcoef(u, shifted)[0, 1]) < error
    counts = np.bincount((u * 256).astype(int), minlength=256)
    assert abs(np.square(counts - n / 256).sum() / (n / 256) - 255) < 113


# -- same seed, same bits --------------------------------------------------------------------------------------------

@every_type
def test_any_number_of_threads(dtype):
    x = np.ones(30 * kernels.TILES * kernels.TILE + 1234, dtype)

    def draw():
        t = tg.Tensor(x, requires_grad=True)
        y = F.dropout(t, 0.25, rng=7)
        y.backward(x)
        return y, t.grad, F.rrelu(-x, training=True, rng=7)

    y, gradient, negative = on_threads(draw, (1, 2, 8))
    np.testing.assert_array_equal(y, gradient)
    uncut, slopes, place = np.empty_like(x), np.empty_like(x), elementwise.new_place(7, "test")
    kernels.dropout(x, place, 0, 2**30, 4 / 3, uncut), kernels.uniform(place, 0, 1 / 8, 1 / 3, slopes)
    np.testing.assert_array_equal(y, uncut)
    np.testing.assert_array_equal(negative, -slopes)


@every_type
@pytest.mark.parametrize("tiles", [1, 3, 100])
def test_any_blocking(tiles, dtype):
    """An array that is processed in pieces of whole tiles, by any threads, gets the same bits as in one piece."""
    x = np.random.default_rng(0).standard_normal(10_000).astype(dtype)
    place, width = np.array([9, 128]), tiles * kernels.TILE
    whole, parts = np.empty_like(x), np.empty_like(x)
    kernels.dropout(x, place, 0, 2**30, 2.0, whole)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: kernels.dropout(x[i:i + width], place, i // kernels.TILE, 2**30, 2.0, parts[i:i + width]),
                      range(0, x.size, width)))
    np.testing.assert_array_equal(parts, whole)
    assert not np.array_equal(whole != 0, x != 0)


@pytest.mark.parametrize("shape", [(), (1,), (255,), (256,), (257,), (64, 5), (0, 3)], ids=str)
def test_float32_and_float64_drop_the_same_elements(shape):
    single, double = (F.dropout(np.ones(shape, dtype), 0.3, rng=1).data for dtype in TYPES)
    np.testing.assert_array_equal(single != 0, double != 0)
    np.testing.assert_array_equal(double, naive.dropout(np.ones(shape), 0.3, naive.key_of(1)))
    slopes = [F.rrelu(np.full(shape, -1, dtype), training=True, rng=1).data for dtype in TYPES]
    np.testing.assert_allclose(*slopes, rtol=0, atol=2**-25)


def test_every_call_of_a_module_draws_new_numbers():
    """Sizes around a tile: the counter moves on by whole tiles, so no two calls share a word."""
    layer, counts = nn.Dropout(rng=0), []
    for size in (1, 256, 257, 300, 64):
        before = layer.rng_state.data[1]
        y = layer(np.ones(size)).data
        np.testing.assert_array_equal(y, naive.dropout(np.ones(size), 0.5, int(layer.rng_state.data[0]), int(before)))
        counts.append(int(layer.rng_state.data[1]))
    assert counts == [64, 128, 256, 384, 448]
    one, same, other = (nn.Dropout(rng=seed)(np.ones(500)).data for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and (one != layer(np.ones(500)).data).any()


def net(seed=0):
    return nn.MLP([6, 8, 8, 3], activation="rrelu", norm="batch", dropout=0.3, residual=True, dtype="float64", rng=seed)


def steps(model, opt, n):
    rng = np.random.default_rng(1)
    for _ in range(n):
        opt.zero_grad()
        F.cross_entropy(model(rng.standard_normal((16, 6))), rng.integers(0, 3, 16)).backward()
        opt.step()


def state(model):
    return {name: p.data for name, p in [*model.named_parameters(), *model.named_buffers()]}


def test_a_resumed_run_has_the_bits_of_the_whole_one():
    """Parameters and buffers are all the state there is: copied into another model, they resume masks, slopes and statistics.
    (SGD without momentum has no state of its own.)"""
    whole, resumed = net(), net(seed=5)
    opt = optim.SGD(whole.parameters(), lr=0.1)
    steps(whole, opt, 5)
    copied = state(resumed)
    for name, value in state(whole).items():
        copied[name][...] = value
    assert sum(name.endswith("rng_state") for name in copied) == 4
    assert all(b.optional == name.endswith("rng_state") for name, b in whole.named_buffers())
    steps(whole, opt, 5), steps(resumed, optim.SGD(resumed.parameters(), lr=0.1), 5)
    for name, value in state(resumed).items():
        np.testing.assert_array_equal(value, state(whole)[name])


def test_recorded_launches_replay_the_next_draws():
    """The state is an array that a kernel reads and advances: running the same launches again gives the next mask."""
    layer, twin, x = nn.Dropout(rng=3), nn.Dropout(rng=3), np.ones((5, 100))
    program = []

    def record(kernel, arguments):
        program.append((kernel, arguments))
        kernel(*arguments)

    with watch(record):
        y = layer(x)
    assert [kernel.__name__ for kernel, _ in program] == ["take", "dropout"]
    np.testing.assert_array_equal(y.data, twin(x).data)
    for kernel, arguments in program:
        kernel(*arguments)
    np.testing.assert_array_equal(y.data, twin(x).data)


def test_a_copy_draws_independently():
    layer = nn.Dropout(rng=3)
    layer(np.ones(10))
    other = copy.deepcopy(layer)
    np.testing.assert_array_equal(layer(np.ones(100)).data, other(np.ones(100)).data)


def test_nothing_is_drawn_in_evaluation_nor_for_zero():
    x = tg.Tensor(np.ones(10), requires_grad=True)
    for layer in (nn.Dropout(rng=0).eval(), nn.Dropout(0.0, rng=0), nn.RReLU(rng=0).eval()):
        before = layer.rng_state.data.copy()
        y = layer(x)
        np.testing.assert_array_equal(y.data, x.data)
        np.testing.assert_array_equal(layer.rng_state.data, before)
    assert F.dropout(x, training=False) is x and F.dropout(x, 0.0) is x


# -- what dropout does -----------------------------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1e-9, 1 - 1e-12])
def test_share_and_scale(p, dtype):
    """The share of zeros is p within 5 standard errors; kept ones are exactly 1 / (1 - p), and so are their gradients."""
    x = tg.Tensor(np.ones(100_000), requires_grad=True, dtype=dtype)
    y = F.dropout(x, p, rng=2)
    y.backward(x.data)
    assert abs((y.data == 0).mean() - p) <= 5 * np.sqrt(p * (1 - p) / x.size)
    assert set(np.unique(y.data)) <= {dtype(0), dtype(1 / (1 - p))}
    np.testing.assert_array_equal(x.grad, y.data)


@pytest.mark.parametrize("value", [nan, inf, -inf, 3.0])
def test_a_dropped_element_is_exactly_zero(value):
    """0 * inf would be NaN. A kept element stays NaN or infinite. The same holds for the gradient."""
    x = tg.Tensor(np.full(1000, value), requires_grad=True)
    y = F.dropout(x, 0.5, rng=0)
    y.backward(x.data)
    dropped = naive.words(naive.key_of(0), 0, 1000) < 2**31
    for result in (y.data, x.grad):
        np.testing.assert_array_equal(result, np.where(dropped, 0.0, 2 * value))
        assert not np.signbit(result[dropped]).any()


@pytest.mark.parametrize("value", [nan, inf, 1.0])
def test_everything_dropped(value):
    x = tg.Tensor(np.full((7, 100), value), requires_grad=True)
    y = nn.Dropout(1.0, rng=0)(x)
    y.backward(x.data)
    assert not y.data.any() and not x.grad.any()


def test_no_mask_is_kept():
    """The graph holds x and two whole numbers; two backward passes use the same mask."""
    x = tg.Tensor(np.ones((50, 50)), requires_grad=True)
    y = nn.Dropout(rng=0)(x)
    nn.Dropout(rng=0)(x)
    assert y.saved is None and y.values[0] is x.data and y.values[1].size == 2
    y.backward(x.data, retain_graph=True)
    np.testing.assert_array_equal(x.grad, y.data)
    y.backward(x.data)
    np.testing.assert_array_equal(x.grad, 2 * y.data)


@pytest.mark.parametrize("call, error, message", [
    (lambda: nn.Dropout(), TypeError, "Dropout needs rng: an integer seed or a numpy Generator"),
    (lambda: nn.Dropout(1.5, rng=0), ValueError, "Dropout: p is 1.5, expected a probability, from 0 to 1"),
    (lambda: nn.Dropout(nan, rng=0), ValueError, "Dropout: p is nan, expected a probability"),
    (lambda: nn.Dropout("a", rng=0), TypeError, "Dropout: p is 'a', expected a number"),
    (lambda: F.dropout([1.0]), TypeError, "dropout in training needs rng"),
    (lambda: F.dropout([1.0], -0.1, rng=0), ValueError, "dropout: p is -0.1, expected a probability"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
