"""The map of returns: formula and simulation in every pixel, the recipes, and the command."""
from __future__ import annotations

import json

import numpy as np
import pytest

from tinygrad_relu import cli
from tinygrad_relu.lab import map as atlas
from tinygrad_relu.lab import revival_step
from tinygrad_relu.lab.recurrence import Settings


@pytest.mark.parametrize("nesterov", [False, True])
def test_formula_and_simulation_agree_in_every_pixel(nesterov):
    found = atlas.compute(2000, nesterov=nesterov)
    assert found.formula.shape == found.simulated.shape == (200, 240) and not found.different.any()
    assert found.momenta[0] == 0 and found.momenta[-1] == pytest.approx(0.9999)
    eta_lambda = np.broadcast_to(found.eta_lambdas[:, None], found.formula.shape)
    assert np.isinf(found.formula[eta_lambda < found.edge * (1 - 1e-12)]).all()         # below the edge: never
    assert np.isfinite(found.formula[eta_lambda > 1.1 * found.edge]).all()
    assert (found.formula[np.isinf(found.simulated)] > 2000).all()
    column = found.formula[:, 120]
    assert (np.diff(column[np.isfinite(column)]) <= 0).all()                            # more decay, earlier
    edges = [Settings(1.0, momentum, nesterov=nesterov).threshold for momentum in found.momenta[1:]]
    assert found.edge[1:] == pytest.approx(edges)


@pytest.mark.parametrize("recipe", atlas.RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_has_the_step_of_the_closed_form(recipe):
    s = recipe.settings
    assert recipe.step == revival_step(-1.0, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay, nesterov=s.nesterov,
                                       decoupled=s.decoupled)


def test_only_the_main_job_returns():
    assert [recipe.step for recipe in atlas.RECIPES if recipe.step is not None] == [48, 472]


def test_the_command_draws_the_map_with_a_point_of_your_own(capsys, tmp_path):
    file = tmp_path / "a.png"
    assert cli.main(["map", "--figure", str(file), "--steps", "300", "--momentum", "0.95", "--weight-decay", "0.01"]) == 0
    out = capsys.readouterr().out
    assert file.read_bytes().startswith(b"\x89PNG") and "agree in every pixel" in out
    assert any(line.split()[:2] == ["yours", "0.95"] and line.split()[-1] == "130" for line in out.splitlines())
    assert cli.main(["map", "--figure", str(file), "--steps", "5", "--lr", "0.2"]) == 0 and "yours" in capsys.readouterr().out


def test_a_difference_is_found_out(capsys, monkeypatch, tmp_path):
    right = atlas.simulated_steps
    monkeypatch.setattr(atlas, "simulated_steps", lambda *args, **options: np.where(right(*args, **options) == 48, 49, right(*args, **options)))
    assert cli.main(["map", "--figure", str(tmp_path / "a.svg"), "--steps", "60"]) == 1
    assert "DIFFER in" in capsys.readouterr().out


def test_the_numbers_of_the_map(capsys, tmp_path):
    figure, numbers = tmp_path / "a.png", tmp_path / "a.json"
    assert cli.main(["map", "--quiet", "--steps", "300", "--nesterov", "--momentum", "0.99", "--weight-decay", "5e-4",
                     "--figure", str(figure), "--json", str(numbers)]) == 0
    assert capsys.readouterr() == ("", "")
    found = json.loads(numbers.read_text())
    assert found["nesterov"] and found["steps"] == 300 and found["different"] == 0 and figure.exists()
    rows, columns = len(found["eta_lambdas"]), len(found["momenta"])
    assert [len(found["formula"]), len(found["simulated"][0])] == [rows, columns]
    assert max(step for row in found["simulated"] for step in row if step) <= 300 < max(
        step for row in found["formula"] for step in row if step)
    assert found["formula"][0][0] is None and found["simulated"][0][0] is None
    assert found["recipes"][-1] == {"name": "yours", "lr": 0.1, "momentum": 0.99, "dampening": 0.0, "weight_decay": 5e-4,
                                    "nesterov": True, "decoupled": False, "step": 474}


@pytest.mark.parametrize("momentum, weight_decay", [(0.0, 0.0), (0.99999, 1e-9), (0.5, 100.0), (0.9999, 0.9)])
def test_a_point_outside_the_map_is_drawn_at_its_frame(tmp_path, momentum, weight_decay):
    yours = atlas.Recipe("yours", Settings(0.1, momentum, weight_decay=weight_decay))
    atlas.draw(atlas.compute(20, width=8, height=8), [yours], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("arguments, expected", [
    (["--steps", "0"], "map: --steps is 0, expected at least 1"), (["--momentum", "1.5"], "momentum is 1.5, expected"),
    (["--weight-decay", "-1"], "weight_decay is -1.0"), (["--figure", "a.gif"], "expected one of: png, svg, pdf"),
    (["--nesterov", "--lr", "1"], "nesterov needs momentum > 0"), (["--json", "./map.png"], "both name map.png, expected two files"),
    (["--figure", "no-such-folder/a.png"], "the folder no-such-folder does not exist")])
def test_the_command_refuses(capsys, monkeypatch, tmp_path, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["map", *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
