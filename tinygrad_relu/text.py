"""Plain tables: columns that line up in any terminal, log or notebook."""
from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> str:
    """Lines of cells under headings, two blanks apart; the columns named in `right` line up on the right.

    >>> print(aligned(["layer", "units"], [["0", "64"], ["hidden", "8"]], right=["units"]))
    layer   units
    0          64
    hidden      8
    """
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join("  ".join(cell.rjust(width) if heading in right else cell.ljust(width)
                               for cell, width, heading in zip(line, widths, headings)).rstrip() for line in lines)
