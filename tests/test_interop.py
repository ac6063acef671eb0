"""Tensors and NumPy: arrays on either side of an operator, NumPy's functions, np.asarray, and memory shared by DLPack."""
from __future__ import annotations

import gc
import operator
import weakref

import numpy as np
import pytest

import tinygrad_relu as tg

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
COMPARISONS = [op for op in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne)
               if f"__{op.__name__}__" in vars(tg.Tensor)]
OTHERS = {          # operands for a Tensor of shape (2, 3)
    "array": np.array([[1.5, 2.0, 0.5], [3.0, 1.0, 2.5]]), "float32 array": np.full((2, 3), 1.5, np.float32),
    "row": np.array([1.5, 2.0, 0.5]), "0-d array": np.array(2.0), "integers": np.arange(1, 7).reshape(2, 3),
    "booleans": np.array([[True, False, True], [False, True, True]]), "float64 scalar": np.float64(2.0),
    "float32 scalar": np.float32(2.0), "int scalar": np.int64(2), "bool scalar": np.bool_(True), "int": 2, "bool": True,
    "float": 0.5, "list": [1.5, 2.0, 0.5], "Fortran order": np.asfortranarray([[1.5, 2.0, 0.5], [3.0, 1.0, 2.5]]),
    "big-endian": np.array([1.5, 2.0, 0.5], ">f8"),
}
VALUES = np.array([[0.5, 1.0, 2.0], [1.5, 0.25, 3.0]])


def tensor(values=VALUES, dtype=np.float64, requires_grad=True):
    return tg.Tensor(values, requires_grad=requires_grad, dtype=dtype)


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# -- operators ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("op", ARITHMETIC, ids=lambda op: op.__name__)
@np.errstate(divide="ignore")
def test_an_array_on_either_side_gives_a_tensor(op, other, left, dtype):
    """The result has the Tensor's dtype and NumPy's values, and the gradient has the same dtype."""
    x, y = tensor(dtype=dtype), OTHERS[other]
    z = op(y, x) if left else op(x, y)
    numbers = np.asarray(y, dtype)
    expected = op(numbers, x.data) if left else op(x.data, numbers)
    assert type(z) is tg.Tensor and z.requires_grad and z.dtype == dtype
    np.testing.assert_allclose(z.data, expected, rtol=4 * np.finfo(dtype).eps)
    z.sum().backward()
    assert x.grad.shape == x.shape and x.grad.dtype == dtype


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("op", COMPARISONS, ids=lambda op: op.__name__)
def test_comparisons_with_an_array_on_either_side(op, other, left):
    x, y = tensor(), OTHERS[other]
    z = op(y, x) if left else op(x, y)
    np.testing.assert_array_equal(np.asarray(z), op(np.asarray(y), x.data) if left else op(x.data, np.asarray(y)))


def test_matrix_products_with_an_array_on_either_side():
    x, a = tensor(), np.arange(6.0).reshape(3, 2)
    for z, expected in ((x @ a, VALUES @ a), (a @ x, a @ VALUES), (np.ones(2) @ x, np.ones(2) @ VALUES)):
        assert type(z) is tg.Tensor and z.requires_grad
        np.testing.assert_allclose(z.data, expected, rtol=1e-15)


@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply, np.divide, np.power], ids=lambda f: f.__name__)
def test_the_function_of_an_operator_is_the_operator(ufunc):
    x = tensor()
    for z, expected in ((ufunc(x, VALUES), ufunc(VALUES, VALUES)), (ufunc(x, x), ufunc(VALUES, VALUES)), (ufunc(2.0, x), ufunc(2.0, VALUES))):
        assert type(z) is tg.Tensor and z.requires_grad
        np.testing.assert_allclose(z.data, expected, rtol=1e-15)


def test_a_float64_tensor_widens_a_float32_one():
    assert (tensor() * tensor(dtype=np.float32)).dtype == np.float64


def test_a_parameter_counts_as_a_tensor():
    p = tg.Parameter(VALUES)
    assert type(VALUES * p) is tg.Tensor and type(np.float64(2) - p) is tg.Tensor


# -- functions of NumPy ------------------------------------------------------------------------------------------------

LOSES = {
    "np.sin": np.sin, "np.exp": np.exp, "np.mean": np.mean, "np.sum": np.sum, "np.linalg.norm": np.linalg.norm,
    "np.concatenate": lambda x: np.concatenate([VALUES, x]), "np.stack": lambda x: np.stack((x, x)),
    "np.where": lambda x: np.where(VALUES > 1, x, 0.0), "np.add.reduce": np.add.reduce, "np.add.outer": lambda x: np.add.outer(x, 1.0),
    "np.add": lambda x: np.add(VALUES, 1.0, out=VALUES.copy(), where=x), "np.multiply": lambda x: operator.imul(VALUES.copy(), x),
    "np.einsum": lambda x: np.einsum("ij,ij->", x, VALUES), "np.clip": lambda x: np.clip(x, 0, 1), "np.cumsum": np.cumsum,
    "np.fft.fft": np.fft.fft, "np.floor_divide": lambda x: VALUES // x,
}


@pytest.mark.parametrize("name", LOSES)
def test_a_function_that_would_lose_the_gradient_is_refused(name):
    with pytest.raises(TypeError) as caught:
        LOSES[name](tensor())
    sentence = str(caught.value)
    assert sentence.startswith(f"{name}: got a Tensor that requires a gradient, which NumPy does not record; use ")
    assert "\n" not in sentence and sentence.endswith("x.data")


def test_the_refusal_names_the_method():
    with pytest.raises(TypeError, match=r"use x\.mean\(\.\.\.\), or"):
        np.mean(tensor())


def test_where_no_gradient_is_lost_numpy_gets_the_numbers():
    x, constant = tensor(), tensor(requires_grad=False)
    np.testing.assert_array_equal(np.sin(constant), np.sin(VALUES))
    np.testing.assert_array_equal(np.concatenate([constant, VALUES]), np.concatenate([VALUES, VALUES]))
    np.testing.assert_array_equal(np.add.reduce(constant, axis=0), VALUES.sum(axis=0))
    np.testing.assert_array_equal(np.argmax(x, axis=1), [2, 2])
    assert np.isfinite(x).all() and np.allclose(x, VALUES) and np.shape(x) == (2, 3) and np.zeros_like(x).sum() == 0
    with tg.no_grad():
        assert np.mean(x) == VALUES.mean()
    total = np.zeros((2, 3))
    total += constant
    np.testing.assert_array_equal(total, VALUES)


# -- np.asarray --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("requires_grad", [True, False])
def test_asarray_shares_and_array_copies(requires_grad):
    x = tensor(requires_grad=requires_grad)
    shared, copied = np.asarray(x), np.array(x)
    shared[0, 0] = 7
    assert shared is x.data and x.data[0, 0] == 7 and copied[0, 0] == 0.5 and not np.shares_memory(copied, x.data)
    assert np.array(x, copy=None) is x.data and np.asarray(x, copy=False) is x.data
    assert not np.shares_memory(np.asarray(x, copy=True), x.data)


def test_asarray_converts_where_it_may_copy():
    x = tensor()
    single = np.asarray(x, dtype=np.float32)
    assert single.dtype == np.float32 and not np.shares_memory(single, x.data)
    assert np.asarray(x, dtype=np.float64, copy=False) is x.data and np.asarray(x, dtype=np.int64).tolist() == [[0, 1, 2], [1, 0, 3]]
    for dtype in (np.float32, np.int64, ">f8"):
        with pytest.raises(ValueError, match="copy"):
            np.asarray(x, dtype=dtype, copy=False)
    with pytest.raises(ValueError, match="copy"):
        x.__array__(np.float32, copy=False)
    assert x.__array__(None, None) is x.data and x.__array__(np.float32).dtype == np.float32
    assert np.array([tg.Tensor(1.0), tg.Tensor(2.0)]).tolist() == [1, 2]


def test_what_the_array_shows_lives_without_the_tensor(collector_off):
    x = tensor()
    array, gone = np.asarray(x), weakref.ref(x)
    del x
    assert gone() is None and array.sum() == VALUES.sum()


# -- DLPack ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0, 3)], ids=str)
def test_dlpack_to_numpy_and_back_shares_memory(shape, dtype):
    x = tg.Tensor(np.ones(shape), dtype=dtype)
    there = np.from_dlpack(x)
    back = tg.from_dlpack(there)
    assert there.dtype == back.dtype == dtype and there.shape == back.shape == shape
    x[...] = 2
    assert (there == 2).all() and (back.data == 2).all()
    if there.size:
        back[...] = 3
        assert (there == 3).all() and (x.data == 3).all()
    assert x.__dlpack_device__() == (1, 0)


def test_a_tensor_from_dlpack_is_a_leaf_like_any_other():
    array = np.array([1.0, 2.0])
    x = tg.from_dlpack(array)
    assert x.op is None and not x.requires_grad and type(x) is tg.Tensor
    x.requires_grad = True
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4] and array.tolist() == [1, 2]
    assert tg.from_dlpack(tg.from_dlpack(array)).data.ctypes.data == array.ctypes.data


def test_memory_lives_as_long_as_anybody_looks(collector_off):
    x = tensor(requires_grad=False)
    there, gone = np.from_dlpack(x), weakref.ref(x)
    del x
    assert gone() is None
    owner = np.full((2, 3), 5.0)
    y, owned = tg.from_dlpack(owner), weakref.ref(owner)
    del owner
    others = [np.zeros((2, 3)) for _ in range(1000)]        # what would be written where freed memory was
    assert owned() is not None and (y.data == 5).all() and (there == VALUES).all() and len(others) == 1000
    del y
    assert owned() is None


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[:, ::2], lambda a: a[::-1], np.asfortranarray, lambda a: read_only(a)],
                         ids=["transposed", "strided", "reversed", "Fortran", "read-only"])
def test_arrays_that_cannot_be_in_a_graph_are_copied_or_refused(view):
    array = view(np.arange(6.0).reshape(2, 3).copy())
    x = tg.from_dlpack(array)
    np.testing.assert_array_equal(x.data, array)
    assert x.data.flags.carray and not np.shares_memory(x.data, array)
    why = "read-only" if not array.flags.writeable else "not C-contiguous"
    with pytest.raises(ValueError, match=f"from_dlpack: the ndarray of shape .* is {why}, .*copy=False"):
        tg.from_dlpack(array, copy=False)


def read_only(array):
    array.flags.writeable = False
    return array


def test_the_option_copy():
    array = np.ones(3)
    assert not np.shares_memory(tg.from_dlpack(array, copy=True).data, array)
    assert np.shares_memory(tg.from_dlpack(array, copy=False).data, array)
    x = tg.Tensor(array)
    assert not np.shares_memory(np.from_dlpack(x, copy=True), x.data) and np.shares_memory(np.from_dlpack(x, copy=False), x.data)


class Elsewhere:
    """An array on a graphics card."""

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **_):
        raise AssertionError("nobody asks")


@pytest.mark.parametrize("bad, kind, words", [
    (lambda: tg.from_dlpack([1.0]), TypeError, "from_dlpack: got list; expected an array of a library that supports DLPack"),
    (lambda: tg.from_dlpack(np.arange(3)), TypeError, "from_dlpack: the ndarray holds int64 numbers, expected float32 or float64"),
    (lambda: tg.from_dlpack(np.ones(3, np.float16)), TypeError, "from_dlpack: the ndarray holds float16 numbers"),
    (lambda: tg.from_dlpack(np.ones(3, complex)), TypeError, "from_dlpack: the ndarray holds complex128 numbers"),
    (lambda: tg.from_dlpack(Elsewhere()), ValueError, "from_dlpack: the Elsewhere is on the DLPack device (2, 0); expected (1, 0), the CPU"),
    (lambda: tg.from_dlpack(tensor()), BufferError, "__dlpack__: this Tensor requires a gradient"),
    (lambda: np.from_dlpack(tensor() * 2), BufferError, "__dlpack__: this Tensor requires a gradient"),
    (lambda: tg.Parameter([1.0]).__dlpack__(), BufferError, "__dlpack__: this Tensor requires a gradient"),
    (lambda: tg.Tensor([1.0]).__dlpack__(dl_device=(2, 0)), (BufferError, ValueError), ""),      # NumPy 2.3: ValueError
])
def test_what_cannot_be_shared_gets_one_sentence(bad, kind, words):
    with pytest.raises(kind) as caught:
        bad()
    assert str(caught.value).startswith(words) and "\n" not in str(caught.value)


def test_a_parameter_is_exported_by_detach():
    p = tg.Parameter([1.0, 2.0])
    np.from_dlpack(p.detach())[0] = 9
    assert p.data.tolist() == [9, 2]


def test_one_number_is_formatted_as_a_number():
    loss = (tensor() * 0).sum() + 2 / 3
    assert f"{loss:.4f} {loss:>6.1f}|" == "0.6667    0.7|"
    assert f"{loss}" == str(loss)
    with pytest.raises(ValueError, match="is not one number"):
        f"{tg.Tensor([1.0, 2.0]):.4f}"
