"""A leaf that is changed between forward and backward: backward raises an error instead of giving a wrong gradient."""
from __future__ import annotations

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

CHANGED = r"(backward|grad): a leaf of shape \(3,\) was changed after mul had used it .*compute the result again"


def leaf():
    return nn.Parameter([1.0, 2.0, 3.0])


def assign(p):
    p.data = p.data * 2


def add(p):
    p.data += 1


def step(p):
    opt = optim.SGD([p], lr=0.1)
    p.grad = np.ones(3)
    opt.step()
    p.grad = None


def load(p):
    class Holder(nn.Module):
        def __init__(self):
            self.p = p

    Holder().load_state_dict({"p": [3.0, 4.0, 5.0]})


CHANGES = [assign, add, step, load]


@pytest.mark.parametrize("change", CHANGES)
def test_backward_and_grad_refuse(change):
    p, other = leaf(), leaf()
    loss = (p * p * other).sum()
    change(p)
    for walk in (loss.backward, lambda: tg.grad(loss, p), lambda: tg.grad(loss, p, create_graph=True)):
        with pytest.raises(RuntimeError, match=CHANGED) as error:
            walk()
        assert str(error.value).startswith("backward" if walk == loss.backward else "grad")
    assert p.grad is None and other.grad is None        # nothing half-done


@pytest.mark.parametrize("change", CHANGES)
def test_results_made_after_the_change_are_differentiated(change):
    p = leaf()
    change(p)
    (p * p).sum().backward()
    np.testing.assert_array_equal(p.grad, 2 * p.data)


@pytest.mark.parametrize("change", CHANGES)
def test_an_unrelated_change_is_no_error(change):
    p, stranger = leaf(), leaf()
    loss = (p * p).sum()
    change(stranger)
    loss.backward()
    assert p.grad.tolist() == [2, 4, 6]


def test_an_older_result_and_a_newer_one_of_the_same_leaf():
    p = leaf()
    older = (p * 2.0).sum()
    assign(p)
    newer = (p * 3.0).sum()
    newer.backward()
    assert p.grad.tolist() == [3, 3, 3]
    with pytest.raises(RuntimeError, match=CHANGED):
        (older + (p * 3.0).sum()).backward()
    assert p.grad.tolist() == [3, 3, 3]


def test_grad_of_what_lies_before_the_change():
    """Only the nodes on the path of this backward pass are checked."""
    p = leaf()
    y = p * 2.0
    z = y * 3.0
    assign(p)
    assert tg.grad(z.sum(), y)[0].data.tolist() == [3, 3, 3]


def test_a_graph_that_was_kept_over_a_step_is_refused():
    """The classical mistake: backward(retain_graph=True), step, and backward again through the old values."""
    model = nn.MLP([3, 4, 2], rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    loss = F.cross_entropy(model(np.ones((5, 3))), [0, 1, 0, 1, 0])
    loss.backward(retain_graph=True)
    opt.step()
    with pytest.raises(RuntimeError, match=r"a leaf of shape .* was changed after linear"):
        loss.backward()


def test_parameters_without_a_gradient_do_not_move_and_are_not_changed():
    p, q = leaf(), leaf()
    opt = optim.SGD([p, q], lr=0.1)
    loss = (p * p).sum()
    q.grad = np.ones(3)
    opt.step()
    loss.backward()
    assert p.grad.tolist() == [2, 4, 6]


def test_a_result_cannot_be_assigned_to():
    p = leaf()
    y = p * p
    with pytest.raises(RuntimeError, match=r"data: this Tensor is a result of mul, whose derivative needs it unchanged"):
        y.data = [0.0, 0.0, 0.0]
    assert y.data.tolist() == [1, 4, 9]
    y.detach().data = [0.0, 0.0, 0.0]       # said in so many words
    assert y.data.tolist() == [0, 0, 0]
