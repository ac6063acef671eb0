"""How a captured step is replayed: fused, in little memory, without allocation. Its bits are those of tests/test_capture.py."""
from __future__ import annotations

import resource
import tracemalloc
from functools import partial

import numpy as np
import pytest
from captured import check, normal, training

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim
from tinygrad_relu.autodiff.tape import history
from tinygrad_relu.capture import fusion
from tinygrad_relu.capture.arrays import arrays_in
from tinygrad_relu.checks import owner_of
from tinygrad_relu.kernels.machine.pool import num_threads
from tinygrad_relu.training import train_step

SIZE = 64, 40       # enough numbers for a chain


def replay_of(program):
    return [one.replay for several in program.recordings.values() for one in several if one.replay][-1]


def kernels(program):
    return [str(launch) for launch in replay_of(program).launches]


def chained(f, dtype="float32"):
    """A step with an elementwise function of a parameter and an input, and its gradient."""
    def make():
        p = nn.Parameter(np.linspace(-2, 2, 64 * 40).reshape(SIZE), dtype=dtype)
        opt = optim.SGD([p], lr=0.01)

        def step(x):
            opt.zero_grad()
            y = f(F.as_tensor(x), p)
            y.sum().backward()
            opt.step()
            return y
        return step, opt, [p.data]
    return check(make, normal(*SIZE, dtype=dtype), steps=5)


CHAINS = {
    "a gate": lambda x, p: F.sigmoid(x * p) * x,
    "a product and a sum, which must be rounded one by one": lambda x, p: x * p + x,
    "numbers": lambda x, p: (0.5 * x - 1.0) / (p * p + 3.0),
    "parameters of a record": lambda x, p: F.leaky_relu(x * p, 0.3) + F.elu(p, 0.7) * x,
    "one array twice": lambda x, p: (x + p) * (x + p),
    "absolute values": lambda x, p: abs(x * p) - (-x),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_elementwise_operations_are_one_kernel_with_the_same_bits(name):
    assert any(kernel.startswith("chain") for kernel in kernels(chained(CHAINS[name], "float64" if "gate" in name else "float32")))


def test_formulas_whose_products_and_sums_could_be_joined_stay_apart():
    program = chained(lambda x, p: F.softplus(F.tanh(x * p)))
    assert {"softplus_forward", "softplus_pullback"} <= {*kernels(program)}


def test_small_arrays_are_not_worth_a_kernel():
    program = tg.capture(lambda x: x * 2.0 + 1.0)
    for i in range(3):
        program(tg.Tensor([float(i)]))
    assert kernels(program) == ["multiply", "add"]


def test_a_chain_that_has_other_bits_is_not_used(monkeypatch):
    """The replay on trial finds it."""
    chain = fusion.chain
    monkeypatch.setattr(fusion, "chain", lambda steps, stored, *counts: chain(steps, tuple((0, array) for _, array in stored), *counts))
    assert not any(kernel.startswith("chain") for kernel in kernels(chained(CHAINS["numbers"])))


class Apart(nn.Module):
    """Layers and activations that a user has written apart."""

    def __init__(self, activation):
        self.one, self.two, self.activation = nn.Linear(3, 4, rng=0), nn.Linear(4, 2, rng=1), activation

    def forward(self, x):
        return self.two(self.activation(self.one(x)))


@pytest.mark.parametrize("activation", [F.relu, F.tanh, F.softplus, F.leaky_relu, lambda x: F.leaky_relu(x, -0.5)])
def test_layers_and_activations_written_apart_are_one_launch_each_way(activation):
    found = kernels(check(training(Apart(activation)), normal(5, 3)))
    for direction in ("forward", "pullback"):
        assert [name[:7] for name in found if name.endswith(f"_{direction}") and name != "linear_pullback"
                and not name.startswith("sum")] == ["linear_"], found


def test_a_layer_whose_sums_are_needed_elsewhere_keeps_them():
    class Two(Apart):
        def forward(self, x):
            z = self.one(x)
            return self.two(F.relu(z)) + z.sum()

    check(training(Two(None)), normal(5, 3))


# -- memory ---------------------------------------------------------------------------------------------------------------


def classified(net, opt):
    return partial(train_step, net, opt, F.cross_entropy, None)


def batch(rng, rows, widths):
    return rng.standard_normal((rows, widths[0])).astype("float32"), rng.integers(0, widths[-1], rows)


def held(trees):
    """The bytes of all memory of some arrays."""
    return sum(x.nbytes for x in {id(owner_of(x)): owner_of(x) for x in arrays_in(trees)}.values())


@pytest.mark.parametrize("members, rows, widths", [(None, 64, [32] * 30 + [10]), (None, 64, [784, 256, 128, 10]),
                                                   (None, 512, [784, 512, 512, 10]), (16, 32, [64, 64, 64, 10])])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_replay_needs_little_more_memory_than_parameters_gradients_buffers_and_activations(members, rows, widths, kind, activation):
    def loss(x, y):
        return F.per_member(F.cross_entropy, x, y).sum() if members else F.cross_entropy(x, y)

    rng = np.random.default_rng(0)
    net = nn.MLP(widths, activation, rng=0, members=members)
    opt = kind(net.parameters(), **({"momentum": 0.9} if kind is optim.SGD else {}))
    program = tg.capture(partial(train_step, net, opt, loss, None))
    for _ in range(4):
        program(*batch(rng, rows, widths))
    x, y = batch(rng, rows, widths)
    graph = history(loss(net(x), y))
    state = [[p.array, p.home, list(opt.state_of(p).values())] for p in net.parameters()]
    least = held([[node.array, node.saved, list(node.values)] for node in graph] + state)
    assert held([launch.arguments for launch in replay_of(program).launches]) <= 1.1 * least


@pytest.mark.parametrize("members, widths", [(None, [3, 3, 24, 3, 3, 3]), (3, [40, 24, 24, 24, 40, 40, 24, 24])])
def test_memory_is_used_again_only_after_its_last_use(members, widths):
    """Else the replay on trial would have other bits, and the exact one would take its place."""
    program = check(training(nn.MLP(widths, "gelu", rng=0, members=members)), normal(5, widths[0]))
    assert not replay_of(program).is_exact


def test_the_gradient_of_a_shared_input_replaces_nothing_that_other_members_read():
    """It has as many numbers as what the activations of all members were applied to."""
    def make():
        base, several = nn.Linear(5, 12, rng=0), nn.MLP([12, 4, 4, 2], "gelu", rng=0, members=3)
        opts = [optim.SGD(model.parameters(), lr=0.01) for model in (base, several)]

        def step(x):
            for opt in opts:
                opt.zero_grad()
            loss = several(base(x)).sum()
            loss.backward()
            for opt in opts:
                opt.step()
            return loss
        return step, opts[0], [p.data for model in (base, several) for p in model.parameters()]
    assert not replay_of(check(make, normal(7, 5))).is_exact


def test_a_replay_allocates_only_results_and_touches_no_new_page():
    rng, widths = np.random.default_rng(0), [300, 500, 500, 10]
    net = nn.MLP(widths, norm="batch", dropout=0.2, rng=0)
    program = tg.capture(classified(net, optim.Adam(net.parameters())))
    for _ in range(8):
        program(*batch(rng, 400, widths))
    draws = [batch(rng, 400, widths) for _ in range(20)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for draw in draws:
        program(*draw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20       # a page per step would be 20; one activation has 195
    tracemalloc.start()
    try:
        with num_threads(1):
            program(*draws[0])
        # An activation is 800,000 bytes. A product copies 131,072 bytes of weights, which are traced only where Numba is loaded.
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_memory_that_is_overwritten_only_in_part_keeps_its_place():
    """The zeros around a window are written once, when the step is recorded."""
    frame = tg.Op("frame", lambda x: np.pad(x, 1), pull=(lambda g, y, x: g[1:-1, 1:-1] * 1.0,))
    model = nn.Sequential(nn.Linear(6, 6, rng=0), nn.Tanh())
    with pytest.raises(tg.CaptureError, match="outside of launches"):       # an operation of a user computes with NumPy
        check(training(model, lambda y: frame(y).sum()), normal(6, 6))
    check(training(model, lambda y: (y[1:5, 2:3] * 2.0).sum() + y[0, 0]), normal(6, 6))


def test_a_number_is_that_of_its_moment():
    """The step of the optimizer comes after it."""
    def make():
        p = nn.Parameter([3.0])
        opt = optim.SGD([p], lr=0.1)

        def step(x):
            opt.zero_grad()
            (p * x).sum().backward()
            now = p.item()
            opt.step()
            return now, p.item()
        return step, opt, [p.data]
    check(make, normal(1))


def test_the_memory_of_the_recording_is_freed_after_the_proof():
    net = nn.MLP([3, 4, 2], rng=0)
    program = tg.capture(net)
    for i in range(3):
        program(np.full((5, 3), float(i)))
    ((one,),) = program.recordings.values()
    assert one.launches == [] and one.owners == {} and not one.replay.is_exact


def test_moves_of_an_optimizer_of_a_user_are_replayed_from_the_recording():
    """They may count in Python, so that they cannot be run on trial."""
    class Own(optim.SGD):
        def move(self, segment, grad, options):
            super().move(segment, grad * 0.5, options)

    program = check(training(nn.MLP([3, 4, 2], rng=0), kind=Own), normal(5, 3))
    assert replay_of(program).is_exact and "move" in kernels(program)


def test_an_optimizer_whose_buffers_are_made_late():
    check(training(nn.MLP([3, 4, 2], rng=0), momentum=0.0), normal(5, 3), steps=12, replays=5,
          between=lambda i, net, opt: opt.param_groups[0].update(momentum=0.0 if i < 4 or i > 8 else 0.9))
