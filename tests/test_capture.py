"""A captured step is the eager step, bit for bit: every module, loss, optimizer and operation. What it cannot be is refused."""
from __future__ import annotations

import copy
import signal
from collections import OrderedDict
from functools import partial
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest
import table
from common import at_once
from module_table import LABELED, PAIRED
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.guard import CaptureError
from tinygrad_relu.functional import REDUCTIONS
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.parameters import settle

STEPS = strength(6, thorough=50)


def bits(*things):
    """Everything in results, modules and optimizers, as bytes."""
    found = []
    for thing in things:
        if isinstance(thing, (tuple, list)):
            found += bits(*thing)
        elif isinstance(thing, nn.Module):
            found += [(name, x.tobytes()) for name, x in thing.state_dict().items()]
            found += [None if p.grad is None else p.grad.tobytes() for p in thing.parameters()]
        elif isinstance(thing, optim.Optimizer):
            state = thing.state_dict()["state"]
            found += [(i, key, np.asarray(x).tobytes()) for i, one in state.items() for key, x in one.items()]
        else:
            found.append(np.asarray(thing.data if isinstance(thing, tg.Tensor) else thing).tobytes())
    return found


def check(make, draw, steps=STEPS, between=lambda i, *things: None, replays=None):
    """``make() -> step, *things``, twice: eager and captured steps give the same results and leave the same state."""
    rng = np.random.default_rng(3)
    inputs = [draw(rng) for _ in range(steps)]
    step, *things = make()
    found = [(between(i, *things), bits(step(*copy.deepcopy(x)), *things)) for i, x in enumerate(inputs)]
    step, *things = make()              # only now: what is noticed, the eager steps have not announced
    program = tg.capture(step)
    for i, (x, (_, expected)) in enumerate(zip(inputs, found)):
        between(i, *things)
        assert bits(program(*x), *things) == expected, f"step {i}\n{program}"
    assert program.replays == (steps - 3 if replays is None else replays), program.replays     # each start of .grad is recorded
    return program


def normal(*shape, dtype="float32"):
    return lambda rng: (rng.standard_normal(shape).astype(dtype),)


def training(model, loss=lambda y: (y * y).mean(), kind=optim.SGD, **options):
    """`make` of a whole step."""
    def make():
        net = copy.deepcopy(model)
        opt = kind(net.parameters(), **{"lr": 0.01, **options}) if net.parameters() else None

        def step(*inputs):
            y = net(*inputs)
            y = y if isinstance(y, tg.Tensor) else tg.concatenate([part.reshape(-1) for part in flat(y)])
            if opt is None:
                return y
            opt.zero_grad()
            value = loss(y)
            value.backward()
            opt.step()
            return value, y

        return (step, net, opt) if opt else (step, net)
    return make


def over(step, widths=(3, 4, 2), kind=optim.SGD, **options):
    """`make` of ``step(model, opt, *inputs)``, with a fresh model and optimizer."""
    def make():
        model = nn.MLP([*widths], rng=0)
        opt = kind(model.parameters(), **{"lr": 0.1, **options})
        return partial(step, model, opt), model, opt
    return make


def flat(tree):
    return [x for part in tree for x in flat(part)] if isinstance(tree, tuple) else [tree]


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


# -- losses ---------------------------------------------------------------------------------------------------------------


def step_of(loss):
    def step(model, opt, x, y):
        opt.zero_grad()
        value = loss(model(x), y)
        value.sum().backward()
        opt.step()
        return value
    return step


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


# -- optimizers -----------------------------------------------------------------------------------------------------------

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


# -- functions, operations, shapes ------------------------------------------------------------------------------------------


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


def test_shapes_side_by_side():
    model = nn.MLP([3, 4, 2], norm="batch", dropout=0.5, rng=0)
    sizes = iter([5, 5, 5, 2, 5, 2, 2, 5, 2] * 10)
    program = check(training(model), lambda rng: normal(next(sizes), 3)(rng), steps=9, replays=4)
    assert len(program.recordings) == 2


def test_results_have_memory_of_their_own():
    program = tg.capture(lambda x: (x * 2.0, x))
    found = [program(tg.Tensor([float(i)])) for i in range(5)]
    assert [(y.item(), x.item()) for y, x in found] == [(2.0 * i, i) for i in range(5)] and found[4][0].op is None


def test_the_text_of_a_program():
    program = tg.capture(lambda x: F.relu(x))
    assert str(program) == "no recording yet"
    program(np.ones((2, 3)))
    assert "relu_forward" in str(program) and "float64" in str(program)


# -- what is noticed ----------------------------------------------------------------------------------------------------------


def run(step, *draws):
    """Calls of a program: an error of any of them comes out."""
    program = tg.capture(step)
    return [program(*(draw if isinstance(draw, tuple) else (draw,))) for draw in draws]


X = [np.random.default_rng(i).standard_normal((4, 3)) for i in range(6)]
W = nn.Parameter(np.ones((3, 2)), dtype="float64")
GENERATOR = np.random.default_rng(0)
WEIGHTS = np.ones(3)
REFUSED = {
    "a branch on a result": (lambda x: x * 2.0 if (F.as_tensor(x) @ W).sum() > 0 else x, "reads numbers"),
    "a branch on item": (lambda x: (F.as_tensor(x) * 2.0) if F.as_tensor(x).sum().item() > 0 else 0, "reads numbers"),
    "a float": (lambda x: F.as_tensor(x) * float(F.as_tensor(x).sum()), "reads numbers"),
    "a printed number": (lambda x: print(f"{F.as_tensor(x).sum():.3f}"), "reads numbers"),
    "NumPy on an input": (lambda x: F.relu(x / 255), "reads numbers of an array .np.divide"),
    "NumPy on a result": (lambda x: F.relu(np.exp((F.as_tensor(x) @ W).data)), "np.exp"),
    "NumPy on a Tensor": (lambda x: np.mean(F.as_tensor(x)), "np.mean"),
    "np.asarray of a Tensor": (lambda x: F.relu(np.asarray(F.as_tensor(x))), "np.asarray"),
    "one number of an input": (lambda x: F.as_tensor(x) * x[0, 0], "by an index"),
    "argmax": (lambda x: tg.argmax(F.as_tensor(x) @ W, 1) == 0, "np.equal"),
    "a generator": (lambda x: F.dropout(x, 0.5, rng=GENERATOR), "shapes or numbers|computed outside"),
    "a number": (lambda x: W.sum().item() + 1.0, "reads numbers"),
    "a gradient without an optimizer": (lambda x: (x @ W).sum().backward(), "no optimizer moves"),
    "a loop over a result": (lambda x: sum((F.as_tensor(x) @ W).data[0]), "by an index"),
    "an input that is written": (lambda x: F.as_tensor(x).__setitem__(0, 1.0), "changes an input"),
    "DLPack": (lambda x: np.from_dlpack((F.as_tensor(x) @ W).detach()), "__dlpack__"),
    "a parameter that is assigned": (lambda x: setattr(W, "data", W * 0.5), "assigns to a Tensor"),
    "a random number": (lambda x: F.as_tensor(x) * GENERATOR.random(), "other shapes or numbers"),
    "a random array": (lambda x: F.as_tensor(x) * GENERATOR.random((4, 3)), "computed outside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    step, words = REFUSED[name]
    with pytest.raises(CaptureError, match=words):
        run(step, *X)


def trained(net, opt, **options):
    """A step over a model and an optimizer that exist."""
    def step(x):
        opt.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss
    return step


def model_and_step(**options):
    net = nn.MLP([3, 4, 2], dropout=0.3, norm="batch", rng=0, **options)
    opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    return trained(net, opt), net, opt


CHANGES = {
    "evaluation mode": lambda net, opt: net.eval(),
    "the mode of one layer": lambda net, opt: net[3].eval(),
    "a setting of a layer": lambda net, opt: setattr(net[3], "p", 0.9),
    "another layer": lambda net, opt: net.__setitem__(3, nn.Identity()),
    "a layer more": lambda net, opt: net.append(nn.Tanh()),
    "frozen parameters": lambda net, opt: net[0].requires_grad_(False),
    "one frozen parameter": lambda net, opt: setattr(net[0].weight, "requires_grad", False),
    "values": lambda net, opt: setattr(net[0].weight, "data", np.ones((4, 3))),
    "the state of the model": lambda net, opt: net.load_state_dict(nn.MLP([3, 4, 2], norm="batch", dropout=0.3, rng=7).state_dict()),
    "the state of the optimizer": lambda net, opt: opt.load_state_dict(opt.state_dict()),
    "no momentum": lambda net, opt: opt.param_groups[0].update(momentum=0.0),
    "running statistics": lambda net, opt: net[1].running_mean.data.fill(2.0),
    "a counter": lambda net, opt: net[3].rng_state.data.fill(5),
    "gradients set to None": lambda net, opt: opt.zero_grad(),
    "gradients set to zeros": lambda net, opt: opt.zero_grad(set_to_none=False),
    "a gradient set by hand": lambda net, opt: setattr(net[0].weight, "grad", np.ones((4, 3), "float32")),
    "an eager step": lambda net, opt: trained(net, opt)(X[0]),
    "a group more": lambda net, opt: opt.add_param_group({"params": [nn.Parameter([1.0])]}),
}


REPLAYS = dict.fromkeys(["a setting of a layer", "another layer", "a layer more", "the state of the model",
                         "the state of the optimizer", "a group more", "evaluation mode", "the mode of one layer", "no momentum"], 7)
REPLAYS |= {"frozen parameters": 6, "one frozen parameter": 6, "gradients set to None": 8, "gradients set to zeros": 9,
            "a gradient set by hand": 8}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_two_calls_is_noticed(name):
    check(model_and_step, normal(5, 3), steps=12, between=lambda i, *things: CHANGES[name](*things) if i == 6 else None,
          replays=REPLAYS.get(name, 9))


class Holder:
    """A user's object, found by a step through a closure."""

    def __init__(self):
        self.factor, self.list, self.dict = tg.Tensor([2.0]), [tg.Tensor([3.0])], {"a": tg.Tensor([4.0])}

    def step(self, x):
        return F.as_tensor(x) * self.factor * self.list[0] * self.dict["a"]


OUTSIDE = tg.Tensor([2.0])


def test_what_the_step_finds_outside_may_be_replaced_or_changed_in_place():
    global OUTSIDE
    holder, inner, array = Holder(), tg.Tensor([5.0]), np.array([1.0, 2.0, 3.0], "float32")

    def step(x):
        return holder.step(x) * OUTSIDE * inner * array      # the array is converted

    program = tg.capture(step)
    bound = tg.capture(holder.step)
    changes = [lambda: setattr(holder, "factor", tg.Tensor([7.0])), lambda: holder.list.__setitem__(0, tg.Tensor([8.0])),
               lambda: holder.dict.update(a=tg.Tensor([9.0])), lambda: array.__setitem__(0, 10.0),
               lambda: setattr(holder.factor, "data", [11.0]), lambda: inner.__setitem__(0, 12.0)]
    for change in changes:
        for x in X[:4]:
            assert bits(program(x), bound(x)) == bits(step(x), holder.step(x))
        change()
    OUTSIDE = tg.Tensor([13.0])
    inner = tg.Tensor([14.0])
    for x in X[:4]:
        assert bits(program(x), bound(x)) == bits(step(x), holder.step(x))
    assert program.replays > 12


def test_modules_and_optimizers_made_later_outdate_nothing_until_they_are_in_reach():
    held, ordered = SimpleNamespace(model=nn.Linear(3, 2, rng=0)), OrderedDict(model=nn.Linear(3, 2, rng=1))
    programs = [tg.capture(lambda x: held.model(x)), tg.capture(lambda x: ordered["model"](x))]

    def last(x):
        assert [bits(program(x)) for program in programs] == [bits(held.model(x)), bits(ordered["model"](x))]
        return [program.replays for program in programs]

    for x in X[:4]:
        replays = last(x)
    other = nn.MLP([3, 4, 2], dropout=0.1, rng=2)
    optim.SGD(other.parameters(), lr=0.1)
    other.eval().append(nn.ReLU())
    assert last(X[4]) == [n + 1 for n in replays]
    held.model = other
    assert last(X[5])[0] == replays[0] + 1                # recorded anew
    ordered["model"] = other
    for x in X[:3]:
        last(x)
    other.append(nn.Tanh())
    last(X[0])


def test_a_list_of_many_entries():
    factors = [2.0] * 1000
    program = tg.capture(lambda x: F.as_tensor(x) * factors[0] * len(factors))
    for x in X[:4]:
        program(x)
    assert program.replays == 2
    factors.append(2.0)
    assert program(X[0]).data[0, 0] == X[0][0, 0] * 2002


def test_a_freed_model_is_the_error_of_the_eager_step():
    step, net, opt = model_and_step()
    model = net

    def evaluate(x):
        return model(x)  # noqa: F821

    program = tg.capture(evaluate)
    run = [program(x) for x in X[:4]]
    del model
    with pytest.raises(NameError, match="model"):
        program(X[0])
    assert len(run) == 4


def test_running_statistics_are_read_at_each_replay():
    """Training and evaluation may alternate: recordings of one mode are kept for the next time."""
    step, net, opt = model_and_step()
    train, evaluate = tg.capture(step), tg.capture(lambda x: net(x))
    for x in X * 3:
        net.train()
        train(x.astype("float32"))
        net.eval()
        assert bits(evaluate(x)) == bits(net(x))
    assert (train.replays, evaluate.replays) == (15, 16)
    program = tg.capture(lambda x: net(x))
    for x in X * 2:
        net[1].running_mean.data += 0.5
        assert bits(program(x)) == bits(net(x))
    assert program.replays == 10


def test_watchers_see_an_eager_step():
    step, net, opt = model_and_step()
    program = tg.capture(step)
    for x in X:
        program(x.astype("float32"))
    seen = []
    with watch(lambda kernel, arguments: (seen.append(kernel.__name__), kernel(*arguments))):
        program(X[0].astype("float32"))
    assert "sgd" in seen
    with pytest.raises(tg.AnomalyError), tg.detect_anomaly(net):
        program(np.full((4, 3), np.nan, "float32"))


def test_labels_that_take_another_way_or_none():
    make = over(step_of(F.cross_entropy), (3, 4, 3))
    labels = iter([[0, 1, 2, 0]] * 3 + [[0, 1, 2, 1]] * 3 + [[0, -100, 2, 1], [1, 1, 2, 2]])
    check(make, lambda rng: (rng.standard_normal((4, 3)).astype("float32"), np.array(next(labels))), steps=8, replays=3)
    step, model, opt = make()
    for dropout in (None, nn.Dropout(rng=0)):
        program = tg.capture(lambda x, y, d=dropout: step(x if d is None else d(x), y))
        for x in X:
            program(x.astype("float32"), np.array([0, 1, 2, int(x[0, 0] > 0)]))
        before = bits(model.state_dict()["0.weight"])
        error, words = ((ValueError, "labels holds 3 at row 1; expected labels from 0 to 2") if dropout is None else
                        (RuntimeError, r"launch \d of a replay \(cross_entropy\) raised IndexError"))       # the dropout has drawn
        with pytest.raises(error, match=words):
            program(X[0].astype("float32"), np.array([0, 3, 2, 0]))
        assert bits(model.state_dict()["0.weight"]) == before


def test_an_index_that_is_too_large():
    model = nn.Embedding(5, 3, rng=0)
    program = tg.capture(model)
    for i in range(4):
        program(np.array([i, 0]))
    with pytest.raises(ValueError, match="got the index 5 at"):
        program(np.array([0, 5]))
    assert bits(program(np.array([4, 4]))) == bits(model(np.array([4, 4])))


def test_a_step_that_handles_an_error():
    def step(x, y):
        try:
            return F.nll_loss(x, y)
        except ValueError:
            return F.as_tensor(x).sum()

    program = tg.capture(step)
    for x, labels in zip(X * 2, [[3, 0, 0, 0], [3, 1, 1, 1], *[[i % 3, 0, 1, 2] for i in range(6)], [3, 0, 0, 0]]):
        assert bits(program(x, np.array(labels))) == bits(step(x, np.array(labels)))
    assert program.replays == 4


def test_a_hook_that_comes_later():
    step, net, opt = model_and_step()
    program, x = tg.capture(step), X[0].astype("float32")
    for register in (net[0].register_forward_hook, net[1].register_full_backward_hook, net[0].weight.register_hook) * 2:
        for i in range(5):
            program(x + np.float32(i))
        handle = register(lambda *_: None)
        with pytest.raises(CaptureError, match="calls a hook"):
            program(x)
        handle.remove()
    assert program.replays == 12


class Counting(nn.Module):
    def __init__(self):
        self.weight, self.mean = nn.Parameter(np.ones(3)), nn.Buffer(np.zeros(3))

    def forward(self, x):
        self.calls = 1
        return x * self.weight


def smoothed(module, early):
    def step(x):
        if early:
            module.mean.data[...] += 1.0
        y = F.as_tensor(x) * module.mean.data
        if not early:
            module.mean.data[...] += 1.0
        return y
    return step


def test_what_a_replay_would_not_do_is_refused():
    step, net, opt = model_and_step()
    schedule, count, losses = optim.StepLR(opt, 1), 0, []

    def scheduled(x):
        schedule.step()
        return step(x)

    def counted(x):
        nonlocal count
        count += 1
        return net(x)

    def listed(x):
        losses.append(net(x))
        return losses[-1]

    def tensor_hooked(x):
        y = F.as_tensor(x) @ net[0].weight.T
        y.register_hook(lambda g: g * 2)
        y.sum().backward()

    def by_hand(x):
        step(x)
        net[0].weight.grad *= 2

    def manual(x):
        net[0].weight.data[...] -= 0.1

    hooked = nn.Sequential(nn.Linear(3, 2, rng=0))
    hooked[0].register_forward_hook(lambda module, inputs, y: y * 2)
    for refused, words in ((scheduled, "sets the option lr"), (counted, "changes a variable outside"), (tensor_hooked, "hook"),
                           (listed, "changes a variable outside"), (hooked, "hook"), (Counting(), "sets the attribute calls"),
                           (smoothed(Counting(), False), "after the last launch"), (smoothed(Counting(), True), "between launches"),
                           (by_hand, "np.multiply"), (manual, "np.subtract"),
                           (lambda x: [step(F.as_tensor(x).array * np.float32(2)), None][1], "computed outside")):
        with pytest.raises(CaptureError, match=words):
            run(refused, *[x.astype("float32") for x in X])


def test_an_input_that_varies_late_is_proved_late():
    program = tg.capture(lambda x: F.as_tensor(F.as_tensor(x).array * 2.0) * 1.0)     # NumPy behind the back of the recorder
    for _ in range(4):
        program(X[0])
    with pytest.raises(CaptureError, match="another result than its replay when an input was another for the first time"):
        program(X[1])


def test_too_many_kinds_of_arguments():
    program = tg.capture(lambda x, factor: F.as_tensor(x) * factor)
    with pytest.raises(CaptureError, match="32 kinds of arguments"):
        for i in range(40):
            program(X[0], float(i))


def test_two_threads_call_one_program():
    model = nn.MLP([3, 64, 2], "tanh", rng=0, dtype="float64")
    program = tg.capture(model)
    for x in X:
        program(x)

    def ask(x):
        return all(bits(program(x)) == bits(model(x)) for _ in range(200))

    assert all(at_once([lambda x=x: ask(x) for x in X[:4]]))


def test_optimizers_are_made_and_copied_while_another_thread_records(monkeypatch):
    step, net, opt = model_and_step()
    layers, made = [nn.Linear(2, 1, rng=0), nn.Linear(2, 1, rng=0)], SimpleQueue()
    other, twins = optim.SGD(layers[0].parameters(), lr=0.1), dict(zip(*(layer.parameters() for layer in layers)))

    def recorded(x):
        at_once([lambda: made.put(copy.deepcopy(other)), lambda: made.put(other.twin(twins))])
        return step(x)

    program = tg.capture(recorded)
    for x in X[:3]:
        program(x.astype("float32"))
    copies = [made.get() for _ in range(made.qsize())]
    assert len(copies) == 6 and not any("move" in vars(one) for one in copies)

    def settled(parameters):            # what happens in another thread before a copy is complete
        parameters = list(parameters)
        tg.capture(step)(X[0].astype("float32"))
        settle(parameters)

    monkeypatch.setattr("tinygrad_relu.optim.optimizer.settle", settled)
    copy.deepcopy(other).step()


def test_a_graph_from_before_a_replay_is_outdated():
    step, net, opt = model_and_step()
    program = tg.capture(step)
    for x in X:
        program(x.astype("float32"))
    for replays in (1, 2):          # the second one is not the first since the graph was recorded
        loss = (net(X[0].astype("float32")) ** 2).sum()
        for _ in range(replays):
            program(X[0].astype("float32"))
        with pytest.raises(RuntimeError, match="was changed after"):
            loss.backward()


def test_an_error_in_the_step_leaves_the_program_usable():
    model = nn.MLP([3, 4, 2], rng=0)
    program = tg.capture(lambda x, bad: model(x) if not bad else model(x.reshape(-1)[:5]))
    for x in X[:3]:
        program(x, False)
        with pytest.raises(ValueError):
            program(x, True)
    assert bits(program(X[4], False)) == bits(model(X[4])) and not any("move" in vars(o) for o in tg.parameters.WATCHERS)
    with pytest.raises(TypeError, match="capture: got int, expected a function"):
        tg.capture(3)


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


class Momentum(optim.Optimizer):
    """An optimizer of a user, with a state in Python."""

    def __init__(self, params):
        super().__init__(params, dict(lr=0.1, weight_decay=0.0))
        self.calls = 0

    def move(self, segment, grad, options):
        self.calls += 1
        segment.data -= options["lr"] / self.calls * grad


def test_an_optimizer_and_a_module_of_a_user():
    class Scaled(nn.Module):
        def __init__(self):
            self.scale, self.layers = nn.Parameter([2.0]), [nn.Linear(3, 3, rng=0), nn.Linear(3, 2, rng=1)]

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x * self.helper()

        def helper(self):
            return self.scale * OUTSIDE.astype("float32")

    check(training(Scaled(), kind=lambda params, lr: Momentum(params)), normal(5, 3))
    net = Scaled()
    program = tg.capture(net)
    for k in range(3):
        for x in X[:4]:
            assert bits(program(x)) == bits(net(x))
        if k == 0:
            globals()["OUTSIDE"] = tg.Tensor([5.0])
        net.layers[1] = nn.Linear(3, 2, rng=2)          # a plain list: not seen by Module.__setattr__


def test_large_draws_and_products_are_shared_among_threads():
    check(training(nn.MLP([20, 600, 600, 4], dropout=0.2, rng=0)), normal(700, 20), steps=5)


def test_a_refused_step_has_changed_nothing_else():
    """The proof runs launches of the recording too, but no step of an optimizer, and never on another part of the user's arrays."""
    p, data, rows = nn.Parameter(np.zeros(2)), np.arange(8.0).reshape(4, 2), iter(range(4))
    opt = optim.SGD([p], lr=1.0)

    def by_hand(x):
        opt.zero_grad()
        p.grad = (F.as_tensor(x) * 1.0).data            # not the home of p
        opt.step()

    def by_hand_and_back(x):
        by_hand(x)
        opt.zero_grad()

    with pytest.raises(CaptureError, match=r"sets the \.grad of a parameter"):
        run(by_hand, np.ones(2))
    opt.zero_grad()
    with pytest.raises(CaptureError, match="other arrays"):
        run(by_hand_and_back, np.ones(2), np.ones(2))
    assert p.data.tolist() == [-3.0, -3.0]
    with pytest.raises(CaptureError, match="other arrays"):
        run(lambda x: F.as_tensor(data[next(rows)]) * x, 2.0, 2.0)
    assert data.tolist() == np.arange(8.0).reshape(4, 2).tolist()
