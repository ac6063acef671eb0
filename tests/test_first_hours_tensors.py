"""Typical calls of newcomers with Tensors: each works, or raises an error that says what to write instead."""
from __future__ import annotations

import importlib
import pydoc
import warnings

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import Tensor, data, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.missing import WAYS

# -- dtypes ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("of", "to"), [("float32", "float64"), ("float64", "float32")])
def test_astype_casts_and_its_gradient_is_cast_back(of, to):
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True, dtype=of)
    y = x.astype(to)
    assert y.dtype == to and y.requires_grad and y.data.flags.c_contiguous
    (y * y).sum().backward()
    assert x.grad.dtype == of
    np.testing.assert_array_equal(x.grad, [2.0, 4.0, 6.0])


def test_astype_of_its_own_dtype_is_the_tensor_itself():
    x = Tensor([1.0], requires_grad=True)
    assert x.astype("float64") is x and x.astype(np.float64) is x


def test_astype_has_second_derivatives():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (slope,) = tg.grad((x.astype("float32") ** 3).sum(), x, create_graph=True)
    assert slope.dtype == np.float64
    (curvature,) = tg.grad(slope.sum(), x)
    np.testing.assert_allclose(curvature.data, [6.0, 12.0])


def test_astype_to_integers_names_the_array():
    with pytest.raises(ValueError, match=r"x\.data\.astype"):
        Tensor([1.0]).astype("int64")


# -- names that do not exist -------------------------------------------------------------------------------------------

ROOMS = {"tinygrad_relu": tg, "functional": F, "nn": nn, "optim": optim, "Optimizer": optim.AdamW([nn.Parameter([1.0])]), "lr_scheduler": optim.lr_scheduler, "data": data,
         "Tensor": Tensor([1.0])}


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in ROOMS for name in WAYS[room]])
def test_a_name_of_another_library_says_what_to_write_here(room, name):
    assert not hasattr(ROOMS[room], name)
    with pytest.raises(AttributeError) as error:
        getattr(ROOMS[room], name)
    assert str(error.value).endswith(f"has no {name}; {WAYS[room][name]}")


@pytest.mark.parametrize("room", [tg, F, nn, optim, optim.lr_scheduler, data])
def test_a_misspelt_name_is_an_ordinary_error(room):
    with pytest.raises(AttributeError, match=r"has no sofmtax$") as error:
        room.sofmtax  # noqa: B018
    assert error.value.name == "sofmtax" and error.value.obj is room


def test_a_missing_name_suggests_no_other_missing_name():
    with pytest.raises(AttributeError) as error:
        Tensor([1.0]).copy  # noqa: B018
    assert error.value.obj is None      # in which Python would look for similar names


def test_missing_names_are_not_listed_and_help_says_what_to_write():
    assert not set(WAYS["Tensor"]) & set(dir(Tensor([1.0]))) and "relu" in dir(Tensor([1.0]))
    assert "Not here: write x.size." in pydoc.render_doc(Tensor, renderer=pydoc.plaintext)


def test_a_module_of_a_user_may_have_such_attributes():
    class Placed(nn.Module):
        def __init__(self):
            self.device = "cpu"

    assert Placed().device == "cpu" and "device" in dir(Placed())


def test_the_file_of_tensors_is_not_a_function_of_the_package():
    with pytest.raises(AttributeError, match=r"tg\.Tensor\(values\)"):
        tg.tensor([1.0])
    assert importlib.import_module("tinygrad_relu.tensor").Tensor is Tensor


ALONG = np.array([[1.0, -2.0], [3.0, 5.0]])


@pytest.mark.parametrize(("theirs", "ours"), [
    (lambda x: x.sum(dim=1, keepdim=True), lambda x: x.sum(axis=1, keepdims=True)),
    (lambda x: tg.mean(x, dim=(0, 1)), lambda x: tg.mean(x, axis=(0, 1))),
    (lambda x: x.argmax(dim=1), lambda x: x.argmax(axis=1)),
    (lambda x: x.prod(dim=0), lambda x: x.prod(axis=0)),
    (lambda x: x.logsumexp(dim=0, keepdim=True), lambda x: x.logsumexp(axis=0, keepdims=True)),
    (lambda x: x.max(axis=1, keepdim=True), lambda x: x.max(axis=1, keepdims=True)),
    (lambda x: tg.var(x, axis=1, correction=1), lambda x: tg.var(x, axis=1, ddof=1)),
    (lambda x: x.cumsum(dim=0), lambda x: x.cumsum(axis=0)),
    (lambda x: x.softmax(dim=0), lambda x: F.softmax(x, 0)),
    (lambda x: F.log_softmax(x, dim=0), lambda x: x.log_softmax(axis=0)),
    (lambda x: x.unsqueeze(dim=1).squeeze(dim=1), lambda x: x),
    (lambda x: x.flatten(start_dim=0, end_dim=1), lambda x: x.flatten()),
    (lambda x: tg.flip(x, dims=(0,)), lambda x: tg.flip(x, 0)),
    (lambda x: tg.swapaxes(x, dim0=0, dim1=1), lambda x: x.T),
    (lambda x: tg.permute(x, dims=(1, 0)), lambda x: x.T),
    (lambda x: tg.stack([x, x], dim=1), lambda x: tg.stack([x, x], axis=1)),
    (lambda x: tg.concatenate([x, x], dim=1), lambda x: tg.concatenate([x, x], axis=1)),
    (lambda x: tg.gather(x, dim=1, index=[[0], [1]]), lambda x: tg.gather(x, 1, [[0], [1]])),
    (lambda x: x.relu(), F.relu), (lambda x: x.tanh(), F.tanh), (lambda x: x.sigmoid(), F.sigmoid), (lambda x: x.clone(), lambda x: x)])
def test_spellings_of_pytorch_are_accepted(theirs, ours):
    x = Tensor(ALONG, requires_grad=True)
    y, expected = theirs(x), ours(x)
    np.testing.assert_array_equal(np.asarray(y), np.asarray(expected))
    if isinstance(y, Tensor):
        weights = np.arange(y.size).reshape(y.shape)
        np.testing.assert_array_equal(tg.grad(y, x, weights)[0].data, tg.grad(expected, x, weights)[0].data)


@pytest.mark.parametrize(("call", "way"), [
    (lambda x: x.max(dim=1), "x.argmax(axis=...)"), (lambda x: tg.min(x, dim=1), "x.argmin(axis=...)"),
    (lambda x: x.var(dim=1), "ddof=1"), (lambda x: x.std(dim=1), "ddof=1"), (lambda x: tg.split(x, 1, dim=1), "sections"),
    (lambda x: x.sum(dim=1, axis=1), "axis is the same"), (lambda x: x.max(keepdims="x"), "keepdims is 'x', expected True or False"),
    (lambda x: x.max(0, "x"), "max: keepdims is 'x', expected True or False")])
def test_where_pytorch_means_something_else_its_spelling_is_refused(call, way):
    with pytest.raises(TypeError) as error:
        call(Tensor(ALONG))
    assert way in str(error.value)


def test_requires_grad_():
    x = Tensor([1.0]).requires_grad_()
    assert x.requires_grad and not x.requires_grad_(False).requires_grad
    with pytest.raises(RuntimeError, match="result of mul; expected a leaf"):
        (x.requires_grad_() * 2).requires_grad_(False)
    with pytest.raises(TypeError, match="requires_grad is 'no', expected True or False"):
        x.requires_grad_("no")


def test_a_training_loop_by_hand_changes_its_weights_in_place_under_no_grad():
    w = same = Tensor([4.0, 2.0], requires_grad=True)
    for _ in range(2):
        loss = (w * w).sum()
        w.grad = None
        loss.backward()
        with tg.no_grad():
            w -= 0.25 * w.grad
    assert w is same and w.requires_grad and w.data.tolist() == [1.0, 0.5]
    with tg.no_grad():
        w += [1.0, 1.0]
        w *= 2
        w /= Tensor(4.0)
    assert w.data.tolist() == [1.0, 0.75]
    with pytest.raises(RuntimeError, match="a leaf of shape"):
        loss = (w * w).sum()
        with tg.no_grad():
            w *= 3
        loss.backward()
    before = w
    w *= 2                                                                          # recorded: a new Tensor
    assert w is not before and w.op is not None and before.data.tolist() == [3.0, 2.25]
    with tg.no_grad(), pytest.raises(ValueError, match=r"got values of shape \(2, 2\)"):
        before += np.ones((2, 2))


def test_in_finds_a_number():
    assert 2.0 in Tensor([[1.0, 2.0]]) and 3 not in Tensor([[1.0, 2.0]]) and "a" not in Tensor([1.0])


def test_a_clone_is_a_copy():
    x = Tensor([1.0, 2.0])
    assert not np.shares_memory(x.clone().data, x.data)


# -- gradients that would be lost --------------------------------------------------------------------------------------

def assigned(w):
    x = Tensor([1.0, 2.0])
    x[0] = w


@pytest.mark.parametrize("call", [assigned, Tensor, nn.Parameter, lambda w: Tensor(w, requires_grad=True), lambda w: Tensor([w, w])])
def test_what_would_lose_a_gradient_is_refused_and_names_detach(call):
    w = Tensor(3.0, requires_grad=True)
    with pytest.raises((TypeError, RuntimeError), match=r"detach\(\)|x\.data"):
        call(w)
    with tg.no_grad():
        call(w.detach())


# -- arguments and hints -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: Tensor([1.0, 2.0], "float32"), TypeError, "requires_grad is 'float32', expected True or False|dtype=\"float32\""),
    (lambda: Tensor([1.0], 1), TypeError, "requires_grad is 1"),
    (lambda: bool(Tensor([1.0, 2.0])), ValueError, "shape (2,)|(x > 0).any()"),
    (lambda: Tensor([1.0, 2.0]).item(), ValueError, "shape (2,) is not one number|tolist"),
    (lambda: float(Tensor([1.0, 2.0])), ValueError, "shape (2,)"),
    (lambda: assigned("a"), TypeError, "x[index] = values holds text"),
    (lambda: assigned([1.0, 2.0, 3.0]), ValueError, "x[index] = values|in shape (2,)"),
    (lambda: Tensor(ALONG)["a"], TypeError, "index holds text|expected integers, slices"),
    (lambda: Tensor(ALONG).unsqueeze(5), ValueError, "unsqueeze: got axis 5 for x of shape (2, 2)"),
    (lambda: Tensor(2**70), TypeError, "integers of more than 64 bits|pass floats"),
    (lambda: Tensor([1.0, 1e300], dtype="float32"), ValueError, "infinite in float32; expected at most 3.4e+38"),
    (lambda: nn.Parameter([-1e39], dtype="float32"), ValueError, "infinite in float32"),
    (lambda: F.linear(np.ones(4), np.ones((2, 3))), ValueError, "x has shape (4,)"),
    (lambda: F.cross_entropy(ALONG, Tensor([0.0, 1.0])), TypeError, 'pass np.asarray(labels).astype("int64")'),
    (lambda: F.cross_entropy(ALONG, ["cat", "dog"]), TypeError, "expected integer labels|np.unique"),
    (lambda: F.nll_loss(ALONG, np.array(["cat", "dog"])), TypeError, "expected integer labels|np.unique"),
    (lambda: tg.stack({"a": Tensor(1.0)}), TypeError, "stack: got dict; expected several Tensors"),
    (lambda: tg.gradcheck(tg.sum, Tensor(1.0, requires_grad=True), eps=0), ValueError, "gradcheck: eps is 0"),
    (lambda: tg.gradcheck(3, POINT[0]), TypeError, "gradcheck: got int and Tensor; expected a function"),
    (lambda: tg.gradcheck(lambda x: 3, Tensor(1.0, requires_grad=True)), TypeError, "gradcheck: f returned int"),
])
def test_errors_name_the_argument_and_say_what_to_write(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(part in str(caught.value) for part in words.split("|")), caught.value


@pytest.mark.parametrize("f", [tg.sqrt, tg.log, tg.log1p, lambda x: tg.sin(x * np.inf), lambda x: (x * 1e200).square()])
def test_functions_give_nan_and_infinity_without_a_warning(f):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isfinite(f(Tensor([-2.0])).data).any()


# -- derivatives of functions ------------------------------------------------------------------------------------------

def mixed(x, y):
    return tg.stack([(x * x).sum() * y, tg.sin(y) + x[0], x[1] * x[2] * y, tg.exp(x[2])])


POINT = Tensor([0.5, -1.0, 2.0]), Tensor(0.75)
ALONG_POINT = [np.array([1.0, 0.5, -2.0]), np.array(3.0)]
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])


def test_jvp_and_vjp_are_products_with_the_jacobian():
    by_x, by_y = (block.data for block in tg.jacobian(mixed, POINT))
    np.testing.assert_allclose(tg.jvp(mixed, POINT, ALONG_POINT).data, by_x @ ALONG_POINT[0] + by_y * 3.0, rtol=1e-14)
    for product, block in zip(tg.vjp(mixed, POINT, WEIGHTS), (by_x, by_y), strict=True):
        np.testing.assert_allclose(product.data, WEIGHTS @ block, rtol=1e-14)


def test_value_and_grad():
    value, gradients = tg.value_and_grad(lambda x, y: mixed(x, y).sum(), POINT)
    assert value.item() == mixed(*POINT).sum().item() and not value.requires_grad
    for gradient, product in zip(gradients, tg.vjp(mixed, POINT, np.ones(4)), strict=True):
        np.testing.assert_allclose(gradient.data, product.data, rtol=1e-14)
    assert all(x.grad is None and not x.requires_grad for x in POINT)


def test_they_can_be_differentiated_again():
    x, v = Tensor([1.0, 2.0], requires_grad=True), Tensor([0.5, -1.0], requires_grad=True)
    cube = lambda x: x**3
    for product in (tg.jvp, tg.vjp):
        assert tg.gradcheck(lambda x, v, product=product: product(cube, x, v, create_graph=True), [x, v])
    value, gradient = tg.value_and_grad(lambda x: cube(x).sum(), x, create_graph=True)
    np.testing.assert_allclose(tg.grad(gradient.sum() + value, x)[0].data, [9.0, 24.0])
    np.testing.assert_allclose(tg.jacobian(lambda x: tg.jvp(cube, x, [1.0, 1.0], create_graph=True), Tensor([1.0, 2.0])).data,
                               [[6.0, 0.0], [0.0, 12.0]])
    with pytest.raises(RuntimeError, match="create_graph=True"):
        tg.jacobian(lambda x: tg.jvp(cube, x, [1.0, 1.0]), Tensor([1.0, 2.0]))


@pytest.mark.parametrize("f", [lambda x: Tensor([1.0, 2.0]), lambda x: x.detach() * 2])
def test_of_a_constant_they_are_zeros(f):
    x = Tensor([1.0, 2.0])
    assert tg.jvp(f, x, [1.0, 1.0]).data.tolist() == [0.0, 0.0] == tg.vjp(f, x, [1.0, 1.0]).data.tolist()
    assert tg.value_and_grad(lambda x: f(x).sum(), x)[1].data.tolist() == [0.0, 0.0]


def carried():
    cell, state = nn.RNNCell(2, 3, rng=0), Tensor(np.zeros((1, 3)), dtype="float32")
    for _ in range(2):
        state = cell(np.ones((1, 2)), state)
        state.sum().backward()


@pytest.mark.parametrize(("gradient", "words"), [("abc", "is str"), ([1.0, 2.0], "is list"), (np.ones(3), "is of shape (3,)")])
def test_backward_refuses_to_add_to_other_objects_than_arrays(gradient, words):
    """`backward` checks .grad; a check at the assignment would slow each training step down by 3 %."""
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.grad = gradient
    with pytest.raises(ValueError) as caught:
        x.sum().backward()
    assert f"the .grad of a leaf of shape (2,) {words}; expected None, or an array of that shape" in str(caught.value)


def test_an_empty_tensor_shows_its_shape():
    assert repr(Tensor(np.zeros((0, 3)))) == "Tensor([], shape=(0, 3))" and repr(Tensor([])) == "Tensor([])"


W = Tensor([1.0, 2.0], requires_grad=True)


def cubes(x):
    return (x**3).sum()


def backward_into(grad):
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.grad = grad
    cubes(x).backward()


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: tg.jacobian(3, POINT[0]), TypeError, "jacobian: f is int; expected a function"),
    (lambda: tg.hessian(POINT[0], POINT[0]), TypeError, "hessian: f is Tensor|tg.grad"),
    (lambda: tg.jvp(mixed, POINT, [1.0]), ValueError, "jvp: got 1 vector for 2 inputs"),
    (lambda: tg.vjp(mixed, POINT, [1.0]), ValueError, "vjp: vector 0 has shape (1,); expected (4,)"),
    (lambda: tg.value_and_grad(mixed, POINT), ValueError, "value_and_grad: f returned shape (4,); expected one number"),
    (lambda: tg.grad(Tensor([1.0], requires_grad=True).sum(), {"w": POINT[0]}), TypeError, "the inputs are a dict of str|values()"),
    (lambda: tg.grad(Tensor([1.0], requires_grad=True).sum(), "x"), TypeError, "the inputs are a str of str; expected Tensors"),
    (lambda: tg.grad(cubes(W), W, Tensor(2.0, requires_grad=True)), TypeError, "grad: grad_outputs requires a gradient|tg.grad(y, [x, w])"),
    (lambda: tg.value_and_grad(lambda x, y: cubes(x * y), W, W), TypeError, "value_and_grad: create_graph is Tensor|one tuple or list"),
    (lambda: tg.hvp(lambda: W.sum(), [], []), ValueError, "hvp: got no inputs; expected a Tensor, or several"),
    (lambda: tg.gradcheck(cubes, W, eps="a"), TypeError, "gradcheck: eps is 'a', expected a number"),
    (lambda: tg.no_grad(cubes), TypeError, "no_grad takes no arguments; write `with tg.no_grad():`, or `@tg.no_grad()`"),
    (lambda: tg.Op("a", 3), TypeError, "Op 'a': expected a function `forward`"),
    (lambda: tg.Op("a", np.sin, pull=3), TypeError, "one rule for each input"),
    (lambda: tg.Op("a", np.sin, pull=lambda g, y, x: g), TypeError, "Op 'a': pull is one function (g, y, x)|pull=(rule,)"),
    (lambda: tg.Op("a", np.add, (lambda g, y, a, b: g,))(W, W).sum().backward(), TypeError,
     "a: input 1 requires a gradient, but has no rule in `pull`"),
    (lambda: tg.Op("a", np.sum, (lambda g, y, x: g,))(W).backward(), ValueError,
     "a: the rule of input 0 gave shape () for an input of shape (2,); expected that shape"),
    (lambda: tg.Op("a", lambda x: (x, x))(W), TypeError, "a: got a result of type tuple; expected an array, or with saves=True"),
    (lambda: backward_into(np.ones(2, int)), TypeError, "the .grad of a leaf of shape (2,) is ndarray of shape (2,); expected None, or an array of float64"),
    (lambda: backward_into(W), TypeError, "the .grad of a leaf of shape (2,) is Tensor of shape (2,)"),
    (carried, RuntimeError, "state.detach()"),
])
def test_errors_of_derivatives(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(part in str(caught.value) for part in words.split("|")), caught.value
