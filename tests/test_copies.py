"""Copies and pickles of tensors, modules and optimizers: what is copied, what stays shared, and how copies train."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
DUPLICATES = {"copy": copy.copy, "deepcopy": copy.deepcopy,
              **{f"pickle {n}": lambda x, n=n: pickle.loads(pickle.dumps(x, n)) for n in PROTOCOLS}}
DEEP = {name: f for name, f in DUPLICATES.items() if name != "copy"}
every_way = pytest.mark.parametrize("way", DUPLICATES.values(), ids=DUPLICATES)
every_deep_way = pytest.mark.parametrize("way", DEEP.values(), ids=DEEP)

RNG = np.random.default_rng(0)
X, LABELS = RNG.standard_normal((32, 6)), RNG.integers(0, 3, 32)
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1), "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=0.01), "adamw": lambda p: optim.AdamW(p, lr=0.01),
}


def mlp(activation="relu", seed=0):
    return nn.MLP([6, 8, 8, 3], activation=activation, dtype="float64", rng=seed)


def train(model, opt, steps=5):
    for _ in range(steps):
        opt.zero_grad()
        F.cross_entropy(model(X), LABELS).backward()
        opt.step()
    return np.concatenate([p.data.ravel() for p in model.parameters()])


# -- tensors -----------------------------------------------------------------------------------------------------------

@every_way
@pytest.mark.parametrize("make", [
    lambda: tg.Tensor([[1.0, 2.0]]), lambda: tg.Tensor([1.0], requires_grad=True, dtype="float32"), lambda: tg.Tensor(3.0),
    lambda: tg.Tensor(np.empty((0, 2))), lambda: nn.Parameter([1.0, 2.0], kind="bias"), lambda: nn.Parameter([0.25], kind="slope", dtype="float32"),
    lambda: (tg.Tensor([1.0], requires_grad=True) * 2).detach(),
])
def test_a_leaf(way, make):
    x = make()
    twin = way(x)
    assert type(twin) is type(x) and twin.dtype == x.dtype and twin.requires_grad == x.requires_grad
    assert twin.op is None and twin.shape == x.shape and getattr(twin, "kind", None) == getattr(x, "kind", None)
    np.testing.assert_array_equal(twin.data, x.data)
    assert not np.shares_memory(twin.data, x.data) and twin.data.flags.carray


@every_way
def test_a_frozen_parameter_stays_frozen(way):
    p = nn.Parameter([1.0])
    p.requires_grad = False
    assert not way(p).requires_grad


@every_way
def test_attributes_of_a_subclass_are_copied(way):
    p = Named([1.0], kind="bias")
    p.name = "shift"
    twin = way(p)
    assert type(twin) is Named and twin.name == "shift" and twin.kind == "bias"


class Named(nn.Parameter):
    """A Parameter with attributes of its own."""


def test_deepcopy_copies_the_gradient_and_nothing_else_does():
    for x in (tg.Tensor([1.0, 2.0], requires_grad=True), nn.Parameter([1.0, 2.0])):
        (x * x).sum().backward()
        twin = copy.deepcopy(x)
        assert twin.grad.tolist() == [2, 4] and not np.shares_memory(twin.grad, x.grad)
        assert copy.copy(x).grad is None and pickle.loads(pickle.dumps(x)).grad is None


@every_way
def test_a_result_has_a_history_and_is_refused(way):
    y = tg.Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(TypeError, match=r"a Tensor that mul made cannot be copied or pickled with its history; use detach"):
        way(y)
    assert way(y.detach()).data.tolist() == [2]


@every_deep_way
def test_one_tensor_in_two_places_stays_one(way):
    x = tg.Tensor([1.0])
    a, (b, c) = way([x, (x, tg.Tensor([1.0]))])
    assert a is b and a is not c


def test_a_parameter_is_copied_out_of_the_flat_buffer():
    model = mlp()
    optim.SGD(model.parameters())
    for way in DUPLICATES.values():
        p = model.parameters()[0]
        twin = way(p)
        assert twin.place is twin.home is None and twin.data.base is None and p.place is not None
    assert len(pickle.dumps(model.parameters()[1])) < 400        # 8 numbers, not the buffer around them


# -- modules -----------------------------------------------------------------------------------------------------------

@every_deep_way
@pytest.mark.parametrize("activation", [*nn.activations.MODULES, "maxout"])
def test_a_copied_module_computes_alike_and_trains_apart(way, activation):
    model = mlp(activation)
    opt = optim.SGD(model.parameters(), lr=0.1)
    train(model, opt, steps=2)                  # caches are filled, parameters have moved into a flat buffer
    model.eval()
    twin = way(model)
    assert not twin.training and repr(twin) == repr(model)
    assert [(name, p.kind) for name, p in twin.named_parameters()] == [(name, p.kind) for name, p in model.named_parameters()]
    expected = model(X).data.copy()
    np.testing.assert_array_equal(twin(X).data, expected)
    before = [p.data.copy() for p in model.parameters()]
    train(twin, optim.SGD(twin.parameters(), lr=0.1))
    assert all((p.data == b).all() for p, b in zip(model.parameters(), before))     # the original has not moved
    assert (twin(X).data != expected).any() or activation == "step"
    moved = [p.data.copy() for p in twin.parameters()]
    train(model, opt)
    assert all((p.data == b).all() for p, b in zip(twin.parameters(), moved))


class Tied(nn.Module):
    """One layer used twice, one parameter in a list too, a buffer, and a generator."""

    def __init__(self):
        self.layer = nn.Linear(6, 6, dtype="float64", rng=0)
        self.again = self.layer
        self.several = [self.layer.weight, nn.Parameter([1.0], kind="bias")]
        self.count = nn.Buffer(np.zeros(1, np.int64))
        self.noise = nn.RReLU(rng=3)

    def forward(self, x):
        self.count.data += 1
        return self.noise(self.again(self.layer(x))) * self.several[1]


@every_deep_way
def test_what_was_shared_stays_shared(way):
    model = Tied()
    model(X)
    twin = way(model)
    assert twin.layer is twin.again and twin.several[0] is twin.layer.weight and twin.layer is not model.layer
    assert twin.count.data.tolist() == [1] and len(twin.parameters()) == len(model.parameters()) == 3
    np.testing.assert_array_equal(twin(X).data, model(X).data)      # the generator is a copy in the same state
    twin(X)
    assert twin.count.data.tolist() == [3] and model.count.data.tolist() == [2]


class Recurrent(nn.Module):
    """An embedding, a cell of each kind over three steps, and a layer on the last state."""

    def __init__(self):
        self.embedding = nn.Embedding(10, 4, dtype="float64", rng=0)
        self.rnn, self.gru = nn.RNN(4, 5, dtype="float64", rng=1), nn.GRU(5, 5, dtype="float64", rng=2)
        self.lstm = nn.LSTM(5, 6, num_layers=2, dropout=0.3, dtype="float64", rng=3)
        self.head = nn.Linear(6, 3, dtype="float64", rng=4)

    def forward(self, x):
        tokens = np.abs(x[:, :3] * 5).astype(np.int64).T % 10
        return self.head(self.lstm(self.gru(self.rnn(self.embedding(tokens))[0])[0])[0][-1])


@every_deep_way
@pytest.mark.parametrize("make", [
    lambda: nn.MLP([6, 8, 8, 3], norm="batch", dropout=0.2, residual=True, dtype="float64", rng=0),
    lambda: nn.MLP([6, 8, 8, 3], norm="layer", dropout=0.2, dtype="float64", rng=0), Recurrent])
def test_what_counts_and_draws_is_copied_in_its_place(way, make):
    """Running statistics and positions of generators: copies of model and optimizer continue the training with the same bits."""
    model = make()
    opt = OPTIMIZERS["adam"](model.parameters())
    train(model, opt)
    twin, other = way((model, opt))
    np.testing.assert_array_equal(train(twin, other), train(model, opt))
    np.testing.assert_array_equal(twin.eval()(X).data, model.eval()(X).data)
    buffers = [[b.data for b in m.buffers()] for m in (model, twin)]
    assert all((a == b).all() and not np.shares_memory(a, b) for a, b in zip(*buffers))


@every_way
def test_a_buffer(way):
    for buffer in (nn.Buffer(np.arange(3), optional=True), nn.Buffer(np.zeros(()))):
        twin = way(buffer)
        assert twin.optional == buffer.optional and twin.data.dtype == buffer.data.dtype
        np.testing.assert_array_equal(twin.data, buffer.data)
        assert not np.shares_memory(twin.data, buffer.data)


def test_a_shallow_copy_of_a_module_has_the_same_parameters():
    model = mlp()
    assert all(p is q for p, q in zip(copy.copy(model).parameters(), model.parameters()))


# -- optimizers --------------------------------------------------------------------------------------------------------

@every_deep_way
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_pair_of_model_and_optimizer_trains_on_alike(way, steps, kind):
    """In either order, in any container; bit for bit, and neither disturbs the other."""
    model = mlp("prelu")
    opt = OPTIMIZERS[kind](model.parameters())
    train(model, opt, steps)
    twin, other = way((model, opt))
    trainer = way({"opt": opt, "deeper": [model]})
    assert all(other.holds(p) for p in twin.parameters()) and not any(opt.holds(p) for p in twin.parameters())
    expected = train(model, opt)
    np.testing.assert_array_equal(train(twin, other), expected)
    np.testing.assert_array_equal(train(trainer["deeper"][0], trainer["opt"]), expected)
    np.testing.assert_array_equal(train(model, opt), train(twin, other))


def test_between_backward_and_step():
    """deepcopy copies the gradients, into the flat buffer of the copy."""
    model = mlp()
    opt = OPTIMIZERS["momentum"](model.parameters())
    train(model, opt)
    F.cross_entropy(model(X), LABELS).backward()
    twin, other = copy.deepcopy((model, opt))
    assert all(p.grad is p.home and not np.shares_memory(p.grad, q.grad) for p, q in zip(twin.parameters(), model.parameters()))
    opt.step(), other.step()
    np.testing.assert_array_equal(train(twin, other), train(model, opt))


@every_deep_way
def test_parameters_that_no_longer_move_together(way):
    """Parameters with different numbers of steps: one was frozen for a while; and groups with options of their own."""
    model = mlp()
    weights, biases = model.parameters()[::2], model.parameters()[1::2]
    opt = optim.Adam([{"params": weights, "lr": 0.05}, {"params": biases, "weight_decay": 0.1}], lr=0.01)
    train(model, opt, 2)
    for _ in range(3):
        F.cross_entropy(model(X), LABELS).backward()
        weights[1].grad = biases[0].grad = None
        opt.step()
        opt.zero_grad()
    opt.param_groups[1]["lr"] = 0.02
    twin, other = way((model, opt))
    assert [{k: v for k, v in group.items() if k != "params"} for group in other.param_groups] == \
           [{k: v for k, v in group.items() if k != "params"} for group in opt.param_groups]
    with pytest.raises(ValueError, match="lr is -1"):
        other.param_groups[0]["lr"] = -1.0
    np.testing.assert_array_equal(train(twin, other), train(model, opt))


@every_deep_way
def test_a_schedule_is_copied_with_its_optimizer(way):
    """Model, optimizer and schedule in one structure; and a state dict of the original loads into the copy."""
    model = mlp()
    opt = OPTIMIZERS["adam"](model.parameters())
    schedule = optim.StepLR(opt, step_size=2, gamma=0.5)
    train(model, opt), schedule.step()
    twin, other, others = way((model, opt, schedule))
    assert others.optimizer is other
    other.load_state_dict(opt.state_dict())
    for _ in range(3):
        np.testing.assert_array_equal(train(twin, other), train(model, opt))
        schedule.step(), others.step()
        assert others.get_last_lr() == schedule.get_last_lr()


@every_deep_way
def test_two_optimizers_over_the_same_parameters(way):
    """The copied parameters are in one flat buffer, in the order of the first optimizer, and both optimizers use it."""
    model = mlp()
    first = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    second = optim.Adam(model.parameters()[::-1], lr=0.01)
    train(model, first), train(model, second)
    twin, other_second, other_first = way((model, second, first))
    assert len({id(p.place[0]) for p in twin.parameters()}) == 1
    expected = [train(model, opt) for opt in (first, second, first)]
    for opt, right in zip((other_first, other_second, other_first), expected):
        np.testing.assert_array_equal(train(twin, opt), right)


def test_an_optimizer_copied_alone_comes_with_parameters_of_its_own():
    model = mlp()
    opt = OPTIMIZERS["adam"](model.parameters())
    train(model, opt)
    other = copy.deepcopy(opt)
    copies = other.param_groups[0]["params"]
    assert not any(p is q for p, q in zip(copies, model.parameters()))
    assert all((p.data == q.data).all() for p, q in zip(copies, model.parameters()))


def test_a_shallow_copy_of_an_optimizer_moves_the_same_parameters_from_the_same_state():
    """The state of the copy is independent: one step of the copy does what one step of the original would have done."""
    results = []
    for shallow in (False, True):
        model = mlp()
        opt = OPTIMIZERS["momentum"](model.parameters())
        train(model, opt)
        state = opt.state_of(model.parameters()[0])["momentum_buffer"].copy()
        results.append(train(model, copy.copy(opt) if shallow else opt, 1))
        assert (opt.state_of(model.parameters()[0])["momentum_buffer"] == state).all() == shallow
    np.testing.assert_array_equal(*results)
