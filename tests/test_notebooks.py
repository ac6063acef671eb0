"""The example notebooks run, in the kernel of a notebook, and show what they show as HTML and pictures; their files hold no outputs."""
from __future__ import annotations

import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parent.parent / "docs"
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
WORDS = "True", "{'loss'", "'18 predictions, each true to the step'"       # results that are text


def test_the_notebooks_run(tmp_path):
    """All of them, in one kernel that forgets its variables in between: no error, no warning, nothing printed."""
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=300, startup_timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    shown = []
    with client.setup_kernel():
        for path in NOTEBOOKS:
            client.nb = nbformat.read(path, 4)
            for index, cell in enumerate(client.nb.cells):
                client.execute_cell(cell, index)
                shown += [(cell.source, output) for output in cell.get("outputs", ())]
            client.execute_cell(nbformat.v4.new_code_cell("%reset -f"), 0)
    for source, output in shown:
        assert output.output_type in ("execute_result", "display_data"), (source, output)
        rich = output.data.keys() & {"text/html", "image/svg+xml", "image/png"}
        assert rich or output.data["text/plain"].startswith(WORDS), (source, output)
        assert "<script" not in output.data.get("text/html", "")
    assert len(NOTEBOOKS) == 3 and len(shown) > 25


def test_notebooks_are_kept_without_outputs_and_linked():
    for path in NOTEBOOKS:
        book = json.loads(path.read_text(encoding="utf-8"))
        nbformat.validate(book)
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in book["cells"])
        assert book["cells"][0]["source"][0].startswith("# ")
        assert f"(notebooks/{path.name})" in (DOCS / "index.md").read_text(encoding="utf-8")
