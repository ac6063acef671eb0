"""Where the boxes of a graph go: layers from top to bottom, few crossings, chains straight.

The steps are those of Sugiyama, Tagawa & Toda (1981): a layer for each node, dummies where an edge passes a layer, an order
within the layers by barycentres, then places.
"""
from __future__ import annotations

from collections.abc import Sequence

Point = tuple[float, float]


def layout(inputs: Sequence[Sequence[int]], leaf: Sequence[bool], widths: Sequence[float], gap: float,
           height: float) -> tuple[list[Point], dict[tuple[int, int], list[Point]]]:
    """The centres of the nodes, and the points through which the edges pass layers on their way.

    Parameters
    ----------
    inputs : sequence of sequences of int
        For each node those it comes from, which have smaller numbers.
    leaf : sequence of bool
        Leaves stand right above their first use.
    widths : sequence of float
    gap : float
        Between neighbours.
    height : float
        From layer to layer.
    """
    depth = _depths(inputs, leaf)
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for node, d in enumerate(depth):
        layers[d].append(node)
    above: list[list[int]] = [[] for _ in inputs]       # neighbours one layer up and down; dummies come behind the nodes
    below: list[list[int]] = [[] for _ in inputs]
    chains: dict[tuple[int, int], list[int]] = {}
    for node, sources in enumerate(inputs):
        for source in dict.fromkeys(sources):
            chain = chains[source, node] = []
            last = source
            for d in range(depth[source] + 1, depth[node]):
                dummy = len(above)
                above.append([last])
                below.append([])
                below[last].append(dummy)
                layers[d].append(dummy)
                chain.append(dummy)
                last = dummy
            below[last].append(node)
            above[node].append(last)

    for order, neighbours in ((layers[1:], above), (layers[-2::-1], below)):
        place = {node: i for layer in layers for i, node in enumerate(layer)}
        for layer in order:
            layer.sort(key=lambda node: _mean([place[n] for n in neighbours[node]], place[node]))
            place.update((node, i) for i, node in enumerate(layer))

    wide = [*widths, *[0.0] * (len(above) - len(widths))]
    heavy = [0.01 if node < len(leaf) and leaf[node] else 1.0 for node in range(len(above))]    # leaves give way
    x = _places(layers, [[*a, *b] for a, b in zip(above, below)], wide, heavy, gap)
    y = {node: d * height for d, layer in enumerate(layers) for node in layer}
    return ([(x[node], y[node]) for node in range(len(inputs))],
            {edge: [(x[dummy], y[dummy]) for dummy in chain] for edge, chain in chains.items()})


def _depths(inputs: Sequence[Sequence[int]], leaf: Sequence[bool]) -> list[int]:
    """The layer of each node: the longest path for results, right above its first use for a leaf."""
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
    """Every node near the middle of its neighbours, as far as those beside it leave room."""
    x = [0.0] * len(wide)
    for _ in range(12):
        for layer in layers:
            wish = {node: sum(heavy[n] * x[n] for n in around) / sum(heavy[n] for n in around) if around else x[node]
                    for node in layer for around in (neighbours[node],)}
            right, shift, weight = -float("inf"), 0.0, 0.0
            for node in layer:
                x[node] = max(wish[node], right + gap + wide[node] / 2)
                right = x[node] + wide[node] / 2
                shift += heavy[node] * (wish[node] - x[node])
                weight += heavy[node]
            for node in layer:
                x[node] += shift / weight
    left = min(x[node] - wide[node] / 2 for node in range(len(x)))
    return [place - left for place in x]


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
