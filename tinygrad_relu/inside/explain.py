"""A graph as a table: what was computed, how much of it is flat, and where a gradient becomes exactly zero."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.broadcast import unbroadcast
from ..autodiff.node import Array, Node, value
from ..autodiff.tape import history, parts
from ..checks import as_floats
from ..nn.module import Module
from ..ops.activation import activation_op
from ..ops.normalization import batch_norm
from ..parameters import Parameter
from ..text import Shown, Table, ends

SHOWN = 100         # rows that are printed; of a longer table, the first and the last


@dataclass(frozen=True)
class Row:
    """One array of a graph: a parameter, an input, or the result of an operation."""

    row: int                        # rows are in the order in which they were made; a leaf comes before its first use
    op: str                         # the operation that made it; "parameter" or "input" for a leaf
    name: str                       # of a parameter in the model, or else its kind; of integers, their role ("labels")
    inputs: tuple[int, ...]         # the rows from which it was made
    shape: tuple[int, ...]
    dtype: str
    bytes: int                      # of the array (0 for a view), and of what its operation saved for the backward pass
    zero_slopes: float | None       # of an elementwise operation, the share of its slopes that are exactly zero
    zero_gradient: float | None     # the share of exact zeros in the gradient that arrived here; None where no gradient flows
    dies: bool                      # whether a gradient that is not zero arrives here, and only exact zeros go on
    by_nature: bool                 # of a leaf, whether its gradient is zero for any data, up to rounding
    note: str                       # how many of its units are flat on every sample

    @property
    def is_leaf(self) -> bool:
        return self.op in ("parameter", "input")


@dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """The result of `explain`, which prints as a table with the verdict below: where the gradient becomes zero, and why."""

    rows: list[Row]
    verdict: str

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, for a data frame."""
        return [asdict(row) for row in self.rows]

    def parts(self) -> list[str | Table]:
        headings = ["row", "op", "name", "from", "shape", "dtype", "bytes", "zero slopes", "zero gradient", ""]
        cells = [[str(r.row), r.op, r.name, " ".join(map(str, r.inputs)), str(r.shape), r.dtype, f"{r.bytes:,}",
                  _percent(r.zero_slopes), "~100%" if r.by_nature else _percent(r.zero_gradient),
                  "; ".join(filter(None, [r.note, "dies here" * r.dies, "zero by nature, up to rounding" * r.by_nature]))]
                 for r in self.rows]
        return [Table("", headings, ends(cells, SHOWN, SHOWN // 2)), "", self.verdict]


def _percent(share: float | None) -> str:
    """100% and 0% mean all and none; other shares are never rounded to them."""
    return "-" if share is None else f"{100 * share:.0f}%" if share in (0, 1) else f"{min(max(100 * share, 0.1), 99.9):.1f}%"


def explain(tensor: Node, model: Module | None = None, *, gradient: Any = None) -> Explanation:
    """The graph of `tensor` as a table, and the place where a gradient becomes exactly zero.

    One backward pass is made. It calls no hook, changes no ``.grad``, and keeps the graph. `model` names the parameters.
    `gradient` is that of ``backward``, by default ones.

    >>> x = Tensor([[1.0, 2.0]], requires_grad=True)
    >>> tg.explain(F.relu(x - 3).sum())
    row  op     name  from  shape   dtype    bytes  zero slopes  zero gradient
    ────────────────────────────────────────────────────────────────────────────────────────────────────────
      0  input              (1, 2)  float64     16            -           100%
      1  sub          0     (1, 2)  float64     16           0%           100%
      2  relu         1     (1, 2)  float64     16         100%             0%  2 of 2 units flat; dies here
      3  sum          2     ()      float64      8            -             0%
    <BLANKLINE>
    the gradient is exactly zero from row 2 (relu, 2 of 2 units on the flat side) back to the inputs
    """
    return explanation("explain", tensor, model, gradient)


def explanation(who: str, tensor: Node, model: Module | None, gradient: Any) -> Explanation:
    """`explain`; errors begin with `who`."""
    if not isinstance(tensor, Node):
        raise TypeError(f"{who}: got {type(tensor).__name__}; expected a Tensor, such as a loss")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"{who}: the model is {type(model).__name__}, expected a Module, whose names the parameters get")
    seed = np.ones(tensor.shape, tensor.dtype) if gradient is None else as_floats(
        value(gradient), tensor.dtype, f"{who}: gradient")
    if seed.shape != tensor.shape:
        raise ValueError(f"{who}: the gradient has shape {seed.shape}, expected {tensor.shape}, the shape of the tensor")
    nodes = history(tensor, who)
    passages, zeros = walk_back(nodes, {tensor: seed} if tensor.requires_grad else {})
    things = _in_order(nodes, tensor)
    numbers = {id(thing): row for row, (thing, _) in enumerate(things)}
    names = {id(v): node.op.index for node in nodes if node.op.index
             for v in node.values if isinstance(v, np.ndarray) and v.dtype.kind != "f"}
    names |= {} if model is None else {id(p): name for name, p in model.named_parameters()}
    passed = {id(passage.node): passage for passage in passages}
    cancelled = cancelled_by_norms(nodes)
    by_nature = [leaf for leaf in cancelled if zeros[leaf] != 1]
    rows = [_row(thing, [numbers[id(x)] for x in inputs], names, zeros, passed, by_nature, row)
            for row, (thing, inputs) in enumerate(things)]
    verdict = _Verdict(rows, passages, numbers)
    return Explanation(rows, "\n".join([verdict.text(), *(verdict.by_nature(leaf, cancelled[leaf]) for leaf in by_nature)]))


def _in_order(nodes: list[Node], root: Node) -> list[tuple[Any, list[Any]]]:
    """Everything that becomes a row, leaves before their first use, each with its inputs."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for node in nodes:
        inputs = [v if x is None else x for x, v in zip(node.parents, node.values)]
        inputs = [x for x in inputs if isinstance(x, Node) or (isinstance(x, np.ndarray) and x.shape != (0,))]
        for x in inputs:
            found.setdefault(id(x), (x, []))
        found[id(node)] = (node, inputs)
    return list((found or {id(root): (root, [])}).values())


def _row(thing: Any, inputs: list[int], names: dict[int, str], zeros: dict[int, float | None], passed: dict[int, Passage],
         by_nature: Sequence[int], row: int) -> Row:
    array, met = value(thing), passed.get(id(thing))
    kind = ("parameter", thing.kind) if isinstance(thing, Parameter) else ("input", "")
    op = thing.op.name if isinstance(thing, Node) and thing.op is not None else kind[0]
    size = array.nbytes
    if met is not None:
        shares = any(np.may_share_memory(array, v) for v in met.node.values if isinstance(v, np.ndarray))
        size = (0 if shares else size) + (0 if met.node.saved is array else _held(met.node.saved))
    note = f"{met.flat} of {met.units} units flat" if met and met.flat else ""
    return Row(row, op, names.get(id(thing), kind[1]), tuple(inputs), array.shape, str(array.dtype), size,
               met.zero_slopes if met else None, zeros.get(id(thing)), met is not None and met.dies, id(thing) in by_nature, note)


def _held(saved: Any) -> int:
    """The bytes of the arrays that an operation saved."""
    if isinstance(saved, (tuple, list)):
        return sum(map(_held, saved))
    return saved.nbytes if isinstance(saved, np.ndarray) else 0


class _Verdict:
    """The rows and passages of an explanation in words; `numbers` gives the row of each node and array, by its id."""

    def __init__(self, rows: Sequence[Row], passages: Sequence[Passage], numbers: dict[int, int]) -> None:
        self.rows, self.passages, self.numbers = rows, passages, numbers

    def text(self) -> str:
        if self.rows[-1].zero_gradient is None:
            return "no gradient flows here: nothing that went into this result requires one"
        if self.rows[-1].zero_gradient == 1:
            return "the gradient is exactly zero from the start"
        said = self._deaths()
        if infinite := next((self._label(self._row(p.node)) for p in self.passages if not p.finite), None):
            said.insert(0, f"the gradient holds NaN or infinity at {infinite}: under tg.detect_anomaly(), backward names the "
                           "operation that made it")
        said = said or ["a gradient that is not exactly zero reaches everything that requires one"]
        if some := [f"{p.flat} of {p.units} in {self._label(self._row(p.node))}"
                    for p in reversed(self.passages) if p.flat and not p.dies]:
            said.append(f"units on the flat side on every sample: {', '.join(some)}")
        return "\n".join(said)

    def by_nature(self, leaf: int, norm: Node) -> str:
        """A gradient that is zero, up to rounding, because of a norm."""
        return (f"zero by nature, up to rounding: {self._label(self.rows[self.numbers[leaf]])}, because "
                f"{self._label(self._row(norm))} subtracts the mean of the batch")

    def _deaths(self) -> list[str]:
        """The nodes that pass back only zeros, to all inputs or to one operation, root first; then the leaves that get zeros from
        an operation that passes a gradient to its other inputs."""
        nodes, leaves = [], []
        for passage in self.passages:
            here = self._row(passage.node)
            if passage.dies:
                blamed = [reason for reason in map(self._blame, passage.edges) if reason]
                why = "; ".join(filter(None, [passage.why, *blamed[:1]])) or passage.underflow
                if self._all_zero([self._row(edge.to) for edge in passage.edges]):
                    nodes.append(f"the gradient is exactly zero from {self._label(here, why)} back to the inputs")
                else:
                    nodes.append(f"no gradient passes {self._label(here, why)}; its inputs get one along another path")
                continue
            for edge in () if passage.zero else passage.edges:
                there, reason = self._row(edge.to), self._blame(edge) or passage.underflow
                because = f", because {reason}" if reason else ""
                if edge.zero and there.zero_gradient == 1 and there.is_leaf:
                    leaves.append(f"exactly zero arrives at {self._label(there)}{because}")
                elif edge.zero and there.zero_gradient == 1:
                    reach = "back to the inputs" if self._all_zero([there]) else "on"
                    nodes.append(f"the gradient is exactly zero from {self._label(there)} {reach}: {self._label(here)} passes "
                                 f"back only zeros{because}")
        return nodes + leaves

    def _row(self, thing: object) -> Row:
        return self.rows[self.numbers[id(thing)]]

    def _label(self, row: Row, more: str = "") -> str:
        """``row 3 (linear_relu with 0.weight, 64 of 64 units on the flat side)``."""
        named = [self.rows[i].name for i in row.inputs if self.rows[i].op == "parameter" and "." in self.rows[i].name]
        what = f"{row.op} {row.name}".rstrip() + (f" with {named[0]}" if named else "")
        return f"row {row.row} ({', '.join(filter(None, [what, more]))})"

    def _blame(self, edge: Edge) -> str:
        return "" if edge.blame is None else f"{self._label(self._row(edge.blame))} is exactly zero"

    def _all_zero(self, rows: list[Row]) -> bool:
        """Whether these rows, and all from which they were made, get only exact zeros."""
        seen: set[int] = set()
        for row in rows:                        # the list grows during the loop
            if row.row not in seen and row.zero_gradient is not None:
                if row.zero_gradient != 1:
                    return False
                seen.add(row.row)
                rows += [self.rows[i] for i in row.inputs]
        return True


# -- what each operation does to the gradient that arrives --------------------------------------------------------------


class Edge(NamedTuple):
    """From an operation to one of its inputs."""

    to: Node
    zero: bool                      # whether the gradient that goes there is exactly zero everywhere
    blame: Any                      # the other factor of the product, if that is exactly zero everywhere


@dataclass(frozen=True)
class Passage:
    """One operation, and the gradient that arrived there."""

    node: Node
    zeros: float | None             # the share of exact zeros in that gradient; None if it is empty
    finite: bool
    zero_slopes: float | None       # the share of slopes that are exactly zero, if the operation has slopes
    flat: int                       # of an activation, the number of units (columns) with zero slopes only
    units: int                      # and of all units
    edges: list[Edge]
    why: str                        # why a gradient that is not zero does not get through, if that is known
    underflow: str                  # a sentence if the gradient is so small that products with it may underflow; else empty

    @property
    def zero(self) -> bool:
        return self.zeros in (None, 1)

    @property
    def dies(self) -> bool:
        """Whether a gradient that is not zero arrived, and only exact zeros went on."""
        return not self.zero and all(edge.zero for edge in self.edges)


def walk_back(nodes: list[Node], gradients: dict[Node, Array]) -> tuple[list[Passage], dict[int, float | None]]:
    """A backward pass from the root (the last node, whose gradient is given) that calls no hook and writes no ``.grad``.

    Returns the passages, root first; and the share of exact zeros in the gradient of each node and leaf, by its id.
    """
    passages, zeros = [], {}
    for node in reversed(nodes):
        met, given = _passage(node, gradients.pop(node))
        passages.append(met)
        zeros[id(node)] = met.zeros
        for x, part in given.items():
            gradients[x] = np.asarray(gradients[x] + part) if x in gradients else part
    return passages, zeros | {id(leaf): _share_of_zeros(g) for leaf, g in gradients.items()}


def cancelled_by_norms(nodes: list[Node]) -> dict[int, Node]:
    """The leaves (by id) that are added to every sample just before a batch normalisation, each with that normalisation.

    The normalisation subtracts the mean over the samples, and the leaf with it. So the gradient of the leaf is zero for any data.
    """
    uses = Counter(id(x) for node in nodes for x in node.parents if x is not None)
    found: dict[int, Node] = {}
    for norm in nodes:
        z = norm.parents[0] if norm.op is batch_norm else None
        if z is None or z.op is None or not z.op.pure or uses[id(z)] > 1:
            continue
        g = np.random.default_rng(0).standard_normal(z.shape).astype(z.dtype)
        for leaf, part in parts(z, g).items():
            shape = (1,) * (len(z.shape) - len(leaf.shape)) + leaf.shape
            fits = all(n == 1 or (axis == 1 and n == z.shape[1]) for axis, n in enumerate(shape))
            if leaf.op is None and uses[id(leaf)] == 1 and fits:
                total, size = unbroadcast(g, leaf.array), unbroadcast(abs(g), leaf.array)
                if (abs(part - total) <= 1e-4 * size).all():        # its gradient is a sum over the samples: it is added
                    found[id(leaf)] = norm
    return found


def _passage(node: Node, g: Array) -> tuple[Passage, dict[Node, Array]]:
    """The passage of the gradient `g` through `node`, and the gradient of each of its inputs."""
    with np.errstate(all="ignore"):
        slopes = slopes_of(node)
        given = parts(node, g) if node.op.pure else {node.parents[0]: g}       # the hooks of modules are not called
    edges = [Edge(x, not given[x].any(), _blame(node, i)) for i, x in enumerate(node.parents) if x is not None]
    share, flat, units = None, 0, 0
    if slopes is not None and slopes.size:
        share = _share_of_zeros(slopes)
        if node.op.activation is not None:
            units = slopes.shape[-1] if slopes.ndim else 1
            flat = units - int((slopes.reshape(-1, units) != 0).any(axis=0).sum())
    finite = bool(np.isfinite(g).all())
    largest = float(abs(g).max()) if g.size and finite else 0.0
    small = 0 < largest < np.sqrt(np.finfo(g.dtype).tiny)
    underflow = f"the gradient there is at most {largest:.0e}, and underflows" if small else ""
    why = ""
    if largest and all(edge.zero for edge in edges):
        if units and flat == units:
            why = f"{flat} of {units} units on the flat side"
        elif share == 1:
            why = "all its slopes are exactly zero"
        elif slopes is not None and not g[slopes != 0].any():
            why = "its slopes are exactly zero wherever a gradient arrives"
    return Passage(node, _share_of_zeros(g), finite, share, flat, units, edges, why, underflow), given


def slopes_of(node: Node) -> Array | None:
    """The slopes (pullback of ones) of an activation, also inside an affine layer, or of an elementwise operation that passes a
    gradient to one input only; None for other operations."""
    op, ones = node.op, np.ones(node.shape, node.dtype)
    if op.activation is not None and not op.elementwise:
        return np.asarray(activation_op(op.activation).pull_of(0)(ones, node.array, node.saved, p=op.p))
    flowing = [i for i, x in enumerate(node.parents) if x is not None]
    if not op.elementwise or (len(flowing) > 1 and op.activation is None):
        return None
    i = flowing[0] if op.activation is None else 0
    part = np.asarray(op.pull_of(i)(ones, node.array, *node.values, **node.params))
    return part if part.shape == node.shape else None


def _share_of_zeros(x: Array) -> float | None:
    return float((x == 0).mean()) if x.size else None


def _blame(node: Node, i: int) -> Any:
    """The factor of the gradient of input i, if it is exactly zero everywhere."""
    if not node.op.multiplies or i > 1:
        return None
    other, array = node.parents[1 - i], node.values[1 - i]
    return (array if other is None else other) if isinstance(array, np.ndarray) and not array.any() else None
