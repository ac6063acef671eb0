"""A graph as a picture: SVG, which needs no other program, and DOT for Graphviz; and the layout of its boxes."""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import Any

from ..autodiff.node import Node
from ..checks import counted
from ..files import check_writable, write_through
from ..nn.module import Module
from .explain import Explanation, Row, explanation

MOST = 300                                      # rows that can still be read
LETTER, LINE, GAP, STEP = 7.3, 16, 24, 84       # of the SVG, in pixels
Point = tuple[float, float]

# Fill and stroke of each role. The text is dark on light boxes, so that it can be read on a page of any colour.
ROLES = {"parameter": ("#d3e5f8", "#3b74b0"), "input": ("#e6e6e6", "#777777"), "operation": ("#ffffff", "#555555"),
         "result": ("#d0ecd3", "#35803f"), "gradient dies here": ("#ffb9a8", "#c0392b")}
ZERO = "exactly zero gradient"
TEXT, LINES, DEAD = "#111111", "#888888", "#c0392b"


@dataclass(frozen=True)
class Graph:
    """The result of `graph`, which a notebook shows as a picture. The boxes carry the row numbers of the `explanation`."""

    explanation: Explanation

    def to_dot(self, path: str | os.PathLike[str] | None = None) -> str:
        """The graph in the DOT language of Graphviz; also written to `path`, if given."""
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
        """The graph as an SVG picture; also written to `path`, if given. More than 300 rows raise a ValueError."""
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
        return _written(f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="-8 -40 {right + 16:.0f} {height + 48:.0f}" '
                        f'width="{right + 16:.0f}" height="{height + 48:.0f}" font-family="monospace" font-size="12">\n'
                        f"<desc>{escape(self.explanation.verdict)}</desc>\n" + "\n".join([*parts, *legend]) + "\n</svg>\n", path)

    def _repr_svg_(self) -> str | None:
        return self.to_svg() if len(self.explanation.rows) <= MOST else None

    def _repr_html_(self) -> str:
        """As a notebook shows it: scrolled if it is too wide; a graph that cannot be read as a picture, as its table."""
        svg = self._repr_svg_()
        return f'<div style="overflow-x:auto">{svg}</div>' if svg else self.explanation._repr_html_()

    def __repr__(self) -> str:
        return f"Graph of {counted(len(self.explanation.rows), 'row')}: {self.explanation.verdict}"

    def _role(self, row: Row) -> str:
        last = row.row == len(self.explanation.rows) - 1
        return row.op if row.is_leaf else "gradient dies here" if row.dies else "result" if last else "operation"

    def _legend(self, y: float) -> tuple[list[str], float]:
        """Boxes that explain the colours, and where the last one ends."""
        rows = self.explanation.rows
        used = set(map(self._role, rows))
        boxes, x = [], 0.0
        for role in [role for role in ROLES if role in used] + [ZERO] * any(map(_gets_zero, rows)):
            width = LETTER * len(role) + 16
            boxes.append(_box((x + width / 2, y), width, [role], role if role in ROLES else "operation", role == ZERO))
            x += width + GAP / 2
        return boxes, x


def graph(tensor: Node, model: Module | None = None, *, gradient: Any = None) -> Graph:
    """The graph of `tensor` as a picture, which a notebook displays; `to_svg` and `to_dot` write it to a file.

    The arguments are those of `explain`, which shows the same graph as a table.

    >>> tg.graph(F.relu(Tensor([-1.0], requires_grad=True))).to_svg()[:4]
    '<svg'
    """
    return Graph(explanation("graph", tensor, model, gradient))


def _lines(row: Row) -> list[str]:
    """The text in the box of a row."""
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
    """The edge from one box down to another, as a smooth line; dashed if only zeros come back along it."""
    (x, y), *rest = points[source], *bends, points[row.row]
    path = f"M{x:.1f},{y:.1f}"
    for next_x, next_y in rest:
        middle = (y + next_y) / 2
        path += f" C{x:.1f},{middle:.1f} {next_x:.1f},{middle:.1f} {next_x:.1f},{next_y:.1f}"
        x, y = next_x, next_y
    color, dashes = (DEAD, ' stroke-dasharray="5 3"') if _gets_zero(origin) else (LINES, "")
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"{dashes}/>'


def _written(text: str, path: str | os.PathLike[str] | None) -> str:
    if path is not None:
        write_through(check_writable(path, "the picture"), lambda file: file.write(text.encode()))
    return text


def layout(inputs: Sequence[Sequence[int]], leaf: Sequence[bool], widths: Sequence[float], gap: float,
           height: float) -> tuple[list[Point], dict[tuple[int, int], list[Point]]]:
    """The centres of the nodes, and for each edge the points at which it passes a layer.

    The steps are those of Sugiyama, Tagawa & Toda (1981): a layer for each node, dummy nodes where an edge passes a layer, an
    order within the layers by barycentres, then positions. `inputs` holds, for each node, those from which it was made (smaller
    numbers); each leaf is placed right above its first use. `gap` is between the boxes of a layer, `height` from layer to layer.
    """
    depth = _depths(inputs, leaf)
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for node, d in enumerate(depth):
        layers[d].append(node)
    above: list[list[int]] = [[] for _ in inputs]       # neighbours one layer up and down; dummies after the nodes
    below: list[list[int]] = [[] for _ in inputs]
    chains: dict[tuple[int, int], list[int]] = {}
    for node, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            passed = range(depth[source] + 1, depth[node])
            chain = chains[source, node] = [len(above) + i for i in range(len(passed))]
            for d, dummy in zip(passed, chain):
                layers[d].append(dummy)
                above.append([])
                below.append([])
            for upper, lower in pairwise([source, *chain, node]):
                below[upper].append(lower)
                above[lower].append(upper)
    for order, neighbours in ((layers[1:], above), (layers[-2::-1], below)):
        place = {node: i for layer in layers for i, node in enumerate(layer)}
        for layer in order:
            layer.sort(key=lambda node: fmean([place[n] for n in neighbours[node]] or [place[node]]))
            place.update((node, i) for i, node in enumerate(layer))
    wide = [*widths, *[0.0] * (len(above) - len(widths))]
    heavy = [0.01 if node < len(leaf) and leaf[node] else 1.0 for node in range(len(above))]    # leaves are moved, not others
    x = _places(layers, [[*a, *b] for a, b in zip(above, below)], wide, heavy, gap)
    y = {node: d * height for d, layer in enumerate(layers) for node in layer}
    return ([(x[node], y[node]) for node in range(len(inputs))],
            {edge: [(x[dummy], y[dummy]) for dummy in chain] for edge, chain in chains.items()})


def _depths(inputs: Sequence[Sequence[int]], leaf: Sequence[bool]) -> list[int]:
    """The layer of each node: by the longest path; a leaf right above its first use."""
    depth: dict[int, int] = {}
    for node, sources in enumerate(inputs):
        if not leaf[node]:
            depth[node] = 1 + max((depth[s] for s in sources if not leaf[s]), default=0)
    for node in depth.copy():
        for s in inputs[node]:
            if leaf[s]:
                depth[s] = min(depth.get(s, depth[node]), depth[node] - 1)
    return [depth.get(node, 0) for node in range(len(inputs))]


def _places(layers: list[list[int]], neighbours: list[list[int]], wide: list[float], heavy: list[float],
            gap: float) -> list[float]:
    """Move every node towards the mean position of its neighbours, without overlapping the boxes next to it."""
    x = [0.0] * len(wide)
    for _ in range(12):
        for layer in layers:
            wish = {node: fmean([x[n] for n in neighbours[node] or [node]], [heavy[n] for n in neighbours[node] or [node]])
                    for node in layer}
            right, shift, weight = -float("inf"), 0.0, 0.0
            for node in layer:
                x[node] = max(wish[node], right + gap + wide[node] / 2)
                right = x[node] + wide[node] / 2
                shift += heavy[node] * (wish[node] - x[node])
                weight += heavy[node]
            for node in layer:
                x[node] += shift / weight
    left = min(position - width / 2 for position, width in zip(x, wide))
    return [position - left for position in x]
