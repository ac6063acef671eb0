"""The figure of the main job: every unit has at least two rows of pixels, and every prediction is a point."""
import numpy as np
import pytest

from tinygrad_relu import data
from tinygrad_relu.lab import drawing, figure
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
