"""Optimizers: every variant compared with the literal twin, the named terms, groups, and the sharing of arrays."""
from __future__ import annotations

import copy
import itertools
import warnings
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from common import every_type, on_threads

from tinygrad_relu import functional as F
from tinygrad_relu import nn, optim

SGD_DIALECTS = [
    dict(lr=0.1, momentum=momentum, dampening=dampening, nesterov=nesterov, weight_decay=weight_decay,
         decoupled=decoupled)
    for momentum, (dampening, nesterov), weight_decay, decoupled in itertools.product(
        (0.0, 0.9, 0.99), ((0.0, False), (0.3, False), (0.0, True)), (0.0, 0.1), (False, True))
    if momentum or not nesterov]
ADAM_DIALECTS = [dict(lr=0.01, betas=betas, eps=eps, weight_decay=weight_decay)
                 for betas in ((0.9, 0.999), (0.0, 0.5)) for eps in (1e-8, 1e-2) for weight_decay in (0.0, 0.1)]
DIALECTS = ([(optim.SGD, options) for options in SGD_DIALECTS] + [(optim.Adam, options) for options in ADAM_DIALECTS]
            + [(optim.AdamW, options) for options in ADAM_DIALECTS])
every_dialect = pytest.mark.parametrize(
    "kind, options", [pytest.param(k, o, id=f"{k.__name__}-{i}") for i, (k, o) in enumerate(DIALECTS)])


def twin_step(kind, p, g, state, options):
    if kind is optim.SGD:
        return naive.sgd(p, g, state, **options)
    return naive.adam(p, g, state, **options, decoupled=kind is optim.AdamW)


def gradients(p, step):
    """The gradient of a bowl around 1, plus noise that depends on the step; now and then exactly zero."""
    noise = np.random.default_rng(step).standard_normal(p.shape)
    return np.zeros_like(p) if step % 7 == 3 else ((p - 1) + noise).astype(p.dtype)


@every_type
@every_dialect
def test_fifty_steps_agree_with_the_twin(kind, options, dtype):
    """Both get the same gradients, so they differ by rounding only: about ten roundings per step, relative to numbers of order 1
    and to a buffer of up to 1/(1 - momentum) times these, over at most 50 steps."""
    p = nn.Parameter(np.random.default_rng(0).standard_normal((3, 5)), dtype=dtype)
    opt, expected, state = kind([p], **options), p.data.astype(float), {}
    for step in range(50):
        p.grad = gradients(p.data, step)
        kept = p.grad.copy()
        expected = twin_step(kind, expected, kept.astype(float), state, options)
        opt.step()
        np.testing.assert_array_equal(p.grad, kept)         # an optimizer never writes into .grad
        assert p.dtype == dtype
        size = 10 / (1 - options.get("momentum", 0.9)) * max(1.0, abs(expected).max())
        np.testing.assert_allclose(p.data, expected, rtol=0, atol=(step + 1) * size * np.finfo(dtype).eps)


@every_dialect
def test_terms_sum_to_the_step_and_change_nothing(kind, options):
    """To rounding: the step is one fused sum, the terms are three."""
    p = nn.Parameter(np.random.default_rng(0).standard_normal((3, 5)), dtype="float64")
    opt = kind([p], **options)
    for step in range(12):
        p.grad = gradients(p.data, step)
        before, g, state = p.data.copy(), p.grad.copy(), {k: v.copy() for k, v in opt.state_of(p).items()}
        terms = opt.terms(p)
        np.testing.assert_array_equal(p.data, before)
        np.testing.assert_array_equal(p.grad, g)
        assert all((opt.state_of(p)[k] == v).all() for k, v in state.items())
        opt.step()
        np.testing.assert_allclose(terms.gradient + terms.decay + terms.inertia, p.data - before, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(terms.step, terms.gradient + terms.decay + terms.inertia)
        assert options["weight_decay"] or not terms.decay.any()
        assert step or not terms.inertia.any()
        assert g.any() or not terms.gradient.any()          # no gradient: inertia and decay alone move the unit


# -- which parameters move -------------------------------------------------------------------------------------------

def mlp(activation="relu", **options):
    return nn.MLP([4, 6, 5, 3], activation=activation, rng=0, **options)


X, LABELS = np.random.default_rng(0).standard_normal((8, 4)).astype("float32"), np.arange(8) % 3


def loss_of(model):
    return F.cross_entropy(model(X), LABELS)


@pytest.mark.parametrize("decayed", ["weight", "bias"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_groups_decay_on_weights_or_biases_only(kind, decayed):
    """With zero gradients and no momentum, decay is all there is: exactly the chosen kind shrinks."""
    model = mlp(init="pytorch")
    parts = {kind: [p for p in model.parameters() if p.kind == kind] for kind in ("weight", "bias")}
    opt = kind([{"params": parts[name], "weight_decay": 0.5 if name == decayed else 0.0} for name in parts], lr=0.1)
    before = [p.data.copy() for p in model.parameters()]
    for p in model.parameters():
        p.grad = np.zeros_like(p.data)
    opt.step()
    for p, old in zip(model.parameters(), before):
        expected = old * (0.95 if p.kind == decayed else 1.0)
        np.testing.assert_allclose(p.data, expected, rtol=2**-22)       # float32, three roundings
        assert (p.data != old).any() == (p.kind == decayed)


def test_slopes_of_prelu_stay_out_of_the_decay():
    model = mlp("prelu")
    opt = optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    assert [g["weight_decay"] for g in opt.param_groups] == [0.5, 0.0]
    assert all(p.kind == "slope" for p in opt.param_groups[1]["params"])
    only_slopes = optim.SGD([p for p in model.parameters() if p.kind == "slope"], weight_decay=0.5)
    assert [g["weight_decay"] for g in only_slopes.param_groups] == [0.0]
    silent = optim.SGD([{"params": model.parameters()}], weight_decay=0.5)          # this group does not set the decay
    assert [g["weight_decay"] for g in silent.param_groups] == [0.5, 0.0]
    asked_for = optim.SGD([{"params": model.parameters(), "weight_decay": 0.5}])    # and this group does
    assert [g["weight_decay"] for g in asked_for.param_groups] == [0.5]


def test_groups_have_options_of_their_own():
    a, b = nn.Parameter([1.0]), nn.Parameter([1.0])
    opt = optim.SGD([{"params": a, "lr": 0.5}, {"params": [b], "momentum": 0.9, "nesterov": True}], lr=0.1)
    for p in (a, b):
        p.grad = np.ones(1)
    opt.step()
    assert a.item() == 0.5 and b.item() == 1 - 0.1 * 1.9


def test_the_text_of_an_optimizer():
    """Every group with its present options: slopes without decay, an option that was changed, the initial rate of a schedule."""
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.PReLU())
    opt = optim.AdamW(model.parameters(), lr=np.float32(0.5))
    opt.param_groups[1]["eps"] = 1
    optim.ExponentialLR(opt, gamma=0.5).step()
    text = """AdamW (
Parameter Group 0 (2 parameters)
    lr: 0.25
    betas: (0.9, 0.999)
    eps: 1e-08
    weight_decay: 0.01
    initial_lr: 0.5
Parameter Group 1 (1 parameter)
    lr: 0.25
    betas: (0.9, 0.999)
    eps: 1.0
    weight_decay: 0.0
    initial_lr: 0.5
)"""
    assert repr(opt) == text == str(copy.deepcopy(opt))


def test_the_parameters_of_a_group_are_fixed():
    """They are in flat buffers. A parameter appended to a list would never be moved."""
    given = [nn.Parameter([1.0])]
    opt = optim.SGD(given)
    given.append(nn.Parameter([2.0]))
    assert opt.param_groups[0]["params"] == (given[0],)
    with pytest.raises(AttributeError):
        opt.param_groups[0]["params"].append(given[1])
    with pytest.raises(ValueError, match="make a new optimizer for other parameters"):
        opt.param_groups[0]["params"] += (given[1],)


@pytest.mark.parametrize("kind, options", [(optim.SGD, dict(momentum=0.9, weight_decay=0.1)),
                                           (optim.Adam, dict(weight_decay=0.1)),
                                           (optim.AdamW, dict(weight_decay=0.01))])
def test_none_is_skipped_and_zero_is_not(kind, options):
    """A parameter without gradient stays, bit for bit, state and all; one whose gradient is zero goes on by inertia and
    decay, as the twin does."""
    skipped, zero = nn.Parameter([1.0, 2.0]), nn.Parameter([1.0, 2.0])
    opt, expected, state = kind([skipped, zero], lr=0.1, **options), zero.data.copy(), {}
    for p in (skipped, zero):
        p.grad = np.ones(2)
    opt.step()
    expected = twin_step(kind, expected, np.ones(2), state, dict(lr=0.1, **options))
    kept = skipped.data.copy(), {k: v.copy() for k, v in opt.state_of(skipped).items()}
    skipped.grad, zero.grad = None, np.zeros(2)
    for _ in range(5):
        opt.step()
        expected = twin_step(kind, expected, np.zeros(2), state, dict(lr=0.1, **options))
    np.testing.assert_array_equal(skipped.data, kept[0])
    assert all((opt.state_of(skipped)[k] == v).all() for k, v in kept[1].items())
    np.testing.assert_allclose(zero.data, expected, rtol=1e-13)
    assert (zero.data != kept[0]).all()


@pytest.mark.parametrize("kind, options", [(optim.SGD, dict(momentum=0.9, dampening=0.5)), (optim.Adam, {}),
                                           (optim.AdamW, dict(weight_decay=0.01))])
def test_a_gradient_that_comes_late(kind, options):
    """The buffer of the parameter starts at its first gradient (undampened), and the bias correction counts steps from there."""
    early, late = nn.Parameter([1.0]), nn.Parameter([1.0])
    options = dict(lr=0.1, **options)
    opt = kind([early, late], **options)
    values, states = {0: np.ones(1), 1: np.ones(1)}, ({}, {})
    for step in range(8):
        for k, p in enumerate((early, late)):
            p.grad = None if k == 1 and step in (0, 1, 2, 5) else np.array([0.5 + step])
            if p.grad is not None:
                values[k] = twin_step(kind, values[k], p.grad, states[k], options)
        opt.step()
    np.testing.assert_allclose([early.item(), late.item()], [values[0][0], values[1][0]], rtol=1e-13)


@every_dialect
def test_one_flat_launch_is_parameter_by_parameter(kind, options):
    """A model as one optimizer's flat buffer, and each parameter with an optimizer of its own: the same bits."""
    together, apart = mlp(), mlp()
    one = kind([{"params": together.parameters()}], **options)
    many = [kind([{"params": [p]}], **options) for p in apart.parameters()]
    for step in range(4):
        for model, optimizers in ((together, [one]), (apart, many)):
            model.zero_grad()
            loss_of(model).backward()
            if step == 2:
                model.parameters()[1].grad = None       # the segment is split, and the numbers stay the same
            for opt in optimizers:
                opt.step()
    for p, q in zip(together.parameters(), apart.parameters()):
        np.testing.assert_array_equal(p.data, q.data)


some_dialects = pytest.mark.parametrize("kind, options", [
    (optim.SGD, dict(momentum=0.9)), (optim.SGD, dict(lr=0.1, momentum=0.9, nesterov=True)), (optim.Adam, {}), (optim.AdamW, {})])


@some_dialects
@every_type
def test_buffers_fade_to_zero_and_not_to_subnormal_numbers(kind, options, dtype):
    """A gradient that is exactly 0 from the second step on. NaN and infinity are not flushed."""
    tiny = np.finfo(dtype).tiny
    p = nn.Parameter(np.zeros(40), dtype=dtype)
    opt = kind([p], **options)
    p.grad = np.full(40, tiny * 2.0, dtype)
    p.grad[3], p.grad[5] = np.nan, np.inf
    for _ in range(60):
        opt.step()
        p.grad = np.zeros_like(p.data)
        for buffer in opt.state_of(p).values():
            sizes = abs(buffer)
            assert not ((sizes > 0) & (sizes < tiny)).any()
    for name, buffer in opt.state_of(p).items():
        assert np.isnan(buffer[3]) and np.isinf(buffer[5]) and not buffer[6:].any(), name


@some_dialects
@every_type
def test_the_bits_of_a_large_update_do_not_depend_on_the_number_of_threads(kind, options, dtype):
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(100_003), rng.standard_normal((3, 100_003)).astype(dtype)

    def train():
        p = nn.Parameter(start, dtype=dtype)
        opt = kind([p], **options)
        for g in gradients:
            p.grad = g
            opt.step()
        return [p]

    on_threads(train)


def test_options_changed_between_steps():
    """A schedule of rates, momentum switched on late, Nesterov and decay switched: the twin does the same."""
    p, state, expected = nn.Parameter([1.0, -2.0]), {}, np.array([1.0, -2.0])
    opt = optim.SGD([p], lr=0.1)
    changes = [dict(), dict(lr=0.05), dict(momentum=0.9), dict(nesterov=True), dict(weight_decay=0.3),
               dict(decoupled=True), dict(lr=0.0)]
    options = dict(lr=0.1)
    for change in changes:
        options |= change
        for key, value in change.items():
            opt.param_groups[0][key] = value
        for step in range(3):
            p.grad = gradients(p.data, step)
            expected = naive.sgd(expected, p.grad, state, **options)
            opt.step()
    np.testing.assert_allclose(p.data, expected, rtol=1e-13)


@every_dialect
def test_a_twin_does_what_the_optimizer_would_do(kind, options):
    """The twin moves copies of some parameters from the present state; the optimizer itself is not changed."""
    p, q = nn.Parameter([1.0, 2.0]), nn.Parameter([[3.0]])
    opt = kind([p, q], **options)
    for step in range(10):
        if step == 4:
            copy = nn.Parameter(q.data)
            twin = opt.twin({q: copy})
        for x in (p, q):
            x.grad = gradients(x.data, step)
        if step >= 4:
            copy.grad = q.grad.copy()
            twin.step()
            twin.terms(copy)
        opt.step()
    np.testing.assert_array_equal(copy.data, q.data)


# -- parameters that come later --------------------------------------------------------------------------------------

def test_a_group_that_is_added_moves_like_the_others():
    """The state of the earlier groups does not change."""
    first, second = nn.Parameter([1.0]), nn.Parameter([1.0])
    opt = optim.SGD([first], lr=0.1, momentum=0.9)
    first.grad = np.ones(1)
    opt.step()
    opt.add_param_group({"params": second, "lr": 0.5})
    assert opt.state_of(first)["momentum_buffer"].tolist() == [1.0] and opt.state_of(second) == {}
    second.grad = np.ones(1)
    opt.step()
    assert first.item() == pytest.approx(1 - 0.1 - 0.19) and second.item() == 0.5
    other = optim.SGD([{"params": nn.Parameter([1.0])}, {"params": nn.Parameter([1.0])}], lr=0.1, momentum=0.9)
    other.load_state_dict(opt.state_dict())
    assert other.param_groups[1]["lr"] == 0.5


def test_slopes_that_are_added_stay_out_of_the_decay():
    opt = optim.SGD([nn.Parameter([1.0])], weight_decay=0.1)
    opt.add_param_group({"params": nn.PReLU().parameters()})
    assert [group["weight_decay"] for group in opt.param_groups] == [0.1, 0.0]


@pytest.mark.parametrize("group, error, words", [
    ([nn.Parameter([1.0])], TypeError, "SGD: got list among the groups; expected dicts with 'params'"),
    ({"params": [3]}, TypeError, "SGD: got int among the parameters"),
    ({"params": nn.Parameter([1.0]), "rate": 1}, ValueError, "SGD: an option of a group is 'rate'"),
    ({"params": nn.Parameter([1.0]), "lr": -1}, ValueError, "SGD: lr is -1")])
def test_a_wrong_group_is_not_added(group, error, words):
    opt = optim.SGD([p := nn.Parameter([1.0])])
    with pytest.raises(error, match=words):
        opt.add_param_group(group)
    with pytest.raises(ValueError, match="a parameter is in two groups"):
        opt.add_param_group({"params": p})
    assert len(opt.param_groups) == 1


NEWCOMERS = {
    "a parameter": (lambda m: setattr(m[0], "weight", nn.Parameter(np.zeros((6, 4)), dtype="float32")), "SGD: no optimizer moves Linear.weight,"),
    "another name": (lambda m: setattr(m[0], "scale", nn.Parameter([1.0])), "SGD: no optimizer moves Linear.scale,"),
    "a module": (lambda m: setattr(m, "head", nn.Linear(3, 1, rng=0)), "SGD: no optimizer moves MLP.head.bias, MLP.head.weight,"),
    "a list": (lambda m: setattr(m, "heads", [nn.PReLU()]), "SGD: no optimizer moves MLP.heads.0.weight,"),
    "a layer": (lambda m: m.append(nn.Linear(3, 1, bias=False, rng=0)), "SGD: no optimizer moves MLP.5.weight,"),
    "another layer": (lambda m: m.__setitem__(0, nn.Linear(4, 6, bias=False, rng=0)), "SGD: no optimizer moves MLP.0.weight,")}


@pytest.mark.parametrize("assign, words", NEWCOMERS.values(), ids=NEWCOMERS)
def test_a_parameter_that_comes_after_the_optimizer_is_noticed(assign, words):
    """One warning at the next step, from the optimizer of the model only; the step itself is made."""
    model, other = mlp(), optim.SGD([nn.Parameter([1.0])])
    opt = optim.SGD(model.parameters(), lr=0.1)
    assign(model)
    before = model[4].bias.data.copy()
    model[4].bias.grad = np.ones_like(before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.step()
    with pytest.warns(UserWarning, match=words + " new in the model since this .*add_param_group, or make") as caught:
        opt.step()
    assert caught[0].filename == __file__ and (model[4].bias.data != before).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opt.step()


@pytest.mark.parametrize("then", [
    lambda m, opt: opt.add_param_group({"params": m.head.parameters()}), lambda m, opt: optim.SGD(m.head.parameters()),
    lambda m, opt: setattr(m, "head", None), lambda m, opt: setattr(m, "head", m[0]), lambda m, opt: copy.deepcopy((m, opt))[1].step(),
    lambda m, opt: [setattr(p, "requires_grad", False) for p in m.head.parameters()]],
    ids=["added", "another optimizer", "taken away", "an old one", "a copy", "frozen"])
def test_what_needs_no_notice(then):
    model = mlp()
    opt = optim.SGD(model.parameters())
    model.head = nn.Linear(3, 1, rng=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        then(model, opt)
        if "copy" not in then.__code__.co_names:
            opt.step()
        optim.SGD(mlp().parameters()).step()


def test_other_attributes_are_not_looked_at():
    """Assigning a state that a module keeps from step to step must not search its parameters."""
    model = mlp()
    opt = optim.SGD(model.parameters())
    model.state, model.losses, model.sizes = (nn.Parameter([1.0]).data, None), [0.5, [1.0]], {"a": 3}
    assert opt.altered == []


def test_a_closure_is_called_before_the_step():
    p = nn.Parameter([1.0])
    opt = optim.SGD([p], lr=0.1)

    def closure():
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 1.0 and p.item() == 0.8 and opt.step() is None


@pytest.mark.parametrize("call, error, words", [
    (lambda: optim.SGD(mlp()), TypeError, r"SGD: got MLP; expected several Parameters, such as model.parameters\(\)"),
    (lambda: optim.SGD({"params": mlp().parameters()}), TypeError, "SGD: got dict; expected several Parameters"),
    (lambda: optim.SGD(nn.Parameter([1.0])), TypeError, "SGD: got Parameter; expected several Parameters"),
    (lambda: optim.SGD(mlp().parameters()).step(3), TypeError, "SGD: step got 3, expected a function that computes the loss"),
    (lambda: optim.SGD(mlp().parameters()).terms("weight"), TypeError, "SGD: got str, expected one of the parameters"),
    (lambda: setattr(optim.SGD(mlp().parameters()), "lr", 0.1), AttributeError, r'Optimizer has no lr; .* opt.param_groups\[0\]\["lr"\]'),
    (lambda: optim.SGD(mlp().parameters()).param_groups.append({}), AttributeError, "append"),
    (lambda: nn.utils.clip_grad_norm_(3, 1.0), TypeError, r"got int among the parameters; expected Tensors, such as model.parameters\(\)")])
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_gradients_can_be_set_to_zeros():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    opt = optim.SGD([p, q])
    p.sum().backward()
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0] and q.grad is None
    opt.zero_grad(set_to_none=True)
    assert p.grad is None


# -- flat buffers ----------------------------------------------------------------------------------------------------

def test_parameters_and_gradients_are_views_of_one_buffer():
    model = mlp()
    before = [p.data.copy() for p in model.parameters()]
    loss_of(model).backward()
    grads = [p.grad.copy() for p in model.parameters()]
    optim.SGD(model.parameters())
    data, grad, _ = model.parameters()[0].place
    for p, value, g in zip(model.parameters(), before, grads):
        np.testing.assert_array_equal(p.data, value)        # values and gradients were moved too
        np.testing.assert_array_equal(p.grad, g)
        assert p.data.base is data and p.grad.base is grad and p.data.flags.c_contiguous
    np.testing.assert_array_equal(data, np.concatenate([v.ravel() for v in before]))
    model.zero_grad()
    loss_of(model).backward()
    np.testing.assert_array_equal(grad, np.concatenate([g.ravel() for g in grads]))


def test_training_with_an_optimizer_gives_the_gradients_of_training_without():
    """Gradients written into the flat buffer, with two uses in one graph and with two backward passes, equal those in separate
    arrays, up to rounding where a kernel adds."""
    alone, settled = mlp(), mlp()
    optim.SGD(settled.parameters())
    for _ in range(2):
        for model in (alone, settled):
            (loss_of(model) + loss_of(model) * 2).backward()
    for p, q in zip(alone.parameters(), settled.parameters()):
        np.testing.assert_allclose(p.grad, q.grad, rtol=0, atol=1e-6)       # float32, numbers of order 1, 4 sums


def test_two_optimizers_over_one_model():
    """Each with its own state; the second finds the parameters where they are, and both move the same numbers."""
    p = nn.Parameter([1.0, 2.0])
    first, second = optim.SGD([p], lr=0.1, momentum=0.9), optim.Adam([p], lr=0.01)
    value, states = p.data.copy(), ({}, {})
    for step in range(6):
        p.grad = gradients(p.data, step)
        opt, kind, options, state = ((first, optim.SGD, dict(lr=0.1, momentum=0.9), states[0]),
                                     (second, optim.Adam, dict(lr=0.01), states[1]))[step % 2]
        value = twin_step(kind, value, p.grad, state, options)
        opt.step()
    np.testing.assert_allclose(p.data, value, rtol=1e-13)


def test_an_optimizer_over_part_of_a_model_leaves_the_rest():
    model = mlp()
    whole = optim.SGD(model.parameters(), lr=0.1)
    part = optim.SGD(model.parameters()[2:4], lr=0.1)
    loss_of(model).backward()
    before = [p.data.copy() for p in model.parameters()]
    part.step()
    moved = [(p.data != old).any() for p, old in zip(model.parameters(), before)]
    assert moved == [False, False, True, True, False, False]
    whole.step()
    assert all((p.data != old).any() for p, old in zip(model.parameters(), before))


def test_mixed_types_and_reversed_order():
    """One buffer for each dtype; groups in any order of parameters."""
    single, double = nn.Parameter([1.0, 2.0], dtype="float32"), nn.Parameter([1.0, 2.0])
    last = nn.Parameter([5.0], dtype="float32")
    opt = optim.SGD([last, double, single], lr=0.5)
    for p in (single, double, last):
        p.grad = np.ones(p.shape, p.dtype)
    opt.step()
    assert (single.data.tolist(), double.data.tolist(), last.data.tolist()) == ([0.5, 1.5], [0.5, 1.5], [4.5])
    assert single.dtype == np.float32 and double.dtype == np.float64


def test_gradients_from_elsewhere_are_read_only_to_the_optimizer():
    """Gradients that the user assigned, of another type, layout or dtype: the optimizer only reads them."""
    p = nn.Parameter(np.ones((2, 3)))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)
    numbers = np.arange(6).reshape(2, 3)
    for g in (np.asfortranarray(numbers * 0.25), numbers.astype(np.int32), np.repeat(numbers * 0.5, 2, axis=1)[:, ::2]):
        g.flags.writeable = False
        p.grad = g
        before, expected = p.data.copy(), opt.terms(p).step
        opt.step()
        np.testing.assert_array_equal(p.data - before, expected)
        assert p.grad is g


def test_zero_grad_forgets_and_gradients_of_two_losses_add_up():
    model = mlp()
    opt = optim.SGD(model.parameters(), lr=0.1)
    loss_of(model).backward()
    once = [p.grad.copy() for p in model.parameters()]
    loss_of(model).backward()
    for p, g in zip(model.parameters(), once):
        np.testing.assert_allclose(p.grad, 2 * g, rtol=0, atol=1e-6)
    opt.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    before = [p.data.copy() for p in model.parameters()]
    opt.step()          # nothing has a gradient: nothing moves
    assert all((p.data == old).all() for p, old in zip(model.parameters(), before))


def test_a_parameter_without_a_gradient_stays_between_two_that_move():
    """All three are neighbours in a flat buffer; the decay may not reach over the one in the middle."""
    a, b, c = (nn.Parameter(np.full(n, 2.0)) for n in (3, 2, 4))
    opt = optim.SGD([a, b, c], lr=0.1, momentum=0.9, weight_decay=0.5)
    for _ in range(2):
        opt.zero_grad()
        (a.sum() + c.sum()).backward()
        opt.step()
    np.testing.assert_array_equal(b.data, 2.0)
    assert (a.data < 2).all() and (c.data < 2).all()


# -- entries that begin again ----------------------------------------------------------------------------------------------------


@every_type
@pytest.mark.parametrize(("rule", "options"), [
    (optim.Adam, {"weight_decay": 0.01}), (optim.AdamW, {"betas": (0.8, 0.99)}), (optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True})], ids=["Adam", "AdamW", "momentum", "Nesterov"])
def test_entries_that_are_reset_move_as_in_a_new_optimizer(rule, options, dtype):
    """The other entries move on as before, to the bit; a state dict and a copy go on too."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((60, 4, 3)).astype(dtype)
    p = nn.Parameter(rng.standard_normal((4, 3)), dtype=dtype)
    other = nn.Parameter(p.data, dtype=dtype)
    opt, untouched = rule([p], lr=0.1, **options), rule([other], lr=0.1, **options)

    def step(parameter, optimizer, gradient):
        parameter.grad = gradient.copy()
        told, before = optimizer.terms(parameter).step, parameter.data.copy()
        optimizer.step()
        np.testing.assert_allclose(parameter.data - before, told, atol=1e-6)

    for g in gradients[:30]:
        step(p, opt, g)
        step(other, untouched, g)
    opt.reset(p, (slice(None), [1]))
    fresh = nn.Parameter(p.data[:, 1], dtype=dtype)
    new = rule([fresh], lr=0.1, **options)
    for g in gradients[30:]:
        step(p, opt, g)
        step(other, untouched, g)
        step(fresh, new, g[:, 1])
    np.testing.assert_array_equal(p.data[:, 1], fresh.data)
    np.testing.assert_array_equal(p.data[:, [0, 2]], other.data[:, [0, 2]])
    loaded = nn.Parameter(p.data, dtype=dtype)
    again = rule([loaded], lr=0.1, **options)
    again.load_state_dict(opt.state_dict())
    copied, twin = copy.deepcopy((p, opt))
    for parameter, optimizer in ((p, opt), (loaded, again), (copied, twin)):
        step(parameter, optimizer, gradients[0])
    np.testing.assert_array_equal(loaded.data, p.data)
    np.testing.assert_array_equal(copied.data, p.data)


def test_a_reset_with_the_old_count_would_be_too_long():
    """Why Adam counts the steps of each entry."""
    p = nn.Parameter(np.zeros(2))
    opt = optim.Adam([p], lr=0.1)
    longest = np.zeros(2)
    for i in range(1000):
        if i == 900:
            opt.reset(p, 0)
            for name in ("exp_avg", "exp_avg_sq"):
                opt.state_of(p)[name][1] = 0                # the other entry keeps its count
        p.grad, before = np.ones(2), p.data.copy()
        opt.step()
        longest = np.maximum(longest, np.abs(p.data - before) if i >= 900 else 0)
    n = np.arange(1, 101)
    old = (1 - 0.9**n) / (1 - 0.9 ** (900 + n)) * np.sqrt((1 - 0.999 ** (900 + n)) / (1 - 0.999**n))
    np.testing.assert_allclose(longest, [0.1, 0.1 * old.max()], rtol=1e-6)
    assert old.max() > 5


def test_an_emptied_optimizer_has_no_inertia_and_an_optimizer_of_a_user_is_reset_too():
    p = nn.Parameter(np.zeros(2))
    opt = optim.Adam([p], lr=0.1)
    opt.reset(p)                                            # before the first step there is nothing to forget
    assert opt.state_of(p) == {}
    p.grad = np.ones(2)
    opt.step()
    assert opt.has_inertia()
    opt.reset(p)
    assert not opt.has_inertia() and opt.state_of(p)["step"].tolist() == [0, 0]

    class Lion(optim.Adam):
        def move(self, segment, grad, options):
            segment.state.setdefault("exp_avg", np.zeros_like(segment.data))[...] += grad

    opt = Lion([p], lr=0.1)
    p.grad = np.ones(2)
    opt.step()
    opt.reset(p, 1)
    assert {name: buffer.tolist() for name, buffer in opt.state_of(p).items()} == {"exp_avg": [1, 0]}


def test_members_are_reset_in_the_optimizer_of_their_population():
    model = nn.MLP([2, 3, 2], members=3, rng=0)
    opt = optim.Adam(model.parameters(), lr=[0.1, 0.2, 0.3])
    x = np.random.default_rng(0).standard_normal((10, 2))
    F.per_member(F.cross_entropy, model(x), np.arange(10) % 2).sum().backward()
    opt.step()
    weight = model.member(1)[0].weight
    assert opt.holds(weight) and opt.options_of(weight)["lr"] == 0.2
    opt.reset(weight, [2])
    assert opt.state_of(model[0].weight)["step"][:, :, 0].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert not opt.holds(nn.MLP([2, 3, 2], rng=0)[0].weight)


def test_a_rate_that_stays_is_kept_and_another_type_is_still_refused():
    opt = optim.SGD([nn.Parameter([1.0])], lr=0.1)
    (group,) = opt.param_groups
    group["lr"] = 0.1
    with pytest.raises(TypeError, match=r"SGD: nesterov is 0\.0, expected True or False"):
        group["nesterov"] = 0.0         # equal to False
    with pytest.raises(TypeError, match="SGD: lr is False, expected a number"):
        group["lr"] = False
    assert group["lr"] == 0.1 and group["nesterov"] is False


@pytest.mark.parametrize("groups", [[], (), None, [{"params": [], "lr": 0.1}], ({"lr": 0.1},)])
def test_the_groups_are_not_replaced(groups):
    opt = optim.SGD([nn.Parameter([1.0])], lr=0.1)
    with pytest.raises(TypeError, match="SGD: param_groups cannot be replaced; change its options"):
        opt.param_groups = groups
    assert len(opt.param_groups) == 1


def test_ctrl_c_during_the_launch_of_a_step():
    """It is noticed when the kernel has returned: the parameters have moved, so the step has been counted."""
    eager, interrupted = (optim.Adam([nn.Parameter([1.0, 2.0])], lr=0.1) for _ in range(2))
    for opt in (eager, interrupted):
        (p,) = opt.param_groups[0]["params"]
        graph = (p * p).sum()
        p.grad = np.array([0.5, -1.0])
        if opt is interrupted:
            def launch_of(*given, usual=opt.launch_of):
                kernel, arguments = usual(*given)

                def run(*arguments):
                    kernel.code[given[1].dtype](*arguments)
                    raise KeyboardInterrupt
                return SimpleNamespace(code={given[1].dtype: run}), arguments

            opt.launch_of = launch_of
            with pytest.raises(KeyboardInterrupt):
                opt.step()
            del opt.launch_of
        else:
            opt.step()
        with pytest.raises(RuntimeError, match="was changed after mul had used it"):
            graph.backward()
        opt.step()
    assert eager.state_dict()["state"][0]["step"] == interrupted.state_dict()["state"][0]["step"] == 2
    np.testing.assert_array_equal(*(opt.param_groups[0]["params"][0].data for opt in (eager, interrupted)))
