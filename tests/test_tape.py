"""The backward pass: where gradients arrive, what a graph keeps, and that it is freed with its last reference."""
from __future__ import annotations

import gc
import threading
import weakref
from contextlib import suppress
from functools import partial
from itertools import permutations

import naive
import numpy as np
import pytest
from common import at_once
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff import tape
from tinygrad_relu.autodiff.node import Op, value
from tinygrad_relu.kernels.machine.door import watch


def leaf(*values, **options):
    return tg.Tensor(np.array(values), requires_grad=True, **options)


@pytest.fixture
def collector_off():
    """Switch the garbage collector off, so that objects in a reference cycle would stay alive."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# -- which gradients arrive where ------------------------------------------------------------------------------------

def test_fan_out_and_the_same_leaf_twice():
    x = leaf(3.0)
    y = x * x               # 9, used three times
    (y * y + y + x).backward([1.0])
    assert x.grad == 4 * 3**3 + 2 * 3 + 1


def test_an_input_of_every_place_of_one_operation():
    """linear(x, x, x): the fused kernel writes three gradients to one leaf, with a flat home and without."""
    for settled in (False, True):
        x, bias = nn.Parameter(np.arange(4.0).reshape(2, 2)), nn.Parameter([1.0, 2.0])
        if settled:
            optim.SGD([x, bias])
        F.linear(x, x, bias).sum().backward()
        (F.linear(x, x, bias) + bias).sum().backward()
        g, = naive.gradients(lambda x: naive.linear(x, x, 0.0), [x.data], np.ones((2, 2)))
        np.testing.assert_array_equal(x.grad, 2 * g)
        np.testing.assert_array_equal(bias.grad, [6, 6])
        assert (x.grad is x.home) == settled


def test_two_gradients_of_one_launch_are_not_added_to_one_array():
    """In linear(h, h), if a gradient of h has arrived before: two threads would add to it at the same time."""
    a, into = np.arange(9.0).reshape(3, 3), []

    def note(kernel, arguments):
        into.extend([arguments[3:5]] if kernel.__name__ == "linear_pullback" else [])
        kernel(*arguments)

    x = tg.Tensor(a, requires_grad=True)
    h = x * 1.0
    loss = F.linear(h, h).sum() + F.linear(h, np.eye(3)).sum()
    with watch(note):
        loss.backward()
    np.testing.assert_array_equal(x.grad, 2 * a.sum(axis=0) + np.ones((3, 3)))
    assert into and all(gx is not gw for gx, gw in into)


def test_a_gradient_has_not_arrived_if_its_kernel_raises():
    def fused(*_):
        raise ArithmeticError

    fails, p, q = Op("fails", np.add, pull=(None, None), fused=fused, adds=True), nn.Parameter([1.0]), nn.Parameter([2.0])
    optim.SGD([p, q])
    (3 * q).sum().backward()
    with suppress(ArithmeticError):
        fails(p, q).sum().backward()
    assert p.grad is None and q.grad == 3


def test_a_gradient_has_not_arrived_if_memory_runs_out_before_the_kernel(monkeypatch):
    def no_memory(*_):
        raise MemoryError

    layer = nn.Linear(2, 2, rng=0)
    optim.SGD(layer.parameters())
    layer.bias.register_hook(lambda g: g)       # so its gradient needs an array, after that of the weight has got its place
    y = layer([[1.0, 2.0]]).sum()
    monkeypatch.setattr(tape, "empty", no_memory)
    with suppress(MemoryError):
        y.backward()
    assert layer.weight.grad is None


def test_backward_adds_to_grad_and_none_is_not_zero():
    x, unused, dead = leaf(1.0, 2.0), leaf(1.0), leaf(-1.0)
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad, times * np.array([2.0, 4.0]))
    F.relu(dead).sum().backward()
    assert unused.grad is None                      # no gradient arrived
    assert dead.grad is not None and dead.grad == 0         # one arrived, and is exactly zero


def test_a_gradient_from_elsewhere_is_joined_in_its_own_array():
    """An array of any type or layout that a user assigned to .grad is added to, and never reinterpreted."""
    for mine in (np.full((2, 3), 10.0), np.asfortranarray(np.full((2, 3), 10.0)), np.full((2, 3), 10, np.float32)):
        weight = tg.Tensor(np.ones((2, 3)), requires_grad=True)
        weight.grad = mine
        F.linear(np.ones((4, 3)), weight).sum().backward()
        assert weight.grad is mine
        np.testing.assert_array_equal(mine, np.full((2, 3), 14))


def test_gradients_of_leaves_share_no_memory():
    """The rules of add return the same array for both inputs, and backward takes the caller's array: each leaf gets a copy."""
    a, b, g = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2)
    (a + b).backward(g)
    a.grad += 5
    assert b.grad.tolist() == [1, 1] and g.tolist() == [1, 1]


def test_what_a_rule_hands_out_is_only_read():
    """A rule may return an array that it keeps, or a number of an input: sums are new arrays, and leaves get copies."""
    kept = np.array([5.0, 6.0])
    constant = Op("constant", lambda x: 5 * x, pull=(lambda g, y, x: kept,))
    itself = Op("itself", lambda x: x * x / 2, pull=(lambda g, y, x: x,))
    x = leaf(1.0, 2.0)
    h = x * 1
    for y in (constant(x), itself(x), constant(h) + constant(h) + itself(h) + constant(h)):
        y.backward([1.0, 1.0])
    x.grad += 100
    (g,) = tg.grad(constant(x), x, [1.0, 1.0])
    g.data += 100
    assert kept.tolist() == [5, 6] and x.data.tolist() == [1, 2] == h.data.tolist()
    assert x.grad.tolist() == [100 + 5 + 1 + 16, 100 + 6 + 2 + 20]


@pytest.mark.parametrize("settled", [False, True])
def test_kernels_add_into_what_is_under_way(settled):
    """linear(h, h, h0) and parts of h, after a first gradient for h has arrived, in every order; each gradient is added once."""
    x = nn.Parameter(np.arange(4.0).reshape(2, 2))
    if settled:
        optim.SGD([x])
    uses = [lambda h: F.linear(h, h, h[0]), lambda h: 3 * h, lambda h: h[1:] * h[:1], lambda h: h[[0, 0]], lambda h: h]
    twins = [lambda h: h @ h.T + h[0], lambda h: 3 * h, lambda h: h[1:] * h[:1], lambda h: h[[0, 0]], lambda h: h]
    expected, = naive.gradients(lambda h: sum(f(h).sum() for f in twins), [x.data], 1.0)
    for order in permutations(range(len(uses))):
        for h in (x, x * 1):
            x.grad = None
            sum(uses[k](h).sum() for k in order).backward()
            np.testing.assert_array_equal(x.grad, expected)
            assert (x.grad is x.home) == settled


def test_a_hook_may_keep_what_it_has_seen():
    x, seen = leaf(1.0, 2.0), []
    x.register_hook(lambda g: seen.append(g))
    for _ in range(3):
        F.relu(x).backward([3.0, 4.0])
    assert x.grad.tolist() == [9, 12] and [g.tolist() for g in seen] == [[3, 4]] * 3


def test_many_parts_of_one_array():
    """The rows of a matrix, taken one by one. An array of the whole for each row would be 13 GB, or half a terabyte."""
    rows = strength(5_000, thorough=30_000)
    x = leaf(*np.ones((rows, 64)))
    total = 0
    for k, row in enumerate(x):
        total = total + k * row.sum()
    total.backward()
    np.testing.assert_array_equal(x.grad, np.tile(np.arange(float(rows))[:, None], 64))


def test_only_leaves_get_grad():
    x = leaf(2.0)
    y = x * 3
    (y * y).backward([1.0])
    assert y.grad is None and x.grad == 36


def test_backward_of_a_leaf():
    x = leaf(1.0, 2.0)
    x.backward([3.0, 4.0])
    x.backward([3.0, 4.0])
    assert x.grad.tolist() == [6, 8]


def test_branches_that_need_no_gradient_are_not_recorded():
    constant = tg.Tensor([2.0])
    assert not (constant * 3).requires_grad and (constant * 3).op is None
    x = leaf(1.0)
    y = x * (constant * 3)
    assert y.parents[1] is None
    y.backward([1.0])
    assert constant.grad is None and x.grad == 6


# -- grad ------------------------------------------------------------------------------------------------------------

def test_grad_of_inner_nodes_leaves_and_unrelated_tensors():
    x, stranger = leaf(2.0), leaf(5.0, 6.0)
    y = x * x
    z = y * 3
    to_z, to_y, to_x, to_stranger, again = tg.grad(z, [z, y, x, stranger, x])
    assert (to_z.item(), to_y.item(), to_x.item(), again.item()) == (1, 3, 12, 12)
    assert to_stranger.data.tolist() == [0, 0]
    assert x.grad is y.grad is None and not to_x.requires_grad


def test_grad_of_an_inner_node_leaves_the_rest_of_the_graph():
    """It frees the graph only down to that node; the rest can still be differentiated."""
    x = leaf(2.0)
    y = x * x
    assert tg.grad(y * 3, y)[0].item() == 3
    y.backward([1.0])
    assert x.grad == 4


def test_grad_outputs_and_a_single_input():
    x = leaf(1.0, 2.0)
    (g,) = tg.grad(x * x, x, grad_outputs=[1.0, 10.0])
    assert g.data.tolist() == [2, 40]


def test_derivatives_of_derivatives():
    """x^5 down to its fifth derivative, and one with respect to the incoming gradient."""
    x = leaf(2.0)
    y, expected = x**5, 32.0
    for n in range(5, 0, -1):
        (y,) = tg.grad(y, x, create_graph=True)
        expected *= n / 2
        assert y.item() == expected
    seed = leaf(3.0)
    (g,) = tg.grad(x * x, x, seed, create_graph=True)
    assert tg.grad(g, seed)[0].item() == 4          # g = 2x seed


def test_gradient_penalty_reaches_the_parameters():
    """backward through a gradient: d/dw of |d loss/dx|^2, against finite differences."""
    model = nn.MLP([3, 4, 1], activation="tanh", dtype="float64", rng=0)
    x = tg.Tensor(np.random.default_rng(0).standard_normal((5, 3)), requires_grad=True)

    def penalty(*_):
        (g,) = tg.grad(model(x).sum(), x, create_graph=True)
        return (g * g).sum()

    assert tg.gradcheck(penalty, model.parameters()[:3])    # the last bias has no part in it
    penalty().backward()
    assert all(p.grad is not None for p in model.parameters()[:3]) and model.parameters()[3].grad is None


def test_gradcheck_finds_a_wrong_derivative():
    """Wrong by a factor 1.001, in one of three entries, in the second order only."""
    wrong = Op("wrong", lambda x: x**2, pull=(lambda g, y, x: g * x * np.array([2, 2, 2.002]),))
    with pytest.raises(tg.GradcheckError, match=r"order 1: input 0, entry \(2,\)"):
        tg.gradcheck(wrong, leaf(1.0, 2.0, 3.0))
    flat = Op("flat", lambda x: x**2, pull=(lambda g, y, x: g * tg.Tensor(2 * value(x)),))
    x = leaf(1.0, 2.0)
    with pytest.raises(tg.GradcheckError, match="order 2"):
        tg.gradcheck(flat, x, order=2)
    assert x.data.tolist() == [1, 2]


# -- the life of a graph ---------------------------------------------------------------------------------------------

def test_a_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward([1.0], retain_graph=True)
    y.backward([1.0])
    assert x.grad == 8
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward([1.0])
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        (y + x).backward([1.0])         # nor through another result that uses it
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        tg.grad(y, x)
    assert x.grad == 8 and y.item() == 4        # .grad and the value are unchanged


def test_a_graph_dies_with_its_last_reference(collector_off):
    x = leaf(1.0, 2.0)
    inner = F.relu(x) * x
    y = F.softmax(inner).sum()
    (g,) = tg.grad(y, x, create_graph=True)
    watched = [weakref.ref(node) for node in (inner, y, g)]
    del inner, y, g
    assert [w() for w in watched] == [None] * 3


def test_backward_frees_the_graph_of_a_result_that_is_kept(collector_off):
    x = leaf(1.0, 2.0)
    inner = x * x
    watched = weakref.ref(inner)
    loss = inner.sum()
    del inner
    loss.backward()
    assert watched() is None and loss.item() == 5


def test_training_leaves_no_cycles(collector_off):
    model = nn.MLP([3, 8, 2], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(4):
        F.cross_entropy(model(np.ones((4, 3))), [0, 1, 0, 1]).backward()
        opt.step(), opt.zero_grad()
        if step == 0:
            gc.collect()        # the compiler's cycles are not ours
    with suppress(ValueError):      # nor may an error leave a reference cycle
        model(np.ones((4, 3))).backward()
    assert gc.collect() == 0


def test_a_long_chain(collector_off):
    """Forward, backward and destruction, nothing recursive."""
    x = leaf(0.5)
    y = x
    for _ in range(strength(100_000, thorough=1_000_000)):
        y = -y
    y.backward([1.0], retain_graph=True)
    assert x.grad == 1
    first, last = weakref.ref(y.parents[0]), weakref.ref(y)
    del y           # the nodes are freed one after the other
    assert first() is last() is None


# -- no_grad, detach, assignment -------------------------------------------------------------------------------------

def test_no_grad_as_context_and_as_decorator():
    x = leaf(1.0)

    @tg.no_grad()
    def countdown(n):
        return [(x * n).requires_grad] + (countdown(n - 1) if n else [])

    assert countdown(3) == [False] * 4
    assert (x * 2).requires_grad
    mode = tg.no_grad()
    with mode:
        with mode:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), tg.no_grad():
        raise KeyError
    assert (x * 2).requires_grad            # switched back, error or not


def test_no_grad_is_local_to_its_thread():
    x, seen = leaf(1.0), []
    inside, go_on = threading.Event(), threading.Event()

    def other():
        with tg.no_grad():
            inside.set()
            go_on.wait(10)
            seen.append((x * 2).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(10)
    seen.append((x * 2).requires_grad)      # while the other thread is inside
    go_on.set()
    thread.join()
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True, False, True]


def test_threads_build_and_differentiate_their_own_graphs():
    """Graphs that share only leaves: four threads get the same gradients as one."""
    weight = np.random.default_rng(0).standard_normal((8, 8))

    def work(k):
        x = tg.Tensor(weight, requires_grad=True)
        y = x
        for _ in range(50):
            y = F.tanh(y @ x) * (k + 1)
        y.sum().backward()
        return x.grad.tobytes()

    assert at_once([partial(work, k) for k in range(4)]) == [*map(work, range(4))]


def test_detach_cuts_and_shares():
    x = leaf(2.0)
    y = x * 3
    (y.detach() * x).backward([1.0])
    assert x.grad == 6 and y.detach().data is y.data


def test_assigning_into_a_tensor():
    x = tg.Tensor([1.0, 2.0])
    x[0] = 5
    assert x.data.tolist() == [5, 2]
    for recorded in (leaf(1.0, 2.0), leaf(1.0, 2.0) * 2):
        with pytest.raises(RuntimeError, match="assigning into a Tensor that requires a gradient"):
            recorded[0] = 5


def test_an_op_of_a_user_may_return_any_array() -> None:
    """Kernels take C-contiguous floats only; views, integers and numbers are converted, in forward and in rules."""
    turned = Op("turned", lambda x: x[::-1].T, pull=(lambda g, y, x: g.T[::-1],))
    smallest = Op("smallest", lambda x: x.min(), pull=(lambda g, y, x: (x == x.min()).astype(int) * int(g),))
    start = np.random.default_rng(0).standard_normal((3, 4))
    x, same = tg.Tensor(start, requires_grad=True), tg.Tensor(start, requires_grad=True)
    y, expected = F.softmax(turned(F.exp(x))), F.softmax(tg.transpose(tg.flip(F.exp(same), 0)))
    g = np.random.default_rng(1).standard_normal((4, 3))
    y.backward(g), expected.backward(g)
    assert (y.data == expected.data).all() and (x.grad == same.grad).all()
    z = tg.Tensor(start, requires_grad=True)
    (smallest(F.exp(z)) * 3).backward()
    assert np.allclose(z.grad, np.where(start == start.min(), 3 * np.exp(start), 0), rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.ReLU, nn.GELU])
def test_a_layer_overwrites_only_gradients_that_nothing_else_reads(kind):
    """Its pullback may compute the gradient before the activation in the memory of the one after it."""
    rng = np.random.default_rng(0)
    first, second = (nn.Sequential(nn.Linear(3, 4, rng=seed), kind()) for seed in (0, 1))
    x, seed = tg.Tensor(rng.standard_normal((5, 3)), dtype="float32"), rng.standard_normal((5, 4)).astype("float32")

    def gradients(apart: bool) -> list[np.ndarray]:
        a, b = (kind()(block[0](x)) if apart else block(x) for block in (first, second))
        kept: list[np.ndarray] = []
        a.register_hook(lambda g: kept.append(g))
        given = seed.copy()
        (a + b).backward(given)                         # a, b and the sum have one gradient, which is that of the caller
        found = [given, *kept, *(p.grad for block in (first, second) for p in block.parameters())]
        alone = second(x)
        alone.backward(given)
        found += [given.copy(), *tg.grad((first(x) * 2.0).sum(), first.parameters())]
        for block in (first, second):
            block.zero_grad()
        return found

    for mine, twin in zip(gradients(False), gradients(True), strict=True):
        assert np.array_equal(value(mine), value(twin))
    assert np.array_equal(gradients(False)[0], seed)
