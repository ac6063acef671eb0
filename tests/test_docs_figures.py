"""docs/figures.py draws the small figures of docs/reviving-units.md, and all of them are on the page."""
from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_script_draws_every_figure_of_the_page(tmp_path):
    """It checks its formulas against optimizers as it draws."""
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    figures.main(tmp_path)
    page = (DOCS / "reviving-units.md").read_text(encoding="utf-8")
    drawn = {file.name for file in tmp_path.iterdir()}
    assert drawn == {f"{name}.png" for name in figures.FIGURES}
    for name in drawn:
        assert f"]({name})" in page and (DOCS / name).read_bytes()[:8] == (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
