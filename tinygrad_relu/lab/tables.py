"""Tables for people: columns that line up, drawn by rich."""
from __future__ import annotations

from typing import Any

MISSING = 'this needs the extra "lab": python -m pip install "tinygrad_relu[lab]"'


class Table:
    """Rows of text under headings. Printing it draws it with rich; a `tight` one leaves a single blank between columns.

    Examples
    --------
    >>> table = Table("units", ["layer", "dead"])
    >>> table.add("0", 3)
    >>> table.rows
    [['0', '3']]
    """

    def __init__(self, title: str, headings: list[str], *, tight: bool = False) -> None:
        self.title, self.headings, self.tight = title, headings, tight
        self.rows: list[list[str]] = []

    def add(self, *cells: Any) -> None:
        if len(cells) != len(self.headings):
            raise ValueError(f"a table of {len(self.headings)} columns got a row of {len(cells)} cells")
        self.rows.append([str(cell) for cell in cells])

    def __rich__(self) -> Any:
        try:
            from rich import box
            from rich.table import Table as RichTable
        except ImportError as error:
            raise ImportError(f"drawing a table: {MISSING}") from error
        drawn = RichTable(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False,
                          padding=0 if self.tight else (0, 1, 0, 0))
        for i, heading in enumerate(self.headings):
            numeric = bool(self.rows) and all(_is_number(row[i]) for row in self.rows)
            drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=i == 0, overflow="fold")
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def __str__(self) -> str:
        drawn = self.__rich__()
        from rich.console import Console

        width = max([len(self.title)] + [sum(len(row[i]) + 3 for i in range(len(row))) for row in [self.headings, *self.rows]])
        console = Console(width=max(80, 2 * width), color_system=None, force_terminal=False)
        with console.capture() as captured:
            console.print(drawn)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip(">").rstrip("%"))
    except ValueError:
        return text in ("-", "never")
    return True
