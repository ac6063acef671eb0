"""What changes between two calls of a captured step is noticed: the same bits as the eager step, recorded anew where necessary."""
from __future__ import annotations

import copy
import functools
import sys
from argparse import Namespace
from collections import OrderedDict, UserDict, deque
from dataclasses import asdict, dataclass
from functools import partialmethod
from operator import attrgetter
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from captured import X, bits, check, model_and_step, normal, over, step_of, trained, training
from common import at_once

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.guard import CaptureError
from tinygrad_relu.kernels.machine.door import watch
from tinygrad_relu.parameters import settle

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


class Empty(nn.Module):
    """Calls its attribute `model`, or `other`, or nothing."""

    def forward(self, x):
        return getattr(self, "model", getattr(self, "other", F.as_tensor))(x)


class Calls(nn.Module):
    """Calls what `find` finds in `held`, which is not a module."""

    def __init__(self, held, find):
        self.held, self.find = held, find

    def forward(self, x):
        return self.find(self.held)(x)


class Slots:
    __slots__ = ("model",)


class Things(tuple):
    """A tuple, of a class of the user's."""


@dataclass
class Hashless(nn.Module):
    model: nn.Module
    size: int = 3

    def forward(self, x):
        return self.model(x)


def of_class(model):
    class Class:
        held, models = model, {"a": model}

        @property
        def first(self):
            return self.held

        @classmethod
        def last(cls, x):
            return cls.models["a"](x)

    return Class


def cached(box):
    return functools.lru_cache(lambda: box[0])


def slots(model):
    made = Slots()
    made.model = model
    return made


def objects(model):
    made = np.empty(1, object)
    made[0] = model
    return made


def with_attribute(model):
    def function():
        """Holds a model."""

    function.model = model
    return function


# how a model is held outside, how the step finds it there, and how another one takes its place
HOLDERS = {
    "a list in a namespace": (lambda m: SimpleNamespace(held=[m]), lambda h: h.held[0], lambda h, m: h.held.__setitem__(0, m)),
    "a namespace in a namespace": (lambda m: SimpleNamespace(held=SimpleNamespace(a=m)), lambda h: h.held.a,
                                   lambda h, m: setattr(h.held, "a", m)),
    "slots": (slots, lambda h: h.model, lambda h, m: setattr(h, "model", m)),
    "a class": (of_class, lambda h: h.held, lambda h, m: setattr(h, "held", m)),
    "a dict of a class": (of_class, lambda h: h.last, lambda h, m: h.models.update(a=m)),
    "a property": (lambda m: of_class(m)(), lambda h: h.first, lambda h, m: setattr(type(h), "held", m)),
    "an attribute of a function": (with_attribute, lambda h: h.model, lambda h, m: setattr(h, "model", m)),
    "a deque": (lambda m: deque([m]), lambda h: h[0], lambda h, m: h.__setitem__(0, m)),
    "a set": (lambda m: {m}, lambda h: next(iter(h)), lambda h, m: (h.clear(), h.add(m))),
    "an array of objects": (objects, lambda h: h[0], lambda h, m: h.__setitem__(0, m)),
    "a list in a tuple of a class of its own": (lambda m: Things([[m]]), lambda h: h[0][0], lambda h, m: h[0].__setitem__(0, m)),
    "a cache": (lambda m: (box := [m], cached(box)), lambda h: h[1](),
                lambda h, m: (h[0].__setitem__(0, m), h[1].cache_clear())),
    "a method of a dict": (lambda m: (d := {"a": m}, d.get), lambda h: h[1]("a"), lambda h, m: h[0].update(a=m)),
    "a dataclass without a hash": (Hashless, lambda h: h, lambda h, m: setattr(h, "model", m)),
    "a forward of its own": (lambda m: (net := nn.Identity(), box := [m], setattr(net, "forward", lambda x: box[0](x))),
                             lambda h: h[0], lambda h, m: h[1].__setitem__(0, m)),
    "an attribute that comes": (lambda m: Empty(), lambda h: h, lambda h, m: setattr(h, "model", m)),
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("inside", [False, True], ids=["in a closure", "in a module of the user's"])
@pytest.mark.parametrize("early", [False, True], ids=["made later", "made before"])
def test_another_model_is_noticed_wherever_it_is_held(name, inside, early):
    hold, find, replace = HOLDERS[name]
    held, other = hold(nn.Linear(3, 2, rng=0)), nn.Linear(3, 2, rng=1)
    step = Calls(held, find) if inside else lambda x: find(held)(x)
    program = tg.capture(step)
    for x in X[:4]:
        assert bits(program(x)) == bits(step(x))
    assert program.replays == 2
    replace(held, other if early else nn.Linear(3, 2, rng=1))
    for x in X:
        assert bits(program(x)) == bits(step(x))
    assert program.replays > 2


class Plain:
    """An object of a user without attributes."""


@dataclass
class Number:
    a: float


class FromGlobal:
    """Reads a global variable when it is made."""

    def __init__(self):
        self.a = GLOBAL.a


def module(a):
    """A file of the user's, with the name of one of Python's."""
    made = ModuleType("statistics")
    made.a, made.__file__ = a, "statistics.py"
    return made


class Doubled(Number):
    """Twice the number."""

    @property
    def twice(self):
        return 2 * self.a


class Tripled(Doubled):
    @property
    def twice(self):
        return 3 * self.a


class Bound:
    """A method with an argument that is bound already."""

    def method(self, number):
        return number[0]

    first = partialmethod(method, [2.0])


GLOBAL, get_a, get = Number(1.0), attrgetter("a"), getattr


# how a number is held outside, how the step finds it there, and how another one takes its place
NUMBERS = {name: HOLDERS[name] for name in (
    "a list in a namespace", "a namespace in a namespace", "slots", "a class", "a property", "an attribute of a function", "a deque",
    "a set", "an array of objects", "a list in a tuple of a class of its own", "a cache")} | {
    "a user's dict": (lambda x: UserDict(a=x), lambda h: h["a"], lambda h, x: h.update(a=x)),
    "a dataclass": (Number, lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "the class of an object": (lambda x: Doubled(x / 2), lambda h: h.twice, lambda h, x: setattr(h, "__class__", Tripled)),
    "an argument bound in a class": (lambda x: Bound(), lambda h: h.first(),
                                     lambda h, x: vars(Bound)["first"].args[0].__setitem__(0, x)),
    "an attribute of a computed name": (Number, lambda h: getattr(h, "".join("a")), lambda h, x: setattr(h, "a", x)),
    "all attributes": (Number, lambda h: asdict(h)["".join("a")], lambda h, x: setattr(h, "a", x)),
    "an attribute by a function made before": (Number, lambda h: get_a(h), lambda h, x: setattr(h, "a", x)),
    "getattr of another name": (Number, lambda h: get(h, "".join("a")), lambda h, x: setattr(h, "a", x)),
    "what an object reads when it is made": (lambda x: setattr(GLOBAL, "a", x), lambda h: FromGlobal().a,
                                             lambda h, x: setattr(GLOBAL, "a", x)),
    "a module": (module, lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "a module, used by a function found later": (lambda x: (module(x), [{"f": lambda h: h[0].a}]), lambda h: h[1][0]["f"](h),
                                                 lambda h, x: setattr(h[0], "a", x)),
    "options of a command": (lambda x: Namespace(a=x), lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "a partial": (lambda x: functools.partial(max, x, key=[x]), lambda h: h.keywords["key"][0],
                  lambda h, x: h.keywords.update(key=[x])),
    "an attribute that comes": (lambda x: Plain(), lambda h: getattr(h, "a", 2.0), lambda h, x: setattr(h, "a", x)),
    "a slot that is filled": (lambda x: Slots(), lambda h: getattr(h, "model", 2.0), lambda h, x: setattr(h, "model", x)),
    "a key that comes": (lambda x: {}, lambda h: h.get("a", 2.0), lambda h, x: h.update(a=x)),
    "a key with another name": (lambda x: {"a": 2.0}, lambda h: 2.0 if "a" in h else 3.0, lambda h, x: h.update(b=h.pop("a", 2.0))),
    "the order of a dict": (lambda x: {"a": 2.0, "b": 3.0}, lambda h: next(iter(h.values())),
                            lambda h, x: h.update(a=h.pop("a"))),
    "the order of an ordered dict": (lambda x: OrderedDict(a=2.0, b=3.0), lambda h: next(iter(h.values())),
                                     lambda h, x: h.move_to_end("a")),
    "another method": (lambda x: of_class(2.0)(), lambda h: h.first, lambda h, x: setattr(type(h), "first", x)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_another_number_is_noticed_wherever_it_is_held(name, monkeypatch):
    hold, find, replace = NUMBERS[name]
    held = hold(2.0)
    if name.startswith("a module"):
        monkeypatch.setitem(sys.modules, "statistics", held[0] if isinstance(held, tuple) else held)
    program = tg.capture(lambda x: F.as_tensor(x) * find(held))
    for number in (2.0, 3.0):
        for x in X[:4]:
            assert bits(program(x)) == bits(number * x)
        replace(held, 3.0)
    assert program.replays == 4


class Trainer:
    """Notes beside the step, in attributes that the step does not name."""

    def __init__(self):
        self.model = nn.Linear(3, 2, rng=0)
        self.seen, self.losses, self.best = 0, [1.0] * 1000, np.inf

    def step(self, x):
        self.model.eval()
        return self.model(x).sum()

    def note(self, loss):
        self.seen += 1
        self.losses.append(loss.item())
        self.best = min(self.best, loss.item())


def test_an_object_may_note_what_the_step_does_not_name():
    trainer = Trainer()
    program = tg.capture(trainer.step)
    for x in X:
        trainer.note(program(x))
    assert program.replays == len(X) - 2


def with_default(x, factor=2.0, *, power=1.0):
    return F.as_tensor(x) * (factor * power)


def test_a_changed_function_is_noticed(monkeypatch):
    """Its defaults, and its code, as IPython's autoreload changes it."""
    program = tg.capture(lambda x: with_default(x))
    for change in (lambda: monkeypatch.setattr(with_default, "__defaults__", (5.0,)),
                   lambda: monkeypatch.setattr(with_default, "__kwdefaults__", {"power": 7.0}),
                   lambda: monkeypatch.setattr(with_default, "__code__", (lambda x, factor, *, power: F.relu(x)).__code__), dict):
        for x in X[:4]:
            assert bits(program(x)) == bits(with_default(x))
        change()
    assert program.replays == 8


@pytest.mark.parametrize("find", [lambda a: float(a[0]), lambda a: a[:2].sum() / a.sum(), lambda a: 2.0 if a[0] > 2 else 1.0],
                         ids=["one number", "NumPy", "a branch"])
def test_numbers_that_python_reads_of_a_small_array_are_noticed(find):
    array = np.array([2.0, 3.0, 4.0])
    program = tg.capture(lambda x: F.as_tensor(x) * find(array))
    for array[0] in (2.0, 5.0):
        for x in X[:4]:
            assert bits(program(x)) == bits(find(array) * x)
    assert program.replays == 4


def test_a_global_with_the_name_of_an_attribute_is_no_variable():
    """As in a loop ``for step in range(1000)`` around a function with ``opt.step()``."""
    net = nn.Linear(3, 2, rng=0)
    program = tg.capture(lambda x: net.forward(x))
    for globals()["forward"], x in enumerate(X):
        program(x)
    del globals()["forward"]
    assert program.replays == len(X) - 2


def test_what_the_first_call_keeps_is_no_change():
    """A step may make once what it needs in all calls."""
    class Model:
        @functools.cached_property
        def scale(self):
            return 2.0

    model, factors = Model(), {}

    def step(x):
        if x.shape not in factors:
            factors[x.shape] = 3.0
        return F.as_tensor(x) * model.scale * factors[x.shape]

    program = tg.capture(step)
    for x in X[:4]:
        assert bits(program(x)) == bits(2 * x * 3)
    assert program.replays == 2


def test_a_module_that_leaves_a_dict_is_noticed():
    heads = nn.ModuleDict({"one": nn.Linear(3, 2, rng=0), "other": nn.Linear(3, 2, rng=1)})
    program = tg.capture(lambda x: sum(head(x) for head in heads.values()))
    for x in X[:4]:
        program(x)
    del heads["other"]
    assert bits(program(X[0])) == bits(heads["one"](X[0]) + 0)


def test_an_attribute_that_goes_is_noticed():
    net = Empty()
    net.model, net.other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    program = tg.capture(lambda x: net(x))
    for x in X[:4]:
        program(x)
    del net.model
    assert bits(program(X[0])) == bits(net.other(X[0]))
    with pytest.raises(CaptureError, match="attribute other of a module"):
        tg.capture(lambda x: delattr(net, "other"))(X[0])
    with pytest.raises(AttributeError, match="nothing"):
        del net.nothing


def test_a_number_of_a_class_is_noticed():
    class Settings:
        factor = 2.0

    program = tg.capture(lambda x: F.as_tensor(x) * Settings.factor)
    settings = Settings()
    inherited = tg.capture(lambda x: F.as_tensor(x) * settings.factor)
    for Settings.factor in (2.0, 3.0):
        for x in X[:4]:
            assert bits(program(x), inherited(x)) == bits(Settings.factor * x, Settings.factor * x)
    assert program.replays == inherited.replays == 4


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
