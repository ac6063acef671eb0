"""Units that are killed or mirrored, treatments of your own, and momentum alone."""
import json
import re
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import cli, data, lab, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.lab import report, revive
from tinygrad_relu.lab.treatments import RULES, SCHEDULES, STARTS, TREATMENTS, yours

MOONS = data.moons(60, rng=0)


def trained(activation="relu", norm=None, steps=20, dtype="float64"):
    model = nn.MLP([2, 16, 8, 2], activation, dtype=dtype, rng=1, norm=norm)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.95)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(MOONS.x.astype(dtype)), MOONS.y).backward()
        optimizer.step()
    return model, optimizer


def largest(model, layer=0):
    return lab.census(model, MOONS.x).layers[layer].max_z


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [0, 1])
def test_kill_lowers_the_biases_of_the_chosen_units(layer, dtype):
    model, _ = trained(dtype=dtype)
    before, weight = largest(model, layer), model[2 * layer].weight.data.copy()
    lab.kill(model, MOONS.x, [1, 3], margin=0.25, layer=layer)
    after = largest(model, layer)
    np.testing.assert_allclose(after[[1, 3]], np.minimum(before[[1, 3]], -0.25), atol=1e-6)
    rest = np.setdiff1d(np.arange(len(after)), [1, 3])
    assert np.array_equal(after[rest], before[rest]) and np.array_equal(model[2 * layer].weight.data, weight)
    lab.kill(model, MOONS.x, layer=layer)
    again = largest(model, layer)
    assert lab.census(model, MOONS.x).dead[layer] == len(again) and np.all(again[[1, 3]] <= after[[1, 3]])


def test_kill_counts_from_the_edge_where_the_activation_becomes_flat():
    model, _ = trained("hardtanh")
    lab.kill(model, MOONS.x, margin=0.5)
    assert np.allclose(largest(model), -1.5) and lab.census(model, MOONS.x).dead[0] == 16


def test_momentum_brings_killed_units_back_each_at_its_own_step_and_empty_buffers_do_not():
    model, optimizer = trained()
    for keep in (True, False):
        copy, opt = deepcopy((model, optimizer))
        lab.kill(copy, MOONS.x, margin=0.02, optimizer=opt, keep_velocity=keep)
        assert all(bool(buffer.any()) == keep for p in copy[0].parameters() for buffer in opt.state_of(p).values())
        assert opt.state_of(copy[2].weight)["momentum_buffer"].any()
        told = {unit.unit: unit.step for unit in lab.prognosis(copy, MOONS.x, opt).units if unit.layer == "0"}
        recorder = lab.Recorder(copy, MOONS.x)
        for _ in range(60):
            opt.zero_grad()
            F.cross_entropy(recorder.forward(), MOONS.y).backward()
            opt.step()
        recorder.observe()
        seen = {life.unit: life.revived_at for life in recorder.lives() if life.layer == "0"}
        assert seen == told
        assert (len(set(seen.values()) - {None}) >= 3) if keep else set(seen.values()) == {None}


@pytest.mark.parametrize("layer", [0, 1])
def test_mirrored_units_live_and_change_nothing(layer):
    model, optimizer = trained()
    lab.kill(model, MOONS.x, [0, 5], layer=layer)
    z = model[0](MOONS.x).data if layer == 0 else model[2](model[1](model[0](MOONS.x))).data
    before = model(MOONS.x).data
    lab.mirror(model, [0, 5], 0.5, layer=layer, optimizer=optimizer)
    assert np.array_equal(model(MOONS.x).data, before)
    after = model[0](MOONS.x).data if layer == 0 else model[2](model[1](model[0](MOONS.x))).data
    np.testing.assert_allclose(after[:, [0, 5]], -0.5 * z[:, [0, 5]], rtol=1e-12)
    assert not lab.census(model, MOONS.x).layers[layer].state[[0, 5]].any() or (after[:, [0, 5]] > 0).all()
    outgoing, incoming = model[2 * layer + 2].weight, model[2 * layer].weight
    assert not outgoing.data[:, [0, 5]].any() and outgoing.data[:, 1].any()
    assert not optimizer.state_of(outgoing)["momentum_buffer"][:, [0, 5]].any()
    assert not optimizer.state_of(incoming)["momentum_buffer"][[0, 5]].any()
    assert optimizer.state_of(incoming)["momentum_buffer"][1].any()


def test_what_cannot_be_killed_or_mirrored_is_one_sentence():
    model, optimizer = trained()
    for call, error, words in (
            (lambda: lab.kill(trained("leaky_relu")[0], MOONS.x), ValueError, "leaky_relu, which has no flat side below"),
            (lambda: lab.kill(trained("maxout")[0], MOONS.x), ValueError, "maxout, which has no flat side"),
            (lambda: lab.kill(trained(norm="batch")[0], MOONS.x), ValueError, "a norm before its activation"),
            (lambda: lab.kill(model, MOONS.x, keep_velocity=False), TypeError, "expected the one whose buffers are to be"),
            (lambda: lab.kill(model, MOONS.x, layer=2), IndexError, "layer is 2, expected a hidden layer from 0 to 1"),
            (lambda: lab.kill(model, MOONS.x, margin=-1), ValueError, "margin is -1"),
            (lambda: lab.kill(model, MOONS.x, [16]), IndexError, "units is [16], expected indices from 0 to 15, or a mask"),
            (lambda: lab.kill(model, MOONS.x, [0, -1]), IndexError, "units is [0, -1], expected indices from 0 to 15, or a mask"),
            (lambda: lab.kill(model, MOONS.x, ["a"]), IndexError, "units is ['a'], expected indices from 0 to 15, or a mask"),
            (lambda: lab.mirror(nn.MLP([2, 3, 3, 2], residual=True, rng=0), [0], layer=1), ValueError, "a Residual around it"),
            (lambda: lab.mirror(trained(norm="layer")[0], [0]), ValueError, "a norm after it"),
            (lambda: lab.mirror(trained("maxout")[0], [0]), ValueError, "Maxout pieces"),
            (lambda: lab.mirror(model, [0], -1.0), ValueError, "kappa is -1"),
            (lambda: yours("adam", momentum=0.9), ValueError, "got momentum 0.9 for adam, expected it for sgd, nesterov or sgdw"),
            (lambda: yours("sgdx"), ValueError, "did you mean"),
            (lambda: yours(schedule="cosin"), ValueError, "did you mean 'cosine'"),
            (lambda: yours(weight_decay=-1), ValueError, "weight_decay is -1")):
        with pytest.raises(error, match=re.escape(words)):
            call()


@pytest.mark.parametrize("activation", ["maxout", "leaky_relu", "gelu", "hardtanh"])
def test_treatments_that_do_not_suit_the_activation_are_left_out(capsys, activation):
    words = ["revive", "--data", "moons", "--activation", activation, "--widths", "6", "--kill-steps", "5", "--steps", "8"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert ("momentum alone" in out) == (activation == "hardtanh") and "killed by own steps" in out
    assert ("leaky twin" in out) == (activation != "maxout") and ("mirrored" in out) == (activation == "hardtanh")
    assert cli.main([*words, "--treatments", "leaky", "coast"]) == (0 if activation == "hardtanh" else 2)


def test_a_split_that_leaves_one_class_is_one_sentence():
    twice = data.Dataset("two", [[1.0], [2.0]], [0, 1], 2)
    with pytest.raises(ValueError, match=r"held_out 0\.5 leaves samples of one class to train on"):
        revive.main_job(twice, TREATMENTS[:1])


def test_a_split_that_leaves_few_samples_says_so(capsys):
    words = ["revive", "--held-out", "0.99", "--widths", "4", "--kill-steps", "2", "--steps", "2", "--treatments", "sgd"]
    assert cli.main(words) == 0
    assert "So few samples of 10 classes teach it nothing" in " ".join(capsys.readouterr().out.split())


def test_momentum_alone_in_the_main_job():
    """Each unit returns at its own predicted step; none with empty buffers; none that died by its own steps."""
    chosen = [t for t in TREATMENTS if t.start != "sick"]
    found = revive.main_job(data.digits().head(600), chosen, steps=300)
    coast, emptied, own = found.outcomes
    assert [o.treatment.key for o in found.outcomes] == ["coast", "coast-emptied", "own-steps"]
    assert not any(o.disagreements for o in found.outcomes) and all(p.proved for o in found.outcomes for p in o.predictions)
    shocked = found.networks["shocked"]
    assert shocked.dead[0] == 64 and shocked.accuracies[-2][1] > 0.8 and shocked.accuracy < 0.3 and shocked.steps == 61
    back = [p.observed for p in coast.predictions if p.layer == "0" and p.observed is not None]
    assert len(back) > 30 and len(set(back)) > 10 and coast.accuracy > 0.99 and coast.held_out[-1][1] > 0.85
    assert len(emptied.predictions) == 64 and not any(p.observed for p in emptied.predictions) and emptied.accuracy < 0.3
    assert own.sick.dead[0] > 10 and not any(p.observed for p in own.predictions if p.layer == "0")


def test_mirrored_units_learn_at_once():
    digits = data.digits().head(600)
    found = revive.main_job(digits, [t for t in TREATMENTS if t.key == "mirror"], steps=300)
    (outcome,) = found.outcomes
    assert found.networks["sick"].dead[1] == 64 and not any(lab.State.DEAD in states[0] for states in outcome.states)
    assert outcome.accuracy > 0.95 and outcome.predicted == outcome.observed == "-"


@pytest.mark.parametrize("schedule", ["", *SCHEDULES])
@pytest.mark.parametrize("rule", RULES)
def test_your_own_settings_are_predicted_too(rule, schedule):
    momentum = None if rule.startswith("adam") else 0.95
    sick = revive.make_sick(MOONS, hidden=(8, 8), kill_lr=20.0, kill_steps=60)
    (outcome,) = revive.revive(sick, MOONS, [yours(rule, momentum, 0.02, schedule)], steps=150)
    assert outcome.predictions and all(p.proved for p in outcome.predictions) and not outcome.disagreements
    if rule in ("sgdw", "adamw"):
        assert outcome.observed_step is None
    if rule == "sgd":
        assert (outcome.observed_step is None) == (schedule == "step") or outcome.observed_step > 0
    said = [sentence for sentence in report.sentences(sick, [outcome]) if sentence.startswith("Your treatment is")]
    assert len(said) == 1 and f"rate {0.001 if momentum is None else 0.1:g}, " in said[0] and "weight decay 0.02" in said[0]
    assert (outcome.threshold is None) == (bool(schedule) or rule not in ("sgd", "nesterov"))


def test_seeds_repeat_the_main_job(capsys, tmp_path):
    words = ["revive", "--data", "moons", "--widths", "8", "8", "--kill-lr", "20", "--kill-steps", "60", "--steps", "60",
             "--momentum", "0.9", "--weight-decay", "0.1", "--treatments", "sgd", "coast", "--json", str(tmp_path / "a.json")]
    assert cli.main([*words, "--seeds", "3"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "3 seeds, 0 to 2" in out and "Over all seeds" in out and " 0 wrong" in out
    three = json.loads((tmp_path / "a.json").read_text())
    assert [run["seed"] for run in (three, *three["other_seeds"])] == [0, 1, 2]
    assert [t["name"] for t in three["treatments"]] == ["sgd", "coast", "yours"]
    assert cli.main([*words, "--seed", "2"]) == 0
    alone = json.loads((tmp_path / "a.json").read_text())
    assert alone.pop("other_seeds") == [] and alone == three["other_seeds"][1]
    assert three["held_out_samples"] == three["samples"] == 150


@pytest.mark.parametrize(("words", "option", "steps"), [
    ([], "weight_decay", [61, 60, 60, 59]), (["--option", "lr"], "lr", [61, 60, 60, 59]),
    (["--option", "momentum", "--momentum", "0.9", "--weight-decay", "0.05"], "momentum", [61, 60, 60, 59]),
    (["--treatments", "nesterov-l2"], "weight_decay", [61, 60, 60, 59])], ids=lambda value: " ".join(map(str, value)))
def test_a_prescription_is_trained_at_its_ends_and_just_outside(capsys, tmp_path, words, option, steps):
    quick = ["--data", "moons", "--widths", "8", "8", "--kill-lr", "20", "--kill-steps", "60"]
    assert cli.main(["revive", *quick, "--at", "60", *words, "--json", str(tmp_path / "a.json")]) == 0
    out, found = " ".join(capsys.readouterr().out.split()), json.loads((tmp_path / "a.json").read_text())
    assert f"Observed: {', '.join(map(str, steps))}, as prescribed." in out
    assert found["prescription"]["option"] == option and found["prescription"]["at"] == 60
    assert [t["observed_step"] for t in found["treatments"]] == [t["predicted_step"] for t in found["treatments"]] == steps


def test_a_prescription_that_fails_is_an_exit_status_of_1(capsys, monkeypatch):
    real = revive.prescribe
    monkeypatch.setattr(revive, "prescribe", lambda *arguments: replace(real(*arguments), below=(0.0008, 61)))
    words = ["--data", "moons", "--widths", "8", "--kill-lr", "20", "--kill-steps", "60", "--at", "60"]
    assert cli.main(["revive", *words]) == 1 and "THE PRESCRIPTION FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("members", [None, 2])
def test_an_intervention_that_cannot_act_on_some_layer_changes_none(members):
    x = np.random.default_rng(0).standard_normal((50, 4))
    mixed = nn.Sequential(nn.Linear(4, 6, rng=0), nn.ReLU(), nn.Linear(6, 6, bias=False, rng=1), nn.ReLU(), nn.Linear(6, 5, rng=2),
                          nn.Tanh())
    for cure in (lab.Kill(x), lab.BumpBias(x, share=0.9), lab.Mirror(), lab.ReDo(), lab.DataInit(x)):
        model = deepcopy(mixed) if members is None else nn.population([mixed] * members)
        before = [p.data.copy() for p in model.parameters()]
        with pytest.raises(ValueError, match=r"no bias|no layer after it|the output of the model after it"):
            cure.apply(model, rng=0)
        assert all((p.data == old).all() for p, old in zip(model.parameters(), before)), cure


def test_only_a_relu_network_is_said_to_return_at_one_step():
    """Units of hardtanh and relu6 are dead beside edges that are not at 0: each comes back over its edge at a step of its own."""
    inside = next(t for t in TREATMENTS if t.key == "momentum-l2-inside")
    for activation, at_once in (("relu", True), ("hardtanh", False)):
        dataset = data.moons(100, rng=0)
        sick = revive.make_sick(dataset, hidden=(12, 6), activation=activation, kill_lr=8.0, kill_steps=60)
        (outcome,) = revive.revive(sick, dataset, [inside], steps=50)
        steps = {p.observed for p in outcome.predictions if p.layer == "0"}
        assert (len(steps) == 1) is at_once and not outcome.disagreements
        (said,) = [sentence for sentence in report.sentences(sick, [outcome]) if "above the threshold" in sentence]
        assert ("all units at one step" in said) is at_once and ("over an edge of hardtanh" in said) is not at_once


def test_a_higher_rate_is_not_said_to_kill_units_that_cannot_die():
    for activation, advised in (("relu", True), ("tanh", False)):
        sick = revive.make_sick(MOONS, hidden=(4,), activation=activation, kill_lr=0.1, kill_steps=3)
        (said,) = report.sentences(sick, [])
        assert ("higher --kill-lr" in said) is advised and "Some path is still alive" in said


def test_held_out_data_are_not_trained_on():
    found = revive.main_job(MOONS, [TREATMENTS[0]], held_out=0.25, hidden=(4,), kill_steps=3, steps=12)
    assert (len(found.dataset), len(found.held_out)) == (45, 15) and found.dataset.name == "moons"
    assert [step for step, _ in found.outcomes[0].held_out] == [step for step, _ in found.outcomes[0].accuracies] == [0, 10, 12]
    rows = {tuple(row) for row in found.dataset.x}
    assert not any(tuple(row) in rows for row in found.held_out.x)
    assert set(STARTS) >= set(found.networks) == {"sick"}
    alone = revive.main_job(MOONS, [TREATMENTS[0]], held_out=0, hidden=(4,), kill_steps=3, steps=12)
    assert alone.held_out is None and len(alone.dataset) == 60 and alone.outcomes[0].held_out == []


# -- one signature ---------------------------------------------------------------------------------------------------------------

X, Y = MOONS.x, MOONS.y
ALL = {"kill": lambda model: lab.Kill(X, keep_velocity=False), "bump": lambda model: lab.BumpBias(X, share=0.3),
       "mirror": lambda model: lab.Mirror(0.5), "redo": lambda model: lab.ReDo(), "data": lambda model: lab.DataInit(X),
       "start": lambda model: lab.DecayToStart(model, 0.5), "leaky": lambda model: lab.SwapToLeaky(),
       "norm": lambda model: lab.InsertBatchNorm(X), "continual": lambda model: lab.ContinualBackprop(0.2, maturity=3)}
OVERWRITE = ["kill", "bump", "mirror", "redo", "data"]


def train(model, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(X)
        loss = F.cross_entropy(output, Y) if output.ndim == 2 else F.per_member(F.cross_entropy, output, Y).sum()
        loss.backward()
        optimizer.step()


def begun(seed, rule=optim.Adam, **options):
    model = nn.MLP([2, 12, 8, 2], dtype="float64", rng=seed, **options)
    optimizer = rule(model.parameters(), lr=0.02)
    train(model, optimizer, 5)
    lab.kill(model, X, [1, 4])
    return model, optimizer


@pytest.mark.parametrize("name", ALL)
def test_a_population_is_treated_as_its_members_alone(name):
    """The same bits, before and after further training with Adam, whose steps are then counted for each entry."""
    alone = [begun(seed) for seed in (1, 2)]
    together = nn.population([model for model, _ in alone])
    optimizer = alone[0][1].population([alone[1][1]], [model.parameters() for model, _ in alone], together.parameters())
    chosen = [{0: [1, 4], 1: [0]}, {0: [1], 1: [2, 3]}]
    each = [ALL[name](model) for model, _ in alone]
    common = ALL[name](together)
    for _ in range(6 if name == "continual" else 1):
        if name == "continual":
            common.observe(together, X)
            chosen = [None, None]
        for own, (model, opt), units, rng in zip(each, alone, chosen, np.random.default_rng(3).spawn(2)):
            if name == "continual":
                own.observe(model, X)
            own.apply(model, opt, units, rng)
        common.apply(together, optimizer, chosen, np.random.default_rng(3))
        for model, opt in [*alone, (together, optimizer)]:
            train(model, opt, 3)
    for k, (model, _) in enumerate(alone):
        for mine, its in zip(model.parameters(), together.member(k).parameters()):
            np.testing.assert_array_equal(mine.data, its.data)
    assert name != "continual" or common.replaced == sum(own.replaced for own in each) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OVERWRITE)
def test_other_units_keep_their_weights_and_their_past(name, dtype):
    model = nn.MLP([2, 12, 8, 2], dtype=dtype, rng=1)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    train(model, optimizer, 5)
    lab.kill(model, X, [1, 4])
    before = deepcopy((model, optimizer))
    ALL[name](model).apply(model, optimizer, {0: [1, 4]}, rng=0)
    rest = np.setdiff1d(np.arange(12), [1, 4])
    for p, old, part in ((model[0].weight, before[0][0].weight, (rest,)), (model[0].bias, before[0][0].bias, (rest,)),
                         (model[2].weight, before[0][2].weight, (slice(None), rest)), (model[2].bias, before[0][2].bias, ...),
                         (model[4].weight, before[0][4].weight, ...)):
        np.testing.assert_array_equal(p.data[part], old.data[part])
        for buffer in ("exp_avg", "exp_avg_sq"):
            np.testing.assert_array_equal(optimizer.state_of(p)[buffer][part], before[1].state_of(old)[buffer][part])
    for p in model[0].parameters():
        assert not any(buffer[[1, 4]].any() for buffer in optimizer.state_of(p).values())
    outgoing = optimizer.state_of(model[2].weight)
    assert (name in ("kill", "bump")) == outgoing["exp_avg_sq"][:, [1, 4]].any()


@pytest.mark.parametrize(("name", "dead", "keeps_outputs"), [
    ("kill", 2, True), ("bump", 0, False), ("mirror", 0, True), ("redo", None, True), ("data", 0, True), ("leaky", 0, False),
    ("norm", 0, False)])
def test_what_becomes_of_dead_units(name, dead, keeps_outputs):
    model, optimizer = begun(1)
    outputs = model(X).data
    ALL[name](model).apply(model, optimizer, lab.census(model, X).select("dead"), rng=0)
    after = lab.census(model, X)
    assert dead is None or after.dead[0] == dead
    assert np.allclose(model.eval()(X).data, outputs, rtol=0, atol=1e-12) is keeps_outputs
    train(model.train(), optimizer, 3)


def test_bumped_units_are_active_on_the_share():
    model, _ = begun(1)
    lab.BumpBias(X, share=0.4, margin=1e-9).apply(model, None, {0: [1, 4]})
    assert np.array_equal(lab.census(model, X).layers[0].on_rate[[1, 4]], [0.4, 0.4])
    weights = model[0].bias.data.copy()
    lab.BumpBias(X, share=0.3, margin=1e-9).apply(model, None, {0: [1, 4]})      # they are there already
    assert np.array_equal(model[0].bias.data, weights)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_data_init_standardises_z(activation):
    model = nn.MLP([2, 12, 8, 2], activation, dtype="float64", rng=1)
    lab.DataInit(X).apply(model, None, {1: None}, rng=0)
    z = model[2](model[1](model[0](X))).data
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-12)
    assert not model[4].weight.data.any()


def test_an_inserted_norm_keeps_the_other_units_and_is_trained():
    model, optimizer = begun(1)
    inner = model[1](model[0](X)).data
    lab.InsertBatchNorm(X).apply(model, optimizer, {0: [1, 4], 1: None})
    assert [type(m).__name__ for m in model] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    model.eval()
    after = model[:3](X).data
    rest = np.setdiff1d(np.arange(12), [1, 4])
    np.testing.assert_allclose(after[:, rest], inner[:, rest], atol=1e-12)
    assert after[:, [1, 4]].any(axis=0).all()
    _, second = lab.Units(model).walk(X)                    # its statistics are those behind the first norm
    np.testing.assert_allclose(second.z.mean(axis=0), 0, atol=1e-12)
    assert all(optimizer.holds(p) for p in model.parameters()) and optimizer.param_groups[-1]["lr"] == 0.02
    with pytest.raises(ValueError, match="hidden layer 0 has a BatchNorm1d already"):
        lab.InsertBatchNorm(X).apply(model)


def test_a_seed_draws_other_weights_for_each_layer():
    model = nn.MLP([8, 8, 8, 2], dtype="float64", rng=1)
    lab.ReDo().apply(model, rng=0)
    assert not np.isin(model[2].weight.data, model[0].weight.data).any()


def test_continual_backprop_leaves_a_captured_step_as_it_is():
    model, optimizer = begun(1)
    cbp, rng = lab.ContinualBackprop(rate=0.02, maturity=3), np.random.default_rng(0)

    @tg.capture
    def step(x):
        optimizer.zero_grad()
        F.cross_entropy(model(x), Y).backward()
        optimizer.step()

    for _ in range(40):
        step(X)
        cbp.observe(model, X)
        cbp.apply(model, optimizer, None, rng)
    assert cbp.replaced >= 3 and step.replays >= 33         # recorded and proved at the start, and when Adam begins to count


def test_continual_backprop_goes_through_a_residual():
    block = nn.Residual(nn.Linear(2, 2, dtype="float64", rng=3))
    model = nn.Sequential(block, nn.Linear(2, 6, dtype="float64", rng=4), nn.ReLU(), nn.Linear(6, 2, dtype="float64", rng=5))
    cbp = lab.ContinualBackprop(rate=1.0, maturity=0)
    cbp.observe(model, X)
    h = model[2](model[1](block(X))).data
    least = int(np.argmin(np.abs(h).mean(axis=0) * np.abs(model[3].weight.data).sum(axis=0)))
    cbp.rate = 1 / 6
    cbp.apply(model, None, None, 0)
    assert cbp.replaced == 1 and not model[3].weight.data[:, least].any()


def test_recycling_starts_a_batch_norm_again():
    model = nn.MLP([2, 12, 8, 2], dtype="float64", rng=1, norm="batch")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, 5)
    lab.ReDo().apply(model, optimizer, {0: [3]}, rng=0)
    norm = model[1]
    assert (norm.weight.data[3], norm.bias.data[3], norm.running_mean.data[3], norm.running_var.data[3]) == (1, 0, 0, 1)
    assert norm.weight.data[2] != 1 and norm.running_mean.data[2] != 0
    assert not model[3].weight.data[:, 3].any()


def test_swapped_units_are_leaky_and_the_others_are_not():
    model, optimizer = begun(1)
    lab.SwapToLeaky(0.1).apply(model, optimizer, {0: [1]})
    lab.SwapToLeaky(0.2).apply(model, optimizer, {0: [4]})
    z = model[0](X).data
    slope = np.where(np.arange(12) == 1, 0.1, np.where(np.arange(12) == 4, 0.2, 0.0))
    np.testing.assert_allclose(model[1](z).data, np.where(z > 0, z, slope * z))
    train(model, optimizer, 2)
    assert np.array_equal(model[1].weight.data, slope)
    lab.SwapToLeaky().apply(model, optimizer, {0: None})
    assert isinstance(model[1], nn.LeakyReLU) and isinstance(model[3], nn.ReLU)


def test_decay_to_the_start_is_a_penalty_in_plain_sgd():
    (model, _), (twin, _) = begun(1), begun(1)
    starts = [p.data.copy() for p in model.parameters()]
    home = lab.DecayToStart(model, 0.3)
    one, two = (optim.SGD(m.parameters(), lr=0.1) for m in (model, twin))
    for _ in range(10):
        for m, opt in ((model, one), (twin, two)):
            opt.zero_grad()
            loss = F.cross_entropy(m(X), Y)
            if m is twin:
                loss = loss + 0.15 * sum(((p - start) ** 2).sum() for p, start in zip(m.parameters(), starts))
            loss.backward()
            if m is model:
                home.apply(m, opt)
            opt.step()
    for p, q in zip(model.parameters(), twin.parameters()):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-11, atol=1e-13)
    with pytest.raises(TypeError, match="expected the one that trains the model, for its rate"):
        home.apply(model)


def test_continual_backprop_follows_its_definition():
    """Against a plain loop over the units of one layer, written from the algorithm of Dohare et al."""
    model, optimizer = begun(1, optim.SGD)
    cbp, rng = lab.ContinualBackprop(rate=0.05, maturity=4, decay=0.9), np.random.default_rng(0)
    age, utility, mean, credit, replaced = np.zeros(12), np.zeros(12), np.zeros(12), 0.0, []
    for step in range(40):
        train(model, optimizer, 1)
        h, outgoing = model[1](model[0](X)).data, np.abs(model[2].weight.data).sum(axis=0)
        for j in range(12):
            age[j] += 1
            utility[j] = 0.9 * utility[j] + 0.1 * np.abs(h[:, j]).mean() * outgoing[j]
            mean[j] = 0.9 * mean[j] + 0.1 * h[:, j].mean()
        mature = [j for j in range(12) if age[j] > 4]
        credit += 0.05 * len(mature)
        expected = []
        if credit >= 1:
            credit -= 1
            expected = [min(mature, key=lambda j: utility[j] / (1 - 0.9 ** age[j]))]
        bias = model[2].bias.data.copy()
        for j in expected:
            bias += model[2].weight.data[:, j] * mean[j] / (1 - 0.9 ** age[j])
        before = model[0].weight.data.copy()
        cbp.observe(model, X)
        cbp.apply(model, optimizer, {0: None}, rng)
        assert np.flatnonzero((model[0].weight.data != before).any(axis=1)).tolist() == expected
        np.testing.assert_allclose(model[2].bias.data, bias, rtol=1e-12)
        for j in expected:
            assert not model[2].weight.data[:, j].any() and model[0].bias.data[j] == 0
            age[j] = utility[j] = mean[j] = 0
            replaced.append((step, j))
    assert len(replaced) == cbp.replaced > 10 and len({j for _, j in replaced}) > 2


def test_wrong_interventions_are_one_sentence():
    model, optimizer = begun(1)
    pair = nn.population([model, model])
    for call, error, words in (
            (lambda: lab.ReDo().apply(model, optimizer, {0: [1]}), TypeError, "ReDo needs rng"),
            (lambda: lab.ReDo().apply(model, optimizer, [1]), TypeError, "units is [1], expected {hidden layer: indices or a mask}"),
            (lambda: lab.ReDo().apply(model, optimizer, {2: [1]}), IndexError, "layer is 2, expected a hidden layer from 0 to 1"),
            (lambda: lab.ReDo().apply(model, optimizer, {0: [0.5]}), IndexError, "expected indices from 0 to 11"),
            (lambda: lab.ReDo().apply(model, "adam"), TypeError, "the optimizer is 'adam'"),
            (lambda: lab.Mirror().apply(pair, None, [None]), ValueError, "units has 1 entries for 2 members"),
            (lambda: lab.SwapToLeaky().apply(pair, None, [{0: [1]}, {}]), ValueError, "some members have no chosen unit"),
            (lambda: lab.SwapToLeaky().apply(nn.MLP([2, 3, 1], "tanh", rng=0)), ValueError, "has tanh; expected ReLU"),
            (lambda: lab.DataInit(X).apply(nn.MLP([2, 3, 1], norm="batch", rng=0), rng=0), ValueError, "a norm before its act"),
            (lambda: lab.InsertBatchNorm(X).apply(nn.MLP([2, 3, 1], "maxout", rng=0)), ValueError, "Maxout pieces"),
            (lambda: lab.BumpBias(X, share=0), ValueError, "share is 0"),
            (lambda: lab.ContinualBackprop(maturity=-1), ValueError, "maturity is -1"),
            (lambda: lab.census(model, X).select("ded"), ValueError, "did you mean 'dead'")):
        with pytest.raises(error, match=re.escape(words)):
            call()
    lab.Mirror().apply(model, optimizer, {0: [], 1: np.zeros(8, bool)})         # no unit is chosen
    assert lab.census(model, X).dead == [2, 0]
