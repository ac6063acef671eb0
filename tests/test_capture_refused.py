"""What a captured step cannot be is refused with a sentence, and errors of the step come out as they are."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from captured import X, bits, model_and_step, run

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.guard import CaptureError
from tinygrad_relu.capture.recording import Recording


@dataclass
class Holding:
    tensor: tg.Tensor


class Own(list):
    pass


@dataclass
class Equal:
    tensor: tg.Tensor = field(compare=False)


def set_global(x):
    global LAST
    LAST = F.as_tensor(x) * 2.0


HELD = Holding(None)
W = nn.Parameter(np.ones((3, 2)), dtype="float64")
GENERATOR = np.random.default_rng(0)
CALLS = np.zeros(1)
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
    "a count in an array": (lambda x: [CALLS.__iadd__(1), F.as_tensor(x) * 2.0][1], "changes a variable outside"),
    "a global variable that is only set": (set_global, "changes a variable outside .LAST"),
    "an attribute that setattr makes": (lambda x: setattr(HELD, "other", F.as_tensor(x) * 2.0), "changes a variable outside"),
    "a random number": (lambda x: F.as_tensor(x) * GENERATOR.random(), "other shapes or numbers"),
    "a result in a dataclass": (lambda x: Holding(F.as_tensor(x) * 2.0), "returned something else"),
    "a result in a list of a class": (lambda x: Own([F.as_tensor(x) * 2.0]), "returned something else"),
    "a result in an object that is equal to all others": (lambda x: Equal(F.as_tensor(x) * 2.0), "returned something else"),
    "a random array": (lambda x: F.as_tensor(x) * GENERATOR.random((4, 3)), "computed outside"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    step, words = REFUSED[name]
    with pytest.raises(CaptureError, match=words):
        run(step, *X)


@pytest.mark.parametrize("copied", [lambda y: y.astype(int), lambda y: y[[0, 1]].astype(int), np.ndarray.copy])
def test_a_copy_of_part_of_an_input(copied):
    """It may be the same in the first calls, as are the labels of sorted samples."""
    program = tg.capture(lambda x: F.as_tensor(x) * W.array[:2] + copied(x[:, -1])[0])
    with pytest.raises(CaptureError, match="reads numbers of an array "):
        program(np.ones((2, 2)))


def test_an_error_where_an_input_is_another_for_the_first_time():
    """Then no replay is proved for other inputs: here it would use a number of the first one."""
    step = lambda x, labels: F.cross_entropy(F.as_tensor(x) * np.asarray(x).max(), labels)
    program, (x, other), labels = tg.capture(step), X[:2], np.array([0, 1, 2, 0])
    program(x, labels), program(x, labels)
    with pytest.raises(ValueError, match="label"):
        program(other, labels + 1)
    assert bits(program(other, labels)) == bits(step(other, labels))


def test_ctrl_c_where_a_recording_begins(monkeypatch):
    step, net, _ = model_and_step()
    monkeypatch.setattr(Recording, "move_of", lambda *_: {}["Ctrl-C"])
    with pytest.raises(KeyError):
        tg.capture(step)(*X[:1])
    assert {type(p.home) for p in net.parameters()} == {np.ndarray}


def test_masked_numbers_are_refused_as_in_the_eager_step():
    program, x = tg.capture(F.relu), np.ma.masked_array(X[0], X[0] > 9.0)
    for _ in range(4):
        program(x)
    x[0, 0] = np.ma.masked
    with pytest.raises(CaptureError, match="masked values"):
        program(x)


def test_functions_that_take_shapes():
    for step in lambda x: F.minimum(x, 0.5), lambda x: F.where(x, x, 2.0), lambda x: F.as_tensor(x) * np.size(x):
        program = tg.capture(step)
        for x in X[:5]:
            assert bits(program(x)) == bits(step(x))
        assert program.replays == 3


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
                           (listed, "what losses holds"), (hooked, "hook"), (Counting(), "sets the attribute calls"),
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
    with pytest.raises(CaptureError, match=r"32 kinds of arguments: pass what varies as NumPy arrays \(PyTorch's: x.numpy\(\)\)"):
        for i in range(40):
            program(X[0], float(i))


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


def test_a_gradient_for_a_tensor_inside_a_tuple():
    program, x = tg.capture(lambda pair: (pair[0] * 2.0).sum().backward()), tg.Tensor(X[0], requires_grad=True)
    with pytest.raises(CaptureError, match="gives a gradient to an input"):
        program((x, 1.0))
