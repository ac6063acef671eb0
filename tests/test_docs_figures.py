"""docs/figures.py draws the small figures of docs/reviving-units.md and of the book, and all of them are on a page."""
from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_script_draws_every_figure_of_the_pages(tmp_path):
    """It checks its formulas against optimizers as it draws."""
    spec = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    figures.main(tmp_path)
    pages = {folder: "".join(page.read_text(encoding="utf-8") for page in folder.glob("*.md")) for folder in (DOCS, DOCS / "book")}
    drawn = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")}
    assert drawn == {f"{name}.png" for name in figures.FIGURES}
    for name in drawn:
        file = DOCS / name
        assert f"]({file.name})" in pages[file.parent]
        assert file.read_bytes()[:8] == (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
