"""Every row of the table, checked on memory that starts as NaN; and special cases of some operations."""
from __future__ import annotations

import naive
import numpy as np
import pytest
import table
from common import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.machine import matmul

nan, inf = float("nan"), float("inf")
pytestmark = pytest.mark.usefixtures("poisoned_memory")


@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: row.name)
def test_row(row):
    for check in table.CHECKS:
        check(row)


@every_type
@pytest.mark.parametrize("rows", [33, 500])
def test_layers_whose_weights_are_transposed(rows, dtype):
    """Of all numbers of outputs and inputs about the tiles: sums of whole numbers are exact."""
    rng = np.random.default_rng(0)
    for outputs in (1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 33, 128):
        for inputs in (1, 2, 3, 5, 32, 33, 64, 127, 200):
            x, w = (rng.integers(-9, 9, (n, inputs)).astype(dtype) for n in (rows, outputs))
            assert (F.linear(x, w).data == x @ w.T).all(), (outputs, inputs)


# -- special numbers -------------------------------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("base, exponent, slope",
                         [(0.0, 2, 0.0), (0.0, 1, 1.0), (0.0, 0, 0.0), (-2.0, 0, 0.0), (-2.0, 3, 12.0)])
def test_powers_at_zero(base, exponent, slope, dtype):
    """A whole exponent is fine with a zero or negative base; x^0 has the slope 0, selected: also for an infinite g."""
    x = tg.Tensor([base], requires_grad=True, dtype=dtype)
    (x**exponent).backward([1.0])
    assert x.grad == slope
    if exponent == 0:
        (x**exponent).backward([inf])
        assert x.grad == 0


def test_power_of_zero_to_the_zero():
    """0^0 = 1 with both slopes 0, as in PyTorch; next to it x^0 has the mixed second derivative 1/x."""
    x, y = (tg.Tensor([0.0, 2.0], requires_grad=True), tg.Tensor([0.0, 0.0], requires_grad=True))
    to_x, to_y = tg.grad(x**y, [x, y], [1.0, 1.0], create_graph=True)
    np.testing.assert_array_equal(to_x.data, [0, 0])
    np.testing.assert_array_equal(to_y.data, [0, np.log(2.0)])
    np.testing.assert_array_equal(tg.grad(to_x, y, [0.0, 1.0])[0].data, [0, 0.5])


@every_type
def test_softmax_family_does_not_overflow(dtype):
    rows = np.array([[1e4, 0, -1e4], [-inf, 0, 0], [-1e30, -1e30, -1e30]], dtype)
    np.testing.assert_array_equal(F.softmax(rows).data, np.array([[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3], dtype))
    third = float(np.log(3.0))
    table.close(F.log_softmax(rows).data[[0, 2]], [[0, -1e4, -2e4], [-third] * 3])
    table.close(F.cross_entropy(rows, [1, 1, 1], reduction="none").data, [1e4, np.log(2.0), third])


@every_type
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_of_a_number(axis, dtype):
    """A 0-d tensor counts as one entry, as in PyTorch: the results are 1 and 0 for any number, with a gradient of 0."""
    for f, expected in ((F.softmax, 1), (F.log_softmax, 0)):
        x = tg.Tensor(-3.0, requires_grad=True, dtype=dtype)
        y = f(x, axis)
        y.backward(np.full((), 2, dtype))
        assert y.shape == () and y.dtype == dtype and y.item() == expected and x.grad.shape == () and x.grad == 0


@every_type
@pytest.mark.parametrize("width", [15, 16, 17, 31, 32, 33, 48, 100, 1000])
def test_softmax_of_wide_rows(width, dtype):
    """Maxima of wide rows are computed in lanes. The largest entry, NaN and infinities may be at any position."""
    rng = np.random.default_rng(width)
    rows, g = (rng.standard_normal((width, width)).astype(dtype).astype(float) for _ in range(2))
    diagonal = np.diag_indices(width)
    rows[diagonal] = 1e4 * rng.integers(-1, 2, width)           # exp would overflow
    p = naive.softmax(rows)
    slopes = p * (g - (g * p).sum(axis=1, keepdims=True)), g - p * g.sum(axis=1, keepdims=True)
    for f, twin, slope in zip((F.softmax, F.log_softmax), (naive.softmax, naive.log_softmax), slopes):
        x = tg.Tensor(rows, requires_grad=True, dtype=dtype)
        y = f(x)
        y.backward(g)
        table.close(y.data, twin(rows))
        table.close(x.grad, slope)
        for value, whole in ((nan, nan), (inf, nan), (-inf, 0.0)):
            rows_with = rows.copy()
            rows_with[diagonal] = value
            found = f(tg.Tensor(rows_with, dtype=dtype)).data
            assert np.isnan(found).all() if np.isnan(whole) else not np.isnan(found).any()


@pytest.mark.parametrize("f", [F.softmax, F.log_softmax, lambda x: F.cross_entropy(x, [0, 1, 0], reduction="none")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_stays_in_its_row(f, place):
    rows = np.zeros((3, 3))
    rows[1, place] = nan
    x = tg.Tensor(rows, requires_grad=True)
    y = f(x)
    y.backward(np.ones(y.shape))
    for result in (y.data, x.grad):
        np.testing.assert_array_equal(np.isnan(result).reshape(3, -1).all(axis=1), [False, True, False])
        np.testing.assert_array_equal(np.isnan(result).reshape(3, -1).any(axis=1), [False, True, False])


@pytest.mark.parametrize("pieces, winner", [
    ([3, 3, 1], 0), ([1, 3, 3], 1), ([-0.0, 0.0, -1], 0), ([-inf, -inf, -inf], 0), ([1, nan, 2], 1),
    ([nan, inf, nan], 0)])
def test_maxout_winner(pieces, winner):
    """A tie goes to the lowest index, NaN to the first NaN; the gradient, even an infinite one, to the winner alone."""
    x = tg.Tensor([pieces], requires_grad=True)
    y = F.maxout(x, 3)
    np.testing.assert_array_equal(y.data, [[pieces[winner]]])
    assert F.maxout_winners(x, 3) == winner
    y.backward([[inf]])
    np.testing.assert_array_equal(x.grad, [[inf if k == winner else 0.0 for k in range(3)]])


@every_type
@pytest.mark.parametrize("pieces", [1, 2, 5, 9])
def test_maxout_of_any_number_of_pieces(pieces, dtype):
    """Small numbers have a loop of their own. 10,000 units are shared among threads."""
    rng = np.random.default_rng(pieces)
    x = tg.Tensor(rng.integers(-3, 4, (10_000, pieces)), requires_grad=True, dtype=dtype)       # with ties
    g = rng.standard_normal((10_000, 1)).astype(dtype)
    y, winner = F.maxout(x, pieces), x.data.argmax(axis=1)[:, None]
    np.testing.assert_array_equal(y.data, np.take_along_axis(x.data, winner, 1))
    np.testing.assert_array_equal(F.maxout_winners(x, pieces), winner)
    y.backward(g)
    np.testing.assert_array_equal(x.grad, np.where(np.arange(pieces) == winner, g, 0))


@every_type
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")      # 0 * inf, in the branch that the rule does not select
def test_prelu_at_special_numbers(dtype):
    """The fused pullback and the rules agree, for the slopes too: NaN gives NaN, and a unit at x >= 0 adds exactly 0."""
    for g in (1.0, inf):
        x = tg.Tensor([nan, -inf, -1.0, -0.0, 0.0, 1.0, inf], requires_grad=True, dtype=dtype)
        slopes = tg.Tensor(np.full(7, 0.5), requires_grad=True, dtype=dtype)
        y = F.prelu(x, slopes)
        fused = tg.grad(y, [x, slopes], np.full(7, g), retain_graph=True)
        composed = tg.grad(y, [x, slopes], np.full(7, g), create_graph=True)
        for one, other in zip(fused, composed):
            np.testing.assert_array_equal(one.data, other.data)
        np.testing.assert_array_equal(fused[0].data, [nan, *[g / 2] * 4, g, g])
        np.testing.assert_array_equal(fused[1].data, [nan, -inf, -g, 0, 0, 0, 0])


@pytest.mark.parametrize("f", [F.relu, F.softmax, F.log_softmax, lambda x: F.maxout(x, 2), lambda x: F.prelu(x, [0.25]),
                               lambda x: F.linear(x, np.ones((3, 4)), np.ones(3)), lambda x: x @ np.ones((4, 2)),
                               lambda x: x.sum(axis=0), lambda x: x.T, lambda x: x.reshape(4, 0),
                               lambda x: x * np.ones(4), lambda x: F.mse_loss(x, np.ones((0, 4)), reduction="sum")])
def test_empty_batch(f):
    """An empty batch is no special case: shapes are right, gradients are empty."""
    x = tg.Tensor(np.zeros((0, 4)), requires_grad=True)
    y = f(x)
    y.backward(np.ones(y.shape))
    assert x.grad.shape == (0, 4)


def test_empty_batch_gives_weights_the_gradient_zero():
    weight, bias = (tg.Tensor(np.ones(shape), requires_grad=True) for shape in ((3, 4), (3,)))
    F.linear(np.zeros((0, 4)), weight, bias).backward(np.zeros((0, 3)))
    np.testing.assert_array_equal(weight.grad, np.zeros((3, 4)))
    np.testing.assert_array_equal(bias.grad, np.zeros(3))
    product = tg.Tensor(np.zeros((3, 0)), requires_grad=True) @ np.zeros((0, 2))
    np.testing.assert_array_equal(product.data, np.zeros((3, 2)))


@every_type
def test_a_layer_without_outputs_prints_nothing(capfd, dtype):
    """OpenBLAS printed that a parameter of its transposition was illegal."""
    assert F.linear(np.ones((41, 3), dtype), np.ones((0, 3), dtype)).shape == (41, 0)
    assert capfd.readouterr() == ("", "")


# -- the product itself ----------------------------------------------------------------------------------------------

SIZES = [1, 2, 3, 5, 8, 16, 17, 31, 32, 33, 100, 256]


@every_type
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_gemm_in_every_size(left, right, dtype):
    """Each transposition, sizes around the edges of the vector kernels; what was in `out` (here: NaN) is not read. A
    sum of n products is off by at most n roundings of the sum of their sizes."""
    rng = np.random.default_rng(0)
    for m in SIZES:
        for n in SIZES:
            for inner in SIZES:
                a, b = rng.standard_normal((m, inner)).astype(dtype), rng.standard_normal((inner, n)).astype(dtype)
                out = np.full((m, n), nan, dtype)
                stored_a, stored_b = a.T.copy() if left else a, b.T.copy() if right else b
                matmul.matmul(left, right, stored_a, stored_b, 0.0, out)
                expected = a.astype(float) @ b.astype(float)
                bound = (inner + 1) * np.finfo(dtype).eps * (abs(a).astype(float) @ abs(b).astype(float))
                assert np.all(abs(out - expected) <= bound), (m, n, inner)


def test_gemm_refuses_what_it_would_misread():
    """Wrong strides or types would be read as other memory: the checked call and the kernel itself refuse them."""
    a = np.ones((4, 4))
    for wrong in (a[::2, ::2], a[:2, :2].astype(np.float32)):
        with pytest.raises(Exception, match=r"expected (C-contiguous matrices of one dtype|Matrix, a C-contiguous array)"):
            matmul.matmul(False, False, a[:2].copy()[:, :2].copy(), wrong, 0.0, np.zeros((2, 2)))


# -- dtypes ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("join", [
    lambda x: x + 1, lambda x: 2.0 * x, lambda x: x * np.float64(2), lambda x: x / np.int64(3), lambda x: True + x,
    lambda x: x + np.ones(3), lambda x: np.ones(3) - x, lambda x: x @ np.ones(3), lambda x: x * [1, 2, 3],
    lambda x: x**2, lambda x: 2**x, lambda x: x.mean(), lambda x: F.mse_loss(x, np.ones(3)),
    lambda x: F.prelu(x, tg.Tensor([0.1], dtype="float32")), lambda x: F.linear(x, [[1, 2, 3]], [1.0])])
def test_float32_stays_float32(join):
    """Numbers and arrays of any type that are combined with a float32 Tensor take its type."""
    x = tg.Tensor([1, 2, 3], dtype="float32", requires_grad=True)
    y = join(x)
    assert isinstance(y, tg.Tensor) and y.dtype == np.float32
    y.backward(np.ones(y.shape))
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("op", [lambda a, b: a + b, lambda a, b: a / b, lambda a, b: a**b, lambda a, b: a @ b,
                                lambda a, b: a @ b.reshape(3, 1)])
def test_two_tensors_of_different_type_meet_in_float64(op):
    """Each gradient has the type of its input."""
    a, b = tg.Tensor([1, 2, 3], dtype="float32", requires_grad=True), tg.Tensor([1, 2, 3], requires_grad=True)
    y = op(a, b)
    y.backward(np.ones(y.shape))
    assert (y.dtype, a.grad.dtype, b.grad.dtype) == (np.float64, np.float32, np.float64)


@pytest.mark.parametrize("given, dtype", [([1, 2], "float64"), ([True, False], "float64"), (np.float16([1]), "float32"),
                                          (np.longdouble([1]), "float64"), (np.arange(3, dtype=">f4"), "float32"),
                                          (np.uint8([255]), "float64"), (3, "float64"), (np.float32(3), "float32")])
def test_types_at_the_gate(given, dtype):
    """Integers and booleans are converted once, to float64; other floats to the nearest of the two types."""
    assert tg.Tensor(given).dtype == dtype == F.relu(given).dtype
    np.testing.assert_array_equal(tg.Tensor(given).data, np.asarray(given, float))


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.int64, bool])
def test_labels_of_any_integer_type(dtype):
    x = tg.Tensor(np.arange(12.0).reshape(4, 3), requires_grad=True)
    labels = np.array([0, 1, 1, 0, 0, 1, 1, 0])[::2].astype(dtype)
    labels.flags.writeable = False
    table.close(F.cross_entropy(x, labels).data, naive.cross_entropy(x.data, labels.astype(int)))


def test_a_tensor_keeps_a_copy_and_detach_shares():
    array = np.ones(2)
    x = tg.Tensor(array)
    array[0] = 5
    assert x.data[0] == 1
    detached = x.detach()
    detached.data[1] = 7
    assert x.data[1] == 7 and not detached.requires_grad
    x.data = [3, 4]         # into place
    assert detached.data.tolist() == [3, 4]


def test_numpy_sees_an_array():
    x = tg.Tensor([[1.0, 2.0]], dtype="float32", requires_grad=True)
    assert np.asarray(x) is x.data is x.numpy() and np.array(x) is not x.data
    assert np.asarray(x, dtype="float64").dtype == np.float64
    assert (len(x), x.ndim, x.size, x.shape, x.T.shape) == (1, 2, 2, (1, 2), (2, 1))
    assert float(tg.Tensor([2.5])) == tg.Tensor([[2.5]]).item() == 2.5 and bool(tg.Tensor(1.0)) and not tg.Tensor([0.0])
    assert [int(tg.Tensor(v)) for v in (2.9, [-2.9], [[1e300]])] == [2, -2, int(1e300)]
    for wrong, error in ((nan, ValueError), (inf, OverflowError), ([1.0, 2.0], ValueError)):
        with pytest.raises(error):
            int(tg.Tensor(wrong))
    with pytest.raises(TypeError):
        range(3)[tg.Tensor(1.0)]            # an index is an integer, and a Tensor holds none
    assert repr(x) == "Tensor([[1., 2.]], dtype=float32, requires_grad=True)"
    for y in (np.ones(2) + x, np.ones(2) * x, np.ones((3, 1)) @ x, np.float64(2) - x):
        assert isinstance(y, tg.Tensor) and y.dtype == np.float32      # the array on the left leaves the operation to the Tensor
