"""The graph as a picture: valid, legible, the same every time, and consistent with the table."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_relu as tg
from tinygrad_relu import functional as F
from tinygrad_relu import nn
from tinygrad_relu.inside.graph import DEAD, LETTER, ROLES, TEXT, layout

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 8))
LABELS = RNG.integers(0, 3, 20)
SVG = "{http://www.w3.org/2000/svg}"


def mlp(dead=None):
    """Five layers; the activation of the layer `dead` is flat everywhere."""
    model = nn.MLP([8, 16, 16, 16, 16, 3], rng=0)
    if dead is not None:
        model[dead].bias.data = np.full(16, -100.0)
    return model, F.cross_entropy(model(X), LABELS)


def residual():
    x, w = tg.Tensor(X, requires_grad=True), nn.Parameter(RNG.standard_normal((8, 8)))
    h = x
    for _ in range(3):
        h = h + F.tanh(h @ w)
    return (h * h).mean() + (w * w).sum() * 0.1


def boxes(svg):
    """(left, top, right, bottom, fill) of each box; the lines of text in it."""
    root = ET.fromstring(svg)
    found = []
    for rect, texts in zip(root.iter(f"{SVG}rect"), (g for g in root.iter(f"{SVG}g"))):
        x, y, w, h = (float(rect.get(k)) for k in ("x", "y", "width", "height"))
        found.append((x, y, x + w, y + h, rect.get("fill"), [t.text for t in texts]))
    return root, found


@pytest.mark.parametrize("make", [lambda: mlp()[1], lambda: mlp(4)[1], residual, lambda: tg.Tensor(3.0, requires_grad=True)],
                         ids=["mlp", "dead", "residual", "leaf"])
def test_boxes_are_legible(make):
    """No two boxes overlap, every text is inside its box, everything is inside the picture, and text is dark on light."""
    root_of_graph = make()
    root, found = boxes(tg.graph(root_of_graph).to_svg())
    rows = tg.explain(root_of_graph).rows
    assert len(found) >= len(rows)
    for i, (left, top, right, bottom, fill, lines) in enumerate(found):
        assert max(map(len, lines)) * LETTER <= right - left and len(lines) * 15 <= bottom - top
        assert fill in {fill for fill, _ in ROLES.values()}
        for l, t, r, b, *_ in found[:i]:
            assert right <= l or r <= left or bottom <= t or b <= top
    x, y, w, h = map(float, root.get("viewBox").split())
    assert all(x <= b[0] and b[2] <= x + w and y <= b[1] and b[3] <= y + h for b in found)
    for row, (*_, lines) in zip(rows, found):
        assert lines[0].split()[0] == str(row.row) and lines[1] == f"{row.shape} {row.dtype}"


@pytest.mark.parametrize("fill", [fill for fill, _ in ROLES.values()])
def test_text_can_be_read_on_every_box(fill):
    """The contrast of WCAG: at least 7 to 1, on a page of any colour."""

    def luminance(color):
        parts = [int(color[i:i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
                   for w, c in zip((0.2126, 0.7152, 0.0722), parts))

    assert (luminance(fill) + 0.05) / (luminance(TEXT) + 0.05) >= 7


def test_the_picture_needs_nothing_from_outside():
    svg = tg.graph(mlp()[1]).to_svg()
    assert svg.count("http") == 1 and "<script" not in svg and "<style" not in svg      # the one is the namespace


def test_dead_places_are_marked():
    model, loss = mlp(dead=4)
    model[6].bias.data = np.ones(16)
    loss = F.cross_entropy(model(X), LABELS)
    picture = tg.graph(loss, model=model)
    root, found = boxes(picture.to_svg())
    warned = [lines for *_, fill, lines in found if fill == ROLES["gradient dies here"][0]]
    assert warned == [["9 linear_relu", "(20, 16) float32", "16 of 16 units flat"], ["gradient dies here"]]
    dashed = [rect for rect in root.iter(f"{SVG}rect") if rect.get("stroke-dasharray") and rect.get("stroke") == DEAD]
    zero = sum(row.zero_gradient == 1 for row in picture.explanation.rows)
    assert len(dashed) == zero + 1                                                      # and one in the legend
    assert picture.explanation.verdict in root.find(f"{SVG}desc").text
    living = tg.graph(mlp()[1]).to_svg()
    assert DEAD not in living and "dies" not in living.split("</desc>")[1]


def test_a_chain_is_straight_and_points_down():
    """The five layers of an MLP are drawn one below the other."""
    _, found = boxes(tg.graph(mlp()[1]).to_svg())
    chain = [(b[0] + b[2], b[1]) for b in found if re.match(r"\d+ (linear|cross)", b[5][0])]
    assert len(chain) == 6
    assert all(b[1] > a[1] and abs(a[0] - b[0]) < 40 for a, b in pairwise(chain))


def test_the_same_graph_gives_the_same_picture():
    assert tg.graph(residual()).to_svg() == tg.graph(residual()).to_svg()


def test_text_is_escaped():
    class Odd(nn.Module):
        def __init__(self):
            setattr(self, 'a<b>&"c\\', nn.Parameter([1.0]))

        def forward(self, x):
            return x * vars(self)['a<b>&"c\\']

    model = Odd()
    picture = tg.graph(model(tg.Tensor([2.0])), model=model)
    _, found = boxes(picture.to_svg())
    assert found[1][5][0] == '1 a<b>&"c\\'
    assert r'label="1 a<b>&\"c\\\n(1,) float64"' in picture.to_dot()


def test_dot():
    """Every row is a node and every input an edge; quotes and brackets are closed."""
    picture = tg.graph(residual())
    lines = picture.to_dot().splitlines()
    rows = picture.explanation.rows
    assert lines[0] == "digraph {" and lines[-1] == "}"
    nodes = [line for line in lines if re.fullmatch(r'  n\d+ \[(\w+="[^"]*"(, )?)+\]', line)]
    edges = {tuple(map(int, found)) for line in lines for found in re.findall(r"^  n(\d+) -> n(\d+) \[", line)}
    assert len(nodes) == len(rows) and edges == {(i, row.row) for row in rows for i in row.inputs}
    assert len(lines) == 3 + len(nodes) + len(edges)
    dead = tg.graph(mlp(2)[1]).to_dot()
    assert dead.count("dashed") == sum(row.zero_gradient == 1 for row in tg.explain(mlp(2)[1]).rows)


def test_files(tmp_path):
    picture = tg.graph(mlp()[1])
    svg, dot = picture.to_svg(tmp_path / "a.svg"), picture.to_dot(str(tmp_path / "a.dot"))
    assert (tmp_path / "a.svg").read_text() == svg == picture._repr_svg_() and (tmp_path / "a.dot").read_text() == dot
    with pytest.raises(OSError):
        picture.to_svg(tmp_path / "nowhere" / "a.svg")
    assert repr(picture).startswith("Graph of 18 rows: a gradient that is not")


def test_too_much_for_a_picture():
    y = tg.Tensor(1.0, requires_grad=True)
    for _ in range(400):
        y = y * 2.0
    with pytest.raises(ValueError, match="a graph of 401 rows cannot be read as a picture; expected at most 300"):
        tg.graph(y).to_svg()
    assert tg.graph(y).to_dot().count("->") == 400


# -- the layout ------------------------------------------------------------------------------------------------------

def test_layers_of_a_layout():
    """A leaf is right above its first use, a result below all its inputs; long edges pass every layer in between."""
    inputs = [(), (), (0, 1), (2,), (), (3, 4), (2, 5)]
    leaf = [not sources for sources in inputs]
    points, bends = layout(inputs, leaf, [10.0] * 7, 5.0, 1.0)
    assert [y for _, y in points] == [0, 0, 1, 2, 2, 3, 4]
    assert [y for _, y in bends[2, 6]] == [2, 3] and bends[2, 3] == []
    for y in range(5):
        level = sorted([x for x, at in points if at == y])
        assert all(b - a >= 15 - 1e-9 for a, b in pairwise(level))
    assert min(x for x, _ in points) >= 5 - 1e-9


def test_random_layouts_keep_their_distance():
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(1, 40))
        inputs = [tuple(rng.choice(i, size=min(i, int(rng.integers(0, 4))), replace=False).tolist()) if i else ()
                  for i in range(n)]
        leaf = [not sources for sources in inputs]
        widths = rng.uniform(5, 50, n).tolist()
        points, bends = layout(inputs, leaf, widths, 8.0, 1.0)
        for i, sources in enumerate(inputs):
            for s in sources:
                assert points[s][1] < points[i][1] and len(bends[s, i]) == points[i][1] - points[s][1] - 1
        for i in range(n):
            for k in range(i):
                if points[i][1] == points[k][1]:
                    assert abs(points[i][0] - points[k][0]) >= (widths[i] + widths[k]) / 2 + 8 - 1e-6
