"""Values and gradients for random shapes, indices and subscripts, compared with NumPy; and cases that do not fit the table."""
from __future__ import annotations

import naive
import numpy as np
import pytest
from common import TYPES, every_type, launches, on_threads
from hypothesis import given, settings
from hypothesis import strategies as st
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu.kernels.machine import matmul
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.ops.indexing import add_at

nan, inf = float("nan"), float("inf")
many = settings(max_examples=strength(60, thorough=300), deadline=None, derandomize=True)


def numbered(*shape):
    """Whole numbers, all different: each value shows where it comes from, and sums of them are exact."""
    return np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape)


def moved(f, x, weights=None):
    """f(x), the gradient of weights * f(x), and the derivative of that gradient's sum with the numbers 1, 2, 3 ..."""
    x = tg.Tensor(x, requires_grad=True)
    y = f(x)
    g = tg.Tensor(numbered(*y.shape) if weights is None else weights, requires_grad=True)
    (first,) = tg.grad(y, x, g, create_graph=True)
    (second,) = tg.grad(first, g, numbered(*x.shape))
    assert y.data.flags.c_contiguous and first.data.flags.c_contiguous and second.data.flags.c_contiguous
    return y.data, first.data, second.data


# -- indexing ---------------------------------------------------------------------------------------------------------

@st.composite
def shapes(draw, most=4, least=0):
    return tuple(draw(st.lists(st.integers(0, 4), min_size=least, max_size=most)))


@st.composite
def indices(draw, shape):
    """Any index; about one in thirty is out of range or does not fit."""
    key, axis, joint = [], 0, draw(st.sampled_from([(), (1,), (3,), (2, 3), (0,)]))
    while axis < len(shape) and draw(st.integers(0, 4)):
        n = shape[axis]
        kind = draw(st.sampled_from(["slice", "slice", "integer", "array", "array", "list", "mask", "masks", "None", "bool"]))
        used = 1
        if kind == "slice":
            ends = st.none() | st.integers(-n - 1, n + 1)
            entry = slice(draw(ends), draw(ends), draw(st.sampled_from([None, 1, -1, 2, -3])))
        elif kind == "integer":
            entry = draw(st.integers(-n, max(n - 1, -n)))
        elif kind in ("array", "list"):
            size = draw(st.sampled_from([joint, joint[-1:], (*joint[:-1], 1) if joint else ()]))
            entry = draw(st.integers(0, 2**32 - 1).map(np.random.default_rng)).integers(-n, max(n, -n + 1), size, endpoint=False)
            entry = entry.tolist() if kind == "list" else entry.astype(draw(st.sampled_from(["int64", "int8"])))
        elif kind == "None":
            entry, used = None, 0
        elif kind == "bool":
            entry, used = draw(st.booleans()), 0
        else:
            used = min(2, len(shape) - axis) if kind == "masks" else 1
            entry = draw(st.integers(0, 2**32 - 1).map(np.random.default_rng)).random(shape[axis:axis + used]) < 0.5
        key.append(entry)
        axis += used
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), ...)
    return key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


@many
@given(st.data())
def test_indexing(data):
    """The value is NumPy's, the gradient is np.add.at, and the derivative of the gradient takes the same entries again. An index
    that NumPy refuses is refused here too."""
    shape = data.draw(shapes())
    index = data.draw(indices(shape))
    x = numbered(*shape)
    try:
        expected = x[index]
    except IndexError:
        with pytest.raises(IndexError, match=r"^index: .*\(.*\)"):
            tg.Tensor(x)[index]
        return
    y, first, second = moved(lambda x: x[index], x)
    np.testing.assert_array_equal(y, expected, strict=True)
    scattered = np.zeros(shape)
    np.add.at(scattered, index, numbered(*expected.shape))
    np.testing.assert_array_equal(first, scattered, strict=True)
    np.testing.assert_array_equal(second, expected, strict=True)


@every_type
def test_rows_are_added_in_their_order(dtype):
    """The same bits as np.add.at, which adds the rows in order: a sum of floats depends on the order."""
    rng = np.random.default_rng(0)
    rows, g = rng.integers(0, 7, (40, 5)), (rng.standard_normal((40, 5, 3)) * 10.0 ** rng.integers(-6, 6, (40, 5, 1))).astype(dtype)
    x = tg.Tensor(np.zeros((9, 3)), dtype=dtype, requires_grad=True)
    expected, backwards = np.zeros((9, 3), dtype), np.zeros((9, 3), dtype)
    np.add.at(expected, rows, g)
    np.add.at(backwards, rows[::-1], g[::-1])
    assert not np.array_equal(backwards, expected)
    for _ in range(2):
        x.grad = None
        x[rows].backward(g)
        np.testing.assert_array_equal(x.grad, expected, strict=True)
    np.testing.assert_array_equal(add_at(g, rows=rows, axis=0, shape=(9, 3)), expected)


@pytest.mark.parametrize("index", [1, slice(1, 2), [1, 1], np.array([False, True, False]), (1, slice(None)), ([1], 0)])
def test_no_gradient_is_exactly_zero(index):
    """An infinite gradient reaches what was taken, and zero everything else; NaN stays where it is."""
    x = tg.Tensor([[nan, nan], [1.0, 2.0], [inf, nan]], requires_grad=True)
    y = x[index]
    assert np.isfinite(y.data).all()
    y.backward(np.full(y.shape, inf))
    np.testing.assert_array_equal(x.grad[[0, 2]], 0)
    assert x.grad[1, 0] == inf


def test_an_index_may_change_after_its_use():
    rows, mask = np.array([0, 1]), np.array([True, False, False])
    x = tg.Tensor(np.zeros(3), requires_grad=True)
    y, z = x[rows], x[mask]
    rows[:], mask[:] = 2, True
    y.sum().backward()
    z.sum().backward()
    assert x.grad.tolist() == [2, 1, 0]


def test_iteration():
    x = tg.Tensor(numbered(3, 2), requires_grad=True)
    rows = list(x)
    assert len(x) == len(rows) == 3 and all(isinstance(row, tg.Tensor) for row in rows)
    a, b, c = x
    (a * b + c).sum().backward()
    np.testing.assert_array_equal(x.grad, [[3, 4], [1, 2], [1, 1]])
    assert [number.item() for number in tg.Tensor([1.0, 2.0])] == [1, 2] and list(tg.Tensor(np.zeros((0, 2)))) == []
    with pytest.raises(TypeError, match=r"a Tensor of shape \(\) holds one number"):
        iter(tg.Tensor(1.0))
    assert np.array(x).shape == (3, 2)              # NumPy does not iterate over it


# -- shapes -----------------------------------------------------------------------------------------------------------

@st.composite
def chains(draw):
    """A shape, and a chain of moves: each has a name, our function and NumPy's."""
    shape = draw(shapes(least=1))
    now, chain = np.zeros(shape), []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["reshape", "permute", "swapaxes", "squeeze", "expand", "flatten", "flip", "pad", "broadcast"]))
        ours, theirs = None, None
        if kind == "reshape":
            sizes = draw(st.permutations(now.shape))
            cut = draw(st.integers(0, len(sizes)))
            sizes = (*sizes[:cut], int(np.prod(sizes[cut:], dtype=int)))
            sizes = (*sizes[:-1], -1) if 0 not in sizes else sizes
            ours, theirs = (lambda x, s=sizes: x.reshape(s)), (lambda x, s=sizes: x.reshape(s))
        elif kind == "permute":
            axes = tuple(a - draw(st.sampled_from([0, now.ndim])) for a in draw(st.permutations(range(now.ndim))))
            ours, theirs = (lambda x, a=axes: x.permute(*a)), (lambda x, a=axes: x.transpose(a))
        elif kind == "swapaxes" and now.ndim:
            pair = draw(st.tuples(*[st.integers(-now.ndim, now.ndim - 1)] * 2))
            ours, theirs = (lambda x, p=pair: x.swapaxes(*p)), (lambda x, p=pair: x.swapaxes(*p))
        elif kind == "squeeze":
            axes = tuple(i for i, n in enumerate(now.shape) if n == 1 and draw(st.booleans()))
            ours, theirs = (lambda x, a=axes: x.squeeze(a)), (lambda x, a=axes: np.squeeze(x, a))
        elif kind == "expand":
            axis = draw(st.integers(-now.ndim - 1, now.ndim))
            ours, theirs = (lambda x, a=axis: x.unsqueeze(a)), (lambda x, a=axis: np.expand_dims(x, a))
        elif kind == "flatten":
            start = draw(st.integers(0, max(0, now.ndim - 1)))
            end = draw(st.integers(start, max(0, now.ndim - 1)))
            sizes = (*now.shape[:start], int(np.prod(now.shape[start:end + 1], dtype=int)), *now.shape[end + 1:])
            ours, theirs = (lambda x, s=start, e=end: x.flatten(s, e)), (lambda x, s=sizes: x.reshape(s))
        elif kind == "flip":
            axes = draw(st.none() | st.just(tuple(range(0, now.ndim, 2))))
            ours, theirs = (lambda x, a=axes: F.flip(x, a)), (lambda x, a=axes: np.flip(x, a))
        elif kind == "pad" and now.ndim:
            widths = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in now.shape]
            ours, theirs = (lambda x, w=widths: F.pad(x, w, 0.5)), (lambda x, w=widths: np.pad(x, w, constant_values=0.5))
        elif kind == "broadcast" and now.size < 50:
            sizes = (draw(st.integers(0, 2)), *(draw(st.integers(0, 3)) if n == 1 else n for n in now.shape))
            ours, theirs = (lambda x, s=sizes: F.broadcast_to(x, s)), (lambda x, s=sizes: np.broadcast_to(x, s))
        if ours is not None:
            chain.append((ours, theirs))
            now = theirs(now)
    return shape, chain


@many
@given(chains())
def test_chains_of_moves(given_chain):
    """Every number ends up where NumPy puts it, and its gradient returns to it: all numbers are different."""
    shape, chain = given_chain

    def ours(x):
        for f, _ in chain:
            x = f(x)
        return x

    def theirs(x):
        for _, f in chain:
            x = f(x)
        return x

    x = numbered(*shape)
    y, first, second = moved(ours, x)
    expected = theirs(x)
    np.testing.assert_array_equal(y, expected, strict=True)
    origin = theirs(numbered(*shape))                                       # 1, 2, 3 ... or 0.5 where nothing came from
    back = [numbered(*y.shape)[origin == k + 1].sum() for k in range(x.size)]
    np.testing.assert_array_equal(first, np.array(back).reshape(shape), strict=True)
    np.testing.assert_array_equal(second, np.where(expected == 0.5, 0, expected), strict=True)


@every_type
def test_transposition_in_every_size(dtype):
    """Around the edges of the tiles, in a stack, and of blocks of axes."""
    for m in (1, 2, 7, 8, 9, 15, 16, 17, 33):
        for n in (1, 2, 7, 8, 9, 15, 16, 17, 33):
            x = numbered(2, m, n).astype(dtype)
            np.testing.assert_array_equal(F.swapaxes(x, 1, 2).data, x.swapaxes(1, 2), strict=True)
            np.testing.assert_array_equal(F.permute(x, (2, 0, 1)).data, x.transpose(2, 0, 1), strict=True)
            np.testing.assert_array_equal(F.transpose(x[0]).data, x[0].T, strict=True)


SHARING = {"reshape": lambda x: x.reshape(6), "squeeze": lambda x: x.squeeze(), "unsqueeze": lambda x: x.unsqueeze(0),
           "flatten": lambda x: x.flatten(), "reshape to itself": lambda x: x.reshape(1, 2, 3)}
COPYING = {"x[...]": lambda x: x[...], "x[:]": lambda x: x[:], "x[0]": lambda x: x[0], "x[0, 0, 0]": lambda x: x[0, 0, 0],
           "x[[0]]": lambda x: x[[0]], "x[None]": lambda x: x[None], "x[all True]": lambda x: x[np.ones((1, 2, 3), bool)],
           "+x": lambda x: +x, "permute": lambda x: x.permute(0, 1, 2), "swapaxes": lambda x: x.swapaxes(0, 1), "T": lambda x: x.T,
           "broadcast_to": lambda x: F.broadcast_to(x, (1, 2, 3)), "concatenate": lambda x: F.concatenate([x]),
           "stack": lambda x: F.stack([x]), "split": lambda x: F.split(x, 1)[0], "flip": lambda x: F.flip(x, 0),
           "flip nothing": lambda x: F.flip(x, ()), "pad": lambda x: F.pad(x, 0), "iteration": lambda x: next(iter(x)),
           "einsum": lambda x: F.einsum("...", x), "einsum ijk": lambda x: F.einsum("ijk->ijk", x),
           "einsum ->": lambda x: F.einsum("->", x[0, 0, 0]), "take_along_axis": lambda x: F.take_along_axis(x, [[[0]]], 0),
           "matmul": lambda x: x @ np.eye(3), "einsum with 1": lambda x: F.einsum("ijk,->ijk", x, 1.0)}


@pytest.mark.parametrize("name", [*SHARING, *COPYING])
def test_which_results_share_memory(name):
    x = tg.Tensor(numbered(1, 2, 3))
    y = (SHARING | COPYING)[name](x)
    assert np.shares_memory(x.data, y.data) == (name in SHARING)


# -- joining ----------------------------------------------------------------------------------------------------------

@many
@given(st.data())
def test_split_undoes_concatenate(data):
    shape = data.draw(shapes(least=1))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    parts = []
    for k, n in enumerate(lengths):
        sizes = list(shape)
        sizes[axis] = n
        parts.append(100 * k + numbered(*sizes))
    inputs = [tg.Tensor(part, requires_grad=True) for part in parts]
    y = tg.concatenate(inputs, axis=axis)
    expected = np.concatenate(parts, axis=axis)
    np.testing.assert_array_equal(y.data, expected, strict=True)
    edges = np.cumsum(lengths)[:-1].tolist()
    for part, again in zip(parts, tg.split(y, edges, axis=axis)):
        np.testing.assert_array_equal(again.data, part, strict=True)
    weights = numbered(*y.shape)
    y.backward(weights)
    for x, g in zip(inputs, np.split(weights, edges, axis=axis)):
        np.testing.assert_array_equal(x.grad, g, strict=True)


def test_many_are_joined_in_one_go():
    """Ten thousand losses in one vector. Ten thousand rules, each called with all inputs, would take a minute."""
    numbers = [tg.Tensor(float(k), requires_grad=True) for k in range(10_000)]
    (tg.stack(numbers) * np.arange(10_000.0)).sum().backward()
    assert all(x.grad == k for k, x in enumerate(numbers))


@pytest.mark.parametrize("join", [tg.concatenate, tg.stack])
def test_types_that_are_joined(join):
    """Arrays take the type of the first Tensor; the wider of two Tensors wins, and each gradient has the type of its input."""
    narrow, wide = tg.Tensor([1, 2], dtype="float32", requires_grad=True), tg.Tensor([3, 4], requires_grad=True)
    assert join([np.ones(2), [5, 6], narrow]).dtype == np.float32 and join([np.ones(2), np.ones(2, np.float32)]).dtype == np.float64
    y = join([narrow, wide, narrow])
    assert y.dtype == np.float64
    y.backward(numbered(*y.shape))
    assert narrow.grad.dtype == np.float32 and narrow.grad.tolist() == [6, 8] and wide.grad.tolist() == [3, 4]


# -- products ---------------------------------------------------------------------------------------------------------

@many
@given(st.data())
def test_matmul_of_any_shapes(data):
    """NumPy's result, of whole numbers exactly; vectors, stacks that broadcast, empty ones, two types."""
    m, k, n = (data.draw(st.integers(0, 5)) for _ in range(3))
    lead = data.draw(shapes(most=3))
    leads = [tuple(data.draw(st.sampled_from([1, size])) for size in lead[data.draw(st.integers(0, len(lead))):]) for _ in "ab"]
    a_shape = data.draw(st.sampled_from([(k,), (*leads[0], m, k)]))
    b_shape = data.draw(st.sampled_from([(k,), (*leads[1], k, n)]))
    types = [data.draw(st.sampled_from(TYPES)) for _ in "ab"]
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, shape).astype(dtype) for shape, dtype in zip((a_shape, b_shape), types))
    expected = a @ b
    x, y = tg.Tensor(a, requires_grad=True), tg.Tensor(b, requires_grad=True)
    z = x @ y
    np.testing.assert_array_equal(z.data, expected, strict=True)
    assert z.data.flags.c_contiguous
    weights = rng.integers(-9, 9, z.shape).astype(float)
    g = tg.Tensor(weights, requires_grad=True, dtype=z.dtype)
    firsts = tg.grad(z, (x, y), g, create_graph=True)
    if a.size * b.size <= 400:
        for first, like, gradient in zip(firsts, (a, b), naive.gradients(lambda p, q: p @ q, [a, b], weights)):
            np.testing.assert_array_equal(first.data, np.round(gradient).astype(like.dtype), strict=True)
    (back,) = tg.grad(firsts[0], g, a)                  # the derivative of g -> g b^T is a -> a b
    np.testing.assert_array_equal(back.data, expected, strict=True)


@every_type
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("count, m, n, inner", [(1, 3, 4, 5), (33, 17, 9, 8), (7, 200, 150, 130), (40, 90, 90, 90), (2, 300, 300, 200)])
def test_stacks_with_any_number_of_threads(count, m, n, inner, left, right, dtype):
    """The same bits for any number, and, up to rounding, the numbers of separate products."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((count, m, inner)).astype(dtype), rng.standard_normal((count, inner, n)).astype(dtype)
    stored_a, stored_b = a.swapaxes(1, 2).copy() if left else a, b.swapaxes(1, 2).copy() if right else b
    of_a, of_b = rng.integers(0, count, 2 * count), rng.integers(0, count, 2 * count)

    def products():
        out = np.full((2 * count, m, n), nan, dtype)
        matmul.matmul_stacks(left, right, stored_a, stored_b, of_a, of_b, out)
        return [out]

    (out,) = on_threads(products, (1, 2, 3))
    for i in range(2 * count):
        rounding = (inner + 1) * np.finfo(dtype).eps * (abs(a[of_a[i]]) @ abs(b[of_b[i]]))
        assert (abs(out[i] - a[of_a[i]] @ b[of_b[i]]) <= rounding).all()


def test_a_stack_times_one_matrix_is_one_product():
    x, w = tg.Tensor(np.ones((5, 4, 3)), requires_grad=True), tg.Tensor(np.ones((3, 2)), requires_grad=True)
    assert launches(lambda: (x @ w).sum().backward()).count("product") == 3


# -- einsum -----------------------------------------------------------------------------------------------------------

@st.composite
def subscripts(draw):
    """Subscripts, and shapes that fit: repeated letters, ellipses of several lengths, axes of size 1, empty ones."""
    sizes = dict(zip("abcd", draw(st.permutations([2, 3, draw(st.integers(0, 2)), 1]))))
    hidden = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, forms, seen = [], [], ""
    for _ in range(draw(st.integers(1, 4))):
        letters = draw(st.text("abcd", max_size=3))
        seen += letters
        shape = [1 if letters.count(c) == 1 and draw(st.integers(0, 9)) == 0 else sizes[c] for c in letters]
        if draw(st.booleans()) and draw(st.booleans()):
            at, dots = draw(st.integers(0, len(letters))), hidden[draw(st.integers(0, len(hidden))):]
            letters = letters[:at] + "..." + letters[at:]
            shape[at:at] = [n if draw(st.integers(0, 4)) else 1 for n in dots]
        terms.append(letters)
        forms.append(tuple(shape))
    text = ",".join(terms)
    if draw(st.booleans()):
        result = draw(st.permutations(draw(st.lists(st.sampled_from(seen), unique=True)) if seen else []))
        result.insert(draw(st.integers(0, len(result))), "..." if "..." in text else "")
        text += "->" + "".join(result)
    return text, forms


@many
@given(subscripts())
def test_einsum_of_any_subscripts(drawn):
    """NumPy's result and the gradients of the naive twin, of whole numbers exactly."""
    text, forms = drawn
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-5, 5, shape).astype(float) for shape in forms]
    expected = np.einsum(text, *arrays)
    inputs = [tg.Tensor(x, requires_grad=True) for x in arrays]
    y = tg.einsum(text, *inputs)
    np.testing.assert_array_equal(y.data, expected, strict=True)
    assert y.data.flags.c_contiguous
    weights = rng.integers(-5, 5, y.shape).astype(float)
    if sum(x.size for x in arrays) <= 60:
        gradients = naive.gradients(lambda *x: np.einsum(text, *x), arrays, weights)
        for first, gradient in zip(tg.grad(y, inputs, weights), gradients):
            np.testing.assert_array_equal(first.data, np.round(gradient), strict=True)     # the complex step rounds
    elif y.requires_grad:       # at least: y is linear in each operand, so x times its gradient is y again
        for x, first in zip(inputs, tg.grad(y, inputs, weights)):
            assert np.vdot(x.data, first.data) == np.vdot(weights, expected)


def test_einsum_multiplies_in_a_sensible_order():
    """Three matrices and a vector: no product of two matrices. And no copy where the memory order already fits."""
    a, b, c, v = (np.ones(shape) for shape in ((30, 30), (30, 30), (30, 30), (30,)))
    with watch(lambda kernel, arguments: kernel(*arguments) or shapes_seen.append(arguments[-1])):
        shapes_seen = []
        assert (tg.einsum("ij,jk,kl,l->i", a, b, c, v).data == 27000).all()
    matrices = [x for x in shapes_seen if isinstance(x, np.ndarray) and x.size == 900]
    assert not matrices
    for text in ("ij,jk->ik", "ji,jk->ik", "ij,kj->ik", "ji,kj->ik"):
        assert launches(lambda text=text: tg.einsum(text, a, b)) == ["product"]


@every_type
def test_einsum_keeps_the_type(dtype):
    x = tg.Tensor(np.ones((2, 3)), dtype=dtype, requires_grad=True)
    y = tg.einsum("ij,kj,...->ik", [[1, 2, 3]], x, 2)
    assert y.dtype == dtype
    y.backward([[1.0, 1.0]])
    assert x.grad.dtype == dtype and x.grad.tolist() == [[2, 4, 6]] * 2


def test_a_diagonal_leaves_the_rest_alone():
    """The diagonal is taken by index, so the gradient of all other entries is exactly zero, even for an infinite g."""
    x = tg.Tensor(numbered(2, 2), requires_grad=True)
    tg.einsum("ii->i", x).backward([inf, inf])
    np.testing.assert_array_equal(x.grad, [[inf, 0], [0, inf]])
