"""Steps in both forms, eager and captured, and the comparison of all their bits."""
from __future__ import annotations

import copy
from functools import partial

import numpy as np
from strength import strength

import tinygrad_relu as tg
from tinygrad_relu import nn, optim

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


def step_of(loss):
    def step(model, opt, x, y):
        opt.zero_grad()
        value = loss(model(x), y)
        value.sum().backward()
        opt.step()
        return value
    return step


def run(step, *draws):
    """Calls of a program: an error of any of them comes out."""
    program = tg.capture(step)
    return [program(*(draw if isinstance(draw, tuple) else (draw,))) for draw in draws]


X = [np.random.default_rng(i).standard_normal((4, 3)) for i in range(6)]


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
