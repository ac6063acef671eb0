"""The recorder tells the life of every unit; it sees the same in a forward pass of the training as in its own pass."""
from functools import partial

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, no_grad, optim
from tinygrad_relu.kernels.formulas.smooth import EXP
from tinygrad_relu.lab.layers import State
from tinygrad_relu.lab.recorder import Changes
from tinygrad_relu.lab.units import BATCH
from tinygrad_relu.nn.activations import MODULES
from tinygrad_relu.nn.mlp import NORMS

RNG = np.random.default_rng(5)
X = RNG.standard_normal((60, 4))
Y = RNG.integers(0, 3, 60)


def sick_model(activation="relu", dtype="float64", **options):
    """Four units of the first layer are off the data on the low side, four on the high side."""
    model = nn.MLP([4, 12, 8, 3], activation=activation, rng=0, dtype=dtype, **options)
    if model[0].bias is not None:
        push = np.repeat([-50.0, 50.0, 0.0], len(model[0].bias.data) // 3)
        model[0].bias.data = push
    return model


def test_the_recorder_writes_lives():
    model = sick_model()
    recorder = lab.Recorder(model, X, follow=(0, 0, 3))
    recorder.observe()
    model[0].bias.data = np.where(np.arange(12) == 0, 50.0, model[0].bias.data)
    recorder.observe()
    recorder.observe()                      # nothing has moved
    model[0].bias.data = np.where(np.arange(12) == 0, -50.0, model[0].bias.data)
    recorder.observe(10)
    model[0].bias.data = np.where(np.arange(12) == 11, -50.0, model[0].bias.data)
    recorder.observe()
    lives = {life.unit: life.events for life in recorder.lives() if life.layer == "0"}
    assert lives[0] == [(0, "dead at the first look"), (1, "revived"), (10, "died again")]
    assert lives[11] == [(11, "died")] and lives[9] == []
    assert recorder.steps == [0, 1, 2, 10, 11] and len(recorder.orbit) == 5
    assert recorder.states[0].shape == (5, 12)
    assert "died again at 10" in str(recorder.table())


class Swish(nn.Module):
    """An activation of a user, made of two operations."""

    def forward(self, x):
        return x * F.sigmoid(x)


class Exp(nn.activations.Activation):
    """The only one whose slopes are found from its outputs; the recorder takes it for one of the package."""

    __module__ = nn.__name__
    record = EXP


def networks():
    """Every kind of hidden layer, as (name, a function that makes the model)."""
    for name in [*MODULES, "maxout"]:
        yield name, lambda name=name: sick_model(name)
    yield "float32", lambda: sick_model(dtype="float32")
    yield "own", lambda: sick_model(Swish)
    yield "exp", lambda: nn.MLP([4, 12, 8, 3], Exp, init=0.1, rng=0)
    for norm in NORMS:
        yield f"{norm} norm", lambda norm=norm: sick_model(norm=norm)
    yield "dropout", lambda: sick_model(dropout=0.5)
    yield "residual", lambda: nn.Sequential(nn.Residual(nn.Linear(4, 4, rng=0), nn.ReLU(), nn.Linear(4, 4, rng=1)),
                                            sick_model(), nn.Softmax())
    shared = nn.ReLU()
    yield "shared", lambda: nn.Sequential(nn.Linear(4, 12, rng=0), shared, nn.Linear(12, 8, rng=1), shared, nn.Linear(8, 3, rng=2))


@pytest.mark.parametrize(("name", "make"), list(networks()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_forward_pass_shows_what_a_look_shows(name, make):
    """The same states and orbit, step by step; the same outputs, gradients and weights as without a recorder."""
    watched, plain = make(), make()
    of_both = [optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.05) for model in (watched, plain)]
    x = X.astype(watched.parameters()[0].dtype)
    by_forward, by_look = (lab.Recorder(watched, x, follow=(1, 3, 7)) for _ in range(2))
    for _ in range(12):
        by_look.observe()
        outputs = by_forward.forward(), plain(x)
        np.testing.assert_array_equal(outputs[0].data, outputs[1].data)
        for output, optimizer in zip(outputs, of_both):
            optimizer.zero_grad()
            F.cross_entropy(output, Y).backward()
            optimizer.step()
    for mine, theirs in zip(watched.parameters(), plain.parameters()):
        np.testing.assert_array_equal(mine.data, theirs.data)
    assert by_forward.steps == by_look.steps == list(range(12))
    np.testing.assert_array_equal(by_forward.orbit, by_look.orbit)
    assert np.isfinite(by_look.orbit).sum() == 12
    for mine, theirs in zip(by_forward._looks, by_look._looks):     # slopes have the same bits, too
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(by_forward.states, by_look.states):
        np.testing.assert_array_equal(mine, theirs)
    assert not any(module._hooks for module in watched.modules())


@pytest.mark.parametrize("activation", ["relu", "prelu", "softplus"])
def test_a_forward_pass_without_gradients(activation):
    model = sick_model(activation)
    recorder, other = lab.Recorder(model, X), lab.Recorder(model, X)
    with no_grad():
        recorder.forward(3)
    for p in model.parameters():
        p.requires_grad = p.kind == "slope"
    recorder.forward()
    other.observe()
    assert recorder.steps == [3, 4]
    for states, expected in zip(recorder.states, other.states):
        np.testing.assert_array_equal(states, [expected[0]] * 2)


def test_a_pass_that_fails_notes_nothing_and_leaves_no_hook():
    model = sick_model()
    recorder = lab.Recorder(model, X)

    def fail(module, inputs, output):
        raise KeyError("a hook of the user")

    with model[-1].register_forward_hook(fail), pytest.raises(KeyError):
        recorder.forward()
    assert recorder.steps == [] and all(len(states) == 0 for states in recorder.states)
    assert not model[1]._hooks


def test_an_infinite_pre_activation_is_seen_where_the_activation_is_zero():
    """relu(-inf) is 0, and its slope 0: only the pre-activation tells that the unit has diverged."""
    model = sick_model()
    model[0].bias.data = np.where(np.arange(12) == 5, -np.inf, 0.0)
    recorder = lab.Recorder(model, X)
    recorder.forward()
    assert recorder.states[0][0, 5] == lab.State.DIVERGED


def test_a_life_ends_where_its_unit_diverges():
    """A dead unit that becomes infinite has not revived, and its later states are not recorded."""
    model = sick_model()
    recorder = lab.Recorder(model, X)
    for bias in (-50.0, -np.inf, 0.0, -50.0):
        model[0].bias.data = np.full(12, bias)
        recorder.observe()
    assert recorder.lives()[5].events == [(0, "dead at the first look"), (1, "diverged")]


def test_a_recorder_that_has_not_looked_says_so():
    recorder = lab.Recorder(sick_model(), X)
    for ask in (recorder.lives, recorder.table):
        with pytest.raises(RuntimeError, match=r"no step has been recorded yet; call observe\(\)"):
            ask()
    recorder.observe()
    assert len(recorder.lives()) == sum(layer.units for layer in recorder.layers) and recorder.table().rows


def test_follow_names_a_pre_activation_that_exists_and_the_recorder_says_what_it_has_seen():
    model = nn.MLP([4, 3, 2, 2], rng=0)
    x = np.zeros((5, 4))
    for follow, words in (((9, 9, 9), "a layer from 0 to 1"), ((-1, 0, 0), "is -1, expected at least 0"),
                          ((1, 2, 0), "a unit from 0 to 1"), ((0, 2, 5), "a sample from 0 to 4")):
        with pytest.raises((IndexError, ValueError), match=words):
            lab.Recorder(model, x, follow)
    recorder = lab.Recorder(model, x, (1, 1, 4))
    assert repr(recorder) == "Recorder(5 units on 5 samples)"
    recorder.observe()
    recorder.observe()
    assert repr(recorder) == "Recorder(5 units on 5 samples, steps 0 to 1)" and len(recorder.orbit) == 2


def test_one_feature_is_not_1_features():
    with pytest.raises(ValueError, match="x has 1 feature, expected 4"):
        lab.census(nn.MLP([4, 3, 2], rng=0), np.zeros((5, 1)))


def several():
    return nn.MLP([4, 3, 2], rng=0, members=3)


def observed(x, *models):
    backprop = lab.ContinualBackprop()
    for model in models:
        backprop.observe(model, x)


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda m, x: lab.Recorder(m, x, 3), TypeError, r"follow is 3, expected \(layer, unit, sample\)"),
    (lambda m, x: lab.Recorder(m, x, (0, 1)), TypeError, r"follow is \(0, 1\), expected \(layer, unit, sample\)"),
    (lambda m, x: lab.Recorder(m, x, (0, 1.5, 0)), TypeError, "an entry of follow is 1.5, expected a whole number"),
    (lambda m, x: lab.Recorder(m, x).observe("a"), TypeError, "step is 'a', expected a whole number"),
    (lambda m, x: lab.census(m, x, saturation="x"), TypeError, "saturation is 'x', expected a number"),
    (lambda m, x: lab.census(m, x, loss="mse"), TypeError, "loss is 'mse', expected a function"),
    (lambda m, x: lab.census(m, x).table("a"), TypeError, "rows is 'a', expected a whole number"),
    (lambda m, x: lab.census(m, x).table(-1), ValueError, "rows is -1, expected at least 0"),
    (lambda m, x: lab.revival(-1.0, lr=0.1, momentum=None), TypeError, "momentum is None, expected a number"),
    (lambda m, x: lab.revival(-1.0, lr=0.1, dampening="a"), TypeError, "dampening is 'a', expected a number"),
    (lambda m, x: lab.roll_forward(-1.0, lr=None, steps=1), TypeError, "lr is NoneType, expected a number, a sequence, or a"),
    (lambda m, x: tg.explain(m(x).sum(), model=3), TypeError, "the model is int, expected a Module"),
    (lambda m, x: tg.graph(m(x).sum()).to_svg(""), OSError, "the name is empty, expected the name of a file"),
    (lambda m, x: lab.Recorders(several(), x, [(0, 0, 0)]), ValueError, "follow has 1 entries for 3 members; expected one for each"),
    (lambda m, x: lab.Recorders(several(), x, [None] * 4), ValueError, "follow has 4 entries for 3 members; expected one for each"),
    (lambda m, x: lab.kill(3, x), TypeError, "Kill got 3, expected a Module such as nn.MLP"),
    (lambda m, x: lab.SwapToLeaky().apply(3), TypeError, "SwapToLeaky got 3, expected a Module such as nn.MLP"),
    (lambda m, x: lab.Kill(x).apply(several(), units=5), TypeError, "Kill: units is 5, expected {hidden layer: indices or a mask}"),
    (lambda m, x: lab.DecayToStart(3, 0.1), TypeError, "DecayToStart got 3, expected a Module such as nn.MLP"),
    (lambda m, x: lab.DecayToStart(nn.MLP([4, 5, 2], rng=0), 0.1).apply(m, optim.SGD(m.parameters(), lr=0.1)), ValueError,
     "the parameters are not those of the model whose start was noted"),
    (lambda m, x: observed(x, several(), m), ValueError, "this model has other hidden layers than the one that was observed before"),
    (lambda m, x: observed(x, nn.MLP([4, 5, 2], rng=0), m), ValueError, "this model has other hidden layers than the one that was"),
    (lambda m, x: lab.advise(m, x, horizon="long"), TypeError, "advise: horizon is 'long', expected a whole number"),
    (lambda m, x: lab.lethal_lr(m, x, np.arange(5) % 2, optimizer=3), TypeError, "lethal_lr: the optimizer is 3, expected an Optim"),
    (lambda m, x: lab.Autopsy(m, x, optim.SGD(m.parameters(), lr=0.1)).of(0, 1), IndexError,
     "Autopsy: layer is 1, expected a hidden layer from 0 to 0"),
    (lambda m, x: lab.revival_parts(-1.0, 0.5, lr=0.1, momentum=0.9, weight_decay=0.1, decay="weights", max_leaps=0), ValueError,
     "max_leaps is 0, expected at least 1"),
], ids=range(26))
def test_wrong_calls_are_one_sentence(call, error, words):
    with pytest.raises(error, match=words):
        call(nn.MLP([4, 3, 2], rng=0), np.zeros((5, 4)))


def test_units_are_found_once():
    units = lab.Units(nn.MLP([4, 3, 2], rng=0))
    assert len(units.layers) == 1 and lab.Units.of(units) is units


@pytest.mark.parametrize("blocks", [[1, 1, 1], [64, 64, 7], [5, 64, 1, 30]])
@pytest.mark.parametrize("change", [0.0, 0.02, 1.0])
def test_changes_hold_all_states(blocks, change):
    """Random states in blocks of some sizes, of which a share differs from those before."""
    rng = np.random.default_rng(3)
    kept, dense = Changes(6), np.empty((sum(blocks), 6), np.uint8)
    for i in range(len(dense)):
        dense[i] = np.where(rng.random(6) < change, rng.integers(0, 9, 6), dense[i - 1] if i else rng.integers(0, 9, 6))
    for start, size in zip(np.cumsum([0, *blocks]), blocks):
        kept.add(dense[start:start + size])
    np.testing.assert_array_equal(kept.matrix(), dense)
    some = np.arange(0, len(dense), 3)
    np.testing.assert_array_equal(kept.matrix(some), dense[some])
    for j, (when, states) in enumerate(kept.each()):
        assert when[0] == 0 and (np.diff(when) > 0).all()
        np.testing.assert_array_equal(states, dense[when, j])


def test_what_does_not_change_costs_nothing():
    """13 bytes for each change, and 8 for each observation: a million observations take 8 MB, whatever the number of units."""
    model = sick_model()
    recorder = lab.Recorder(model, X)
    for step in range(500):
        if step == 200:
            model[0].bias.data = np.zeros(12)
        recorder.observe()
    changed = sum((a[1:] != a[:-1]).sum() for a in recorder.states)
    blocks = [block for changes in recorder.changes() for block in changes._blocks]
    assert sum(part.nbytes for block in blocks for part in block) == 13 * changed and 8 < changed < 30
    assert recorder._steps.itemsize == 8 and len(recorder._steps) == 500


def test_data_of_any_size_are_seen_in_batches():
    """More samples than go through at once: the states are those of a census, and the followed sample is in the last batch."""
    x = np.random.default_rng(0).standard_normal((2 * BATCH + 300, 4))
    model = sick_model()
    recorder = lab.Recorder(model, x, follow=(1, 3, 2 * BATCH + 17))
    recorder.observe()
    for states, layer in zip(recorder.states, lab.census(model, x).layers):
        np.testing.assert_array_equal(states[0], layer.state)
    h = model[1](model[0](x[2 * BATCH + 17:2 * BATCH + 18]))
    assert recorder.orbit == [pytest.approx(float(model[2](h).data[0, 3]), rel=1e-12)]
    alone = max(len(look.z) for looks in recorder.units.looks(x) for look in looks)
    assert alone == BATCH


def step_of(model, optimizer, recorder):
    output, found = recorder.look()
    optimizer.zero_grad()
    losses = F.per_member(F.cross_entropy, output, Y) if model.members else F.cross_entropy(output, Y)
    losses.sum().backward()
    optimizer.step()
    return losses, found


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("options", [{}, {"activation": "sigmoid"}, {"activation": "leaky_relu"}, {"dtype": "float32"}], ids=str)
def test_a_captured_step_looks_on_the_way(members, options):
    def trained(captured):
        models = [sick_model(**options) for _ in range(members or 1)]
        for k, model in enumerate(models):
            model[0].bias.data = (1 - 0.4 * k) * model[0].bias.data
        model = nn.population(models) if members else models[0]
        follow = (0, 5, 3)
        recorder = lab.Recorders(model, X, [follow] * members) if members else lab.Recorder(model, X, follow)
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
        step = tg.capture(partial(step_of, model, optimizer, recorder)) if captured else None
        assert recorder.is_plain
        losses = []
        for _ in range(100):
            if captured:
                loss, found = step()
                recorder.note(found)
            else:
                recorder.observe()
                loss, _ = step_of(model, optimizer, recorder)
            losses.append(loss.data.tolist())
        assert step is None or step.replays > 90
        return losses, [(one.steps, one.orbit, one.lives()) for one in (recorder.each if members else [recorder])]

    assert trained(True) == trained(False)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("norm", [None, "layer"])
@pytest.mark.parametrize("method", ["forward", "observe"])
def test_a_captured_step_that_notes_is_refused(method, norm, members):
    """A replay would not note: the record would end at the recording, without a word."""
    model = nn.MLP([4, 8, 2], norm=norm, members=members, rng=0)
    recorder = (lab.Recorders if members else lab.Recorder)(model, X)
    step = tg.capture(lambda: getattr(recorder, method)())
    with pytest.raises(tg.CaptureError, match="which a replay would not"):
        for _ in range(3):
            step()


def test_a_look_sees_the_samples_that_a_later_layer_closes():
    """Unit 0 is alive on x > 0, unit 1 on x < 0; the second layer is alive everywhere, and the third on x > 0."""
    net = nn.MLP([1, 2, 1, 1, 2], rng=0, dtype="float64")
    for i, (weight, bias) in enumerate([([[1.0], [-1.0]], [0.0, 0.0]), ([[1.0, -0.4]], [1.0]), ([[1.0]], [-1.0])]):
        net[2 * i].weight.data, net[2 * i].bias.data = weight, bias
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    recorder = lab.Recorder(net, x)
    recorder.note(recorder.look()[1])
    assert [states[0].tolist() for states in recorder.states] == [[State.ALIVE, State.CUT_OFF], [State.ALWAYS_ON], [State.ALIVE]]
    assert [state for layer in lab.census(net, x).layers for state in layer.state] == [0, 7, 4, 0]


@pytest.mark.parametrize("options", [{"activation": "prelu"}, {"activation": "maxout"}, {"norm": "batch"}], ids=str)
def test_other_models_are_not_plain(options):
    model = sick_model(**options)
    for recorder in (lab.Recorder(model, X), lab.Recorders(nn.population([model, model]), X)):
        assert not recorder.is_plain
        with pytest.raises(ValueError, match=f"{type(recorder).__name__}.look: MLP is not plain"):
            recorder.look()


def test_a_plain_model_has_no_hooks():
    model = sick_model()
    recorder = lab.Recorder(model, X)
    assert recorder.is_plain
    for part in (model, model[0]):
        called = []
        with part.register_forward_hook(lambda module, inputs, out: called.append(module)):
            recorder.forward()
            assert not recorder.is_plain and called == [part]
    model[0].weight.requires_grad = False
    assert not recorder.is_plain


@pytest.mark.parametrize("batch_first", [False, True])
def test_of_a_layer_that_acts_over_time_the_orbit_is_that_of_the_first_step(batch_first):
    model = nn.RNN(4, 3, rng=0, dtype="float64", batch_first=batch_first)
    x = X.reshape(12, 5, 4) if batch_first else np.ascontiguousarray(X.reshape(12, 5, 4).transpose(1, 0, 2))
    recorder = lab.Recorder(model, x, follow=(0, 2, 7))
    recorder.observe()
    recorder.forward()
    z = X.reshape(12, 5, 4)[7, 0] @ model.weight_ih_l0.data[2] + model.bias_ih_l0.data[2] + model.bias_hh_l0.data[2]
    np.testing.assert_allclose(recorder.orbit, [z, z], rtol=1e-12)


@pytest.mark.parametrize("activation", ["prelu", "rrelu", "relu", Swish])
def test_hooks_of_an_activation_are_called_by_the_users_passes_only(activation):
    model, called = sick_model(activation), []
    recorder = lab.Recorder(model, X)
    with model[1].register_forward_hook(lambda module, inputs, out: called.append(module)):
        recorder.forward()
        recorder.observe()
        lab.census(model, X)
        recorder.lives()
    assert len(called) == 1
