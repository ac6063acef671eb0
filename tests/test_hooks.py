"""Hooks on tensors and modules: when they are called, with what, what they may replace, and that nothing else changes."""
from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from common import every_type, launches

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn

X = np.random.default_rng(0).standard_normal((7, 4))
LABELS = np.arange(7) % 3


def leaf(values, dtype=np.float64):
    return tg.Tensor(values, requires_grad=True, dtype=dtype)


def step(model, x=X):
    """Loss and gradients, by their bits."""
    model.zero_grad()
    loss = F.cross_entropy(model(x), LABELS[:len(x)])
    loss.backward()
    return [loss.data.tobytes(), *(p.grad.tobytes() for p in model.parameters())]


# -- tensors ---------------------------------------------------------------------------------------------------------

@every_type
def test_a_hook_sees_the_whole_gradient_once(dtype):
    """Two paths lead to h and to x; the hook is called once, with the sum of both gradients."""
    x, seen = leaf([1.0, 2.0], dtype), []
    x.register_hook(lambda g: seen.append(("x", g.copy())))
    h = x * x
    h.register_hook(lambda g: seen.append(("h", g.copy())))
    (h * 3 + h * x).sum().backward()
    (name, g), (other, total) = seen
    assert (name, other) == ("h", "x") and g.dtype == total.dtype == dtype
    np.testing.assert_array_equal(g, [4, 5])                # 3 + x
    np.testing.assert_array_equal(total, [9, 24])           # 2 x (3 + x) + x^2
    np.testing.assert_array_equal(x.grad, total)


@every_type
def test_the_result_of_a_hook_replaces_the_gradient(dtype):
    x = leaf([1.0, 2.0], dtype)
    x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: [10 * n for n in g])          # float64, from a list: comes back in the dtype of x
    h = x * 3
    h.register_hook(lambda g: np.asfortranarray(-g))
    h.sum().backward()
    assert x.grad.dtype == dtype and x.grad.flags.c_contiguous and x.grad.flags.writeable
    np.testing.assert_array_equal(x.grad, [-20, -20])       # ((-1) 3 + 1) 10


@pytest.mark.parametrize("returned", [None, "itself"])
def test_a_hook_that_only_looks_changes_no_bit(returned):
    """A hook that returns None or the gradient changes nothing: in flat buffers and in a second backward pass, too."""
    model = nn.MLP([4, 8, 3], dtype="float64", rng=0)
    x = leaf(X)

    def twice():
        x.grad = None
        step(model, x)
        F.cross_entropy(model(x), LABELS).backward()
        return [p.grad.tobytes() for p in (*model.parameters(), x)]

    before = twice()
    for p in (*model.parameters(), x):
        p.register_hook(lambda g: g if returned else None)
    assert twice() == before


def test_a_hook_on_a_parameter_in_a_flat_buffer():
    model = nn.MLP([4, 8, 3], rng=0)
    opt = tg.optim.SGD(model.parameters(), lr=0.1)
    step(model)
    weight = model[0].weight
    plain, home = weight.grad.copy(), weight.home
    weight.register_hook(lambda g: 0 * g)
    step(model)
    assert weight.grad is home and not home.any() and plain.any()
    opt.step()                          # the optimizer finds it there


def test_hooks_of_roots_and_of_inputs():
    x = leaf(2.0)
    x.register_hook(lambda g: g * 10)
    x.backward()
    assert x.grad == 10
    (g,) = tg.grad(x * 3, x)
    assert g.item() == 30               # as in PyTorch: the hook acts on what `grad` returns
    h = leaf([1.0, 2.0]) * 2
    h.register_hook(lambda g: -g)
    (g,) = tg.grad((h * 5).sum(), h)
    np.testing.assert_array_equal(g.data, [-5, -5])
    y = (h * 5).sum()
    y.register_hook(lambda g: g * 7)
    (g,) = tg.grad(y, h)
    np.testing.assert_array_equal(g.data, [-35, -35])


def test_hooks_of_a_leaf_that_is_not_an_input_are_not_called():
    x, other, seen = leaf([1.0]), leaf([2.0]), []
    other.register_hook(lambda g: seen.append(g))
    tg.grad((x * other).sum(), x)
    assert not seen


def test_hooks_on_recorded_gradients_get_tensors_and_are_differentiated():
    x, kinds = leaf(3.0), []

    def square(g):
        kinds.append(type(g))
        return g * g

    h = x * x
    with h.register_hook(square):                           # removed here, or it would act on the second derivative too
        (slope,) = tg.grad(h * x, x, create_graph=True)     # x^2 by x directly, and by x through h: x^2 2x
    assert slope.item() == 9 + 9 * 6
    (curvature,) = tg.grad(slope, x, retain_graph=True)
    assert kinds == [tg.Tensor] and curvature.item() == 2 * 3 + 6 * 9
    h.register_hook(lambda g: 2.0)
    (slope,) = tg.grad((h * x), x, create_graph=True)
    assert slope.item() == 9 + 2 * 6                        # a number is a constant


def test_a_handle_removes_its_hook_and_no_other():
    x = leaf(1.0)
    first, second = x.register_hook(lambda g: g * 2), x.register_hook(lambda g: g * 3)
    first.remove(), first.remove()
    x.backward()
    assert x.grad == 3
    with second:
        pass
    x.grad = None
    x.backward()
    assert x.grad == 1


def test_hooks_see_what_they_may_not_write_to():
    x = leaf([1.0])
    x.register_hook(lambda g: np.multiply(g, 0, out=g))
    with pytest.raises(ValueError, match="read-only"):
        x.sum().backward()


def test_bad_hooks_on_tensors():
    with pytest.raises(RuntimeError, match="requires no gradient"):
        tg.Tensor([1.0]).register_hook(print)
    with pytest.raises(TypeError, match="got str; expected a function"):
        leaf([1.0]).register_hook("print")
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"returned shape \(\) for a gradient of shape \(2,\); expected the same"):
        x.sum().backward()
    assert x.grad is None


def test_a_hook_dies_with_its_tensor_and_copies_have_none():
    x = leaf([1.0])
    x.register_hook(lambda g: g * 2)
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(leaf([1.0])))):
        twin.sum().backward()
        assert twin.grad == 1
    gc.disable()
    try:
        h = x * 2
        h.register_hook(lambda g: None)
        watched = weakref.ref(h)
        del h
        assert watched() is None
    finally:
        gc.enable()


# -- modules, forward ------------------------------------------------------------------------------------------------

def test_forward_hooks_in_their_order():
    layer, seen = nn.ReLU(), []
    layer.register_forward_hook(lambda m, inputs, output: seen.append(("after", m is layer, len(inputs), output.shape)))
    layer.register_forward_pre_hook(lambda m, inputs: seen.append(("before", m is layer, len(inputs))))
    layer.register_forward_pre_hook(lambda m, inputs: seen.append("first of all"), prepend=True)
    layer(X)
    assert seen == ["first of all", ("before", True, 1), ("after", True, 1, (7, 4))]


def test_forward_hooks_replace():
    layer = nn.ReLU()
    layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] + 1,))
    layer.register_forward_pre_hook(lambda m, inputs: inputs[0] * 10)       # not a tuple: it is made one
    layer.register_forward_hook(lambda m, inputs, output: output - inputs[0])
    np.testing.assert_array_equal(layer(tg.Tensor([-2.0, 2.0])).data, [10, 0])


def test_handles_give_the_fast_way_back():
    model = nn.MLP([4, 8, 3], rng=0)
    fused = launches(lambda: model(X))
    assert len(fused) == 2 and fused[0].startswith("linear_relu") and fused[1] == "linear"
    for layer in (model[0], model[1]):
        with layer.register_forward_hook(lambda m, inputs, output: None):
            assert launches(lambda: model(X)) == ["linear", "relu_forward", "linear"]
        assert launches(lambda: model(X)) == fused
    with model.register_forward_hook(lambda m, inputs, output: None):       # a hook on the whole model: its layers stay fused
        assert launches(lambda: model(X)) == fused
    other = nn.MLP([4, 8, 3], rng=0)
    other[1].register_forward_hook(lambda m, inputs, output: None)
    assert launches(lambda: model(X)) == fused                              # hooks on other models cost nothing here


@every_type
@pytest.mark.parametrize("activation", ["relu", "gelu", "prelu", "maxout"])
@pytest.mark.parametrize("kind", ["forward_pre", "forward", "full_backward"])
def test_hooked_models_keep_every_bit(kind, activation, dtype):
    model = nn.MLP([4, 8, 8, 3], activation=activation, dtype=dtype, rng=0)
    before = step(model)
    calls = []
    for module in model.modules():
        getattr(module, f"register_{kind}_hook")(lambda m, *_: calls.append(m))
    assert step(model) == before
    assert {id(m) for m in calls} == {id(m) for _, m in model.named_modules()}


def test_hooks_inside_modules_that_users_write():
    class Residual(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(4, 4, rng=0)

        def forward(self, x):
            return x + self.inner(x)

    model, seen = nn.Sequential(Residual(), nn.ReLU()), []
    model[0].inner.register_forward_hook(lambda m, inputs, output: seen.append(output.shape))
    model(tg.Tensor(X, dtype="float32"))
    assert seen == [(7, 4)]


# -- modules, backward -----------------------------------------------------------------------------------------------

def test_a_backward_hook_sees_both_sides():
    layer, seen = nn.Linear(4, 2, dtype="float64", rng=0), []
    layer.register_full_backward_hook(lambda m, into, out: seen.append((m, into, out)))
    x = leaf(X)
    y = layer(x)
    (y * y).sum().backward()
    ((module, (into,), (out,)),) = seen
    assert module is layer
    np.testing.assert_array_equal(out, 2 * y.data)
    np.testing.assert_array_equal(into, x.grad)


def test_a_backward_hook_replaces_the_gradient_of_the_inputs_alone():
    layer = nn.Linear(4, 2, dtype="float64", rng=0)
    x = leaf(X)
    layer(x).sum().backward()
    plain, weight = x.grad, layer.weight.grad.copy()
    layer.register_full_backward_hook(lambda m, into, out: (into[0] * 2,))
    layer.register_full_backward_hook(lambda m, into, out: into[0] + 1)
    x.grad = None
    layer.zero_grad()
    layer(x).sum().backward()
    np.testing.assert_array_equal(x.grad, 2 * plain + 1)
    np.testing.assert_array_equal(layer.weight.grad, weight)


class Pair(nn.Module):
    """Two inputs, two outputs."""

    def forward(self, a, b):
        return a * b, a + b


def pair_hook(seen):
    module = Pair()
    module.register_full_backward_hook(lambda m, into, out: seen.append(
        [[None if g is None else g.tolist() for g in side] for side in (into, out)]))
    return module


def test_backward_hooks_wait_for_all_inputs_and_outputs():
    seen = []
    module, a, b = pair_hook(seen), leaf([2.0]), leaf([5.0])
    product, total = module(a, b)
    (product * 3 + total * 7).sum().backward(retain_graph=True)
    (product * 3 + total * 7).sum().backward(retain_graph=True)
    total.sum().backward(retain_graph=True)                                     # one output only
    both = [[[22.0], [13.0]], [[3.0], [7.0]]]
    assert seen == [both, both, [[[1.0], [1.0]], [None, [1.0]]]]
    tg.grad(product, a, retain_graph=True)
    assert seen[-1] == [[[5.0], [2.0]], [[1.0], None]] or seen[-1] == [[[5.0], None], [[1.0], None]]
    np.testing.assert_array_equal(a.grad, [45.0])
    before = len(seen)
    tg.grad((product * total).sum(), product)       # ends at an output: the module itself is not passed
    module(a, b)[1].sum().backward()
    assert len(seen) == before + 1 and seen[-1] == [[[1.0], [1.0]], [None, [1.0]]]


def test_backward_hooks_without_gradients_for_some_inputs():
    seen = []
    module, a = pair_hook(seen), leaf([2.0])
    module(a, tg.Tensor([5.0]))[0].backward()
    assert seen == [[[[5.0], None], [[1.0], None]]]
    layer, seen = nn.Linear(4, 2, rng=0), []
    layer.register_full_backward_hook(lambda m, into, out: seen.append((into, [g.shape for g in out])))
    layer(X).sum().backward()                               # data require no gradient: called at the outputs
    assert seen == [((None,), [(7, 2)])]
    with tg.no_grad():
        layer(X)
    assert len(seen) == 1


def test_none_in_a_replacement_leaves_that_gradient():
    module, a, b = Pair(), leaf([2.0]), leaf([5.0])
    module.register_full_backward_hook(lambda m, into, out: (None, into[1] * 100))
    module(a, b)[0].backward()
    assert a.grad == 5 and b.grad == 200


def test_backward_hooks_on_recorded_gradients():
    layer, x, times = nn.Tanh(), leaf([0.5]), iter([1])
    layer.register_full_backward_hook(lambda m, into, out: (into[0] * into[0],) if next(times, 0) else None)
    (slope,) = tg.grad(layer(x).sum(), x, create_graph=True)
    (curvature,) = tg.grad(slope.sum(), x)
    t = np.tanh(0.5)
    np.testing.assert_allclose(slope.data, (1 - t * t) ** 2, rtol=1e-15)
    np.testing.assert_allclose(curvature.data, -4 * t * (1 - t * t) ** 2, rtol=1e-14)


def test_a_backward_hook_gets_nothing_to_write_to():
    layer = nn.ReLU()
    layer.register_full_backward_hook(lambda m, into, out: into[0].fill(0))
    with pytest.raises(ValueError, match="read-only"):
        layer(leaf([1.0])).sum().backward()


def test_bad_hooks_on_modules():
    layer = nn.ReLU()
    with pytest.raises(TypeError, match="register_forward_hook: got int; expected a function"):
        layer.register_forward_hook(3)
    layer.register_full_backward_hook(lambda m, into, out: (into[0], into[0]))
    with pytest.raises(ValueError, match="returned 2 gradients for 1 input; expected one each"):
        layer(leaf([1.0])).sum().backward()
    with pytest.raises(ValueError, match=r"returned shape \(3,\) for a gradient of shape \(1,\)"):
        layer = nn.ReLU()
        layer.register_full_backward_hook(lambda m, into, out: (np.ones(3),))
        layer(leaf([1.0])).sum().backward()


# -- copies ----------------------------------------------------------------------------------------------------------

def double(module, inputs, output):
    return output * 2


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_a_copied_module_keeps_its_hooks(twin_of):
    model = nn.MLP([4, 8, 3], rng=0)
    plain = model(X).data
    handle = model[2].register_forward_hook(double)
    stored = pickle.dumps(model) if twin_of is not copy.deepcopy else None
    twin = copy.deepcopy(model) if stored is None else pickle.loads(stored)
    handle.remove()
    np.testing.assert_array_equal(model(X).data, plain)
    np.testing.assert_array_equal(twin(X).data, 2 * plain)  # the copy has hooks of its own


def test_only_the_module_with_a_hook_pays_for_it():
    """Other modules get no dictionary of hooks, and a removed hook has no effect, here or in other models of the process."""
    model, other = nn.MLP([4, 8, 8, 3], rng=0), nn.MLP([4, 8, 8, 3], rng=1)
    fused = launches(lambda: model(X))
    handle = model[0].register_forward_hook(double)
    assert [m for m in model.modules() if "_hooks" in vars(m)] == [model[0]]
    assert launches(lambda: other(X)) == fused
    assert len(launches(lambda: model(X))) == len(fused) + 2         # the product, the activation and the doubling, one by one
    handle.remove()
    assert launches(lambda: model(X)) == fused
