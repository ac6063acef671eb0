"""Survival curves against a loop over the spells, and the spells that lives consist of."""
import json

import numpy as np
import pytest
from test_recorder import sick_model

from tinygrad_relu import lab, nn
from tinygrad_relu.lab.survival import Spell, kaplan_meier, spells

X = np.random.default_rng(5).standard_normal((60, 4))


def naive(durations, ended):
    """Kaplan and Meier, one time after the other."""
    left, rows = 1.0, []
    for t in sorted(set(durations)):
        risk = sum(d >= t for d in durations)
        deaths = sum(d == t and e for d, e in zip(durations, ended))
        left *= 1 - deaths / risk
        rows.append((t, risk, deaths, left))
    return rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_curve_is_that_of_a_loop(seed, share):
    rng = np.random.default_rng(seed)
    durations, ended = rng.integers(1, 15, 40), rng.random(40) < share
    found = kaplan_meier("dead", [Spell("dead", "0", j, 7, int(7 + d), bool(e)) for j, (d, e) in enumerate(zip(durations, ended))])
    rows = naive(durations.tolist(), ended.tolist())
    np.testing.assert_array_equal(np.transpose([found.steps, found.at_risk, found.ended]), [row[:3] for row in rows])
    np.testing.assert_allclose(found.share, [row[3] for row in rows], rtol=1e-12, atol=1e-12)
    inside = (found.share > 0) & (found.share < 1)
    assert ((found.low <= found.share) & (found.share <= found.high))[inside].all()
    assert found.at(0) == 1 and found.at(rows[3][0] + 0.5) == pytest.approx(rows[3][3])
    assert found.median == next((t for t, _, _, left in rows if left <= 0.5), None)


@pytest.mark.parametrize(("events", "expected"), [
    ([], [("alive", 0, 9, False)]),
    ([(3, "died")], [("alive", 0, 3, True), ("dead", 3, 9, False)]),
    ([(0, "dead at the first look"), (4, "revived")], [("dead", 0, 4, True), ("revived", 4, 9, False)]),
    ([(2, "died"), (4, "revived"), (7, "died again"), (8, "revived")],
     [("alive", 0, 2, True), ("dead", 2, 4, True), ("revived", 4, 7, True), ("dead", 7, 8, True), ("revived", 8, 9, False)]),
    ([(2, "died"), (5, "diverged")], [("alive", 0, 2, True), ("dead", 2, 5, False)])])
def test_a_life_is_a_row_of_spells(events, expected):
    assert [tuple(spell) for spell in spells(lab.Life("2", 6, events), 0, 9)] == [
        (of, "2", 6, start, stop, ended) for of, start, stop, ended in expected]


def test_recorders_are_pooled_and_layers_chosen():
    model = sick_model()
    recorder = lab.Recorder(model, X)
    for bias in (-50.0, 50.0, 50.0, -50.0):
        model[0].bias.data = np.full(12, bias)
        recorder.observe()
    for several in (1, 2):
        found = lab.survival([recorder] * several, "dead", "0")
        assert len(found.spells) == 24 * several and found.ended.sum() == 12 * several and found.median == 1
    again = lab.survival(recorder, layer="0")
    assert again.median == 2 and all(spell == Spell("revived", "0", j, 1, 3, True) for j, spell in enumerate(again.spells))
    assert json.loads(again.to_json())["low"] == [None] and "12 died again" in str(again)
    for figure in again.plot(), recorder.plot():
        assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())         # steps
    assert json.loads(recorder.to_json())["last"] == 3
    for call, words in ((lambda: lab.survival(recorder, "alive", "0"), "no unit was alive in this record"),
                        (lambda: lab.survival(recorder, "ded"), "did you mean 'dead'"),
                        (lambda: lab.survival(recorder, layer="1"), "survival: layer"),
                        (lambda: lab.survival([]), "expected a Recorder"), (lambda: lab.survival(3), "got 3, expected a Recorder"),
                        (lambda: lab.Recorders(3, X), "got one int, expected a population"),
                        (lambda: lab.Recorder(nn.MLP([2, 3, 2], members=4, rng=0), X), r"a population of 4 networks; .* lab.Recorders\("),
                        (lambda: lab.ContinualBackprop().observe(3, X), "got 3, expected a Module such as nn.MLP")):
        with pytest.raises((ValueError, TypeError), match=words):
            call()


def test_the_members_of_a_population_are_pooled():
    many = nn.MLP([4, 6, 3], members=3, rng=0)
    recorders = lab.Recorders(many, X)
    for bias in (0.0, -50.0, 50.0):
        many.member(1)[0].bias.data = np.full(6, bias)
        recorders.forward()
    found = lab.survival(recorders, "dead")
    assert len(found.spells) == 6 and found.median == 1 and found.ended.tolist() == [6]
    assert len(lab.survival(recorders, "alive").spells) == 18
