"""Populations: every member has the bits of the same network trained alone, whatever it is made of and however it is trained."""
from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from common import on_threads

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import lab, nn, optim
from tinygrad_relu.kernels.loops.members import several
from tinygrad_relu.ops.members import affine_of_members

K, STEPS = 3, 4
SEEDS = [10, 11, 12]
rng = np.random.default_rng(0)
SAMPLES, LABELS = rng.standard_normal((2, 37, 5)), rng.integers(0, 3, (2, 37))
X, Y = SAMPLES[0], LABELS[0]

MODELS = {
    "relu": {}, "tanh": {"activation": "tanh"}, "leaky": {"activation": nn.LeakyReLU(0.0)}, "selu": {"activation": "selu"},
    "one layer": {"widths": [5, 3]}, "maxout": {"activation": "maxout", "pieces": 3}, "prelu": {"activation": "prelu"},
    "rrelu": {"activation": "rrelu"}, "batch norm": {"norm": "batch"}, "layer norm": {"norm": "layer", "activation": "gelu"},
    "dropout": {"dropout": 0.3}, "residual": {"widths": [5, 6, 6, 3], "residual": True, "norm": "batch", "dropout": 0.1}}
RULES = {
    "one rate": (optim.SGD, {"lr": 0.1}),
    "rates": (optim.SGD, {"lr": [0.1, 0.0, 0.3]}),
    "sgd": (optim.SGD, {"lr": [0.1, 0.2, 0.3], "momentum": [0.0, 0.9, 0.5], "dampening": [0.1, 0.0, 0.5],
                        "weight_decay": np.array([0, 1e-3, 0.1]), "nesterov": [False, True, False],
                        "decoupled": [False, False, True]}),
    "adam": (optim.Adam, {"lr": [0.1, 0.01, 0.02], "betas": ([0.9, 0.8, 0.0], 0.999), "weight_decay": [0.0, 0.1, 0.0]}),
    "adamw": (optim.AdamW, {"lr": 0.01, "eps": [1e-8, 1e-4, 1e-2]})}


def mlp(widths=(5, 7, 6, 3), **options):
    return nn.MLP(list(widths), **options)


def own(value, k):
    return tuple(own(v, k) for v in value) if isinstance(value, tuple) else value[k] if np.ndim(value) else value


def alone(rule, options, model, k):
    return rule(model.parameters(), **{name: own(value, k) for name, value in options.items()})


def losses_of(model, opt, loss, x, y, steps=STEPS, schedule=None):
    """Train; return the losses of all steps."""
    found = []
    for _ in range(steps):
        opt.zero_grad()
        losses = loss(model(x), y)
        losses.sum().backward()
        opt.step()
        if schedule is not None:
            schedule.step()
        found.append(losses.data.copy())
    return np.array(found)


def per_member(loss, **options):
    return lambda x, y: F.per_member(loss, x, y, **options)


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def agree(model, k, single):
    """Values, gradients and buffers of a member are those of a network alone."""
    mine, its = model.member(k), single
    states = mine.state_dict(), its.state_dict()
    assert states[0].keys() == states[1].keys() == model.state_dict().keys()
    return (all(same(states[0][name], states[1][name]) for name in states[0])
            and all(same(p.grad, q.grad) for p, q in zip(mine.parameters(), its.parameters())))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MODELS)
def test_every_member_has_the_bits_of_the_network_alone(name, dtype):
    model = mlp(**MODELS[name], members=K, rng=SEEDS, dtype=dtype)
    rule, options = RULES["sgd"]
    found = losses_of(model, rule(model.parameters(), **options), per_member(F.cross_entropy), X, Y)
    for k, seed in enumerate(SEEDS):
        single = mlp(**MODELS[name], rng=seed, dtype=dtype)
        assert same(found[:, k], losses_of(single, alone(rule, options, single, k), F.cross_entropy, X, Y))
        assert agree(model, k, single)
        assert same(model.eval()(X).data[k], single.eval()(X).data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_with_schedules(name, dtype):
    rule, options = RULES[name]
    model = mlp(members=K, rng=SEEDS, dtype=dtype)
    opt = rule(model.parameters(), **options)
    schedule = optim.SequentialLR(opt, [optim.LinearLR(opt, 0.5, total_iters=2), optim.ExponentialLR(opt, 0.5)], [2])
    found = losses_of(model, opt, per_member(F.cross_entropy), X, Y, 6, schedule)
    for k, seed in enumerate(SEEDS):
        single = mlp(rng=seed, dtype=dtype)
        other = alone(rule, options, single, k)
        its = optim.SequentialLR(other, [optim.LinearLR(other, 0.5, total_iters=2), optim.ExponentialLR(other, 0.5)], [2])
        assert same(found[:, k], losses_of(single, other, F.cross_entropy, X, Y, 6, its))
        assert agree(model, k, single)
        taken = opt.member(k)
        assert taken.param_groups[0] == {**other.param_groups[0], "params": taken.param_groups[0]["params"]}
        for i, buffers in other.state_dict()["state"].items():
            mine = taken.state_dict()["state"][i]
            assert mine.keys() == buffers.keys() and all(same(np.asarray(mine[b]), np.asarray(buffers[b])) for b in buffers)


@pytest.mark.parametrize("rates, words", [
    ([0.1] * 2, r"an entry has shape \(2,\), expected \(3,\)"), ([0.1, -1.0, 0.1], "an entry is -1.0, expected a finite number"),
    ("abc", r"an entry holds text"), (0.1, r"an entry has shape \(\), expected \(3,\)")])
def test_the_state_of_a_schedule_has_a_rate_for_each_member(rates, words):
    schedule = optim.StepLR(optim.SGD(mlp(members=K, rng=SEEDS).parameters(), lr=[0.1, 0.2, 0.3]), 1)
    before = schedule.state_dict()
    schedule.step()
    with pytest.raises(ValueError, match=f"StepLR: the state does not fit: base_lrs: {words}"):
        schedule.load_state_dict({**before, "base_lrs": [rates]})
    assert schedule.last_epoch == 1
    schedule.load_state_dict(before)
    assert schedule.last_epoch == 0 and schedule.base_lrs[0].tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(ValueError, match="base_lrs: an entry is ndarray"):
        optim.StepLR(optim.SGD(mlp(rng=0).parameters()), 1).load_state_dict(before)


@pytest.mark.parametrize("rule, options", [(optim.SGD, {}), (optim.Adam, {"betas": (0.9, [0.99, 0.9, 0.5])})])
def test_a_state_that_is_kept_does_not_change(rule, options):
    """The rates of members are arrays, which schedules and assignments write into."""
    opt = rule(mlp(members=K, rng=SEEDS).parameters(), lr=[0.1, 0.2, 0.3], **options)
    schedule = optim.ExponentialLR(opt, 0.5)
    kept, its = opt.state_dict(), schedule.state_dict()
    schedule.step()
    opt.param_groups[0].update(dict.fromkeys(options, (0.5, 0.5)))
    assert kept["param_groups"][0]["lr"].tolist() == its["base_lrs"][0].tolist() == [0.1, 0.2, 0.3]
    opt.load_state_dict(kept)
    assert opt.param_groups[0]["lr"].tolist() == [0.1, 0.2, 0.3]
    assert not options or opt.param_groups[0]["betas"][1].tolist() == [0.99, 0.9, 0.5]
    its["base_lrs"][0][:] = 7.0
    assert schedule.base_lrs[0].tolist() == [0.1, 0.2, 0.3]


def test_a_schedule_scales_only_the_rates_that_were_changed_by_hand():
    """The others stay on the formula, as alone: scaled, 0.1 would be 0.0010000000000000002 after two steps."""
    opt = optim.SGD(mlp(members=K, rng=SEEDS).parameters(), lr=0.1)
    singles = [optim.SGD(mlp(rng=seed).parameters(), lr=0.1) for seed in SEEDS]
    schedules = [optim.StepLR(one, 1) for one in (opt, *singles)]
    for rates in ([0.1, 0.02, 0.1], None, None, [0.0, 0.5, 0.001], None):
        for one, rate in zip((opt, *singles), [] if rates is None else (rates, *rates)):
            one.param_groups[0]["lr"] = rate
        for schedule in schedules:
            schedule.step()
        assert opt.param_groups[0]["lr"].tolist() == [one.param_groups[0]["lr"] for one in singles]


def test_settings_and_modes_change_meanwhile():
    """Layers that are called for each member follow their population; and modes that alternate are each recorded once."""
    def trained(model, opt, capture):
        losses = per_member(F.cross_entropy) if model.members else F.cross_entropy

        def step(x, y):
            opt.zero_grad()
            loss = losses(model(x), y)
            loss.sum().backward()
            opt.step()
            return loss

        program, found = tg.capture(step) if capture else step, []
        for t in range(24):
            model.train(t % 4 != 3)
            if t == 16:
                for module in model.modules():
                    if isinstance(module, nn.Dropout):
                        module.p = 0.5
                    elif isinstance(module, nn.BatchNorm1d):
                        module.momentum, module.eps = 0.5, 0.125
            found.append(program(X + t, Y).data.copy())
        return np.array(found), program.replays if capture else None

    for capture in (False, True):
        model = mlp(norm="batch", dropout=0.25, members=K, rng=SEEDS)
        found, replays = trained(model, optim.SGD(model.parameters(), lr=0.1), capture)
        assert replays in (None, 15)
        for k, seed in enumerate(SEEDS):
            single = mlp(norm="batch", dropout=0.25, rng=seed)
            assert same(found[:, k], trained(single, optim.SGD(single.parameters(), lr=0.1), False)[0])
            assert agree(model, k, single)


LOSSES = {"cross-entropy": (F.cross_entropy, {}, LABELS), "sum": (F.cross_entropy, {"reduction": "sum"}, LABELS),
          "ignored": (F.cross_entropy, {}, np.where(LABELS == 1, -100, LABELS)),
          "smoothed": (F.cross_entropy, {"label_smoothing": 0.1}, LABELS),
          "probabilities": (F.cross_entropy, {}, np.eye(3)[LABELS]), "nll": (F.nll_loss, {}, LABELS),
          "mse": (F.mse_loss, {}, np.eye(3)[LABELS]), "huber": (F.huber_loss, {"delta": 0.5}, np.eye(3)[LABELS])}


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_common_and_with_own_samples(name, shares):
    loss, options, target = LOSSES[name]
    model, k = mlp(members=2, rng=SEEDS[:2]), 1
    x, y = (X, target[0]) if shares else (SAMPLES, target)
    found = losses_of(model, optim.SGD(model.parameters(), lr=0.1), per_member(loss, **options), x, y)
    single = mlp(rng=SEEDS[k])
    other = losses_of(single, optim.SGD(single.parameters(), lr=0.1), lambda a, b: loss(a, b, **options),
                      x if shares else x[k], y if shares else y[k])
    assert same(found[:, k], other) and agree(model, k, single)


def test_threads_change_no_bits():
    x, y = rng.standard_normal((50, 20)), np.arange(50) % 10

    def train():
        model = nn.MLP([20, 64, 64, 10], members=40, rng=0)
        losses = losses_of(model, optim.Adam(model.parameters(), lr=np.linspace(0, 0.1, 40)), per_member(F.cross_entropy), x, y)
        return [losses, *model.state_dict().values()]

    on_threads(train, (1, 2, 3))


def test_captured_steps_have_the_same_bits():
    for name in ("relu", "batch norm"):
        for rule in ("sgd", "adam"):
            kind, options = RULES[rule]
            both = [mlp(**MODELS[name], members=K, rng=SEEDS) for _ in range(2)]
            opts = [kind(model.parameters(), **options) for model in both]

            def step(x, y, model=both[1], opt=opts[1]):
                opt.zero_grad()
                losses = F.per_member(F.cross_entropy, model(x), y)
                losses.sum().backward()
                opt.step()
                return losses

            captured = tg.capture(step)
            for t in range(5):
                expected = losses_of(both[0], opts[0], per_member(F.cross_entropy), X + t, Y, 1)[0]
                assert same(captured(X + t, Y).data, expected)
                for opt in opts:
                    opt.param_groups[0]["lr"] = [0.1, 0.05 * t, 0.01]
            assert all(same(p.data, q.data) for p, q in zip(*(model.parameters() for model in both)))


def test_inputs_of_another_dtype_are_cast_as_by_one_network():
    model, x = mlp(members=K, rng=SEEDS), tg.Tensor(X.astype("float64"), requires_grad=True)
    model(x).sum().backward()
    assert same(model(x).data, model(X.astype("float32")).data) and x.grad.dtype == np.float64
    with pytest.raises(TypeError, match="linear: x is float64, the weights of 3 members float32"):
        affine_of_members()(x, model[0].weight, model[0].bias)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_layer_that_is_called_for_each_member_learns_again_after_it_was_frozen(norm):
    """Its views had the old flag in the forward pass: the first gradient was zero."""
    def gradients(model):
        model.zero_grad()
        F.per_member(F.cross_entropy, model(X), Y).sum().backward()
        return [None if p.grad is None else p.grad.tobytes() for p in model.parameters()]
    model = mlp(members=K, rng=SEEDS, norm=norm)
    expected = gradients(model)
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(False)
        assert gradients(model) == [*expected[:i], None, *expected[i + 1:]]
        p.requires_grad_(True)
        assert gradients(model) == expected


def test_shared_inputs_get_the_gradient_of_all_members():
    model, x = mlp(members=K, rng=SEEDS, dtype="float64", activation="tanh"), tg.Tensor(X, requires_grad=True)
    F.per_member(F.cross_entropy, model(x), Y).sum().backward()
    total = 0.0
    for seed in SEEDS:
        own_x = tg.Tensor(X, requires_grad=True)
        F.cross_entropy(mlp(rng=seed, dtype="float64", activation="tanh")(own_x), Y).backward()
        total = total + own_x.grad
    assert np.allclose(x.grad, total, rtol=1e-12, atol=0)


def test_second_derivatives():
    model = nn.population([nn.MLP([3, 4, 2], activation="tanh", rng=k, dtype="float64") for k in range(2)])
    x = tg.Tensor(X[:4, :3], requires_grad=True)
    assert tg.gradcheck(lambda x: F.per_member(F.cross_entropy, model(x), Y[:4] % 2), [x], order=2)
    normed = mlp(members=2, rng=0, norm="layer")
    loss = F.per_member(F.cross_entropy, normed(X), Y).sum()
    with pytest.raises(TypeError, match=r"second derivatives .* model\.member\(k\)"):
        tg.grad(loss, normed.parameters(), create_graph=True)


def test_a_member_shares_the_memory_and_copies_do_not():
    model = mlp(members=K, rng=SEEDS, norm="batch")
    assert model.members == K and model.member(0).members is None
    member = model.member(1)
    assert member.parameters()[0] is model.member(1).parameters()[0] is model.parameters()[0].member(1)
    opt = optim.SGD(model.parameters(), lr=0.1)
    member[0].weight.data = np.ones((7, 5))
    member[1].running_mean.data[...] = 3.0
    assert (model[0].weight.data[1] == 1).all() and (model[0].weight.data[0] != 1).all()
    assert (model[1].running_mean.data == [[0.0] * 7, [3.0] * 7, [0.0] * 7]).all()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), nn.population([model.member(k) for k in range(K)])):
        before = model.state_dict()
        assert all(same(value, before[name]) for name, value in twin.state_dict().items()) and twin.members == K
        losses_of(twin, optim.SGD(twin.parameters(), lr=0.1), per_member(F.cross_entropy), X, Y, 1)
        assert all(same(value, before[name]) for name, value in model.state_dict().items())
    single = copy.deepcopy(member)
    losses_of(member, optim.SGD(member.parameters(), lr=0.1), F.cross_entropy, X, Y, 1)      # trains the member in the population
    assert not same(member[0].weight.data, single[0].weight.data) and same(model[0].weight.data[1], member[0].weight.data)
    opt.zero_grad()
    assert member[0].weight.grad is None or model.member(1)[0].weight.grad is None


def test_saved_and_loaded_populations_go_on_with_the_same_bits(tmp_path):
    for rule in ("sgd", "adam"):
        kind, options = RULES[rule]
        model = mlp(members=K, rng=SEEDS)
        opt = kind(model.parameters(), **options)
        losses_of(model, opt, per_member(F.cross_entropy), X, Y)
        other = mlp(members=K, rng=0)
        twin = kind(other.parameters(), lr=1.0)
        other.load_state_dict(model.state_dict())
        tg.save(tmp_path / "opt.npz", opt=opt)              # in a file, the pair of betas is a list
        tg.load(tmp_path / "opt.npz", opt=twin)
        copied, its = pickle.loads(pickle.dumps((model, opt)))
        for each in (opt, twin, its):
            if rule == "sgd":
                each.param_groups[0]["momentum"] = [0.5, 0.9, 0.5]      # of member 0 the buffer is used for the first time
        expected = losses_of(model, opt, per_member(F.cross_entropy), X, Y)
        assert same(losses_of(other, twin, per_member(F.cross_entropy), X, Y), expected)
        assert same(losses_of(copied, its, per_member(F.cross_entropy), X, Y), expected)
        single = mlp(rng=SEEDS[0])
        alone_ = alone(kind, options, single, 0)
        losses_of(single, alone_, F.cross_entropy, X, Y)
        if rule == "sgd":
            alone_.param_groups[0]["momentum"] = 0.5
        assert same(losses_of(single, alone_, F.cross_entropy, X, Y), expected[:, 0])


def test_terms_of_a_population_are_those_of_its_members():
    for kind, options in RULES.values():
        model = mlp(members=K, rng=SEEDS)
        opt = kind(model.parameters(), **options)
        losses_of(model, opt, per_member(F.cross_entropy), X, Y, 2)
        before, terms = model[0].weight.data.copy(), opt.terms(model[0].weight)
        assert all(part.shape == model[0].weight.shape for part in terms)
        opt.step()
        assert np.allclose(before + terms.step, model[0].weight.data, rtol=1e-5, atol=1e-6)


def test_the_laboratory_takes_members():
    model = mlp(members=K, rng=SEEDS, dtype="float64")
    opt = optim.SGD(model.parameters(), lr=[0.1, 0.2, 0.1], momentum=[0.0, 0.9, 0.0], weight_decay=[0.0, 0.2, 0.0])
    lab.kill(model.member(1), X)
    assert [lab.census(model.member(k), X).dead[0] for k in range(K)][1] == 7 and lab.census(model.member(0), X).dead[0] < 7
    first = lab.prognosis(model.member(1), X, opt.member(1), horizon=60).first("0")
    with pytest.raises(TypeError, match="first: the layer is 0, expected its name, such as '0'"):
        lab.prognosis(model.member(1), X, opt.member(1)).first(0)
    assert first is not None and first.proved
    for _ in range(first.step):
        assert lab.census(model.member(1), X).dead[0] == 7
        losses_of(model, opt, per_member(F.cross_entropy), X, Y, 1)
    assert lab.census(model.member(1), X).dead[0] < 7


@pytest.mark.parametrize("name", ["relu", "prelu", "maxout", "batch norm", "residual", "tanh"])
def test_recorders_see_what_a_recorder_of_each_member_sees(name):
    model = mlp(**MODELS[name], members=K, rng=SEEDS, dtype="float64")
    follow = [(0, k, 3) for k in range(K)]
    together, apart = lab.Recorders(model, X, follow), [lab.Recorder(model.member(k), X, follow[k]) for k in range(K)]
    opt = optim.SGD(model.parameters(), lr=[0.1, 3.0, 30.0])
    for _ in range(70):                     # more than are kept before their states are found
        for one in apart:
            one.observe()
        opt.zero_grad()
        F.per_member(F.cross_entropy, together.forward(), Y).sum().backward()
        opt.step()
    for one, other in zip(together.each, apart):
        assert one.steps == other.steps and np.array_equal(one.orbit, other.orbit, equal_nan=True)
        assert all(same(a, b) for a, b in zip(one.states, other.states)) and one.lives() == other.lives()
    assert name != "relu" or any(life.events for one in together.each for life in one.lives())


@pytest.mark.parametrize("name", RULES)
def test_optimizers_of_the_members_become_one(name):
    rule, options = RULES[name]
    singles = [mlp(rng=seed) for seed in SEEDS]
    opts = [alone(rule, options, single, k) for k, single in enumerate(singles)]
    begun = singles if rule is not optim.SGD else singles[1:]           # member 0 has no buffer yet
    for single, opt in zip(singles, opts):
        if single in begun:
            losses_of(single, opt, F.cross_entropy, X, Y)
    model = nn.population(singles)
    opt = opts[0].population(opts[1:], [single.parameters() for single in singles], model.parameters())
    found = losses_of(model, opt, per_member(F.cross_entropy), X, Y)
    for k, (single, its) in enumerate(zip(singles, opts)):
        assert same(found[:, k], losses_of(single, its, F.cross_entropy, X, Y)) and agree(model, k, single)


def test_seeds():
    spawned = mlp(members=2, rng=5)
    single = mlp(rng=np.random.default_rng(5).spawn(2)[1])
    assert same(spawned[0].weight.data[1], single[0].weight.data)


WRONG = {
    "members": (lambda: mlp(members=0, rng=0), ValueError, "members"),
    "seeds": (lambda: mlp(members=3, rng=[1, 2]), ValueError, "2 seeds for 3 members"),
    "shapes": (lambda: nn.population([mlp(rng=0), nn.MLP([5, 3], rng=0)]), ValueError, "module 1 is .* one shape"),
    "dtypes": (lambda: nn.population([nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0, dtype="float64")]), ValueError, "float64"),
    "empty": (lambda: nn.population([]), TypeError, "list of modules"),
    "one": (lambda: nn.population(mlp(rng=0)), TypeError, "list of modules"),
    "population": (lambda: nn.population([mlp(members=2, rng=0)]), ValueError, "is a population"),
    "no member": (lambda: mlp(members=2, rng=0).member(2), IndexError, "k is 2, expected a member from 0 to 1"),
    "no population": (lambda: mlp(rng=0).member(0), ValueError, "expected a population"),
    "parameter": (lambda: mlp(rng=0)[0].weight.member(0), IndexError, "k is 0, expected one of no members"),
    "features": (lambda: mlp(members=2, rng=0)(np.ones((4, 3))), ValueError, r"x has shape \(4, 3\).*expected x \(rows, 5\)"),
    "two results": (lambda: nn.population([nn.LSTM(2, 3, rng=0)] * 2)(np.ones((2, 4, 1, 2))), TypeError, "returned tuple, .* a Tensor"),
    "own samples": (lambda: mlp(members=2, rng=0)(np.ones((3, 4, 5))), ValueError, "2, rows, 5"),
    "batch norm first": (lambda: nn.population([nn.BatchNorm1d(2)] * 2)(np.ones((5, 2))), ValueError, "samples of each member"),
    "labels": (lambda: F.per_member(F.cross_entropy, np.zeros((2, 4, 3)), [0, 1, 2, 3]), ValueError, "labels .* 3"),
    "rates": (lambda: optim.SGD(mlp(members=2, rng=0).parameters(), lr=[0.1] * 3), ValueError, "option lr .*2 of them"),
    "range": (lambda: optim.SGD(mlp(members=2, rng=0).parameters(), lr=[0.1, -1.0]), ValueError, "lr is -1"),
    "mixed": (lambda: optim.SGD([*mlp(members=2, rng=0).parameters(), *mlp(rng=0).parameters()]), ValueError, "one population"),
    "plateau": (lambda: optim.ReduceLROnPlateau(optim.SGD(mlp(members=2, rng=0).parameters())), TypeError, "of a population, expected")}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_explained(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_rules_of_users_must_declare_that_they_take_members():
    class Plain(optim.SGD):
        def move(self, segment, grad, options):
            segment.data -= options["lr"] * grad

    class Own(Plain):
        takes_members = True

        def move(self, segment, grad, options):
            segment.data -= np.concatenate([np.repeat(options["lr"], size) for size in segment.sizes]) * grad

    model = mlp(members=2, rng=0)
    with pytest.raises(TypeError, match="takes_members = True"):
        Plain(model.parameters())
    opt = Own(model.parameters(), lr=[0.0, 0.1])
    before = model[0].weight.data.copy()
    losses_of(model, opt, per_member(F.cross_entropy), X, Y, 1)
    assert same(model[0].weight.data[0], before[0]) and not same(model[0].weight.data[1], before[1])


def test_one_norm_over_several_networks_is_refused():
    model = mlp(members=K, rng=0)
    F.per_member(F.cross_entropy, model(X), Y).sum().backward()
    with pytest.raises(ValueError, match=r"clip_grad_norm_: got parameters of a population of 3; expected those of one network"):
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)


def test_functional_call_of_a_population():
    """With Tensors in place of its parameters, whether or not it was called before, and with hooks."""
    x = np.ones((5, 3), np.float32)
    for called, hooked in [(False, False), (True, False), (False, True), (True, True)]:
        model = nn.MLP([3, 4, 2], members=2, rng=0)
        if called:
            model(x)
        if hooked:
            model[0].register_forward_hook(lambda *_: None)
        tensors = {name: tg.Tensor(p.data) for name, p in model.named_parameters()}
        y = tg.functional_call(model, tensors, x)
        np.testing.assert_array_equal(y.data, model(x).data)


def test_shares_of_threads_begin_at_the_same_members():
    """A thread then finds its members in its own cache: slices are powers of 2, which divide half of 64 or 256 members."""
    assert [several(most) for most in (-1, 0, 1, 2, 3, 15, 16, 46)] == [1, 1, 1, 2, 2, 8, 16, 32]
