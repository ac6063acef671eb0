"""A graph as a picture: SVG without any other program, and DOT for those who have one."""
from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..autodiff.node import Node
from ..files import write_through
from ..nn.module import Module
from .explain import Explanation, Row, explanation
from .layout import Point, layout

MOST = 300                              # rows that can still be read
LETTER, LINE, GAP, STEP = 7.3, 16, 24, 84       # of the SVG, in pixels

# Each role: fill, stroke. The text is dark on a light box, so that it can be read on a page of any colour.
ROLES = {"parameter": ("#d3e5f8", "#3b74b0"), "input": ("#e6e6e6", "#777777"), "operation": ("#ffffff", "#555555"),
         "result": ("#d0ecd3", "#35803f"), "gradient dies here": ("#ffb9a8", "#c0392b")}
ZERO = "exactly zero gradient"
TEXT, LINES, DEAD = "#111111", "#888888", "#c0392b"


@dataclass(frozen=True)
class Graph:
    """What `graph` returns. A notebook shows it as a picture.

    Attributes
    ----------
    explanation : Explanation
        The same graph as a table. The boxes bear the numbers of its rows.
    """

    explanation: Explanation

    def to_dot(self, path: str | os.PathLike[str] | None = None) -> str:
        """The graph in the DOT language of Graphviz; written to `path` too, if there is one."""
        lines = ["digraph {", '  node [shape=box, style=filled, fontname="monospace", fontsize=11]']
        for row in self.explanation.rows:
            fill, stroke = ROLES[self._role(row)]
            label = r"\n".join(line.replace("\\", r"\\").replace('"', r"\"") for line in _lines(row))
            style = ', style="filled,dashed"' if _gets_zero(row) else ""
            lines.append(f'  n{row.row} [label="{label}", fillcolor="{fill}", color="{stroke}", fontcolor="{TEXT}"{style}]')
        lines += [f'  n{source} -> n{row.row} [color="{LINES}"]' for row in self.explanation.rows
                  for source in dict.fromkeys(row.inputs)]
        return _written("\n".join([*lines, "}", ""]), path)

    def to_svg(self, path: str | os.PathLike[str] | None = None) -> str:
        """The graph as an SVG picture; written to `path` too, if there is one.

        Raises
        ------
        ValueError
            If there are more rows than anybody could read.
        """
        rows = self.explanation.rows
        if len(rows) > MOST:
            raise ValueError(f"to_svg: a graph of {len(rows)} rows cannot be read as a picture; expected at most {MOST} "
                             "(explain prints it as a table)")
        widths = [LETTER * max(map(len, _lines(row))) + 16 for row in rows]
        points, bends = layout([row.inputs for row in rows], [row.is_leaf for row in rows], widths, GAP, STEP)
        parts = [_curve(source, points, bends[source, row.row], row, rows[source])
                 for row in rows for source in dict.fromkeys(row.inputs)]
        parts += [_box(point, width, _lines(row), self._role(row), _gets_zero(row))
                  for row, point, width in zip(rows, points, widths)]
        legend, right = self._legend(max(y for _, y in points) + STEP)
        right = max(right, *(x + width / 2 for (x, _), width in zip(points, widths)))
        height = max(y for _, y in points) + STEP + 2 * LINE
        return _written(
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="-8 -40 {right + 16:.0f} {height + 48:.0f}" '
            f'width="{right + 16:.0f}" height="{height + 48:.0f}" font-family="monospace" font-size="12">\n'
            f"<desc>{escape(self.explanation.verdict)}</desc>\n" + "\n".join([*parts, *legend]) + "\n</svg>\n", path)

    _repr_svg_ = to_svg

    def __repr__(self) -> str:
        return f"Graph of {len(self.explanation.rows)} rows: {self.explanation.verdict}"

    def _role(self, row: Row) -> str:
        if row.is_leaf:
            return row.op
        last = row.row == len(self.explanation.rows) - 1
        return "gradient dies here" if row.dies else "result" if last else "operation"

    def _legend(self, y: float) -> tuple[list[str], float]:
        """Boxes that say what the colours mean, and where the last one ends."""
        rows = self.explanation.rows
        used = {self._role(row) for row in rows}
        boxes, x = [], 0.0
        for role in [role for role in ROLES if role in used] + [ZERO] * any(map(_gets_zero, rows)):
            width = LETTER * len(role) + 16
            boxes.append(_box((x + width / 2, y), width, [role], role if role in ROLES else "operation", role == ZERO))
            x += width + GAP / 2
        return boxes, x


def graph(tensor: Node, model: Module | None = None, *, gradient: Any = None) -> Graph:
    """The graph behind `tensor` as a picture, which a notebook shows by itself; `to_svg` and `to_dot` write it to a file.

    Parameters and errors are those of `explain`, which gives the same graph as a table.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> model = tg.nn.MLP([2, 3, 1], rng=0)
    >>> picture = tg.graph(model([[1.0, 2.0]]).sum(), model=model)
    >>> picture.to_svg()[:4]
    '<svg'
    >>> print(picture.to_dot())         # doctest: +ELLIPSIS
    digraph {
      ...
      n1 [label="1 0.weight\\n(3, 2) float32", fillcolor="#d3e5f8", color="#3b74b0", fontcolor="#111111"]
      ...
      n1 -> n3 [color="#888888"]
      ...
    }
    """
    return Graph(explanation("graph", tensor, model, gradient))


def _lines(row: Row) -> list[str]:
    """What stands in the box of a row."""
    what = row.name or row.op if row.is_leaf else row.op
    return [f"{row.row} {what}", f"{row.shape} {row.dtype}", *filter(None, [row.note])]


def _gets_zero(row: Row) -> bool:
    return row.zero_gradient == 1


def _box(centre: Point, width: float, lines: list[str], role: str, zero: bool) -> str:
    (x, y), (fill, stroke) = centre, ROLES[role]
    height = LINE * len(lines) + 10
    border = f'stroke="{DEAD}" stroke-dasharray="5 3"' if zero else f'stroke="{stroke}"'
    text = "".join(f'<text x="{x:.1f}" y="{y - height / 2 + 17 + LINE * i:.1f}">{escape(line)}</text>'
                   for i, line in enumerate(lines))
    return (f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height}" rx="6" '
            f'fill="{fill}" {border} stroke-width="{3 if role == "gradient dies here" else 1.5}"/>'
            f'<g fill="{TEXT}" text-anchor="middle">{text}</g>')


def _curve(source: int, points: list[Point], bends: list[Point], row: Row, origin: Row) -> str:
    """The edge from one box down to another, as a smooth line; dashed where no gradient comes back along it."""
    way = [points[source], *bends, points[row.row]]
    (x, y), path = way[0], f"M{way[0][0]:.1f},{way[0][1]:.1f}"
    for next_x, next_y in way[1:]:
        middle = (y + next_y) / 2
        path += f" C{x:.1f},{middle:.1f} {next_x:.1f},{middle:.1f} {next_x:.1f},{next_y:.1f}"
        x, y = next_x, next_y
    color, dashes = (DEAD, ' stroke-dasharray="5 3"') if _gets_zero(origin) else (LINES, "")
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dashes}/>'


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        write_through(Path(path), lambda file: file.write(text.encode()))
    return text
