"""The embedding: rows for indices of any shape, gradients added up in order, padding, and what is refused."""
from __future__ import annotations

import naive
import numpy as np
import pytest
import table
from common import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn

TABLE = np.random.default_rng(0).standard_normal((5, 3))


@every_type
@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
def test_indices_of_any_shape(shape, dtype):
    indices = np.random.default_rng(1).integers(0, 5, shape)
    weight = tg.Tensor(TABLE, requires_grad=True, dtype=dtype)
    y = F.embedding(indices, weight)
    np.testing.assert_array_equal(y.data, weight.data[indices])
    g = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
    y.backward(g)
    expected = np.zeros_like(weight.data)
    np.add.at(expected, indices, g)         # in the order of the indices, as here: the same bits
    np.testing.assert_array_equal(weight.grad, expected)
    assert y.dtype == weight.grad.dtype == dtype


@pytest.mark.parametrize("indices", [
    [[4, 0], [1, 4]], np.array([[4, 0], [1, 4]], np.uint8), np.array([[4, 1], [0, 4]]).T, np.array([[4, 9, 0], [1, 9, 4]])[:, ::2],
    np.array([[4, 0], [1, 4]], ">i4"), np.array([[4, 0], [1, 4]], np.uint64)])
def test_indices_of_any_kind(indices):
    np.testing.assert_array_equal(F.embedding(indices, TABLE).data, TABLE[[[4, 0], [1, 4]]])


def test_the_graph_keeps_its_own_indices():
    indices, weight = np.array([1, 2]), tg.Tensor(TABLE, requires_grad=True)
    y = F.embedding(indices, weight)
    indices[:] = 4
    y.backward(np.ones((2, 3)))
    np.testing.assert_array_equal(weight.grad.any(axis=1), [False, True, True, False, False])


@pytest.mark.parametrize("padding, row", [(4, 4), (-1, 4), (0, 0), (-5, 0)])
def test_padding(padding, row):
    """The padding row is read like any other, and gets no gradient: from the kernel, from the rule, and in second derivatives."""
    weight = tg.Tensor(TABLE, requires_grad=True)
    y = F.embedding(table.INDICES, weight, padding)
    np.testing.assert_array_equal(y.data, TABLE[table.INDICES])
    g = np.random.default_rng(1).standard_normal(y.shape)
    (expected,) = naive.gradients(lambda w: naive.embedding(table.INDICES, w, row), [TABLE], g)
    for create_graph in (False, True):
        (found,) = tg.grad(y, weight, g, create_graph=create_graph, retain_graph=True)
        table.close(found.data, expected)
        assert not found.data[row].any() and expected.any()
    (first,) = tg.grad((y * y * y).sum(), weight, create_graph=True)
    (second,) = tg.grad(first.sum(), weight)
    used = np.bincount(table.INDICES.ravel(), minlength=5)[:, None] * (np.arange(5) != row)[:, None]
    table.close(second.data, 6 * TABLE * used)


def test_the_module():
    layer, same, other = (nn.Embedding(1000, 8, padding_idx=-1, rng=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(layer.weight.data, same.weight.data)
    assert (layer.weight.data != other.weight.data).any() and not layer.weight.data[999].any()
    assert abs(layer.weight.data.mean()) < 5 / np.sqrt(8000) and abs(layer.weight.data.var() - 1) < 5 * np.sqrt(2 / 8000)
    assert layer.weight.dtype == np.float32 and layer.weight.kind == "weight"
    assert repr(layer) == "Embedding(1000, 8, padding_idx=999)" and repr(nn.Embedding(3, 2, rng=0)) == "Embedding(3, 2)"
    y = layer([[1, 999]])
    y.sum().backward()
    assert np.flatnonzero(layer.weight.grad.any(axis=1)).tolist() == [1]


@pytest.mark.parametrize("call, error, message", [
    (lambda: F.embedding([[0, 5], [1, 9]], TABLE), ValueError, "got the index 5 at (0, 1) (and 1 more such indices); expected 0 to 4"),
    (lambda: F.embedding([0, -1], TABLE), ValueError, "got the index -1 at (1,); expected 0 to 4, the rows of the weight"),
    (lambda: F.embedding(7, TABLE), ValueError, "got the index 7 at ()"),
    (lambda: F.embedding(np.array([2**64 - 1], np.uint64), TABLE), ValueError, "got the index 18446744073709551615 at (0,)"),
    (lambda: F.embedding([0.0], TABLE), TypeError, "the indices are float64 numbers, expected integers"),
    (lambda: F.embedding([True], TABLE), TypeError, "the indices are bool numbers, expected integers"),
    (lambda: F.embedding(tg.Tensor([0.0]), TABLE), TypeError, "the indices are float64 numbers, expected integers"),
    (lambda: F.embedding(["a"], TABLE), TypeError, "embedding: indices holds text"),
    (lambda: F.embedding([0], TABLE[0]), ValueError, "the weight has shape (3,), expected (num_embeddings, embedding_dim)"),
    (lambda: F.embedding([0], TABLE, 5), ValueError, "embedding: padding_idx is 5, expected -5 to 4"),
    (lambda: F.embedding([0], TABLE, -6), ValueError, "embedding: padding_idx is -6, expected at least -5"),
    (lambda: nn.Embedding(5, 3), TypeError, "Embedding needs rng"),
    (lambda: nn.Embedding(0, 3, rng=0), ValueError, "Embedding: num_embeddings is 0, expected at least 1"),
    (lambda: nn.Embedding(5, 3, padding_idx=5, rng=0), ValueError, "Embedding: padding_idx is 5, expected -5 to 4"),
])
def test_what_is_refused(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
