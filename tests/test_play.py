"""The state behind the page to play with: links give the same bits, and what is foretold comes true, without a browser."""
import sys

import numpy as np
import pytest

from tinygrad_relu import cli, data, lab, nn, optim
from tinygrad_relu import functional as F
from tinygrad_relu.play import Playground
from tinygrad_relu.play.playground import ACTIONS, MENDED, TREATED

STORY = [(0, "lr", 3.0), (40, "watch", 0, 5), (40, "lr", 0.1), (40, "treat", "heavy-l2"), (52, "kill", 0, 1, 2), (60, "treat", "redo"),
         (75, "activation", "elu"), (78, "activation", "prelu"), (80, "decoupled", 1), (90, "momentum", 0.5), (90, "weight_decay", 0.01), (97, "treat", "adam-l2")]


def told(play, story, end, *, stride=10**6):
    for step, *words in [*story, (end,)]:
        while play.step < step and not play.diverged:
            play.advance(min(stride, step - play.step))
        if words:
            play.do(*words)
    return play


def seen(play):
    return (play.fingerprint(), play.link(), play.log, play.claims, play.settled, play.recorder.orbit, play.since, play.foretold,
            play.lives(50)[0].tolist())


def test_a_link_gives_the_same_bits_however_the_steps_are_grouped():
    play = told(Playground("moons", 3, (8, 8)), STORY, 110)
    assert [step for step, _ in play.log] == [step for step, *_ in STORY] and play.step == 110
    assert seen(Playground.of(play.link()).replay()) == seen(play)
    again = Playground.of(play.link())
    assert again.behind == 110
    while again.behind:
        again.advance(min(7, again.behind))
    assert seen(again) == seen(play)
    assert Playground.of(play.link().replace("seed=3", "seed=4")).replay().fingerprint() != play.fingerprint()


def test_it_trains_as_a_plain_loop_does():
    moons = data.moons(200, rng=0)
    model = nn.MLP([2, 16, 16, 2], init="he", rng=0, dtype="float64")
    opt = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    play = told(Playground(), [(0, "lr", 0.3), (0, "momentum", 0.9), (20, "kill", 1, 4)], 30)
    for step in range(30):
        if step == 20:
            lab.kill(model, moons.x, [4], layer=1)
        opt.zero_grad()
        F.cross_entropy(model(moons.x), moons.y).backward()
        opt.step()
    assert all((p.data == q.data).all() for p, q in zip(play.model.parameters(), model.parameters()))
    loss, accuracy, confused = play.measured()
    assert loss == F.cross_entropy(model(moons.x), moons.y).item() and accuracy == np.trace(confused) / 200
    assert play._program.replays > 20


@pytest.mark.parametrize("key", TREATED)
def test_no_claim_fails_under_any_treatment(key):
    """The chosen unit is followed, and until it returns it does what was foretold."""
    play = told(Playground(), [(0, "momentum", 0.9), (0, "watch", 0, 3), (20, "kill", 0), (20, "treat", key)], 20)
    claim = play.claims.get((0, 3))
    play.advance(80)
    assert not any(claim.fails(came) for claim, came in play.settled if claim.verdict != "estimate")
    if claim is None:
        assert key in ("leaky", "mirror")                       # no unit is dead any more
        return
    start, path = play.foretold
    end = min(len(path), len(play.recorder.orbit), (claim.step or 100) - 20)
    assert start == 20 and end > 5
    np.testing.assert_allclose(play.recorder.orbit[start - play.since:][:end], path[:end], rtol=1e-12, atol=1e-15)
    if claim.step is not None and claim.step <= 100:
        assert (0, 3) in [(found.layer, found.unit) for found, came in play.settled if came == claim.step]


def test_a_claim_that_is_wrong_is_counted():
    play = told(Playground(), [(0, "treat", "momentum-l2-inside"), (0, "kill", 0, 3)], 0)
    claim = play.claims[0, 3]
    assert claim.step == 48 and not claim.fails(48) and claim.fails(47) and claim.fails(49)
    play.model[0].bias.data = play.model[0].bias.data + np.eye(16)[3] * 100         # from behind
    play.advance(20)
    assert play.settled == [(claim, 1)] and play.told(play.census())[1] == "So far: 0 returns at the foretold step, 1 not as foretold."


def test_a_claim_is_made_anew_before_its_steps_run_out():
    """A return at step 500 was counted against "does not return within 300 steps"."""
    play = told(Playground(), [(0, "treat", "adam-l2"), (0, "lr", 0.005), (0, "kill", 0)], 700)
    late = [claim.fails(came) for claim, came in play.settled if came > 300 and claim.verdict != "estimate"]
    assert late and not any(late)


def test_units_that_die_by_themselves_get_a_prognosis():
    play = told(Playground(), [(0, "watch", 0, 0), (0, "lr", 10.0)], 100)
    dead = play.census().dead[0]
    assert dead == sum(layer == 0 for layer, _ in play.claims) > 0
    assert {claim.made for claim in play.claims.values()} <= {*range(0, 101, 10)}


def test_life_lines_go_on_through_another_activation_and_are_thinned_without_a_change_of_the_past():
    play = told(Playground(), [(0, "watch", 0, 3), (0, "lr", 10.0)], 20)
    before, stride = play.lives(100)
    assert before.shape == (32, 21) and stride == 1 and len(np.unique(before)) > 1
    told(play, [(20, "activation", "elu")], 30)
    after, _ = play.lives(100)
    assert after.shape == (32, 31) and (after[:, :20] == before[:, :20]).all() and len(play.recorder.orbit) == 31
    thin, stride = play.lives(8)
    assert stride == 4 and (thin[:, :-1] == after[:, :-1:4]).all() and (thin[:, -1] == after[:, -1]).all()


@pytest.mark.parametrize("key", MENDED)
def test_interventions_act_on_the_dead_units_only(key):
    play = told(Playground(), [(5, "kill", 0, 2, 7)], 6)
    before = play.model[0].weight.data.copy(), play.model[0].bias.data.copy()
    dead = play.census().select("dead")[0]
    play.do("treat", key)
    moved = np.flatnonzero((play.model[0].bias.data != before[1]) | (play.model[0].weight.data != before[0]).any(axis=1))
    assert moved.tolist() == dead.tolist() and {2, 7} <= {*dead}
    assert key == "redo" or not play.census().dead[0]


def test_of_two_settings_in_a_row_the_last_is_kept():
    play = told(Playground(), [(0, "lr", 0.3), (0, "lr", 0.5), (0, "watch", 0, 1), (0, "watch", 0, 2), (0, "lr", 1)], 0)
    assert play.log == [(0, ["lr", "0.5"]), (0, ["watch", "0", "2"]), (0, ["lr", "1"])]


def test_a_training_that_diverges_stops():
    play = told(Playground(), [(0, "activation", "leaky_relu"), (0, "lr", 1e9)], 500)
    assert play.diverged and play.step < 500 and Playground.of(play.link()).replay().diverged
    play.do("lr", 0.1)
    assert not play.claims and np.isnan(play.predictions(play.x)).any()


@pytest.mark.parametrize(("words", "error", "said"), [
    (("hill", 0), ValueError, "the action is 'hill'.* did you mean 'kill'"), (("kill", 2, 0), IndexError, "layer is 2, expected one from 0 to 1"),
    (("kill", 0, 16), IndexError, "expected indices from 0 to 15"), (("kill", "a"), ValueError, "is 'a', expected a whole number"),
    (("lr", "x"), ValueError, "lr: got 'x', expected a number"), (("lr", -1), ValueError, "lr is -1"), (("lr", 1, 2), ValueError, "got 2 words"),
    (("momentum", 1), ValueError, "momentum is 1"), (("activation", "rrelu"), ValueError, "the activation is 'rrelu'"),
    (("treat", "sgdd"), ValueError, "did you mean 'sgd"), (("watch", 0, 16), IndexError, "no unit 16 in hidden layer 0"), ((), TypeError, "action")])
def test_what_cannot_be_done_is_said_and_changes_nothing(words, error, said):
    play = told(Playground(), [], 3)
    before = seen(play)
    with pytest.raises(error, match=said):
        play.do(*words)
    assert seen(play) == before


def test_the_slopes_of_prelu_are_trained_like_the_weights_but_do_not_decay():
    play = told(Playground(), [(0, "treat", "heavy-l2"), (0, "activation", "prelu"), (0, "lr", 0.3)], 5)
    weights, slopes = play.optimizer.param_groups
    assert slopes == {**weights, "params": slopes["params"], "weight_decay": 0.0} and weights["weight_decay"] > 0
    assert all(p.data != 0.25 for p in slopes["params"]) and len(slopes["params"]) == 2


def test_adam_has_no_momentum_to_set_and_only_an_sgd_coasts():
    play = told(Playground(), [(0, "treat", "adam")], 0)
    for words in (("momentum", 0.9), ("decoupled", 1), ("treat", "coast")):
        with pytest.raises(ValueError, match="Adam"):
            play.do(*words)
    assert play.setting("momentum") is None and play.setting("lr") == 0.001
    with pytest.raises(ValueError, match="flat side"):
        told(play, [(0, "activation", "tanh"), (0, "kill", 0, 1)], 0)


@pytest.mark.parametrize(("query", "said"), [
    ("data=moon", "did you mean 'moons'"), ("sed=1", "did you mean 'seed'"), ("seed=-1", "the seed is '-1', expected a whole number"),
    ("widths=8-x", "a width is 'x'"), ("widths=400-400", "800 units, expected at most 500"), ("step=1e3", "the step is '1e3'"), ("do=5+kill+0", "actions at steps"),
    ("do=5+lr+1&do=4+lr+2&step=9", "expected them in order"), ("do=&step=3", "the step of an action is ''"), ("do=0&step=3", "the action is ''"),
    ("do=0+kill+7+1&step=3", "layer is 7")])
def test_a_link_that_cannot_be_followed_is_one_sentence(query, said):
    with pytest.raises((ValueError, IndexError), match=said):
        Playground.of(query)


def test_an_action_that_cannot_be_done_ends_a_replay():
    play = Playground.of("do=5+kill+7+1&do=6+kill+0&step=20")
    with pytest.raises(IndexError, match="layer is 7"):
        play.replay()
    assert play.step == 5 and not play.behind and not play.pending and not play.log


def test_without_bokeh_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.delitem(sys.modules, "tinygrad_relu.play.page", raising=False)
    assert cli.main(["play", "--no-browser"]) == 2
    said = capsys.readouterr().err
    assert said == """tinygrad-relu play: the page needs the extra "play" (bokeh is missing): python -m pip install "tinygrad_relu[play]"\n"""


def test_every_action_is_tried_here():
    assert {action for _, action, *_ in STORY} == {*ACTIONS}
