"""The search for the first NaN: in forward, backward and update; made or met; with and without a model; without side effects."""
from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from common import every_type

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.kernels.loops import update
from tinygrad_relu.kernels.machine.door import current_watcher

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 8))
LABELS = RNG.integers(0, 3, 20)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")        # NumPy's own, about the same numbers


def leaf(values):
    return tg.Tensor(values, requires_grad=True, dtype=np.float64)


def mlp(**options):
    return nn.MLP([8, 16, 16, 3], rng=0, **options)


def caught(f, model=None):
    """The error that f() raises."""
    with pytest.raises(tg.AnomalyError) as found, tg.detect_anomaly(model):
        f()
    error = found.value
    assert f"at step {error.step} ({error.phase})" in str(error) and str(error).startswith(error.op)
    return error


# -- forward ---------------------------------------------------------------------------------------------------------

def test_an_operation_makes_it():
    x = leaf([1.0, 0.0, -1.0])
    error = caught(lambda: (F.log(x) * 2).sum().backward())
    assert str(error) == "log made the first NaN at step 1 (forward): 1 NaN and 1 infinite of 3 numbers; its inputs were finite"
    error = caught(lambda: (1 / leaf([1.0, 0.0])).sum().backward())
    assert str(error) == "div made the first infinity at step 1 (forward): 1 of 2 numbers; its inputs were finite"
    assert isinstance(error, FloatingPointError) and x.grad is None


@every_type
@pytest.mark.parametrize("named", [True, False])
def test_a_training_that_runs_away(named, dtype):
    """The same step with a model and without; with a model, the error also names the layer."""
    model = mlp(dtype=dtype)
    opt = optim.SGD(model.parameters(), lr=1e25 if dtype == np.float32 else 1e200)
    lines = []

    def train():
        for step in range(1, 100):
            lines.append((step, "forward"))
            loss = F.cross_entropy(model(X), LABELS)
            lines.append((step, "backward"))
            opt.zero_grad()
            loss.backward()
            opt.step()

    error = caught(train, model if named else None)
    assert error.step == lines[-1][0] > 1
    assert error.phase == "forward" and (error.op, error.module) == (("linear", "2") if named else ("linear_relu", ""))
    assert lines[-1][1] == ("forward" if named else "backward")
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_the_module_is_the_innermost():
    class Inner(nn.Module):
        def forward(self, x):
            return F.log(x)

    class Outer(nn.Module):
        def __init__(self):
            self.first, self.inner, self.last = nn.ReLU(), Inner(), nn.Tanh()

        def forward(self, x):
            return self.last(self.inner(self.first(x)) * 2)

    model = nn.Sequential(nn.Linear(8, 4, rng=0), Outer())
    error = caught(lambda: model(X), model)
    assert (error.op, error.module, error.phase) == ("log", "1.inner", "forward")
    assert str(error).startswith("log in 1.inner (Inner) made the first infinity at step 1 (forward): ")


def test_what_is_made_between_modules_belongs_to_the_one_around():
    class Outer(nn.Module):
        def __init__(self):
            self.late = nn.ReLU()

        def forward(self, x):
            return self.late(F.log(x))      # found when `late` returns, but not made there

    model = Outer()
    error = caught(lambda: model(leaf([-1.0])), model)
    assert (error.op, error.module) == ("log", "") and str(error).startswith("log in the model (Outer) made the first NaN")


def test_what_is_made_outside_the_model():
    model = mlp()
    error = caught(lambda: (F.log(model(X) * 0)).sum().backward(), model)
    assert (error.op, error.module) == ("log", "") and " in " not in str(error).split(" made ")[0]


@pytest.mark.parametrize("named", [True, False])
def test_bad_data_are_called_so(named):
    model, x = mlp(), X.copy()
    x[3, 3] = np.nan
    error = caught(lambda: model(x).sum().backward(), model if named else None)
    place = "linear in 0 (Linear)" if named else "linear_relu"
    assert str(error) == (f"{place} met the first NaN at step 1 (forward): 16 of 320 numbers; its input 0, data of shape (20, 8), "
                          "held NaN already: 1 of 160 numbers")


@pytest.mark.parametrize("named", [True, False])
def test_a_bad_parameter_is_called_so(named):
    model = mlp()
    model[2].bias.data[1] = np.inf
    error = caught(lambda: model(X).sum().backward(), model if named else None)
    assert f"its input 2, {'the parameter 2.bias' if named else 'a parameter (bias)'} of shape (16,), held infinity" in str(error)
    assert " met the first infinity" in str(error)


def test_a_bad_buffer_is_called_so():
    """By its name in the state dict; nothing else tells why a batch norm in evaluation mode makes NaN from finite inputs."""
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Sequential(nn.BatchNorm1d(3))).eval()
    dict(model.named_buffers())["1.0.running_var"].data[1] = np.nan
    with pytest.raises(tg.AnomalyError, match=r"met the first NaN .* the buffer 1.0.running_var of shape \(3,\) held NaN already: 1 of 3"), \
            tg.detect_anomaly(model):
        model(np.ones((5, 4))).sum().backward()


def test_a_bad_number_is_an_input_too():
    error = caught(lambda: (leaf([1.0, 2.0]) * float("inf")).sum().backward())
    assert str(error).endswith("its input 1, data of shape (), held infinity already: 1 of 1 numbers")


def test_without_a_graph_the_module_is_named():
    model = mlp()
    model[2].weight.data[:] = 1e30
    model[4].weight.data[:] = 1e30
    with tg.no_grad():
        error = caught(lambda: model(X), model)
    assert str(error).startswith("4 (Linear) made the first") and "(not recorded); its inputs and parameters were" in str(error)
    model[0].bias.data[0] = np.nan
    with tg.no_grad():
        error = caught(lambda: model(X), model)
    assert error.module == "0" and "its input 2, the parameter 0.bias of shape (16,), held NaN already" in str(error)


def test_infinities_that_do_no_harm_pass():
    """A mask of -inf is an input that softmax turns into exact zeros."""
    x, mask = leaf([[1.0, 2.0, 3.0]]), np.array([[-1e308, 0.0, 0.0]])
    with tg.detect_anomaly():
        F.softmax(x + mask).sum().backward()
        F.relu(tg.Tensor([np.inf]) * 0)         # not recorded, so not checked
    assert np.isfinite(x.grad).all()


# -- backward --------------------------------------------------------------------------------------------------------

def test_a_derivative_makes_it():
    x = leaf([4.0, 0.0])
    error = caught(lambda: (x**0.5 * 3).sum().backward())
    assert (error.op, error.phase, error.step) == ("power", "backward", 1)
    assert "1 of 2 numbers in the gradient of its input 0; its inputs and the gradient that arrived were finite" in str(error)


def test_a_derivative_in_a_module_of_a_model():
    class Root(nn.Module):
        def forward(self, x):
            return x**0.5

    model = nn.Sequential(nn.Linear(8, 4, rng=0), nn.ReLU(), Root())
    for _ in range(2):                          # the second time is the same: no trace of the first
        error = caught(lambda: model(X).sum().backward(), model)
        assert (error.op, error.module, error.phase, error.step) == ("power", "2", "backward", 1)
        assert str(error).startswith("power in 2 (Root) made the first")


def test_steps_are_counted_by_backward_passes():
    x = leaf([4.0, 1.0])

    def train():
        for step in range(1, 10):
            x.data[1] = 0.0 if step == 7 else 1.0
            x.grad = None
            (x**0.5).sum().backward()

    assert caught(train).step == 7


@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_counts_as_a_backward_pass(create_graph):
    x = leaf([0.0])
    error = caught(lambda: tg.grad((x**0.5).sum(), x, create_graph=create_graph))
    assert error.op == "power" and error.phase == "backward"


def test_gradients_that_overflow_where_they_meet():
    x = leaf([1.0])
    h = x * 1.0
    error = caught(lambda: (h * 1.5e308 + h * 1.5e308).sum().backward(np.array(1.0)))
    assert error.phase == "forward"             # the values overflow first
    h = x * 0.0
    error = caught(lambda: (h * 1.5e308 + h * 1.5e308).sum().backward())
    assert str(error) == ("mul met the first infinity at step 1 (backward): 1 of 1 numbers in the gradient that arrives; every "
                          "part of it was finite: it is their sum, or the hook of a module returned it")


def test_a_gradient_that_is_handed_in():
    error = caught(lambda: F.relu(leaf([1.0])).backward(np.array([np.nan])))
    assert str(error).endswith("in the gradient that arrives; it was handed to backward")


def test_hooks_act_and_are_blamed():
    x, seen = leaf([1.0, 2.0]), []
    h = x * 2
    h.register_hook(lambda g: seen.append(1) or g * 3)
    with tg.detect_anomaly():
        h.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, [6, 6])
    assert seen == [1]
    h.register_hook(lambda g: g * np.nan)
    assert str(caught(lambda: h.sum().backward())).endswith("in the gradient that arrives; a hook returned it")
    layer, calls = nn.ReLU(), []
    layer.register_full_backward_hook(lambda m, into, out: calls.append(1) or (into[0] * np.inf,))
    error = caught(lambda: layer(leaf([1.0]) * 2).sum().backward())
    assert "the hook of a module returned it" in str(error) and calls == [1]


def test_an_old_gradient_is_called_so():
    model = mlp()
    model[0].weight.grad = np.full((16, 8), np.nan, np.float32)
    error = caught(lambda: model(X).sum().backward(), model)
    assert str(error) == ("backward met the first NaN at step 1 (backward): 128 of 128 numbers in the .grad of the parameter "
                          "0.weight; they were there before this backward began (zero_grad() removes them)")


# -- update ----------------------------------------------------------------------------------------------------------

UPDATES = {"sgd": lambda p: optim.SGD(p, lr=1e300), "adam": lambda p: optim.Adam(p, lr=1e308, weight_decay=0.0)}


@pytest.mark.parametrize("rule", UPDATES)
def test_an_update_makes_it(rule):
    model = mlp(dtype="float64")
    opt = UPDATES[rule](model.parameters())

    def train():
        for _ in range(3):
            for p in model.parameters():
                p.grad = np.full(p.shape, 1e10)
            F.mse_loss(model(X) * 0, np.ones((20, 3)))
            opt.step()

    error = caught(train, model)
    assert error.phase == "update" and error.op == rule and error.step == 1
    assert str(error).endswith("numbers, the first in 0.weight; the parameters and their gradients were finite before")


def test_a_bad_gradient_reaches_an_update():
    p = nn.Parameter([1.0, 2.0])
    opt = optim.SGD([p], lr=0.1)
    p.grad = np.array([0.0, np.nan])
    assert str(caught(opt.step)) == ("sgd met the first NaN at step 1 (update): 1 of 2 numbers; the gradient held NaN already: 1 "
                                     "of 2 numbers")


def test_every_update_moves_its_first_argument():
    """detect_anomaly relies on it."""
    for name in ("sgd", "adam"):
        kernel = getattr(update, name)
        assert list(kernel.words)[:2] == ["p", "g"]


# -- nothing is left behind, nothing changes -------------------------------------------------------------------------

@every_type
@pytest.mark.parametrize("hunt", [None, "with names", "without names"])
def test_a_healthy_training_keeps_every_bit(hunt, dtype):
    def train(around):
        model = mlp(dtype=dtype)
        opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        with around(model):
            for _ in range(5):
                opt.zero_grad()
                F.cross_entropy(model(X), LABELS).backward()
                opt.step()
        return [p.data.tobytes() for p in model.parameters()]

    around = {None: lambda m: nullcontext(), "with names": tg.detect_anomaly, "without names": lambda m: tg.detect_anomaly()}
    assert train(around[hunt]) == train(lambda m: nullcontext())


def test_it_ends_with_the_block():
    model, x = mlp(), X.copy()
    caught(lambda: F.log(model(X) * 0).sum().backward(), model)
    assert current_watcher() is None and not any(m._hooks for _, m in model.named_modules())
    x[0] = np.nan
    model(x).sum().backward()                   # not checked any more
    assert np.isnan(model[0].weight.grad).any()


def test_a_model_that_fails_in_another_way():
    model = mlp()
    with tg.detect_anomaly(model) as hunt:
        with pytest.raises(ValueError, match="linear: x has shape"):
            model(X[:, :3])
        model(X)
        F.cross_entropy(model(X), LABELS).backward()
    assert hunt.walks == 1


def test_a_module_that_never_returns():
    """The enclosing module catches its error, so the result belongs to that module."""
    class Outer(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 3, rng=0)

        def forward(self, x):
            h = F.log(x)
            with pytest.raises(ValueError):
                self.inner(np.ones((1, 4)))
            return h * 1.0

    model = nn.Sequential(Outer(), nn.ReLU())
    error = caught(lambda: model(leaf([0.0])), model)
    assert (error.op, error.module) == ("log", "0")


def test_shared_modules_are_hunted_once():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(8, 8, rng=0), relu, nn.Linear(8, 8, rng=0), relu)
    with tg.detect_anomaly(model):
        assert len(relu._hooks) == 2
        model(X)


def test_explain_inside():
    model = mlp()
    with tg.detect_anomaly(model) as hunt:
        loss = F.cross_entropy(model(X), LABELS)
        tg.explain(loss)
        assert hunt.walks == 0


def test_bad_arguments():
    with pytest.raises(TypeError, match="detect_anomaly: got bool; expected a Module, or nothing"):
        tg.detect_anomaly(True)
