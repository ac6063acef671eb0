"""A graph as a table: what was computed, how much of it is flat, and where a gradient turns to exactly zero."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..autodiff.node import Array, Node, value
from ..autodiff.tape import history
from ..checks import as_floats
from ..nn.module import Module
from ..parameters import Parameter
from ..text import aligned
from .passage import Passage, passage
from .verdict import Verdict

SHOWN = 100         # rows that are printed, of a longer table the first and the last


@dataclass(frozen=True)
class Row:
    """One array of a graph: a parameter, an input, or the result of an operation.

    Attributes
    ----------
    row : int
        Its number. Rows come in the order in which they were made; a leaf stands before its first use.
    op : str
        The operation that made it; "parameter" or "input" for a leaf.
    name : str
        Of a parameter: its name in the model, or else its kind. Of integers and booleans: what they are to their operation.
    inputs : tuple of int
        The rows that it was made from.
    shape : tuple of int
    dtype : str
    bytes : int
        What it holds, and what its operation saved for the way back. A view holds nothing of its own.
    zero_slopes : float or None
        Of an elementwise operation: the share of its slopes that are exactly zero.
    zero_gradient : float or None
        The share of the gradient that arrived here which is exactly zero; None where no gradient flows.
    dies : bool
        Whether a gradient that is not zero arrives here, and nothing but exact zeros goes on.
    note : str
        How many of its units are flat on every sample.
    """

    row: int
    op: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    zero_slopes: float | None
    zero_gradient: float | None
    dies: bool
    note: str

    @property
    def is_leaf(self) -> bool:
        return self.op in ("parameter", "input")


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns. It prints as a table with the verdict below.

    Attributes
    ----------
    rows : list of Row
    verdict : str
        Where the gradient turns to exactly zero, and why.
    """

    rows: list[Row]
    verdict: str

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows as dicts, as data frames take them."""
        return [asdict(row) for row in self.rows]

    def __str__(self) -> str:
        headings = ["row", "op", "name", "from", "shape", "dtype", "bytes", "zero slopes", "zero gradient", ""]
        cells = [[str(r.row), r.op, r.name, " ".join(map(str, r.inputs)), str(r.shape), r.dtype, f"{r.bytes:,}",
                  _percent(r.zero_slopes), _percent(r.zero_gradient), "; ".join(filter(None, [r.note, "dies here" * r.dies]))]
                 for r in self.rows]
        if len(cells) > SHOWN:
            left_out = ["..."] + [""] * (len(headings) - 1)
            cells = [*cells[:SHOWN // 2], left_out, *cells[-SHOWN // 2:]]
        return aligned(headings, cells, right=("row", "bytes", "zero slopes", "zero gradient")) + f"\n\n{self.verdict}"

    __repr__ = __str__


def _percent(share: float | None) -> str:
    """100% and 0% mean all and none; what lies between is never rounded to them."""
    if share is None:
        return "-"
    return f"{100 * share:.0f}%" if share in (0, 1) else f"{min(max(100 * share, 0.1), 99.9):.1f}%"


def explain(tensor: Node, model: Module | None = None, *, gradient: Any = None) -> Explanation:
    """The graph behind `tensor` as a table, and the place where a gradient turns to exactly zero.

    One walk back is made, of which nothing is left behind: no ``.grad`` changes, no hook is called, the graph stays whole.

    Parameters
    ----------
    tensor : Tensor
        A loss, or any result.
    model : Module, optional
        Names the parameters.
    gradient : array_like, optional
        As in ``backward``; by default ones, which for a loss is what ``backward`` starts from.

    Returns
    -------
    Explanation

    Raises
    ------
    RuntimeError
        If an earlier ``backward`` has freed the graph.
    ValueError
        If the gradient has another shape than the tensor.

    Examples
    --------
    >>> import tinygrad_relu as tg
    >>> x = tg.Tensor([[1.0, 2.0]], requires_grad=True)
    >>> tg.explain(tg.functional.relu(x - 3).sum())
    row  op     name  from  shape   dtype    bytes  zero slopes  zero gradient
      0  input              (1, 2)  float64     16            -           100%
      1  sub          0     (1, 2)  float64     16           0%           100%
      2  relu         1     (1, 2)  float64     16         100%             0%  2 of 2 units flat; dies here
      3  sum          2     ()      float64      8            -             0%
    <BLANKLINE>
    the gradient is exactly zero from row 2 (relu, 2 of 2 units on the flat side) back to the inputs
    """
    return explanation("explain", tensor, model, gradient)


def explanation(who: str, tensor: Node, model: Module | None, gradient: Any) -> Explanation:
    """What `explain` returns, with errors in the name of `who`."""
    if not isinstance(tensor, Node):
        raise TypeError(f"{who}: got {type(tensor).__name__}; expected a Tensor, such as a loss")
    seed = np.ones(tensor.shape, tensor.dtype)
    if gradient is not None:
        seed = as_floats(value(gradient), tensor.dtype, f"{who}: gradient")
    if seed.shape != tensor.shape:
        raise ValueError(f"{who}: the gradient has shape {seed.shape}, expected {tensor.shape}, the shape of the tensor")
    nodes = history(tensor, who)
    passages, zeros = _walk_back(nodes, {tensor: seed} if tensor.requires_grad else {})
    things = _in_order(nodes, tensor)
    numbers = {id(thing): row for row, (thing, _) in enumerate(things)}
    names = {id(v): node.op.index for node in nodes if node.op.index
             for v in node.values if isinstance(v, np.ndarray) and v.dtype.kind != "f"}
    names |= {} if model is None else {id(p): name for name, p in model.named_parameters()}
    passed = {id(passage.node): passage for passage in passages}
    rows = [_row(thing, [numbers[id(x)] for x in inputs], names, zeros, passed, row)
            for row, (thing, inputs) in enumerate(things)]
    return Explanation(rows, str(Verdict(rows, passages, numbers)))


def _walk_back(nodes: list[Node], table: dict[Node, Array]) -> tuple[list[Passage], dict[int, float | None]]:
    """A walk of its own from the root, at which `table` starts: what happened at each operation, root first; and, by the id of
    each node, the share of exact zeros in its gradient."""
    passages = []
    zeros: dict[int, float | None] = {}
    for node in reversed(nodes):
        g = table.pop(node)
        zeros[id(node)] = _share_of_zeros(g)
        met, given = passage(node, g)
        passages.append(met)
        for x, part in given.items():
            table[x] = np.asarray(table[x] + part) if x in table else part
    return passages, zeros | {id(leaf): _share_of_zeros(g) for leaf, g in table.items()}


def _share_of_zeros(g: Array) -> float | None:
    return float((g == 0).mean()) if g.size else None


def _in_order(nodes: list[Node], root: Node) -> list[tuple[Any, list[Any]]]:
    """Everything that becomes a row, leaves before their first use, each with what it was made from."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    for node in nodes:
        inputs = [v if x is None else x for x, v in zip(node.parents, node.values)]
        inputs = [x for x in inputs if isinstance(x, Node) or (isinstance(x, np.ndarray) and x.shape != (0,))]
        for x in inputs:
            found.setdefault(id(x), (x, []))
        found[id(node)] = (node, inputs)
    return list((found or {id(root): (root, [])}).values())


def _row(thing: Any, inputs: list[int], names: dict[int, str], zeros: dict[int, float | None], passed: dict[int, Passage],
         row: int) -> Row:
    array, met = value(thing), passed.get(id(thing))
    parameter = isinstance(thing, Parameter)
    op = thing.op.name if isinstance(thing, Node) and thing.op is not None else "parameter" if parameter else "input"
    name = names.get(id(thing), thing.kind if isinstance(thing, Parameter) else "")
    size = array.nbytes
    if met is not None:
        shares = any(np.may_share_memory(array, v) for v in met.node.values if isinstance(v, np.ndarray))
        size = (0 if shares else size) + (0 if met.node.saved is array else _held(met.node.saved))
    return Row(row, op, name, tuple(inputs), array.shape, str(array.dtype), size, met.zero_slopes if met else None,
               zeros.get(id(thing)), met is not None and met.dies,
               f"{met.flat} of {met.units} units flat" if met and met.flat else "")


def _held(saved: Any) -> int:
    """The bytes of the arrays in what an operation saved."""
    if isinstance(saved, (tuple, list)):
        return sum(map(_held, saved))
    return saved.nbytes if isinstance(saved, np.ndarray) else 0
