"""A captured step is the eager step, bit for bit: every module, loss, optimizer and operation."""
from __future__ import annotations

import copy
import pickle
import signal
from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field
from functools import partial
from threading import Thread

import numpy as np
import pytest
import table
from captured import STEPS, X, bits, check, normal, over, step_of, training
from module_table import LABELED, PAIRED

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.capture.arrays import arrays_in, mapped
from tinygrad_relu.capture.replay import Replay
from tinygrad_relu.functional import REDUCTIONS

MODELS = {
    **{f"Linear, {name}": (nn.Sequential(nn.Linear(3, 4, rng=0), cls(), nn.Linear(4, 2, rng=1)), (5, 3))
       for name, cls in nn.activations.MODULES.items() if issubclass(cls, nn.Activation)},
    "Linear": (nn.Linear(3, 2, rng=0), (5, 3)), "Linear of a stack": (nn.Linear(3, 2, bias=False, rng=0), (2, 5, 3)),
    "Maxout": (nn.MLP([3, 4, 2], "maxout", rng=0), (5, 3)), "PReLU": (nn.MLP([3, 4, 2], "prelu", rng=0), (5, 3)),
    "PReLU per channel": (nn.PReLU(3), (2, 3, 4)), "RReLU": (nn.MLP([3, 4, 2], "rrelu", rng=0), (5, 3)),
    "RReLU in evaluation": (nn.MLP([3, 4, 2], "rrelu", rng=0).eval(), (5, 3)),
    "Dropout": (nn.MLP([3, 400, 2], dropout=0.5, rng=0), (5, 3)), "Dropout in evaluation": (nn.Dropout(rng=0).eval(), (5, 3)),
    "BatchNorm1d": (nn.MLP([3, 4, 2], norm="batch", rng=0), (5, 3)), "BatchNorm1d of a series": (nn.BatchNorm1d(3), (4, 3, 2)),
    "BatchNorm1d, mean of all": (nn.BatchNorm1d(3, momentum=None), (4, 3)),
    "BatchNorm1d in evaluation": (nn.BatchNorm1d(3).eval(), (4, 3)),
    "BatchNorm1d without statistics": (nn.BatchNorm1d(3, track_running_stats=False), (4, 3)),
    "LayerNorm": (nn.MLP([3, 4, 2], norm="layer", rng=0), (5, 3)), "LayerNorm of two axes": (nn.LayerNorm((2, 3)), (5, 2, 3)),
    "Residual": (nn.MLP([3, 3, 3, 2], residual=True, norm="batch", dropout=0.2, rng=0), (5, 3)),
    "deep": (nn.MLP([3] * 12 + [2], "tanh", rng=0), (5, 3)), "large": (nn.MLP([300, 400, 10], rng=0), (200, 300)),
    "Softmax": (nn.Sequential(nn.Linear(3, 4, rng=0), nn.Softmax(0)), (5, 3)), "Flatten": (nn.Flatten(), (2, 3, 4)),
    "Identity": (nn.Sequential(nn.Identity(), nn.Linear(3, 2, rng=0)), (5, 3)),
    **{f"{name}, {options}": (getattr(nn, name)(3, 4, rng=0, **options), (5, 2, 3)) for name in ("RNN", "LSTM", "GRU")
       for options in ({}, dict(num_layers=2, bidirectional=True, dropout=0.3, batch_first=True))},
    **{name: (getattr(nn, name)(3, 4, rng=0), (5, 3)) for name in ("RNNCell", "LSTMCell", "GRUCell")},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_module(name):
    model, shape = MODELS[name]
    check(training(model), normal(*shape), replays=None if model.parameters() else STEPS - 2)


def test_embedding_and_the_padding_row():
    for padding in (None, 2):
        model = nn.Sequential(nn.Embedding(5, 3, padding_idx=padding, rng=0), nn.Linear(3, 2, rng=0))
        check(training(model), lambda rng: (rng.integers(0, 5, (4, 2)),))


def test_every_class_of_modules_is_in_the_table():
    tested = {type(module) for model, _ in MODELS.values() for module in model.modules()} | {nn.Embedding}
    tested |= {getattr(nn, name) for name in ("Module", "ModuleList", "ModuleDict", "Activation", "Loss")} | {*LABELED, *PAIRED}
    owed = {thing for thing in vars(nn).values() if isinstance(thing, type) and issubclass(thing, nn.Module)}
    assert owed - tested == {nn.HingeEmbeddingLoss}     # below


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_of_another_dtype_are_converted(dtype):
    other = "float64" if dtype == "float32" else "float32"
    model = nn.MLP([3, 4, 2], rng=0, dtype=dtype)
    check(training(model), normal(5, 3, dtype=other))
    check(training(model), lambda rng: (rng.integers(0, 3, (5, 3)),))
    check(training(model), lambda rng: (tg.Tensor(rng.standard_normal((5, 3)), dtype=other),))
    check(training(model), lambda rng: (np.asfortranarray(rng.standard_normal((5, 3)), dtype=dtype),))
    for swapped in (">f4", ">f8", ">i8"):               # as files in network order have them
        check(training(model), lambda rng, swapped=swapped: (rng.integers(0, 3, (5, 3)).astype(swapped),))


# -- losses --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("cls", LABELED)
def test_losses_of_labels(cls, how):
    for options in ({}, LABELED[cls][0]):
        draw = lambda rng: (rng.standard_normal((5, 3)).astype("float32"), np.append(rng.integers(0, 3, 4), 1))
        check(over(step_of(cls(reduction=how, **options)), (3, 4, 3), momentum=0.9), draw)


@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("cls", [*PAIRED, nn.HingeEmbeddingLoss])
def test_losses_of_targets(cls, how):
    options = PAIRED[cls][0] if cls in PAIRED else {"margin": 0.75}

    def draw(rng):
        target = rng.choice([-1.0, 1.0], (3, 4)) if cls is nn.HingeEmbeddingLoss else rng.uniform(0, 1, (3, 4))
        return rng.standard_normal((3, 3)).astype("float32"), target.astype("float32")

    check(over(step_of(cls(reduction=how, **options)), (3, 4), optim.Adam, lr=0.001), draw)


def penalised(net, loss):
    """A step with a penalty on the gradients of the loss: it needs second derivatives."""
    def make():
        model = copy.deepcopy(net)
        opt = optim.SGD(model.parameters(), lr=0.001)

        def step(x, y):
            opt.zero_grad()
            found = loss(model(x), y).sum()
            slopes = tg.grad(found, model.parameters(), create_graph=True)
            (found + sum((g * g).sum() for g in slopes)).backward()
            opt.step()
            return found
        return step, model, opt
    return make


@pytest.mark.parametrize("cls", [*LABELED, *PAIRED])
def test_second_derivatives_of_losses(cls):
    options = LABELED[cls][0] if cls in LABELED else PAIRED[cls][0]
    for how in REDUCTIONS:
        for given in ({}, options):
            loss, net = cls(reduction=how, **given), nn.MLP([3, 4, 3 if cls in LABELED else 4], "tanh", rng=0)
            check(penalised(net, loss), lambda rng: (rng.standard_normal((5, 3)).astype("float32"), rng.permutation([0, 1, 2, 1, 1])
                                                     if cls in LABELED else rng.uniform(0, 1, (5, 4)).astype("float32")))


@pytest.mark.parametrize("name", ["Maxout", "RReLU", "Dropout", "Residual", "BatchNorm1d", "LayerNorm", "Softmax"])
def test_second_derivatives_of_modules(name):
    model, shape = MODELS[name]
    check(penalised(model, lambda y, _: (F.tanh(y) * y).mean()), lambda rng: (*normal(*shape)(rng), 0))


def test_second_derivatives_of_powers_and_of_populations():
    base, net = nn.Linear(3, 4, rng=0), nn.MLP([3, 4, 3], "tanh", members=2, rng=0)
    check(penalised(base, lambda y, _: F.sigmoid(y) ** F.sigmoid(-y)), lambda rng: (*normal(5, 3)(rng), 0))
    check(penalised(net, partial(F.per_member, F.cross_entropy)), lambda rng: (*normal(5, 3)(rng), rng.integers(0, 3, 5)))


# -- optimizers ----------------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    (optim.SGD, {}), (optim.SGD, dict(momentum=0.9)), (optim.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.1)),
    (optim.SGD, dict(momentum=0.5, dampening=0.5)), (optim.SGD, dict(weight_decay=0.1, decoupled=True)),
    (optim.Adam, {}), (optim.Adam, dict(weight_decay=0.1, betas=(0.5, 0.9))), (optim.AdamW, {})]


@pytest.mark.parametrize("kind, options", OPTIMIZERS, ids=lambda x: str(x) if isinstance(x, dict) else x.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_optimizer(kind, options, dtype):
    check(training(nn.MLP([3, 4, 2], "prelu", rng=0, dtype=dtype), kind=kind, **options), normal(5, 3, dtype=dtype))


def test_schedules_and_options_are_read_at_each_replay():
    def rates(i, model, opt):
        opt.param_groups[0]["lr"] = 0.1 / (i + 1)
        opt.param_groups[0]["weight_decay"] = 0.01 * i

    check(training(nn.MLP([3, 4, 2], rng=0), momentum=0.9), normal(5, 3), between=rates)


def test_a_rate_is_replayed_after_ctrl_c_while_it_was_read(monkeypatch):
    p = nn.Parameter([8.0])
    opt = optim.SGD([p], lr=0.25, momentum=0.5)

    @tg.capture
    def step(x):
        opt.zero_grad()
        (p * x).sum().backward()
        opt.step()

    for x in (1.0, 2.0, 3.0, 2.0):
        step(np.array([x]))
    assert step.replays and p.item() == 5.03125
    opt.param_groups[0]["lr"] = 0.5
    with monkeypatch.context() as pressed, pytest.raises(KeyboardInterrupt):
        pressed.setattr(optim.SGD, "launch_of", lambda *arguments: signal.raise_signal(signal.SIGINT))
        step(np.array([1.0]))
    step(np.array([1.0]))
    assert p.item() == 3.5


def test_parameter_groups_and_two_optimizers():
    def make():
        model = nn.MLP([3, 4, 4, 2], "prelu", rng=0)
        weights = [p for p in model.parameters() if p.kind == "weight"]
        others = [p for p in model.parameters() if p.kind != "weight"]
        one = optim.SGD([{"params": weights[:2], "lr": 0.1}, {"params": weights[2:]}], lr=0.01, momentum=0.9)
        two = optim.AdamW(others)

        def step(x):
            one.zero_grad(), two.zero_grad()
            (model(x) ** 2).mean().backward()
            one.step(), two.step()
        return step, model, one, two
    check(make, normal(5, 3))


@pytest.mark.parametrize("members", [None, 2])
def test_an_optimizer_that_moves_twice_counts_its_steps(members):
    """The corrections of Adam's means depend on the number of the step. The second move had that of the first."""
    def make():
        model = nn.MLP([3, 4, 2], members=members, rng=0 if members is None else [0, 1])
        opt = optim.Adam(model.parameters(), lr=0.1)

        def step(x):
            for scale in (1.0, 0.5):
                opt.zero_grad()
                (model(x) ** 2 * scale).mean().backward()
                opt.step()
        return step, model, opt
    check(make, normal(5, 3))


def test_a_number_may_be_returned_before_a_tensor():
    """The trial compared the norm with the loss, so the replay kept the memory of the recording and all its launches."""
    def step(model, opt, x):
        opt.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        opt.step()
        return norm, loss
    program = check(over(step), normal(5, 3))
    assert not any(one.replay.is_exact for several in program.recordings.values() for one in several if one.replay)


def test_a_replay_that_leads_elsewhere_is_refused(monkeypatch):
    monkeypatch.setattr(Replay, "does_the_same", lambda *_: False)
    model = nn.Linear(3, 2, rng=0)
    step = tg.capture(lambda x: model(x))
    step(np.ones((2, 3)))
    with pytest.raises(tg.CaptureError, match="another result when it is replayed"):
        step(np.ones((2, 3)))


def test_gradient_clipping_returns_its_norm():
    for clip in (lambda p: nn.utils.clip_grad_norm_(p, 0.5), lambda p: nn.utils.clip_grad_norm_(p, 1e9),
                 lambda p: nn.utils.clip_grad_norm_(p, 0.5, norm_type=np.inf), lambda p: nn.utils.clip_grad_value_(p, 0.01)):
        def step(model, opt, x, clip=clip):
            opt.zero_grad()
            loss = (model(x) ** 2).sum()
            loss.backward()
            norm = clip(model.parameters())
            opt.step()
            return loss.item(), norm
        scales = iter([1e-3, 1, 1e-3, 10, 1e-6, 100, 1] * 10)

        def draw(rng):
            return ((rng.standard_normal((5, 3)) * next(scales)).astype("float32"),)
        check(over(step), draw)


def test_gradients_of_several_batches_add_up():
    def step(model, opt, x, last):
        (model(x) ** 2).mean().backward()
        if last:
            opt.step()
            opt.zero_grad()
    calls = iter(range(1000))
    check(over(step, momentum=0.9), lambda rng: (rng.standard_normal((5, 3)).astype("float32"), next(calls) % 3 == 2), steps=15, replays=9)


def test_inputs_may_be_written_where_a_replay_reads_them():
    program = tg.capture(lambda x, y: F.mse_loss(tg.Tensor(x), y))
    x, y = np.ones((3, 2)), np.zeros((3, 2))
    assert program.homes(x, y) == (x, y)
    for number in range(4):
        assert program(x + number, y).item() == (1 + number) ** 2
    assert program.homes(x, y) == (x, y)            # the replay is not proved for another y
    program(x, y + 1)
    home, other = program.homes(x, y)
    home[...], other[...] = 5.0, 3.0
    replays = program.replays
    assert home is not x and program(home, other).item() == 4 and program(home, y).item() == 25 and program.replays == replays + 2
    assert program.homes(x[:2], y[:2])[0].shape == (2, 2)


def test_zero_grad_to_zeros_and_outside():
    def step(model, opt, x):
        (model(x) ** 2).mean().backward()
        opt.step()

    def zeros(model, opt, x):
        opt.zero_grad(set_to_none=False)
        (model(x) ** 2).mean().backward()
        model.zero_grad(set_to_none=False)
        (model(x) ** 2).sum().backward()
        opt.step()
    check(over(step, momentum=0.9), normal(5, 3), between=lambda i, model, opt: opt.zero_grad(), replays=STEPS - 2)
    check(over(step, momentum=0.9), normal(5, 3), between=lambda i, model, opt: opt.zero_grad(set_to_none=False))
    check(over(zeros, kind=optim.Adam, lr=0.001), normal(5, 3))


# -- functions, operations, shapes ---------------------------------------------------------------------------------------------


@pytest.mark.sample(4)
@pytest.mark.parametrize("row", table.TABLE, ids=lambda row: row.name)
def test_every_operation(row):
    """The inputs of the row are parameters, and the weights of its results are the input of the step."""
    size = row.f(*[tg.Tensor(x) for x in row.draw()]).shape

    def make():
        parameters = [nn.Parameter(x) for x in row.draw()]
        opt = optim.SGD(parameters, lr=1e-4)

        def step(c):
            opt.zero_grad()
            y = row.f(*parameters)
            (y * c).sum().backward()
            opt.step()
            return y
        return step, opt, [p.data for p in parameters]
    check(make, normal(*size, dtype="float64"), steps=5)


def test_functions_that_only_evaluate_and_their_derivatives():
    model = nn.MLP([3, 4, 2], "tanh", norm="layer", rng=0, dtype="float64")
    w = tg.Tensor(np.ones((3, 2)), requires_grad=True)
    for f in (model, lambda x: {"y": model(x), "list": [model(x).data, None]}.__getitem__("y"), lambda x: F.softmax(model(x), 0),
              tg.no_grad()(lambda x: model(x)), lambda x: tg.grad((x @ w).sum() ** 2, w)[0],
              lambda x: tg.hvp(lambda x: (model(x) ** 2).sum(), tg.Tensor(x), tg.Tensor(x)),
              lambda x: tg.jacobian(model, tg.Tensor(x))):
        check(lambda f=f: (f,), normal(5, 3, dtype="float64"), replays=STEPS - 2)


def test_a_kernel_that_refuses_numbers():
    """The proof gives launches numbers that they must not use: of a target made in the step, which is neither 1 nor -1."""
    check(lambda: (lambda x: F.hinge_embedding_loss(F.as_tensor(x), np.ones((4, 3))),), normal(4, 3, dtype="float64"), replays=STEPS - 2)


@pytest.mark.parametrize("kind", ["bool", "uint8", "int16", "int32", "int64", "uint64", ">i4", ">i8"])
def test_labels_of_other_types(kind):
    """They are converted within the step, as uint8 labels of images are."""
    def draw(rng):
        return *normal(5, 3)(rng), rng.integers(0, 2, 5).astype(kind)
    losses = F.cross_entropy, partial(F.cross_entropy, label_smoothing=0.1), F.multi_margin_loss, lambda z, y: F.nll_loss(
        F.log_softmax(z), y)
    for loss in losses:
        check(of_labels(nn.Linear(3, 2, rng=0), loss), draw)
    check(of_labels(nn.MLP([3, 2], rng=0, members=4), lambda z, y: F.per_member(F.cross_entropy, z, y).sum()), draw)


def of_labels(model, loss):
    def make():
        net = copy.deepcopy(model)
        opt = optim.SGD(net.parameters(), lr=0.1)

        def step(x, y):
            opt.zero_grad()
            found = loss(net(x), y)
            found.backward()
            opt.step()
            return found
        return step, net, opt
    return make


def test_shapes_side_by_side():
    model = nn.MLP([3, 4, 2], norm="batch", dropout=0.5, rng=0)
    sizes = iter([5, 5, 5, 2, 5, 2, 2, 5, 2] * 10)
    program = check(training(model), lambda rng: normal(next(sizes), 3)(rng), steps=9, replays=4)
    assert len(program.recordings) == 2


def test_results_have_memory_of_their_own():
    program = tg.capture(lambda x: (x * 2.0, x))
    found = [program(tg.Tensor([float(i)])) for i in range(5)]
    assert [(y.item(), x.item()) for y, x in found] == [(2.0 * i, i) for i in range(5)] and found[4][0].op is None


def test_arrays_and_tensors_of_both_kinds_in_any_order():
    program = tg.capture(lambda x: (F.relu(x), isinstance(x, tg.Tensor) and x.requires_grad))
    kinds = (lambda a: a, tg.Tensor, lambda a: tg.Tensor(a, requires_grad=True))
    for i in range(18):
        kind, a = kinds[i // 2 % 3], np.array([float(i)])
        y, trained = program(kind(a))
        assert y.item() == i and trained is (kind is kinds[2])
    assert len(program.recordings) == 3 and program.replays == 12


Pair = namedtuple("Pair", "x y")
FORMS = {                               # of the same two arrays, and how a step unpacks them
    "one by one": lambda x, y: ((x, y), {}), "a tuple": lambda x, y: (((x, y),), {}), "a list": lambda x, y: (([x, y],), {}),
    "a named tuple": lambda x, y: ((Pair(x, y),), {}), "a dict": lambda x, y: (({"x": x, "y": y},), {}),
    "the other order": lambda x, y: (({"y": y, "x": x},), {}), "a dict with an order": lambda x, y: ((OrderedDict(x=x, y=y),), {}),
    "names": lambda x, y: ((), {"x": x, "y": y}), "one name": lambda x, y: ((x,), {"y": y}),
    "nested": lambda x, y: (([(x,), {"y": [y]}],), {}), "a number": lambda x, y: ((x, y, 0.5), {}),
    "zero": lambda x, y: ((x, y, 0.0), {}), "minus zero": lambda x, y: ((x, y, -0.0), {}), "not a number": lambda x, y: ((x, y, float("nan")), {}),
    "one": lambda x, y: ((x, y, 1), {}), "true": lambda x, y: ((x, y, True), {}), "nothing": lambda x, y: ((x, y, None), {}),
    "a set": lambda x, y: ((x, y, SET), {}), "tensors": lambda x, y: ((tg.Tensor(x), tg.Tensor(y)), {}),
    "a tensor with a gradient": lambda x, y: (((tg.Tensor(x, requires_grad=True), y),), {}), "copies": lambda x, y: (((x, x),), {})}
SET = {3}


def test_forms_of_arguments_side_by_side():
    """What a call gives shows in the result, so a replay of another form or number would be seen. Orders change meanwhile."""
    def step(*inputs, **options):
        first, *_, last = arrays_in([inputs, options])
        y = F.as_tensor(first) * 2.0 + last
        return Pair(y, [y * k for k in inputs if isinstance(k, (int, float))]), str(mapped(
            lambda x: (isinstance(x, tg.Tensor), x.requires_grad if isinstance(x, tg.Tensor) else x if np.ndim(x) == 0 else 0),
            [inputs, options]))

    program, rng = tg.capture(step), np.random.default_rng(0)
    for _ in range(6):
        for name in [*FORMS, *reversed(FORMS)]:
            inputs, options = FORMS[name](*rng.standard_normal((2, 3)))
            found = [program(*inputs, **options), step(*inputs, **options)]
            assert str(found[0]) == str(found[1]), name
            assert bits(*arrays_in(found[0])) == bits(*arrays_in(found[1])), name
    assert len(program.recordings) == len(FORMS) - 1            # a tuple of one array twice is a tuple
    assert program.replays == len(FORMS) * 12 - 2 * len(program.recordings)


def test_the_text_of_a_program():
    program = tg.capture(lambda x: F.relu(x))
    assert str(program) == "no recording yet"
    program(np.ones((2, 3)))
    assert "relu_forward" in str(program) and "float64" in str(program)


class Trainer:
    """Its step is captured in the class: each object has a program of its own."""

    def __init__(self, seed):
        self.net, self.factor = nn.MLP([3, 4, 2], rng=seed), 1.0
        self.opt = optim.SGD(self.net.parameters(), lr=0.1)

    def usual(self, x):
        self.opt.zero_grad()
        loss = self.net(x).square().mean() * self.factor
        loss.backward()
        self.opt.step()
        return loss

    step = tg.capture(usual)


def test_a_method_captured_in_its_class():
    one, other, eager = Trainer(0), Trainer(1), Trainer(0)
    for i in range(9):
        one.factor = eager.factor = 1.0 if i < 5 else 2.0
        (x,) = normal(5, 3)(np.random.default_rng(i))
        assert one.step(x).item() == eager.usual(x).item() != other.step(x).item()
    assert (one.step.replays, other.step.replays) == (4, 6) and Trainer.step.replays == 0
    shallow = copy.copy(one)
    shallow.factor = 4.0
    for twin in (shallow, copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin.step is not one.step and twin.step.step.__self__ is twin
        assert all(p.data.tobytes() == q.data.tobytes() for p, q in zip(twin.net.parameters(), one.net.parameters()))
    assert shallow.step(x).item() == 2 * eager.usual(x).item()


def test_a_running_average_of_the_weights():
    def make():
        net = nn.MLP([3, 4, 2], norm="batch", rng=0)
        average, opt = copy.deepcopy(net).requires_grad_(False), optim.SGD(net.parameters(), lr=0.1)

        def step(x):
            opt.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            opt.step()
            for a, p in zip(average.parameters(), net.parameters()):
                a.data = 0.9 * a + 0.1 * p.detach()
            return loss
        return step, net, average, opt
    check(make, normal(5, 3))


# -- whole programs ------------------------------------------------------------------------------------------------------------


def test_two_models_against_each_other():
    """A generator and a critic: two optimizers, detached results, second derivatives inside a step."""
    def make():
        made, critic = nn.MLP([2, 8, 3], "tanh", rng=0), nn.MLP([3, 8, 1], "tanh", rng=1)
        one, two = optim.Adam(made.parameters()), optim.SGD(critic.parameters(), lr=0.01, momentum=0.5)

        def step(noise, real):
            fake = made(noise)
            two.zero_grad()
            point = tg.Tensor(fake.detach().data, requires_grad=True)
            (slope,) = tg.grad(critic(point).sum(), point, create_graph=True)
            (critic(fake.detach()).mean() - critic(real).mean() + ((slope * slope).sum(1) ** 0.5 - 1.0).square().mean()).backward()
            two.step()
            one.zero_grad()
            loss = -critic(fake).mean()
            loss.backward()
            one.step()
            return loss, fake.data
        return step, made, critic, one, two
    check(make, lambda rng: (*normal(5, 2)(rng), *normal(5, 3)(rng)))


def test_a_state_that_is_passed_on_and_a_closure():
    def make():
        lstm = nn.LSTM(3, 4, rng=0)
        opt = optim.SGD(lstm.parameters(), lr=0.1)
        carried = [tg.Tensor(np.zeros((1, 2, 4), "float32")) for _ in range(2)]

        def step(x, h, c):
            def closure():
                opt.zero_grad()
                y, (new_h, new_c) = lstm(x, (h, c))
                loss = (y * y).mean()
                loss.backward()
                return loss, new_h.detach(), new_c.detach()
            return opt.step(closure)
        program = [step]

        def run(x):
            loss, *carried[:] = program[0](x, *carried)
            return loss, *carried
        return run, lstm, program
    eager, lstm, _ = make()
    run, other, program = make()
    program[0] = tg.capture(program[0])
    for i in range(STEPS):
        (x,) = normal(5, 2, 3)(np.random.default_rng(i))
        assert bits(eager(x), lstm) == bits(run(x), other)
    assert program[0].replays == STEPS - 3


def test_large_draws_and_products_are_shared_among_threads():
    check(training(nn.MLP([20, 600, 600, 4], dropout=0.2, rng=0)), normal(700, 20), steps=5)


@dataclass(frozen=True)
class Setting:
    scale: float
    name: str = field(default="", compare=False)
    hidden: float = field(default=0.0, repr=False)


class Own(tuple):
    pass


@pytest.mark.parametrize("one, other", [(Setting(True), Setting(2 - 1)), (Setting(0.0), Setting(-0.0)), (Own([0]), Own([-0.0])),
                                        (Setting(1, "a"), Setting(1, "b")), (frozenset([1]), frozenset([True])),
                                        (Setting(1, hidden=0.0), Setting(1, hidden=-0.0)),
                                        (memoryview(bytearray(b"1")), memoryview(bytearray(b"1")))])
def test_arguments_that_are_equal_may_differ(one, other):
    """A frozen dataclass of 0.0 is equal to one of -0.0, and has its hash: the first was replayed for the second."""
    seen = lambda x: (repr(x), repr(getattr(x, "hidden", None)))
    step = tg.capture(lambda x, setting: x * (3.0 if seen(setting) == seen(one) else 4.0))
    x = tg.Tensor([1.0])
    assert [step(x, setting).item() for setting in [one] * 3 + [other] * 3 + [one]] == [3.0] * 3 + [4.0] * 3 + [3.0]


def test_one_tensor_as_two_arguments():
    """Its gradient is that of both, here 2 a, but b or a of two Tensors; and no such call is replayed as the other."""
    step = lambda a, b: tg.grad((a * b).sum(), a)
    program, (a, b) = tg.capture(step), [tg.Tensor(x, requires_grad=True) for x in X[:2]]
    for inputs in [(a, a), (a, b), (b, b), (b, a)] * 4:
        assert bits(program(*inputs)) == bits(step(*inputs))
    assert len(program.recordings) == 2 and program.replays == 12


def test_minus_zero_is_another_number_than_zero():
    for one, other in (np.float32(0.0), np.float32(-0.0)), (complex(0.0, 0.0), complex(-0.0, 0.0)):
        program = tg.capture(step := lambda x, c: F.as_tensor(x) * np.copysign(1.0, c.real))
        for c in [one] * 4 + [other] * 4:
            assert bits(program(X[0], c)) == bits(step(X[0], c))


def test_a_step_that_calls_itself():
    """Where an input is another for the first time, the step runs as usual, and so calls the program within a call."""
    @tg.capture
    def power(x, n):
        return F.as_tensor(x) if n == 0 else power(x, n - 1) * x

    found = []
    thread = Thread(target=lambda: found.extend(power(np.full(1, x), 3).item() for x in (1.0, 1.0, 2.0, 3.0)), daemon=True)
    thread.start()
    thread.join(60)
    assert found == [1.0, 1.0, 16.0, 81.0] and power.replays == 1


def test_a_call_within_a_replay(monkeypatch):
    """By a signal handler, or a finalizer: its inputs replaced those of the replay."""
    net, usual, found = nn.MLP([3, 4, 2], rng=0), Replay.run, []

    def run(replay):
        monkeypatch.undo()
        found.append(program(X[5]))
        return usual(replay)

    program = tg.capture(net)
    for x in X[:4]:
        program(x)
    monkeypatch.setattr(Replay, "run", run)
    assert bits(program(X[4]), found) == bits(net(X[4]), net(X[5])) and program.replays == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signs_of_nan(dtype):
    """NumPy and a kernel choose differently between NaN and -NaN, so the replay of such a call, recorded first, was refused."""
    program, x = tg.capture(lambda x, y: F.as_tensor(x) * y), np.full((7, 3), np.nan, dtype)
    for y in (-x, -x, x, -x):
        assert np.isnan(program(x, y).data).all()
    assert program.replays == 1


@pytest.mark.parametrize("dtype", ["longdouble", "complex64", "float16", "datetime64[s]", "S4", "V8", "object", "bool"])
def test_large_arrays_of_other_types(dtype):
    """They may pass through a step."""
    program, x = tg.capture(lambda x: x), np.zeros(40_000, "uint8").astype(dtype)
    for i in range(5):
        x[0] = np.ones((), "int8").astype(dtype) if i % 2 else x[1]
        assert bits(program(x)) == bits(x)
    assert program.replays == 3
