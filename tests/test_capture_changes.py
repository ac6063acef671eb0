"""What changes in models and optimizers between two calls of a captured step is noticed: the bits of the eager step."""
from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from captured import X, bits, check, model_and_step, normal, over, step_of, trained, training
from common import at_once

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.guard import CaptureError
from tinygrad_relu.capture.surroundings import Surroundings
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


def test_a_module_that_leaves_a_dict_is_noticed():
    heads = nn.ModuleDict({"one": nn.Linear(3, 2, rng=0), "other": nn.Linear(3, 2, rng=1)})
    program = tg.capture(lambda x: sum(head(x) for head in heads.values()))
    for x in X[:4]:
        program(x)
    del heads["other"]
    assert bits(program(X[0])) == bits(heads["one"](X[0]) + 0)


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


class ByMode(nn.Module):
    """Asks for its mode itself."""

    def __init__(self):
        self.layer = nn.Linear(3, 2, rng=0)

    def forward(self, x):
        return self.layer(x) * 2.0 if self.training else self.layer(x)


def test_a_module_of_a_user_has_a_recording_for_each_mode():
    net = ByMode()
    program = tg.capture(net)
    for x in X * 2:
        for change in (net.train, net.eval):
            change()
            assert bits(program(x)) == bits(net(x))
    assert program.replays == 4 * len(X) - 4


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


def test_a_recording_in_another_thread_is_no_change():
    """It replaces the method `move` of all optimizers meanwhile."""
    step, net, opt = model_and_step()
    other, _, _ = model_and_step()
    program, found = tg.capture(other), []

    def recorded(x):
        at_once([lambda: found.append(Surroundings(other))])
        return step(x)

    tg.capture(recorded)(X[0].astype("float32"))
    program(X[0].astype("float32"))
    assert found[0].changed() is None


FORK = """
import os, signal, threading, time
import numpy as np
import tinygrad_relu as tg
records = threading.Event()
def slow(x):
    records.set()
    time.sleep(0.2)
    return tg.functional.relu(x)
threading.Thread(target=tg.capture(slow), args=(np.ones(3),)).start()
records.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    os._exit(tg.capture(tg.functional.relu)(np.ones(3)).sum().item() != 3)
raise SystemExit(os.waitpid(pid, 0)[1] != 0)
"""

REPLAYED = """
import os, signal, threading
import numpy as np
import tinygrad_relu as tg
from tinygrad_relu.capture.program import Replay
program, usual, inside, forked = tg.capture(tg.functional.relu), Replay.run, threading.Event(), threading.Event()
for x in range(5):
    program(np.full(3, x, "float32"))
def run(replay):
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        forked.wait(30)
    return usual(replay)
Replay.run = run
threading.Thread(target=program, args=(np.ones(3, "float32"),)).start()
inside.wait(30)
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    os._exit(program(np.ones(3, "float32")).sum().item() != 3)
forked.set()
raise SystemExit(os.waitpid(pid, 0)[1] != 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_replays():
    """The child called the program, and waited for a call that it does not have."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", REPLAYED], timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_another_thread_records():
    """The child has no such thread, so it must not wait for its recording."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0


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


OUTSIDE = tg.Tensor([2.0])


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


def test_ctrl_c_during_the_launches():
    """It is noticed when they have run: the model had moved, but Adam had not counted the step."""
    make = training(nn.MLP([3, 4, 2], rng=0), kind=optim.Adam)
    (eager, *expected), (step, *found) = make(), make()
    program, inputs = tg.capture(step), [x.astype("float32") for x in X]
    for x in inputs[:5]:
        eager(x), program(x)
    replay = next(one.replay for several in program.recordings.values() for one in several if one.replay)
    usual = run, first, count = replay.calls[-1]

    def interrupted():
        run()
        replay.calls[-1] = usual
        raise KeyboardInterrupt

    replay.calls[-1] = interrupted, first, count
    eager(inputs[5])
    with pytest.raises(KeyboardInterrupt):
        program(inputs[5])
    assert bits(*found) == bits(*expected)
    for x in inputs:
        assert bits(program(x), *found) == bits(eager(x), *expected)
    assert program.replays == 8
