"""The figure of the main job: every unit has at least two rows of pixels, and every prediction is a point."""
from dataclasses import replace

import numpy as np
import pytest

from tinygrad_relu import data
from tinygrad_relu.lab import drawing, figure, report
from tinygrad_relu.lab.layers import State
from tinygrad_relu.lab.revive import main_job
from tinygrad_relu.lab.treatments import TREATMENTS


@pytest.fixture(scope="module")
def runs():
    chosen = [t for t in TREATMENTS if t.key in ("sgd", "momentum-l2-inside", "leaky", "coast")]
    return [main_job(data.moons(rng=seed), chosen, hidden=(48, 24), seed=seed, kill_lr=30.0, kill_steps=40, steps=60)
            for seed in (0, 1)]


def test_every_unit_gets_at_least_two_rows_of_pixels_and_no_line_covers_one(runs):
    page = figure.compose(runs[:1], kill_lr=30.0)
    panels = [axes for axes in page.axes if axes.images]
    assert len(panels) == 1 + 3 + 2             # the sick network and its treatments; the shocked one and its own
    for axes in panels:
        (image,) = axes.images
        rows = image.get_array().shape[0]
        assert rows == 48 + 5 + 24              # blank rows between the layers
        assert axes.get_window_extent().height / rows >= 2 - 1e-9
        assert all(len(set(line.get_xdata())) == 1 for line in axes.lines)      # vertical lines only


def test_every_state_and_line_has_a_colour_of_its_own():
    alike = {State.DEAD, State.NEVER_WINS}      # never in one figure
    colours = [drawing.COLOURS[state] for state in State if state not in alike] + [drawing.RETURN, drawing.OPENS]
    assert set(drawing.COLOURS) == set(State) and len(set(colours)) == len(colours)


def test_the_diagonal_holds_every_return(runs):
    page = figure.compose(runs[:1], kill_lr=30.0)
    (axes,) = (axes for axes in page.axes if "predictions" in axes.get_title(loc="left"))
    told = [p for o in runs[0].outcomes for p in o.predictions]
    places = {(p.step, p.observed) for p in told if p.step is not None and p.observed is not None}
    drawn = axes.collections[0].get_offsets()
    assert len(told) > 50 and {tuple(map(int, place)) for place in np.asarray(drawn)} == places
    assert axes.get_title(loc="left") == f"all {len(told)} predictions, 0 wrong"


def test_only_accuracies_that_stay_where_they_are_share_a_label(runs):
    """One that had fallen to 0.59 was called stuck at 0.68."""
    sick, (sgd, *_) = runs[0].networks["sick"], runs[0].of("sick")
    still, fallen = (replace(sgd, accuracies=[(0, sick.accuracy), (60, sick.accuracy - lost)]) for lost in (0.01, 0.1))
    page = figure.compose([replace(runs[0], outcomes=[still, still, fallen])], kill_lr=30.0)
    (axes,) = (axes for axes in page.axes if axes.get_title(loc="left").startswith("accuracy"))
    assert [text.get_text().split("  ")[0] for text in axes.texts] == ["SGD", "stuck: 2 treatments"]


def test_the_words_beside_an_early_return_stay_within_their_panel(runs):
    """Those of a return at step 6 of 100 lay over the numbers of the axis."""
    followed = max((o for o in runs[0].of("sick") if o.predicted_orbit), key=lambda o: o.observed_step is not None)
    for step in (1, 3, followed.predicted_step):
        outcomes = [replace(followed, predicted_step=step, observed_step=step)]
        page = figure.compose([replace(runs[0], outcomes=outcomes)], kill_lr=30.0)
        page.canvas.draw()
        (axes,) = (axes for axes in page.axes if axes.get_title(loc="left").startswith("one dead unit"))
        (words,) = (text for text in axes.texts if text.get_text().startswith("alive at step"))
        box, panel = words.get_window_extent(), axes.get_window_extent()
        assert panel.x0 < box.x0 and box.x1 < panel.x1 and panel.y0 < box.y0 and box.y1 < panel.y1
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_a_network_that_still_learns_is_called_neither_dead_nor_stuck(runs):
    """One with an accuracy of 1.00 from the start to the end was called stuck at 1.00."""
    sick, (sgd, *_) = replace(runs[0].networks["sick"], gradient=1e-4), runs[0].of("sick")
    for outcomes, said in (([sgd, sgd], "steady: 2 treatments"), ([sgd], "SGD")):
        page = figure.compose([replace(runs[0], networks={"sick": sick}, outcomes=outcomes)], kill_lr=30.0)
        texts = [text.get_text() for part in (page, *page.axes) for text in part.texts]
        assert any(text.startswith(said + "  ") for text in texts) and not any("dead network" in text for text in texts)
        assert "A network, and what brings its dead units back at a predicted step" in texts


def test_the_text_beside_momentum_alone_names_the_edge():
    """Units of hardtanh coast back over -1, and the shock lowers them below that."""
    coast = [t for t in TREATMENTS if t.key == "coast"]
    run = main_job(data.moons(60, rng=0), coast, hidden=(8,), activation="hardtanh", kill_steps=5, steps=5)
    assert any("over -1, each" in text.get_text() for text in figure.compose([run], kill_lr=3.0).texts)
    (_, (said, *_)) = report.coasting(run)
    assert "at most -1.2 on all data" in said and "distance to -1." in said


@pytest.mark.parametrize("ending", drawing.FORMATS)
def test_several_seeds_are_drawn_in_every_format(tmp_path, runs, ending):
    figure.draw(runs, tmp_path / f"a.{ending}", kill_lr=30.0)
    assert (tmp_path / f"a.{ending}").stat().st_size > 10_000


def test_the_followed_units_take_the_predicted_orbits_until_they_return(runs):
    told = [outcome for run in runs for outcome in run.outcomes if outcome.predicted_orbit]
    assert {"momentum-l2-inside", "coast"} <= {outcome.treatment.key for outcome in told}      # with full buffers too
    for outcome in told:
        path = np.array(outcome.predicted_orbit[:(outcome.predicted_step or outcome.steps) + 1])
        np.testing.assert_allclose(outcome.observed_orbit[:len(path)], path, atol=1e-9 * np.abs(path).max())
