"""What a captured step finds outside, in variables, attributes, containers and small arrays, may change between two calls.

It is noticed, and what the step cannot find is not: an object may count its steps.
"""
from __future__ import annotations

import abc
import copy
import functools
import logging
import pickle
import sys
from argparse import Namespace
from collections import OrderedDict, UserDict, deque
from dataclasses import asdict, dataclass
from types import ModuleType, SimpleNamespace
from typing import Generic, TypeVar

import numpy as np
import pytest
from captured import X, bits, trained

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.guard import CaptureError


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


def plain(a):
    made = Plain()
    made.a = a
    return made


@dataclass
class Number:
    a: float


def module(a):
    """A file of the user's, with the name of one of Python's."""
    made = ModuleType("statistics")
    made.a, made.__file__ = a, "statistics.py"
    return made


class Array(np.ndarray):
    """An array of a user's class."""


class Meta(type):
    """The class of a class."""

    a = 2.0


class OfMeta(metaclass=Meta):
    """Finds `a` in its metaclass."""


def optimizer(lr):
    return optim.SGD(nn.Linear(1, 1, rng=0).parameters(), lr=lr)


def rate(lr):
    opt = optimizer(lr)
    return opt, optim.LambdaLR(opt, lambda epoch: 1.5 if epoch else 1.0)


# how a number is held outside, how the step finds it there, and how another one takes its place
NUMBERS = {name: HOLDERS[name] for name in (
    "a list in a namespace", "a namespace in a namespace", "slots", "a class", "a property", "an attribute of a function", "a deque",
    "a set", "a list in a tuple of a class of its own", "a cache")} | {
    "a user's dict": (lambda x: UserDict(a=x), lambda h: h["a"], lambda h, x: h.update(a=x)),
    "a dataclass": (Number, lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "an attribute of a computed name": (plain, lambda h: getattr(h, "".join("a")), lambda h, x: setattr(h, "a", x)),
    "all attributes": (Number, lambda h: asdict(h)["".join("a")], lambda h, x: setattr(h, "a", x)),
    "a module": (module, lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "a module with __getattr__": (lambda x: (m := module(x), setattr(m, "__getattr__", {"b": x}.get))[0], lambda h: h.b,
                                  lambda h, x: h.__getattr__.__self__.update(b=x)),
    "a module, used by a function found later": (lambda x: (module(x), [{"f": lambda h: h[0].a}]), lambda h: h[1][0]["f"](h),
                                                 lambda h, x: setattr(h[0], "a", x)),
    "options of a command": (lambda x: Namespace(a=x), lambda h: h.a, lambda h, x: setattr(h, "a", x)),
    "a partial": (lambda x: functools.partial(max, x, key=[x]), lambda h: h.keywords["key"][0],
                  lambda h, x: h.keywords.update(key=[x])),
    "an attribute that comes": (lambda x: Plain(), lambda h: getattr(h, "a", 2.0), lambda h, x: setattr(h, "a", x)),
    "a slot that is filled": (lambda x: Slots(), lambda h: getattr(h, "model", 2.0), lambda h, x: setattr(h, "model", x)),
    "a key that comes": (lambda x: {}, lambda h: h.get("a", 2.0), lambda h, x: h.update(a=x)),
    "the order of a dict": (lambda x: {"a": 2.0, "b": 3.0}, lambda h: next(iter(h.values())),
                            lambda h, x: h.update(a=h.pop("a"))),
    "the order of an ordered dict": (lambda x: OrderedDict(a=2.0, b=3.0), lambda h: next(iter(h.values())),
                                     lambda h, x: h.move_to_end("a")),
    "an array of a class of its own": (lambda x: np.array([x]).view(Array), lambda h: float(h[0]), lambda h, x: h.fill(x)),
    "an attribute of a metaclass": (lambda x: setattr(Meta, "a", x), lambda h: OfMeta.a, lambda h, x: setattr(Meta, "a", x)),
    "an option of an optimizer": (optimizer, lambda h: h.param_groups[0]["lr"], lambda h, x: h.param_groups[0].update(lr=x)),
    "the rate of a schedule": (rate, lambda h: h[1].get_last_lr()[0], lambda h, x: h[1].step() if x == h[0].param_groups[0]["lr"] * 1.5
                               else None),
    "an attribute of a library's object": (lambda x: logging.Logger("a", int(x)), lambda h: h.level, lambda h, x: h.setLevel(int(x))),
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
    """Notes beside the step, in attributes that the step does not name, or calls of others."""

    def __init__(self):
        self.model = nn.Linear(3, 2, rng=0)
        self.seen, self.losses, self.best, self.sum = 0, [1.0] * 1000, np.inf, 0.0

    def run(self, x):
        self.model.eval()
        return self.model(x).sum()

    def note(self, loss):
        self.seen += 1
        self.losses.append(loss.item())
        self.best = min(self.best, loss.item())
        self.sum += 1.0
        type(self).run.calls = self.seen        # an attribute of the function


class Abstract(Trainer, abc.ABC):
    """Has a base of Python."""


class Of(Trainer, Generic[TypeVar("T")]):
    """Has another one."""


class WithSlots(Trainer):
    __slots__ = ("more",)


class CallsSuper(Trainer):
    """Reaches its own class by super()."""

    def run(self, x):
        return super().run(x)


class ModuleOfLibrary(nn.Linear):
    """Its base is a module that reads its attributes."""

    def __init__(self):
        super().__init__(3, 2, rng=0)
        self.losses = []

    def run(self, x):
        return self.forward(x).sum()

    def note(self, loss):
        self.losses.append(loss.item())


@pytest.mark.parametrize("kind", [Trainer, Abstract, Of, WithSlots, CallsSuper, ModuleOfLibrary])
def test_an_object_may_note_what_the_step_does_not_name(kind):
    trainer = kind()
    program = tg.capture(trainer.run)
    for x in X:
        trainer.note(program(x))
    assert program.replays == len(X) - 2


class Scaled(nn.Module):
    """Counts and notes in attributes that its code does not name, and scales by one that it does."""

    def __init__(self):
        self.layer, self.scale, self.seen, self.last = nn.Linear(3, 2, rng=0), 2.0, 0, None

    def forward(self, x):
        return self.layer(x) * self.scale


class ScaledByAny(Scaled):
    def forward(self, x):
        return self.layer(x) * getattr(self, "".join("scale"))


@pytest.mark.parametrize("kind", [Scaled, ScaledByAny])
def test_a_module_of_a_user_may_note_what_the_step_does_not_name(kind):
    model = kind()
    program = tg.capture(lambda x: model(x))
    for number in (2.0, 3.0):
        model.scale = number
        for x in X:
            y = program(x)
            assert bits(y) == bits(model(x))
            if kind is Scaled:
                model.seen, model.last = model.seen + 1, y
    assert program.replays == 2 * len(X) - 4


def test_a_number_that_is_computed_again_is_no_change():
    config, holder = {"factor": 2.0}, plain(2.0)
    program = tg.capture(lambda x: F.as_tensor(x) * config["factor"] * holder.a)
    for number in (0.0, -0.0, 3.0):
        for x in X[:4]:
            config["factor"], holder.a = number * 2, number + 1         # another object in each call
            assert bits(program(x)) == bits(F.as_tensor(x) * config["factor"] * holder.a)
    assert program.replays == 6


def test_a_number_of_a_module_that_comes_before_that_of_its_class_is_noticed():
    class Twice(nn.Module):
        factor = 2.0

        def forward(self, x):
            return F.as_tensor(x) * self.factor

    model = Twice()
    program = tg.capture(model)
    for number in (2.0, 3.0, 4.0):
        for x in X[:4]:
            assert bits(program(x)) == bits(number * x)
        model.factor = number + 1
    assert program.replays == 6


def test_a_number_that_only_the_code_of_the_package_names_is_noticed():
    """In a module of a class derived from one of the package's."""
    class Norm(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x)

    norm = Norm(3)
    program = tg.capture(lambda x: norm(x))
    for norm.eps in (1e-5, 0.5):
        for x in X[:4]:
            assert bits(program(x)) == bits(norm(x))
    assert program.replays == 4


def test_options_of_optimizers_are_watched_only_if_the_step_names_them():
    opt = optimizer(0.1)
    program = tg.capture(lambda x: F.as_tensor(x) * len([p for group in opt.param_groups for p in group["params"]]))
    for x in X:
        assert bits(program(x)) == bits(2 * x)
        opt.param_groups[0]["lr"] *= 0.5
    assert program.replays == len(X) - 2


def test_a_global_variable_that_comes_is_noticed():
    def step(x):
        try:
            return F.as_tensor(x) * COMING
        except NameError:
            return F.as_tensor(x)

    program = tg.capture(step)
    for number in (1.0, 3.0):
        for x in X[:4]:
            assert bits(program(x)) == bits(x * number)
        globals()["COMING"] = 3.0
    del globals()["COMING"]
    assert program.replays == 4


@pytest.mark.parametrize("kind", [Number, SimpleNamespace, Plain], ids=["without a hash", "of Python", "with a hash"])
def test_what_changes_inside_of_an_argument_is_noticed(kind):
    number = kind() if kind is Plain else kind(a=0.0)
    program = tg.capture(lambda x, by: F.as_tensor(x) * by.a)
    for number.a in (2.0, 3.0):
        for x in X[:4]:
            assert bits(program(x, number), program(x, by=number)) == bits(x * number.a, x * number.a)
    assert program.replays == 8


class WithProgram:
    """Learns with a program of its own."""

    def __init__(self):
        self.model = nn.Linear(3, 2, rng=0)
        self.opt, self.fast = optim.SGD(self.model.parameters(), lr=0.1), tg.capture(self.run)

    def run(self, x):
        return trained(self.model, self.opt)(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copy_of_an_object_with_a_program_has_one_of_its_own(copied):
    trainer = WithProgram()
    for x in X:
        trainer.fast(x)
    before, twin, eager = bits(trainer.model), copied(trainer), copied(trainer)
    for x in X:
        assert bits(twin.fast(x), twin.model) == bits(eager.run(x), eager.model)
    assert twin.fast.replays >= len(X) - 3 and bits(trainer.model) == before


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
