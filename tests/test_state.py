"""State dicts: their contents, what models and optimizers accept, and that a misfit leaves everything unchanged."""
from __future__ import annotations

import re

import numpy as np
import pytest
from damage import one_line

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

X, LABELS = np.random.default_rng(0).standard_normal((8, 4)), np.arange(8) % 3


class Counting(nn.Module):
    """A layer with buffers of both kinds and a shared weight."""

    def __init__(self, seed=0):
        self.inside = nn.Linear(4, 3, rng=seed)
        self.again = self.inside
        self.seen = nn.Buffer(np.array(seed))
        self.draws = nn.Buffer(np.array([seed, 1], "u8"), optional=True)


def bits(model):
    return {name: (values.tobytes(), values.dtype, values.shape) for name, values in model.state_dict().items()}


# -- modules ---------------------------------------------------------------------------------------------------------

def test_names_order_and_copies():
    model = Counting(3)
    state = model.state_dict()
    assert list(state) == ["seen", "draws", "inside.weight", "inside.bias", "again.weight", "again.bias"]
    assert [p for p, _ in model.named_parameters()] == ["inside.weight", "inside.bias"]     # shared ones once
    before = bits(model)
    for values in state.values():
        assert type(values) is np.ndarray
        values[...] = 0
    assert bits(model) == before


def test_a_round_trip_keeps_bits_and_places():
    model, other = nn.MLP([4, 6, 3], "prelu", rng=0), nn.MLP([4, 6, 3], "prelu", rng=1)
    optim.SGD(other.parameters())
    arrays, flat = [p.data for p in other.parameters()], other.parameters()[0].place[0]
    assert other.load_state_dict(model.state_dict()) == ([], [])
    assert bits(other) == bits(model)
    assert all(p.data is array and array.base is flat for p, array in zip(other.parameters(), arrays) if p.kind != "slope")
    counting = Counting(1)
    counting.load_state_dict(Counting(7).state_dict())
    assert bits(counting) == bits(Counting(7)) and counting.seen.data == 7


def test_a_state_that_is_the_model_itself():
    """The state holds views of the parameters, swapped: all values are read before the first is written."""
    a, b = np.arange(3.0), np.arange(3.0) + 5
    model = nn.Sequential(nn.PReLU(3, dtype="float64"), nn.PReLU(3, dtype="float64"))
    model[0].weight.data, model[1].weight.data = a, b
    model.load_state_dict({"0.weight": model[1].weight, "1.weight": model[0].weight.data})
    assert model[0].weight.data.tolist() == b.tolist() and model[1].weight.data.tolist() == a.tolist()


def test_what_may_be_missing():
    state = Counting(7).state_dict()
    model = Counting(1)
    del state["draws"], state["again.weight"], state["inside.bias"]
    assert model.load_state_dict(state).missing_keys == ["draws"]
    assert model.draws.data.tolist() == [1, 1] and model.seen.data == 7
    np.testing.assert_array_equal(model.inside.weight.data, Counting(7).inside.weight.data)
    np.testing.assert_array_equal(model.inside.bias.data, Counting(7).inside.bias.data)


def test_not_strict():
    model = nn.Linear(4, 3, rng=0)
    found = model.load_state_dict({"bias": np.ones(3), "scale": 2.0}, strict=False)
    assert found.missing_keys == ["weight"] and found.unexpected_keys == ["scale"]
    assert model.bias.data.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=re.escape("Linear: the state does not fit: bias has shape (4,), expected (3,)")):
        model.load_state_dict({"bias": np.ones(4)}, strict=False)


@pytest.mark.parametrize("values, expected", [
    (np.array([1, 2, 3]), [1, 2, 3]), (np.array([True, False, True]), [1, 0, 1]), ([0.5, 1, 2], [0.5, 1, 2]),
    (np.array([1, 2, 3], ">f8"), [1, 2, 3]), (np.array([0.1, 0.2, 0.3], "f8"), np.float32([0.1, 0.2, 0.3]).tolist()),
    (np.array([1, 2, 3], "f2"), [1, 2, 3]), (np.array([np.inf, np.nan, -np.inf]), [np.inf, np.nan, -np.inf]),
    (np.arange(6.0)[::2], [0, 2, 4])])
def test_numbers_are_converted_as_by_copy(values, expected):
    model = nn.Linear(2, 3, rng=0)
    model.load_state_dict({"bias": values}, strict=False)
    np.testing.assert_array_equal(model.bias.data, expected)
    assert model.bias.dtype == np.float32


MISFITS = {
    "missing": (dict(), "seen", "missing seen"),
    "unexpected": (dict(extra=1.0, more=2.0), None, "unexpected extra, more"),
    "shape": ({"inside.weight": np.ones((4, 3))}, None, "inside.weight has shape (4, 3), expected (3, 4)"),
    "text": ({"inside.weight": "abc"}, None, "inside.weight holds text"),
    "object": ({"inside.weight": None}, None, "inside.weight is None, expected"),
    "complex": ({"inside.weight": np.ones((3, 4), complex)}, None, "inside.weight holds complex numbers"),
    "ragged": ({"inside.weight": [[1], [1, 2]]}, None, "inside.weight is ragged"),
    "float in integer": (dict(seen=1.5), None, "seen holds float64 numbers, expected int64"),
    "negative": (dict(draws=[-1, 0]), None, "draws holds -1, which uint64 cannot hold"),
    "huge": ({"inside.bias": np.array([0, -1e300, 0])}, None, "inside.bias holds -1e+300, which float32 cannot hold"),
    "disagreeing": ({"again.bias": np.arange(3)}, None, "inside.bias and again.bias hold different numbers, but share one array"),
    "odd name": ({"a\nb" * 60: 1.0}, None, "unexpected 'a\\nb"),
    "number as name": ({7: 1.0}, None, "unexpected 7"),
}


@pytest.mark.parametrize("change, without, sentence", MISFITS.values(), ids=MISFITS)
def test_misfits_change_nothing(change, without, sentence):
    state = {name: values for name, values in Counting(7).state_dict().items() if name != without}
    model, before = Counting(1), bits(Counting(1))
    with pytest.raises(ValueError, match=re.escape("Counting: the state does not fit: " + sentence)) as caught:
        model.load_state_dict({**state, **change})
    one_line(caught.value)
    assert bits(model) == before


def test_all_misfits_come_at_once():
    model, before = Counting(1), bits(Counting(1))
    state = {"inside.weight": np.ones((4, 3)), "inside.bias": np.ones(3, complex), "bias": 1.0, "scale": 1.0}
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    for part in ("missing seen", "unexpected bias, scale", "inside.weight has shape (4, 3)", "inside.bias holds complex"):
        assert part in one_line(caught.value)
    assert bits(model) == before
    with pytest.raises(TypeError, match="Counting: the state is list, expected a dict"):
        model.load_state_dict([1])


# -- optimizers ------------------------------------------------------------------------------------------------------

DIALECTS = {
    "sgd": (optim.SGD, dict(lr=0.1)),
    "momentum": (optim.SGD, dict(lr=0.03, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    "nesterov": (optim.SGD, dict(lr=0.03, momentum=0.9, nesterov=True, decoupled=True, weight_decay=0.01)),
    "adam": (optim.Adam, dict(lr=0.01, betas=(0.8, 0.99), weight_decay=0.01)),
    "adamw": (optim.AdamW, dict(lr=0.01)),
}
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def make(dialect, seed=0, **more):
    kind, options = DIALECTS[dialect]
    model = nn.MLP([4, 6, 5, 3], "prelu", rng=seed)
    return model, kind(model.parameters(), **{**options, **more})


def step(model, opt, i):
    """One parameter gets no gradient at first, and not always later, so the flat segment is split."""
    opt.zero_grad()
    F.cross_entropy(model(np.float32(X) + i), LABELS).backward()
    if i in (0, 1, 4):
        model.parameters()[3].grad = None
    opt.step()


def same(a, b):
    """Equal to the bit, in dicts and lists too."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


@every_dialect
def test_a_resumed_run_has_the_same_bits(dialect):
    model, opt = make(dialect)
    snapshots = []
    for i in range(7):
        snapshots.append((model.state_dict(), opt.state_dict()))
        step(model, opt, i)
    for start, (weights, state) in enumerate(snapshots):
        other, resumed = make(dialect, seed=9, lr=0.5)
        for i in range(start % 3):
            step(other, resumed, i)         # an earlier state, which loading must replace completely
        other.load_state_dict(weights)
        resumed.load_state_dict(state)
        assert same(resumed.state_dict(), state)
        for i in range(start, 7):
            step(other, resumed, i)
        assert bits(other) == bits(model) and same(resumed.state_dict(), opt.state_dict())


def test_the_form_is_that_of_pytorch():
    model, opt = make("adam")
    assert opt.state_dict()["state"] == {}
    for i in range(3):
        step(model, opt, i)
    state = opt.state_dict()
    assert list(state) == ["state", "param_groups"] and list(state["state"]) == list(range(8))
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert [group["params"] for group in state["param_groups"]] == [[0, 1, 2, 3, 4, 5], [6, 7]]     # the slopes, last
    assert state["param_groups"][0]["betas"] == (0.8, 0.99)
    late = [p is model.parameters()[3] for group in opt.param_groups for p in group["params"]].index(True)
    assert [state["state"][i]["step"] for i in range(8)] == [1 if i == late else 3 for i in range(8)]
    state["state"][0]["exp_avg"][...] = 7
    assert not (opt.state_dict()["state"][0]["exp_avg"] == 7).any()


def test_neighbours_with_one_past_move_in_one_launch_again():
    model, opt = make("adam")
    for i in (2, 3):
        step(model, opt, i)
    other, resumed = make("adam")
    resumed.load_state_dict(opt.state_dict())
    assert [len(pieces) for pieces in resumed._segments] == [len(pieces) for pieces in make("adam")[1]._segments]


def test_a_state_that_has_counted_no_step():
    """Such a state can be written by hand: its buffers and its count are kept."""
    opt = make("adam")[1]
    state = opt.state_dict()
    state["state"] = {0: {"step": np.float32(0), "exp_avg": np.ones((6, 4)), "exp_avg_sq": np.ones((6, 4))}}
    opt.load_state_dict(state)
    assert list(opt.state_dict()["state"]) == [0] and opt.state_dict()["state"][0]["step"] == 0


def test_switches_and_notes_of_pytorch():
    model, opt = make("adam")
    state = opt.state_dict()
    group = dict(amsgrad=False, maximize=False, foreach=None, capturable=False, differentiable=False, fused=None,
                 decoupled_weight_decay=False, initial_lr=0.1, param_names=["a"], lr=np.float32(0.5))
    state["param_groups"][0] |= group
    state["param_groups"][1] |= {"betas": [0.5, 0.6]}
    opt.load_state_dict(state)
    assert opt.param_groups[0]["lr"] == 0.5 and opt.param_groups[1]["betas"] == (0.5, 0.6)
    assert not set(group) - {"lr"} & set(opt.param_groups[0])
    sgd = make("nesterov")[1]
    state = sgd.state_dict()
    for group in state["param_groups"]:
        del group["decoupled"]
    sgd.load_state_dict(state)
    assert [group["decoupled"] for group in sgd.param_groups] == [False, False]


def entry(state, i=0):
    return state["state"][i]


def group(state, i=0):
    return state["param_groups"][i]


OPTIMIZER_MISFITS = {
    "no dict": (lambda s: s.clear(), TypeError, "Adam: the state is a dict of nothing, expected a dict with 'state' and 'param_groups'"),
    "no groups": (lambda s: s.update(param_groups=3), ValueError, "under 'param_groups' a list of dicts"),
    "params": (lambda s: group(s).update(params="abc"), ValueError, "under 'param_groups' a list of dicts"),
    "fewer": (lambda s: group(s)["params"].pop(), ValueError, "has groups of [5, 2] parameters, expected [6, 2]"),
    "twice": (lambda s: group(s)["params"].__setitem__(0, 1), ValueError, "each parameter once"),
    "unknown": (lambda s: s["state"].update({99: {}}), ValueError, "unexpected state 99"),
    "shape": (lambda s: entry(s).update(exp_avg=np.ones((4, 6))), ValueError,
              "state 0: exp_avg has shape (4, 6), expected (6, 4)"),
    "lacking": (lambda s: entry(s).pop("exp_avg_sq"), ValueError, "state 0: missing exp_avg_sq"),
    "buffer": (lambda s: entry(s).update(max_exp_avg_sq=np.ones((6, 4))), ValueError, "state 0: unexpected max_exp_avg_sq"),
    "half a step": (lambda s: entry(s).update(step=1.5), ValueError, "state 0: step is 1.5, expected a whole number"),
    "step nan": (lambda s: entry(s).update(step=np.nan), ValueError, "state 0: step is nan"),
    "step true": (lambda s: entry(s).update(step=True), ValueError, "state 0: step is True, expected a whole number"),
    "step huge": (lambda s: entry(s).update(step=10**30), ValueError, "state 0: step holds integers of more than 64 bits"),
    "steps": (lambda s: entry(s).update(step=[1, 2]), ValueError, "state 0: step is [1, 2], expected a whole number"),
    "entry": (lambda s: s["state"].update({1: [2]}), ValueError, "state 1: the state is list, expected a dict"),
    "range": (lambda s: group(s, 1).update(lr=-1.0), ValueError, "group 1: Adam: lr is -1.0"),
    "kind": (lambda s: group(s).update(lr="a"), ValueError, "group 0: Adam: lr is 'a', expected a number"),
    "huge": (lambda s: group(s).update(lr=10**400), ValueError, "group 0: "),
    "array": (lambda s: group(s).update(lr=np.ones((30, 30))), ValueError, "group 0: "),
    "option": (lambda s: group(s).pop("eps"), ValueError, "group 0: missing eps"),
    "momentum": (lambda s: group(s).update(momentum=0.9), ValueError, "group 0: unexpected momentum"),
    "amsgrad": (lambda s: group(s).update(amsgrad=True), ValueError, "group 0: amsgrad is True, expected False"),
    "foreach": (lambda s: group(s).update(foreach=True), ValueError, "group 0: foreach is True, expected False"),
    "adamw": (lambda s: group(s).update(decoupled_weight_decay=True), ValueError,
              "group 0: decoupled_weight_decay is True, expected False"),
}


@pytest.mark.parametrize("spoil, kind, sentence", OPTIMIZER_MISFITS.values(), ids=OPTIMIZER_MISFITS)
def test_optimizer_misfits_change_nothing(spoil, kind, sentence):
    model, opt = make("adam")
    step(model, opt, 2)
    before, weights, state = opt.state_dict(), bits(model), opt.state_dict()
    for i in state["state"]:
        entry(state, i)["exp_avg"][...] = 5
    state["param_groups"][0]["lr"] = 0.7
    spoil(state)
    with pytest.raises(kind, match=re.escape(sentence)) as caught:
        opt.load_state_dict(state)
    assert "\n" not in str(caught.value)
    assert same(opt.state_dict(), before) and bits(model) == weights


def test_all_optimizer_misfits_come_at_once():
    opt = make("adam")[1]
    state = opt.state_dict()
    group(state).update(lr=-1.0, maximize=True)
    group(state, 1).pop("eps")
    state["state"][3] = {"step": 1}
    with pytest.raises(ValueError) as caught:
        opt.load_state_dict(state)
    for part in ("lr is -1.0", "maximize is True", "group 1: missing eps", "state 3: missing exp_avg, exp_avg_sq"):
        assert part in one_line(caught.value)
