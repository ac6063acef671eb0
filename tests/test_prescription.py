"""The inverse problem: trainings at both ends of a prescribed interval, and just outside, have the returns that it names."""
from __future__ import annotations

import math

import numpy as np
import pytest
from strength import strength

import tinygrad_relu.functional as F
from tinygrad_relu import lab, nn, optim
from tinygrad_relu.lab.prescription import OPTIONS, _Case
from tinygrad_relu.lab.units import Units

CASES = strength(12, thorough=300)


def dead_net(rng, units=4, dead=2, depth=-3.0):
    """A small network, the first units of which are dead on x."""
    model = nn.MLP([3, units, 2], dtype="float64", rng=int(rng.integers(1 << 30)))
    x = rng.normal(size=(20, 3))
    z = x @ model[0].weight.data.T
    model[0].bias.data = np.where(np.arange(units) < dead, -z.max(axis=0) + depth * rng.random(units), 0.0)
    return model, x, rng.integers(0, 2, 20)


def train(model, x, y, optimizer, steps):
    """The step at which the first dead unit of the first layer returns in a real training; None if none returns."""
    gone = (x @ model[0].weight.data.T + model[0].bias.data <= 0).all(axis=0)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if ((x @ model[0].weight.data.T + model[0].bias.data)[:, gone] > 0).any():
            return step
    return None


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_training_at_the_ends_and_just_outside(option, nesterov):
    rng = np.random.default_rng([OPTIONS.index(option), nesterov])
    for _ in range(CASES):
        mu, at = rng.uniform(0.8, 0.99), int(rng.integers(5, 60))
        c = ((1 - mu) / (1 + mu)) ** 2 * rng.uniform(1.5, 20)
        lr = 10 ** rng.uniform(-2, 0)
        settings = dict(lr=lr, momentum=mu, weight_decay=c / lr, nesterov=nesterov)
        seed = int(rng.integers(1 << 30))
        model, x, _ = dead_net(np.random.default_rng(seed))
        earliest = lab.laws.return_steps(1 - 1e-12, c, nesterov=nesterov) if option == "momentum" else 1
        if at < earliest:               # no momentum below 1 brings a unit back so early
            continue
        found = lab.prescribe(model, x, optim.SGD(model.parameters(), **settings), at, option)
        assert [step for _, step in found.ends] == [at + 1, at, at, at - 1][:4 - (at == earliest)]
        for value, step in found.ends:
            model, x, y = dead_net(np.random.default_rng(seed))
            optimizer = optim.SGD(model.parameters(), **settings | {option: value})
            assert train(model, x, y, optimizer, at + 5) == step, (found, value)


def test_used_buffers_count():
    """A buffer that pushes z up is taken into account, for every option."""
    for option in OPTIONS:
        settings = dict(lr=0.05, momentum=0.9, weight_decay=0.1)

        def make():
            model, x, y = dead_net(np.random.default_rng(3))
            optimizer = optim.SGD(model.parameters(), **settings)
            for p in model.parameters():
                p.grad = np.zeros_like(p.data)
            optimizer.step()
            optimizer.state_of(model[0].bias)["momentum_buffer"][:2] = [-1.0, -0.8]
            return model, x, y, optimizer

        model, x, _, optimizer = make()
        found = lab.prescribe(model, x, optimizer, 25, option)
        rest = lab.prescribe(model, x, optim.SGD(model.parameters(), **settings), 25, option)
        assert found.low < rest.low                          # with the drift, less decay is needed
        for value, step in found.ends:
            model, x, y, optimizer = make()
            for group in optimizer.param_groups:
                group[option] = value
            assert train(model, x, y, optimizer, 30) == step


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_decay_of_the_biases_alone(momentum):
    model, x, _ = dead_net(np.random.default_rng(5))

    def optimizer(model, decay):
        weights, biases = ([p for p in model.parameters() if p.kind == kind] for kind in ("weight", "bias"))
        return optim.SGD([{"params": weights}, {"params": biases, "weight_decay": decay}], lr=0.1, momentum=momentum)

    found = lab.prescribe(model, x, optimizer(model, 0.01), 40)
    assert found.ends[1][1] == 40 and len(found.ends) == 4
    for value, step in found.ends:
        model, x, y = dead_net(np.random.default_rng(5))
        assert train(model, x, y, optimizer(model, value), 50) == step


def test_a_float32_network_is_trained_at_the_ends_in_float32():
    rng, narrow = np.random.default_rng(11), 0
    for _ in range(CASES):
        seed, at = int(rng.integers(1 << 30)), int(rng.integers(20, 300))
        settings = dict(lr=0.1, momentum=float(rng.choice([0.9, 0.99])))

        def make():
            model, x, y = dead_net(np.random.default_rng(seed))
            return model.astype("float32"), x.astype("float32"), y

        model, x, _ = make()
        try:
            found = lab.prescribe(model, x, optim.SGD(model.parameters(), **settings), at)
        except ValueError as error:
            assert "so narrow that rounding in float32 decides the step" in str(error)
            narrow += 1
            continue
        for value, step in found.ends:
            model, x, y = make()
            assert train(model, x, y, optim.SGD(model.parameters(), **settings, weight_decay=value), at + 5) == step, found
    assert narrow < CASES / 2


def with_buffer_of_biases(model, value, **settings):
    """A used optimizer whose buffers are empty, apart from that of the first bias."""
    optimizer = optim.SGD(model.parameters(), **settings)
    for p in model.parameters():
        p.grad = np.zeros_like(p.data)
    optimizer.step()
    optimizer.state_of(model[0].bias)["momentum_buffer"][:] = value
    return optimizer


def test_used_buffers_that_already_bring_the_unit_back_at_once():
    model, x, _ = dead_net(np.random.default_rng(0))
    optimizer = with_buffer_of_biases(model, -100.0, lr=1.0, momentum=0.99)
    found = lab.prescribe(model, x, optimizer, 1)
    assert (found.low, found.high, found.below, found.above) == (0.0, math.inf, None, None)


def test_the_interval_of_the_docs():
    model, x, _ = dead_net(np.random.default_rng(0))
    found = lab.prescribe(model, x, optim.SGD(model.parameters(), lr=0.1, momentum=0.99))
    assert (found.low, found.high) == (0.00077357, 0.00077643)
    assert "0.00077356 gives 301; 0.00077644 gives 299" in str(found)


def test_the_rehearsal_confirms_this_step_only():
    model, x, _ = dead_net(np.random.default_rng(0))
    case = _Case.of(Units.of(model), x, optim.SGD(model.parameters(), lr=0.1, momentum=0.99))
    assert [case.confirms("weight_decay", 0.000775, step, 300) for step in (299, 300, 301, None)] == [False, True, False, False]
    assert [case.confirms("weight_decay", 0.0002, step, 300) for step in (300, None)] == [False, True]


def test_the_first_steps_have_open_ends():
    model, x, _ = dead_net(np.random.default_rng(0))
    heavy = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert lab.prescribe(model, x, heavy, 1).high == math.inf and lab.prescribe(model, x, heavy, 1).above is None
    plain = lab.prescribe(model, x, optim.SGD(model.parameters(), lr=0.1), 1)       # lr*weight_decay > 1 flips the sign
    assert plain.below is not None and plain.below[1] is None and "gives never" in str(plain)


@pytest.mark.parametrize(("error", "words", "make"), [
    (ValueError, "no weight_decay brings the first unit back at step 300; at 10 the step falls from never to 1",
     lambda m, x: lab.prescribe(m, x, optim.SGD(m.parameters(), lr=0.1))),
    (ValueError, r"at is 3, but momentum gives steps from 222 \(at 1\) to never \(at 0\); expected one of these",
     lambda m, x: lab.prescribe(m, x, optim.SGD(m.parameters(), lr=0.1, weight_decay=5e-4), 3, "momentum")),
    (TypeError, "the optimizer is Adam, expected an SGD", lambda m, x: lab.prescribe(m, x, optim.Adam(m.parameters(), lr=0.1))),
    (ValueError, "option is 'decay', expected one of: weight_decay, lr, momentum",
     lambda m, x: lab.prescribe(m, x, optim.SGD(m.parameters(), lr=0.1), 3, "decay")),
    (ValueError, "prescribe: at is 0, expected at least 1",
     lambda m, x: lab.prescribe(m, x, optim.SGD(m.parameters(), lr=0.1), 0)),
    (ValueError, "no unit of layer 0 is dead on x, expected at least one",
     lambda m, x: lab.prescribe(alive := nn.MLP([3, 4, 2], rng=0), x, optim.SGD(alive.parameters(), lr=0.1))),
    (ValueError, "the activation of layer 0 is hardtanh, expected one that is flat below 0 and nowhere else",
     lambda m, x: lab.prescribe(nn.MLP([3, 4, 2], activation="hardtanh", rng=0), x, optim.SGD(m.parameters(), lr=0.1))),
])
def test_bad_input_is_one_clear_sentence(error, words, make):
    model, x, _ = dead_net(np.random.default_rng(0))
    with pytest.raises(error, match=words) as raised:
        make(model, x)
    assert "\n" not in str(raised.value)


def test_what_is_not_claimed_is_not_prescribed():
    model, x, _ = dead_net(np.random.default_rng(0))
    model[0].weight.requires_grad = False
    with pytest.raises(TypeError, match="expected an SGD that moves the weights and biases of the first layer"):
        lab.prescribe(model, x, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 20)
    tied = nn.Sequential(nn.Linear(3, 3, rng=0, dtype="float64"), nn.ReLU(), nn.Linear(3, 3, rng=1, dtype="float64"), nn.ReLU(),
                         nn.Linear(3, 2, rng=2, dtype="float64"))
    tied[2].weight = tied[0].weight
    tied[0].bias.data = [-100.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="nothing is claimed of layer 0, expected one without this: "):
        lab.prescribe(tied, x, optim.SGD(tied.parameters(), lr=0.1, momentum=0.9), 20)
    normed = nn.Sequential(nn.Linear(3, 3, rng=0, dtype="float64"), nn.BatchNorm1d(3, dtype="float64"), nn.ReLU(),
                           nn.Linear(3, 2, rng=2, dtype="float64"))
    normed[1].bias.data = [-100.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="expected one without this: a norm comes before the activation"):
        lab.prescribe(normed, x, optim.SGD(normed.parameters(), lr=0.1, momentum=0.9), 20)


def test_buffers_for_which_the_step_need_not_fall():
    model, x, y = dead_net(np.random.default_rng(0))
    optimizer = with_buffer_of_biases(model, 1.0, lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match="the buffers push every dead unit further down"):
        lab.prescribe(model, x, optimizer, 20, "momentum")
    assert lab.prescribe(model, x, optimizer, 20).at == 20
