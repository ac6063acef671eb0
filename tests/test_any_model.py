"""The laboratory's instruments on any model: a forward of its own, branches, shared layers, embeddings, recurrent layers."""
from __future__ import annotations

import numpy as np
import pytest

from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim
from tinygrad_relu.autodiff import guard

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 3)), RNG.integers(0, 2, 40)
SEQUENCES, WORDS = RNG.standard_normal((40, 6, 3)), RNG.integers(0, 9, (40, 6))


def dense(n, m, seed=0):
    return nn.Linear(n, m, rng=seed, dtype="float64")


class ByHand(nn.Module):
    """The same network as ``nn.MLP([3, 6, 5, 2])``, with functions in place of modules."""

    def __init__(self, mlp):
        self.first, self.second, self.last = mlp[0], mlp[2], mlp[4]

    def forward(self, x):
        return self.last(F.relu(self.second(F.maximum(self.first(x), 0))))


class Products(nn.Module):
    """The same network again, by matrix products of parameters."""

    def __init__(self, mlp):
        self.w, self.b, self.second, self.last = nn.Parameter(mlp[0].weight.data.T), mlp[0].bias, mlp[2], mlp[4]

    def forward(self, x):
        return self.last(F.relu(F.linear(F.relu(x @ self.w + self.b), self.second.weight, self.second.bias)))


class Branches(nn.Module):
    def __init__(self):
        self.a, self.b, self.c, self.last = dense(3, 4), dense(4, 4, 1), dense(3, 4, 2), dense(4, 2, 3)

    def forward(self, x):
        h = F.relu(self.a(x))
        return {"out": self.last((F.relu(self.b(h)) + h) * F.sigmoid(self.c(x)))}["out"]


class Shared(nn.Module):
    """One layer for both halves of a sample."""

    def __init__(self):
        self.eye, self.last = dense(2, 4), dense(8, 2, 1)

    def forward(self, x):
        return self.last(F.concatenate([F.relu(self.eye(x[:, :2])), F.relu(self.eye(x[:, 1:]))], axis=1))


class Elman(nn.Module):
    """``nn.RNN(3, 5, nonlinearity="relu")``, by hand if `by_hand`."""

    def __init__(self, by_hand):
        self.rnn = nn.RNN(3, 5, nonlinearity="relu", batch_first=True, rng=0, dtype="float64")
        self.i, self.h, self.by_hand, self.last = dense(3, 5), dense(5, 5), by_hand, dense(5, 2, 1)
        for own, name in ((self.i, "ih"), (self.h, "hh")):
            own.weight, own.bias = getattr(self.rnn, f"weight_{name}_l0"), getattr(self.rnn, f"bias_{name}_l0")

    def forward(self, x):
        if not self.by_hand:
            return self.last(self.rnn(x)[0][:, -1])
        h = np.zeros((len(x), 5))
        for t in range(x.shape[1]):
            h = F.relu(self.i(x[:, t]) + self.h(h))
        return self.last(h)


class ByHandLSTM(nn.Module):
    """``nn.LSTM(3, 4)`` by hand, with its gates cut from one affine map."""

    def __init__(self):
        self.lstm, self.last = nn.LSTM(3, 4, rng=0, dtype="float64"), dense(4, 2, 1)

    def forward(self, x):
        own, h, c = self.lstm, np.zeros((len(x), 4)), np.zeros((len(x), 4))
        for t in range(x.shape[1]):
            z = F.linear(x[:, t], own.weight_ih_l0, own.bias_ih_l0) + F.linear(h, own.weight_hh_l0, own.bias_hh_l0)
            i, f, g, o = F.split(z, 4, axis=1)
            c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
            h = F.sigmoid(o) * F.tanh(c)
        return self.last(h)


class Words(nn.Module):
    def __init__(self, kind=nn.LSTM):
        self.words, self.memory = nn.Embedding(9, 3, rng=0), kind(3, 4, batch_first=True, rng=1)
        self.hidden, self.last = nn.Linear(4, 5, rng=2), nn.Linear(5, 2, rng=3)

    def forward(self, x):
        return self.last(F.relu(self.hidden(self.memory(self.words(x))[0])).mean(axis=1))


class Dropping(ByHand):
    def forward(self, x):
        return self.last(F.relu(self.second(F.relu(self.first(F.dropout(x, 0.5, self.training, rng=0))))))


def small(seed=0):
    return nn.MLP([3, 6, 5, 2], rng=seed, dtype="float64")


@pytest.mark.parametrize("kind", [ByHand, Products])
def test_a_network_by_hand_gives_what_the_sequential_one_does(kind):
    """All numbers of the census, the lethal rates, the profile, the recorder and the autopsy, and the futures of dead units."""
    mlp = small()
    mlp[0].bias.data = mlp[0].bias.data - [9, 0, 9, 0, 0, 0]
    other = kind(mlp)
    names = {layer.name: i for i, layer in enumerate(lab.Units(other, X).layers)}
    assert list(names) == (["first", "second"] if kind is ByHand else ["w", "second"])

    def numbers(model, found):
        known = {layer.name: i for i, layer in enumerate(lab.Units(model, X).layers)}
        drop = ("margin",) if kind is Products else ()         # the margin needs a Linear's weight
        return [{**{key: value for key, value in unit.items() if key not in drop}, "layer": known[unit["layer"]]}
                for unit in found.units()]

    for one, its in zip(numbers(mlp, lab.census(mlp, X, Y)), numbers(other, lab.census(other, X, Y)), strict=True):
        assert one.keys() == its.keys()
        for key, value in one.items():
            assert its[key] == (pytest.approx(value, rel=1e-12, nan_ok=True) if isinstance(value, float) else value)
    for one, its in zip(lab.gradient_profile(mlp, X, Y).layers, lab.gradient_profile(other, X, Y).layers, strict=True):
        assert (its.gradient, its.signal, its.rank, its.inputs, its.units) == pytest.approx(
            (one.gradient, one.signal, one.rank, one.inputs, one.units), rel=1e-9, nan_ok=True)
    one, its = lab.lethal_lr(mlp, X, Y), lab.lethal_lr(other, X, Y)
    assert [layer.exact for layer in its.layers] == [kind is ByHand, False]
    np.testing.assert_allclose(its.layers[1].lo, one.layers[1].lo)
    if kind is ByHand:
        np.testing.assert_allclose(its.layers[0].lo, one.layers[0].lo)
    options = {"lr": 0.1, "momentum": 0.99, "weight_decay": 5e-4}
    futures = [lab.prognosis(model, X, optim.SGD(model.parameters(), **options), horizon=600).units for model in (mlp, other)]
    assert [unit.step for unit in futures[0]] == [472, 472]
    if kind is ByHand:
        assert [(u.unit, u.verdict, u.step, u.proved) for u in futures[1]] == [(u.unit, u.verdict, u.step, u.proved) for u in futures[0]]
    else:
        assert all(u.verdict == "estimate" and "one affine map" in u.reason for u in futures[1])


def test_training_with_instruments_on_a_forward_of_its_own():
    """The recorder and the autopsy see the deaths that the Sequential twin has, step by step, with the same shares."""
    seen = []
    for model in (small(), ByHand(small())):
        optimizer = optim.SGD(model.parameters(), lr=4.0, momentum=0.9)
        recorder, autopsy = lab.Recorder(model, X), lab.Autopsy(model, X, optimizer)
        for _ in range(12):
            optimizer.zero_grad()
            F.cross_entropy(recorder.forward(), Y).backward()
            autopsy.step()
        recorder.observe()
        seen.append(([life.events for life in recorder.lives()], [(d.step, d.unit, d.sample, d.cause) for d in autopsy.deaths],
                     [share.total for d in autopsy.deaths for share in d.shares.values()]))
    assert seen[0][:2] == seen[1][:2] and seen[0][1]
    np.testing.assert_allclose(seen[0][2], seen[1][2], atol=1e-12)


def test_the_foretold_return_comes_true_in_a_forward_of_its_own():
    model = Branches()
    lab.kill(model, X, [1, 2])
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.99, weight_decay=5e-4)
    told = {(u.layer, u.unit): u for u in lab.prognosis(model, X, optimizer, horizon=600).units}
    assert told["a", 1].proved and told["a", 1].step == 472
    recorder = lab.Recorder(model, X)
    recorder.observe()
    for _ in range(480):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
        recorder.observe()
    back = {(life.layer, life.unit): life.revived_at for life in recorder.lives()}
    assert [back["a", j] for j in (1, 2)] == [told["a", j].step for j in (1, 2)] == [472, 472]


class Normed(ByHand):
    def __init__(self, mlp):
        super().__init__(mlp)
        self.norm = nn.BatchNorm1d(5, dtype="float64")

    def forward(self, x):
        return self.last(F.relu(self.norm(self.second(F.relu(self.first(x))))))


def test_one_sample_and_a_batch_norm():
    """In training, a batch norm refuses a single sample: the prognosis says of it what it says of the same sample twice."""
    model = Normed(small())
    lab.kill(model, X, [1])
    one, two = (lab.prognosis(model, X[samples], optim.SGD(model.parameters(), lr=0.1)).units for samples in ([0], [0, 0]))
    assert one == two and one[1].unit == 1 and "the forward of Normed, whose outputs in training differ" in one[1].reason


def test_dropout_by_hand_is_noticed():
    model = Dropping(small())
    lab.kill(model, X, [1])
    (unit,) = (found := lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))).units
    assert str(found).startswith("prognosis of 1 dead unit\n")
    assert unit.verdict == "estimate" and "the forward of Dropping, whose outputs in training differ" in unit.reason
    frozen = ByHand(small())
    lab.kill(frozen, X, [1])
    optimizer = optim.SGD(frozen.parameters(), lr=0.1, momentum=0.9)
    frozen.second.requires_grad_(False)                 # changes nothing for the units before
    assert [unit.proved for unit in lab.prognosis(frozen, X, optimizer).units] == [True]


def test_decay_to_the_start_of_units_in_a_forward_of_its_own():
    model = Branches()
    optimizer, home = optim.SGD(model.parameters(), lr=0.1), lab.DecayToStart(model, 1.0)
    model.a.bias.data = begun = model.a.bias.data - 8.0
    home.apply(lab.Units(model, X), optimizer, {0: [1, 2]})
    np.testing.assert_allclose(model.a.bias.data - begun, [0, 0.8, 0.8, 0], atol=1e-12)


class Features(ByHand):
    """Returns its features too, so that ReDo would change them; or uses the weights after them twice."""

    def __init__(self, mlp, tied):
        super().__init__(mlp)
        self.tied = tied

    def forward(self, x):
        h = F.relu(self.first(x))
        y = self.last(F.relu(self.second(h)))
        return y + self.last(F.relu(self.second(F.tanh(self.first(x))))) if self.tied else (y, h)


@pytest.mark.parametrize(("tied", "why"), [(False, "the output of the model after it"), (True, "several uses in one pass")])
def test_outgoing_weights_that_are_not_the_units_own_are_left_alone(tied, why):
    model = Features(small(), tied)
    layers = {layer.name: layer for layer in lab.Units(model, X).layers}
    assert layers["first"].outgoing == ("a weight after it that acts elsewhere too" if tied else why)
    assert layers["second"].outgoing == (why if tied else lab.layers.Outgoing(model.last.weight, model.last.bias))
    with pytest.raises(ValueError, match="layer first has"):
        lab.ReDo().apply(lab.Units(model, X), units={0: [0]}, rng=0)


def test_branches_lead_around_a_layer():
    """Units of `a` are cut off only if both of their paths are closed: through b, and around it."""
    model = Branches()
    layers = {layer.name: layer for layer in lab.Units(model, X).layers}
    assert "a" not in layers["b"].gates and not layers["c"].gates
    assert layers["a"].outgoing == "2 operations after it"
    model.b.bias.data = model.b.bias.data - 99
    assert lab.census(model, X).dead == [0, 4, 0] and not lab.census(model, X).layers[0].count(lab.State.CUT_OFF)
    deep = ByHand(small())
    deep.second.bias.data = deep.second.bias.data - 99
    assert lab.census(deep, X).layers[0].count(lab.State.CUT_OFF) == 6


def test_a_shared_layer_is_one_layer_with_two_positions():
    model = Shared()
    z = np.concatenate([F.linear(part, model.eye.weight, model.eye.bias).data for part in (X[:, :2], X[:, 1:])])
    (layer,) = lab.census(model, X, Y).layers
    np.testing.assert_allclose(layer.max_z, z.max(axis=0))
    np.testing.assert_allclose(layer.on_rate, (z > 0).mean(axis=0))
    F.cross_entropy(model(X), Y).backward()
    np.testing.assert_allclose(layer.gradient, np.hypot(np.linalg.norm(model.eye.weight.grad, axis=1), model.eye.bias.grad))
    lo = lab.lethal_lr(model, X, Y).layers[0].lo            # exact: no parameter acts on the inputs
    steps = [np.where((rates := -(part @ -model.eye.weight.grad.T - model.eye.bias.grad)) > 0, before / rates, np.nan)
             for part, before in zip((X[:, :2], X[:, 1:]), np.split(z, 2))]
    alive = np.concatenate([np.where(before > 0, step, 0) for step, before in zip(steps, np.split(z, 2))])
    np.testing.assert_allclose(lo[np.isfinite(lo)], alive.max(axis=0)[np.isfinite(lo)])
    lab.kill(model, X, [2])
    unit, = lab.prognosis(model, X, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)).units
    assert unit.verdict == "estimate" and "used 2 times in the graph" in unit.reason


def test_a_recurrent_layer_is_what_its_loop_by_hand_is():
    found = []
    for by_hand in (False, True):
        model = Elman(by_hand)
        model.i.bias.data = model.i.bias.data - np.array([0, 9, 0, 0, 0])
        (layer,) = lab.census(model, SEQUENCES, Y).layers
        assert [lab.State(state).label for state in layer.state] == ["alive", "dead", "alive", "alive", "alive"]
        found.append((layer, lab.lethal_lr(model, SEQUENCES, Y), lab.gradient_profile(model, SEQUENCES, Y)))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        assert [unit.verdict for unit in lab.prognosis(model, SEQUENCES, optimizer).units] == ["estimate"]
    (one, lethal, profile), (its, other, by_loop) = found
    for name in ("on_rate", "max_z", "mean_z", "mean_h", "gradient", "state"):
        np.testing.assert_allclose(getattr(one, name), getattr(its, name), rtol=1e-12)
    np.testing.assert_allclose(lethal.layers[0].lo, other.layers[0].lo)
    np.testing.assert_allclose([row.gradient for row in profile.layers], [row.gradient for row in by_loop.layers], rtol=1e-9)
    np.testing.assert_allclose([row.signal for row in profile.layers], [row.signal for row in by_loop.layers], rtol=1e-9)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_gates_against_their_definition(kind, reverse):
    """Each gate, unit by unit and step by step, from the equations of the docstrings."""
    layer = kind(3, 4, rng=1, bidirectional=reverse, dtype="float64")
    end = "_l0_reverse" if reverse else "_l0"
    w, u, b, c = (getattr(layer, name + end).data for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h, cell, seen = np.zeros((40, 4)), np.zeros((40, 4)), {}
    steps = SEQUENCES.transpose(1, 0, 2)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    for x in steps[::-1] if reverse else steps:
        mine, rest = np.split(x @ w.T + b, len(w) // 4, axis=1), np.split(h @ u.T + c, len(w) // 4, axis=1)
        if kind is nn.LSTM:
            z = dict(zip(("input", "forget", "cell", "output"), map(np.add, mine, rest)))
            cell = sigmoid(z["forget"]) * cell + sigmoid(z["input"]) * np.tanh(z["cell"])
            h, z["state"] = sigmoid(z["output"]) * np.tanh(cell), cell
        else:
            z = {"reset": mine[0] + rest[0], "update": mine[1] + rest[1]}
            z["new"] = mine[2] + sigmoid(z["reset"]) * rest[2]
            h = (1 - sigmoid(z["update"])) * np.tanh(z["new"]) + sigmoid(z["update"]) * h
        for name, value in z.items():
            seen.setdefault(name, []).append(value)
    found = {layer.name: layer for layer in lab.census(layer, steps).layers}
    for name, values in seen.items():
        of = found[f"{end[1:]} {name}"]
        values = np.array(values[::-1] if reverse else values)
        np.testing.assert_allclose(of.max_z, values.max(axis=(0, 1)), rtol=1e-12)
        np.testing.assert_allclose(of.mean_z, values.mean(axis=(0, 1)), rtol=1e-10)
        f = np.tanh if name in ("cell", "state", "new") else sigmoid
        np.testing.assert_allclose(of.over_time, f(values).mean(axis=1), rtol=1e-12)


def test_gates_that_are_cut_from_one_map_by_hand():
    """They have the numbers and the gradients of those of the layer."""
    model = ByHandLSTM()
    found = {layer.name: layer for layer in lab.census(model, SEQUENCES, Y).layers}
    layer = {layer.name.removeprefix("l0 "): layer for layer in lab.census(model.lstm, SEQUENCES.transpose(1, 0, 2)).layers}
    F.cross_entropy(model(SEQUENCES), Y).backward()
    rows = np.concatenate([p.grad.reshape(4, 4, -1) for p in model.lstm.parameters()], axis=2)
    for k, gate in enumerate(("input", "forget", "cell", "output")):
        mine = found[f"lstm.l0[{4 * k}:{4 * k + 4}]"]
        np.testing.assert_allclose(mine.over_time, layer[gate].over_time, rtol=1e-12)
        np.testing.assert_allclose(mine.gradient, np.linalg.norm(rows[k], axis=1), rtol=1e-9)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_every_instrument_on_words(kind, tmp_path):
    """Integers, an embedding, a recurrent layer, a layer that acts at every position; in batches as at once."""
    model = Words(kind)
    model.hidden.bias.data = [2, -9, 2, 2, 2]
    for p in model.words.parameters():
        p.requires_grad = False         # frozen, and looked at all the same
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    found, parts = lab.census(model, WORDS, Y), lab.census(model, WORDS, Y, batch_size=7)
    assert found.layers[-1].name == "hidden" and found.dead[-1] == 1
    assert [unit["state"] for unit in parts.units()] == [unit["state"] for unit in found.units()]
    np.testing.assert_allclose(parts.layers[0].gradient, found.layers[0].gradient, rtol=1e-4)
    np.testing.assert_allclose(parts.layers[0].over_time, found.layers[0].over_time, rtol=1e-5)
    F.cross_entropy(model(WORDS), Y).backward()
    own = [p.grad.reshape(len(p.grad) // 4, 4, -1) for p in model.memory.parameters()]         # (gates, units, numbers)
    for k in range(len(own[0])):        # each gate has its own rows of weights and biases
        rows = np.concatenate([part[k] for part in own], axis=1)
        np.testing.assert_allclose(found.layers[k].gradient, np.linalg.norm(rows, axis=1), rtol=1e-5)
    optimizer.zero_grad()
    assert lab.lethal_lr(model, WORDS, Y, optimizer=optimizer).layers[-1].lo[1] == 0
    profile = lab.gradient_profile(model, WORDS, Y, optimizer)
    assert [row.name for row in profile.layers] == ["words", "memory.weight_ih_l0", "memory.weight_hh_l0", "hidden", "last"]
    assert profile.layers[0].gradient == 0 and all(row.gradient > 0 and row.signal > 0 for row in profile.layers[1:])
    assert profile.layers[2].rank > 1
    last = len(found.layers) - 1
    assert lab.why_zero(model, WORDS, Y, (last, 1)).counts == {"hidden.weight[1]": {"mask": 4}, "hidden.bias[1]": {"mask": 1}}
    assert any(hint.layer == "hidden" and hint.units == [1] for hint in lab.advise(model, WORDS, Y, optimizer).hints)
    autopsy, recorder = lab.Autopsy(model, WORDS, optimizer), lab.Recorder(model, WORDS)
    model.hidden.bias.grad = np.full(5, 1e6, np.float32)
    recorder.observe()
    optimizer.param_groups[0]["lr"] = 99.0
    autopsy.step()
    recorder.observe()
    assert len(autopsy.deaths) == 4 and {(d.layer, d.cause) for d in autopsy.deaths} == {("hidden", "gradient")}
    death = autopsy.deaths[0]
    assert death.after - death.before == pytest.approx(sum(s.total for s in death.shares.values()) + death.rest, abs=1e-9)
    assert sum(life.events[-1:] == [(1, "died")] for life in recorder.lives()) == 4
    found.plot_over_time().savefig(tmp_path / "a.png")
    assert len(found.over_time().rows) == 6 and found.over_time().headings[-1] == "hidden"
    for plot in (found, profile, autopsy, recorder):
        plot.plot().savefig(tmp_path / "a.png")
    lab.BumpBias(WORDS).apply(model, optimizer, {last: None})
    assert lab.census(model, WORDS).dead[-1] == 0
    with pytest.raises(ValueError, match=r"hidden layer 0 \(memory.l0.*\) is no activation of an affine map"):
        lab.BumpBias(WORDS).apply(model, units={0: None})
    with pytest.raises(ValueError, match=r"layer memory.l0.* has a recurrent layer around it"):
        lab.ReDo().apply(lab.Units(model, WORDS), units={0: None}, rng=0)


class Odd(nn.Module):
    """Runs another number of operations for large batches."""

    def __init__(self):
        self.a = dense(3, 4)

    def forward(self, x):
        y = F.relu(self.a(x))
        return y if len(x) < 30 else y * 2


@pytest.mark.parametrize(("call", "error", "sentence"), [
    (lambda: lab.census(Odd(), X), RuntimeError, "the forward of Odd applies other operations to these samples than to the first"),
    (lambda: lab.Units(Branches()), TypeError, r"got Branches without data, expected samples x for which it runs: lab.Units\(model, x"),
    (lambda: lab.ReDo().apply(Branches(), rng=0), TypeError, r"lab.Units\(model, x\)"),
    (lambda: lab.SwapToLeaky().apply(lab.Units(ByHand(small()), X)), ValueError, r"layer 0 \(first\) is not in a Sequential"),
    (lambda: lab.census(Words(), WORDS[:0]), ValueError, "expected at least one sample"),
    (lambda: lab.census(Branches(), X * np.nan), ValueError, "x holds nan, expected finite numbers"),
])
def test_errors_are_one_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_looking_leaves_the_model_as_it_was():
    """Hooks, modes, frozen parameters and captured steps."""
    model, calls = Words(), []
    model.words.weight.requires_grad = False
    model.hidden.register_forward_hook(lambda *_: calls.append(1))
    model.train()
    for module in model.modules():
        guard.watched[id(module)] = module        # as if a step had been captured
    before, step = [dict(vars(m)) for m in model.modules()], guard.version
    lab.census(model, WORDS)
    assert not calls and [vars(m) for m in model.modules()] == before and guard.version == step
    assert not model.words.weight.requires_grad and model.training


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_population_is_looked_at_member_by_member(dtype, tmp_path):
    """As each member alone, with its own settings and buffers of the optimizer."""
    model = nn.MLP([3, 6, 2], members=3, rng=0, dtype=dtype)
    lab.Kill(X).apply(model, units=[{0: [0]}, {0: [1, 2]}, {}])
    optimizer = optim.SGD(model.parameters(), lr=[0.1, 0.2, 0.3], momentum=[0.9, 0.99, 0.9], weight_decay=[0.0, 5e-4, 0.0])
    for _ in range(2):
        optimizer.zero_grad()
        F.per_member(F.cross_entropy, model(X), Y).sum().backward()
        optimizer.step()
    looks = {"census": lambda m, o: lab.census(m, X, Y), "rates": lambda m, o: lab.lethal_lr(m, X, Y, optimizer=o),
             "profile": lambda m, o: lab.gradient_profile(model=m, x=X, y=Y, optimizer=o), "advice": lambda m, o: lab.advise(m, X, Y, o),
             "prognosis": lambda m, o: lab.prognosis(m, X, o, horizon=300)}
    for name, look in looks.items():
        found, alone = look(model, optimizer), [look(model.member(k), optimizer.member(k)) for k in range(3)]
        assert isinstance(found, lab.Members) and [str(one) for one in found.each] == [str(one) for one in alone], name
        assert found.to_dict() == {"members": [one.to_dict() for one in alone]}
        assert "member" in str(found) and str(found).count("census on") <= 1
    assert [one.dead for one in looks["census"](model, optimizer).each] == [[1], [2], [0]]
    assert {row.name for one in looks["profile"](model, optimizer).each for row in one.layers} == {"0", "2"}
    looks["census"](model, optimizer).plot(2).savefig(tmp_path / "a.png")
    layers, units = lab.census(nn.MLP([3, 6, 2], members=40, rng=0, dtype=dtype), X).parts()
    assert len(layers.rows) == 40 and units.title == "units (200 of 240 shown)" and len(units.rows) == 200


def instruments_of(model, x, last):
    """What all instruments say of a recurrent layer, in training too; `last` is the index of the last time step."""
    def loss(output, y, reduction="mean"):
        return F.cross_entropy(output[0][last], y, reduction=reduction)

    optimizer = optim.SGD(model.parameters(), lr=3.0, momentum=0.9, weight_decay=0.1)
    options = {"loss": loss, "batch_size": 7}
    said = [lab.census(model, x, Y, **options), lab.lethal_lr(model, x, Y, **options), lab.gradient_profile(model, x, Y, **options),
            lab.why_zero(model, x, Y, **options), lab.prognosis(model, x, optimizer, horizon=20)]
    recorder, autopsy = lab.Recorder(model, x), lab.Autopsy(model, x, optimizer, batch_size=7)
    for step in range(6):
        optimizer.zero_grad()
        output = recorder.forward() if step % 2 else (recorder.observe(), model(x))[1]
        loss(output, Y).backward()
        autopsy.step()
    assert autopsy.deaths and autopsy.to_dict()["samples"] == len(Y)
    return [str(one) for one in (*said, recorder, autopsy)]


def test_the_first_axis_of_a_recurrent_layer_may_be_time():
    told = []
    for batch_first in (True, False):
        model = nn.RNN(3, 6, nonlinearity="relu", rng=3, dtype="float64", batch_first=batch_first)
        x = SEQUENCES if batch_first else np.ascontiguousarray(SEQUENCES.transpose(1, 0, 2))
        told.append(instruments_of(model, x, np.s_[:, -1] if batch_first else -1))
    assert told[0] == told[1]
